// SPDX-License-Identifier: Apache-2.0
//
// executor.cc -- fetching and checking a descriptor, and ending an operation at both sides.
#include "controller/executor.hpp"

#include <algorithm>
#include <thread>

#include "controller/notify.hpp"
#include "os/sync.hpp"
#include "rules/copy.hpp"

namespace vinic::controller {

namespace {

/// A line of the window as it was at one moment, as far as words go.
template <class T>
T copy_once(const T& from) noexcept {
    static_assert(sizeof(T) % 8 == 0);
    T out;
    const auto* words = reinterpret_cast<const abi::word64*>(&from);
    for (std::size_t i = 0; i < sizeof(T) / 8; ++i) {
        const std::uint64_t word = words[i].load_relaxed();
        std::memcpy(reinterpret_cast<std::byte*>(&out) + i * 8, &word, 8);
    }
    return out;
}

/// The library packs a payload into the line of its own accord.
std::uint32_t inline_most(const vi& v) noexcept {
    return std::max<std::uint32_t>(v.d.inline_bytes_max, sizeof(abi::send_descriptor::segments));
}

}  // namespace

executor::executor(function_list functions, const device_options& options)
    : functions_(functions),
      allowances_(functions.size()),
      foreign_memory_(options.foreign_memory),
      lease_ns_(options.lease_ns),
      scratch_(std::make_unique_for_overwrite<transfer>()) {}
executor::~executor() = default;

// -- fetch --------------------------------------------------------------------------------------

/// Whether the descriptor is one that the interface lets through; the client's library refuses the others.
bool executor::fits(const vi& v, const transfer& t) const noexcept {
    std::uint64_t sum = t.inline_data != nullptr ? t.length : 0;
    for (std::uint32_t i = 0; i < t.segment_count; ++i) {
        sum += t.segments[i].length;
    }
    const rules::posting_limits limits{v.d.segments_max, v.d.transfer_bytes_max, inline_most(v),
                                       static_cast<reliability>(v.d.reliability),
                                       v.is_datagram() ? vinic::service::datagram : vinic::service::connected};
    return sum == t.length && rules::may_post(limits, {t.opcode, t.has_immediate, t.inline_data != nullptr,
                                                       t.segment_count, sum}) == errc::ok;
}

/// Copies the descriptor at the head.  False: it is malformed.
bool executor::fetch(const vi& v, transfer& t) const noexcept {
    const abi::send_descriptor d = copy_once(v.sends[v.send_next & v.send_mask]);
    const auto extra = [&](std::size_t bytes) -> const std::byte* {
        const std::uint64_t area = v.entry->send_extra.load_acquire();
        const std::uint64_t offset = area + std::uint64_t{v.send_next & v.send_mask} * v.send_extra_bytes;
        const window& w = v.owner->window;
        const bool is_there = bytes <= v.send_extra_bytes && area != 0 && w.holds(area, 0) && w.holds(offset, bytes);
        return is_there ? w.at<std::byte>(offset) : nullptr;
    };
    t.started = false;
    t.receive_count = 0;
    t.done = 0;
    t.segment = t.segment_at = t.receive_segment = t.receive_at = 0;
    t.words = {};
    return rules::unpack(d, v.d.segments_max, inline_most(v), extra, t, t.room) && fits(v, t);
}

bool executor::may_make(function& f, std::uint32_t pages) noexcept {
    if (allowances_[f.number].take(pages, f.memory, f.window)) [[likely]] {
        return true;
    }
    count(f.counters.memory_refusals);
    return false;
}

// -- small helpers --------------------------------------------------------------------------------

/// Memory that was refused is counted once, and of the function whose memory it is.  `target`: the other side's.
executor::outcome executor::end(const vi& v, function& target, rules::fault f) noexcept {
    const rules::ending& e = rules::ending_of(f);
    if (e.refused != rules::side::none) {
        count((e.refused == rules::side::target ? target : *v.owner).counters.protection_errors);
    }
    tally_.fault = f;
    return v.is_reliable() ? outcome(verdict::failed, e.sender) : outcome(e.unreliable);
}

/// Likewise where it is the other side that has to do with it, which counts a message that is dropped.
executor::outcome executor::end_at(const vi& v, vi& to, rules::fault f) noexcept {
    const rules::ending& e = rules::ending_of(f);
    if (!v.is_reliable() && e.drop != rules::no_drop) {
        to.entry->drops[e.drop].fetch_add(1);
    }
    return end(v, *to.owner, f);
}

executor::outcome executor::end_receive(vi& v, vi& to, const transfer& t, rules::fault f,
                                        std::uint32_t bytes) noexcept {
    const rules::ending& e = rules::ending_of(f);
    complete(v, to, {*e.receiver, rules::receive_flags(t.has_immediate, e.receive_flags), bytes, t.immediate});
    return end_at(v, to, f);
}

executor::outcome executor::refuse_access(vi& v, vi& to, enum opcode what) noexcept {
    to.entry->drops[rules::refusal_of(what)].fetch_add(1);
    return end_at(v, to, rules::fault::access);
}

/// Publishes the completion of the receive descriptor that is taken, and steps on.
void executor::complete(vi& v, vi& to, const rules::receipt& r) noexcept {
    rules::publish(to.receives[to.receive_next & to.receive_mask].completion, to.receive_next, r, v.is_datagram(),
                   v.is_datagram() ? v.address() : 0);
    ++to.receive_next;
    signal_if_wanted(to, abi::receive_queue);
    if (r.status == status::success) {
        ++rx_messages_;
        tally_.receiver = to.owner;
        tally_.received_bytes += r.bytes;
    }
}

bool executor::check_local(const vi& v, const transfer& t, std::uint32_t rights) const noexcept {
    place p;
    for (std::uint32_t i = 0; i < t.segment_count; ++i) {
        const abi::segment& s = t.segments[i];
        if (s.length != 0 && !check(v, s.key, s.address, s.length, rights, p)) {
            return false;
        }
    }
    return true;
}

/// The rest of the segment of the initiator's list at which the transfer is; inline data lies with the device.
bool executor::local_place(const vi& v, const transfer& t, std::uint32_t rights, place& out) noexcept {
    const abi::segment& s = t.segments[t.segment];
    return check(v, s.key, s.address + t.segment_at, s.length - t.segment_at, rights, out);
}

/// Past `bytes` of the initiator's list.
void executor::step(transfer& t, std::uint64_t bytes) noexcept {
    t.done += static_cast<std::uint32_t>(bytes);
    t.segment_at += static_cast<std::uint32_t>(bytes);
}

void executor::count_foreign(const place* mine, const place* theirs) noexcept {
    ++tally_.foreign_copies;
    for (const place* each : {mine, theirs}) {
        if (each != nullptr) {
            count(each->owner->counters.foreign_copies);
        }
    }
}

/// The old value of an atomic to where it goes (`outward`), or what lies there; that may be in two pieces.
moved executor::carry(place there, std::uint64_t& value, bool outward) noexcept {
    auto* here = reinterpret_cast<std::byte*>(&value);
    rules::word_copy words;
    while (there.length != 0) {
        const piece far = first_piece(there, there.length);
        const piece near{here, 0, far.bytes};
        const bool ends = far.bytes == there.length;
        if (far.direct == nullptr) {
            count_foreign(&there, nullptr);
        }
        const moved how = outward ? copy(there, far, there, near, far.bytes, words, ends, foreign_memory_)
                                  : copy(there, near, there, far, far.bytes, words, ends, foreign_memory_);
        if (how != moved::all) {
            return how;
        }
        here += far.bytes;
        there.advance(far.bytes);
    }
    return moved::all;
}

}  // namespace vinic::controller

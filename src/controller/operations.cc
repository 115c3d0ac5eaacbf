// SPDX-License-Identifier: Apache-2.0
//
// operations.cc -- what the operations of rules/ ask of an engine that believes nothing, and for whom it runs them.
#include <algorithm>
#include <utility>

#include "controller/lease.hpp"
#include "controller/notify.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t fill_patience_ns = 100'000'000;
constexpr std::uint64_t block_most = 16 << 10;
constexpr std::uint64_t slow_bytes_per_ns = 2;   ///< below it pages are being made, or fetched from far away
constexpr std::uint32_t pages_of_a_message = 8;  ///< of rings, completions and a completion queue, at each end
constexpr std::uint32_t pages_of_a_table = rules::table_bytes_max / memory_account::page_bytes + 1;
constexpr std::uint32_t pages_of_a_search = 8;  ///< in a client's table of extents
constexpr std::uint32_t pieces_between_looks = 16;

/// Pages that may have to be made for a piece of so many bytes.
std::uint32_t pages_of(const place& where, const piece& at, std::uint64_t bytes) noexcept {
    const std::uint64_t pages = at.direct == nullptr ? 0 : bytes / memory_account::page_bytes + 2;
    return static_cast<std::uint32_t>(pages) + (where.offset == abi::none64 ? pages_of_a_search : 0);
}

}  // namespace

/// Looks at the clock when so much was done since the last look that it may matter.  A piece that lies together may
/// consist of pages that are yet to be made: it is moved in blocks, which are small until they have proved to be quick.
void lease_runner::look_after(std::uint64_t bytes) noexcept {
    if (!is_timed() || (bytes < block_least && ++pieces_ % pieces_between_looks != 0)) {
        return;
    }
    const std::uint64_t now = clock_ns();
    notice(now);
    if (lease_ns_ != 0 && now >= end_ns_) {
        lease_left_ = 0;
    }
    const bool quick = (now - looked_ns_) * slow_bytes_per_ns <= bytes;
    block_ = quick ? std::min(2 * block_, block_most) : block_least;
    looked_ns_ = now;
}

/// One message between two VIs.
struct lease_runner::engine {
    lease_runner& x;
    vi& v;
    vi& to;
    transfer& t;

    [[nodiscard]] bool find_own(std::uint32_t key, std::uint64_t address, std::uint64_t bytes, std::uint32_t rights,
                                place& out) const noexcept {
        return check(v, key, address, bytes, rights, out);
    }
    [[nodiscard]] bool find_target(std::uint32_t key, std::uint64_t address, std::uint64_t bytes, std::uint32_t rights,
                                   place& out) const noexcept {
        return check(to, key, address, bytes, rights, out);
    }
    [[nodiscard]] static place own_bytes(const std::byte* data, std::uint64_t bytes) noexcept {
        place p;
        p.address = reinterpret_cast<std::uint64_t>(data);
        p.length = bytes;
        return p;
    }
    [[nodiscard]] bool offers(std::uint32_t flag) const noexcept { return (to.d.flags & flag) != 0; }

    [[nodiscard]] bool receive_ready() const noexcept { return to.has_receive(); }
    [[nodiscard]] rules::choice choose(const rules::message&) const noexcept {
        return !to.has_receive()                   ? rules::choice::wait
               : lease_runner::take_receive(to, t) ? rules::choice::place
                                                   : rules::choice::refuse;
    }
    [[nodiscard]] std::uint32_t receive_count() const noexcept { return t.receive_count; }
    [[nodiscard]] const abi::segment& receive_segment(std::uint32_t i) const noexcept { return t.receive_segments[i]; }
    [[nodiscard]] std::uint32_t payload_max() const noexcept {
        return rules::payload_max(static_cast<reliability>(v.d.reliability),
                                  v.is_datagram() ? vinic::service::datagram : vinic::service::connected);
    }
    [[nodiscard]] std::byte* payload() const noexcept {
        abi::receive_completion& c = to.receives[to.receive_next & to.receive_mask].completion;
        return reinterpret_cast<std::byte*>(c.payload) + (v.is_datagram() ? 8 : 0);
    }
    [[nodiscard]] place payload_place(std::uint32_t bytes) const noexcept { return own_bytes(payload(), bytes); }
    void put_payload(const std::byte* data, std::uint32_t bytes) const noexcept {
        rules::copy_small(payload(), data, bytes);
        x.tally_.bytes += bytes;
    }

    [[nodiscard]] std::uint64_t room() const noexcept {
        if (v.link.load(std::memory_order_relaxed) != abi::link::connected) {
            return 0;
        }
        // What travels in a completion is brought in one go: a receiver of datagrams must not be kept by 40 bytes.
        return x.lease_left_ < t.length && t.length <= payload_max() ? t.length : x.lease_left_;
    }
    [[nodiscard]] moved move(const place& there, const place& from, std::uint64_t& n,
                             rules::word_copy& words) const noexcept {
        return x.move(there, from, n, words);
    }
    [[nodiscard]] static std::byte* direct_bytes(const place& p) noexcept {
        const piece first = first_piece(p, 8);
        return first.bytes == 8 ? first.direct : nullptr;
    }

    [[nodiscard]] outcome end(rules::fault f) const noexcept { return x.end(v, &to, f); }
    [[nodiscard]] outcome end_receive(rules::fault f, const rules::message& m, std::uint32_t bytes) const noexcept {
        const rules::ending& e = rules::ending_of(f);
        complete({*e.receiver, rules::receive_flags(m.has_immediate, e.receive_flags), bytes, m.immediate});
        return end(f);
    }
    [[nodiscard]] outcome refuse_access(enum opcode what) const noexcept {
        to.entry->drops[rules::refusal_of(what)].fetch_add(1);
        return end(rules::fault::access);
    }
    /// Never asked here: a move does not look at the connection, room() does.
    [[nodiscard]] static constexpr outcome overtaken() noexcept { return outcome::unfinished(); }
    void complete(const rules::receipt& r) const noexcept {
        x.complete(to, r, v.is_datagram(), v.is_datagram() ? v.address() : 0);
    }
};

/// To a receiver with a table.  A claim that is told of is its owner's to give back; every other one is released.
struct lease_runner::choosing_engine : engine {
    [[nodiscard]] rules::choice choose(const rules::message&) const noexcept {
        const rules::chooser& by = to.chooser;
        if (!to.has_receive()) {
            return rules::choice::wait;
        }
        rules::landing where;
        const rules::choice c = by.kind->choose(by.table, rules::arrival_of(t), where);
        if (c == rules::choice::place) {
            t.claim = where.telling;
            t.receive_count = static_cast<std::uint16_t>(std::min(where.count, rules::landing::segments_max));
            std::copy_n(where.segments, t.receive_count, t.receive_segments);
        }
        return c;
    }
    [[nodiscard]] static constexpr std::uint32_t payload_max() noexcept { return 0; }
    void complete(const rules::receipt& r) const noexcept {
        const auto claim = std::exchange(t.claim, std::nullopt);
        if (claim) {
            to.chooser.kind->tell(to.chooser.table, *claim);
        }
        x.complete(to, r, true, claim.value_or(rules::no_telling));
    }
    [[nodiscard]] outcome end_receive(rules::fault f, const rules::message& m, std::uint32_t bytes) const noexcept {
        const rules::ending& e = rules::ending_of(f);
        complete({*e.receiver, rules::receive_flags(m.has_immediate, e.receive_flags), bytes, m.immediate});
        return end(f);
    }
    [[nodiscard]] outcome end(rules::fault f) const noexcept {
        release(to, t);
        return engine::end(f);
    }
};

/// Moves the part of the first n bytes that lies together at both sides, but no more than is moved between two looks at
/// the clock.
moved lease_runner::move(const place& to, const place& from, std::uint64_t& n, rules::word_copy& words) noexcept {
    const piece target = first_piece(to, n);
    const piece source = first_piece(from, target.bytes);
    n = source.bytes;
    if (target.direct == nullptr || source.direct == nullptr) {
        // By system call: never in blocks, each would cost one.
        count_foreign(target.direct == nullptr ? &to : nullptr, source.direct == nullptr ? &from : nullptr);
    } else if (is_timed()) {
        n = std::min(n, block_);
    }
    if ((to.owner != nullptr && !may_make(*to.owner, pages_of(to, target, n))) ||
        (from.owner != nullptr && !may_make(*from.owner, pages_of(from, source, n)))) {
        return moved::unreachable;
    }
    const moved how = copy(to, target, from, source, n, words, n == to.length, foreign_memory_);
    if (how == moved::all) {
        lease_left_ -= lease_left_ == no_lease_limit ? 0 : std::min(lease_left_, n);
        tally_.bytes += n;
        look_after(n);
    }
    return how;
}

/// A piece of memory outside windows: counted for the VI, and for each function whose memory it is.
void lease_runner::count_foreign(const place* to, const place* from) noexcept {
    ++tally_.foreign_copies;
    for (const place* each : {to, from}) {
        if (each != nullptr) {
            count(each->owner->counters.foreign_copies);
        }
    }
}

bool lease_runner::may_make(function& f, std::uint32_t pages) noexcept {
    if (allowances_[f.number].take(pages, f.memory, f.window)) [[likely]] {
        return true;
    }
    count(f.counters.memory_refusals);
    return false;
}

/// Memory that was refused is counted once, and of the function whose memory it is.  `to`: the target, which counts a
/// message that is dropped; nullptr: the fault has nothing to do with one.
outcome lease_runner::end(const vi& v, vi* to, rules::fault f) noexcept {
    const rules::ending& e = rules::ending_of(f);
    if (e.refused != rules::side::none) {
        count((e.refused == rules::side::target ? *to->owner : *v.owner).counters.protection_errors);
    }
    if (e.drop != rules::no_drop && (!v.is_reliable() || e.always_counted)) {
        to->entry->drops[e.drop].fetch_add(1);
    }
    if (f == rules::fault::no_descriptor) {
        count(to->owner->counters.rx_no_descriptor_drops);
    }
    tally_.fault = f;
    return v.is_reliable() ? e.sender : e.unreliable;
}

/// Publishes the completion of the receive descriptor that is taken, and steps on.
void lease_runner::complete(vi& to, const rules::receipt& r, bool tells, std::uint64_t telling) noexcept {
    rules::publish(to.receives[to.receive_next & to.receive_mask].completion, to.receive_next, r, tells, telling);
    ++to.receive_next;
    signal_if_wanted(to, abi::receive_queue);
    if (r.status == status::success) {
        ++rx_messages_;
        tally_.receiver = to.owner;
        tally_.received_bytes += r.bytes;
    }
}

/// What is neither told nor going on.
void lease_runner::release(const vi& to, transfer& t) noexcept {
    if (const auto claim = std::exchange(t.claim, std::nullopt)) {
        to.chooser.kind->release(to.chooser.table, *claim);
    }
}

outcome lease_runner::deliver(vi& v, vi& to, transfer& t) noexcept {
    t.look_again();
    if (to.chooser.kind != nullptr) [[unlikely]] {
        if (!t.started && !may_make(*to.owner, pages_of_a_table)) {
            return end(v, nullptr, rules::fault::unreachable);
        }
        choosing_engine e{{*this, v, to, t}};
        return rules::run<choosing_engine, place>(e, t, t);
    }
    engine e{*this, v, to, t};
    return rules::run<engine, place>(e, t, t);
}

outcome lease_runner::datagram(vi& v, transfer& t) noexcept {
    const std::uint32_t generation = abi::generation_of_address(t.remote_address);
    vi* to = find(functions_, t.remote_address);
    if (to == nullptr || !to->is_datagram() || to->d.generation != generation) {
        count(v.owner->counters.rx_unknown_destination_drops);
        v.entry->counters[abi::tx_datagram_drops].fetch_add(1);
        return {};
    }
    if (tally_.receiver != nullptr && tally_.receiver != to->owner) {
        return outcome::unfinished();  // a lease has one receiving function, which it is charged to
    }
    if (!to->owner->allowed.load(std::memory_order_relaxed) || !may_make(*to->owner, pages_of_a_message)) {
        count(to->owner->counters.rx_no_descriptor_drops);
        stop_filling(to, v);
        return {};
    }
    const receives_lock hold(*to);
    outcome o;
    const std::uint64_t now = clock_ns();
    const bool is_taken = to->filled_by != nullptr && to->filled_by != &v && now < to->filled_until_ns;
    if (is_taken || (t.started && to->filled_by != &v)) {
        // Another long datagram is on its way; or this one was too slow, or the receiver has flushed it.
        to->entry->drops[abi::rx_busy].fetch_add(1);
    } else {
        to->filled_until_ns = to->filled_by == &v ? to->filled_until_ns : now + fill_patience_ns;
        o = deliver(v, *to, t);
        const bool goes_on = t.started && o.is_unfinished();
        to->filled_by = goes_on ? &v : nullptr;
    }
    return o.waits() ? end(v, to, rules::fault::no_descriptor) : o;
}

outcome lease_runner::execute(vi& v, transfer& t) noexcept {
    const bool begins = v.pending == nullptr;
    if (begins && !may_make(*v.owner, pages_of_a_message + t.segment_count)) {
        return end(v, nullptr, rules::fault::unreachable);
    }
    if (v.is_datagram()) {
        return datagram(v, t);
    }
    vi& to = *v.peer;
    if (begins && !may_make(*to.owner, pages_of_a_message)) {
        return end(v, nullptr, rules::fault::unreachable);
    }
    if (!to.owner->allowed.load(std::memory_order_relaxed)) {
        tally_.receiver_off = true;
        return outcome::waiting();
    }
    if (!rules::is_atomic(t.opcode)) [[likely]] {
        return deliver(v, to, t);
    }
    const std::uint64_t before = tally_.bytes;
    const outcome o = deliver(v, to, t);
    tally_.bytes = before + (o.succeeded() ? t.length : 0);  // however often its result was carried
    return o;
}

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// operations.cc -- the operations of an executor, and the lease that runs them.
//
// docs/design.md, "Outcomes", says how each ends; the same table holds for direct placement.
#include <algorithm>

#include "controller/executor.hpp"
#include "controller/notify.hpp"
#include "rules/copy.hpp"
#include "rules/vi.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint32_t no_rights = 0;
constexpr std::uint64_t fill_patience_ns = 100'000'000;
constexpr std::uint64_t block_most = 16 << 10;
constexpr std::uint64_t slow_bytes_per_ns = 2;   ///< below it pages are being made, or fetched from far away
constexpr std::uint32_t pages_of_a_message = 8;  ///< of rings, completions and a completion queue, at each end
constexpr std::uint32_t pages_of_a_search = 8;   ///< in a client's table of extents
constexpr std::uint32_t pieces_between_looks = 16;
constexpr auto local_write_right = static_cast<std::uint32_t>(access::local_write);

std::uint32_t payload_max(const vi& v) noexcept {
    return rules::payload_max(static_cast<reliability>(v.d.reliability),
                              v.is_datagram() ? vinic::service::datagram : vinic::service::connected);
}

/// Inline data are the device's own bytes.
piece inline_piece(transfer& t, std::uint64_t most) noexcept {
    return {t.room.inline_data + t.done, 0, std::min<std::uint64_t>(most, t.length - t.done)};
}

/// Pages that may have to be made for a piece of so many bytes.
std::uint32_t pages_of(const place& where, const piece& at, std::uint64_t bytes) noexcept {
    const std::uint64_t pages = at.direct == nullptr ? 0 : bytes / memory_account::page_bytes + 2;
    return static_cast<std::uint32_t>(pages) + (where.offset == abi::none64 ? pages_of_a_search : 0);
}

bool skip_empty(transfer& t) noexcept {
    while (t.segment < t.segment_count && t.segment_at == t.segments[t.segment].length) {
        ++t.segment;
        t.segment_at = 0;
    }
    return t.segment < t.segment_count;
}

}  // namespace

/// Looks at the clock when so much was done since the last look that it may matter.  A piece that lies together may
/// consist of pages that are yet to be made: it is moved in blocks, which are small until they have proved to be quick.
void executor::look_after(std::uint64_t bytes) noexcept {
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

/// Moves between the initiator's list and `there` until the message or the lease is at its end.  `receiver`: that is
/// memory of its receive descriptor.
executor::outcome executor::stream(vi& v, transfer& t, place there, bool outward, vi* receiver) noexcept {
    const std::uint32_t rights = outward ? no_rights : local_write_right;
    while (there.length != 0) {
        if (v.link.load(std::memory_order_relaxed) != abi::link::connected) {
            return verdict::partial;
        }
        if (lease_left_ == 0) {
            return verdict::partial;
        }
        const std::uint64_t most = std::min(there.length, lease_left_);
        const piece remote = first_piece(there, most);
        place mine;
        piece local;
        if (t.inline_data != nullptr) {
            local = inline_piece(t, remote.bytes);
        } else {
            if (!skip_empty(t) || !local_place(v, t, rights, mine)) {
                return end(v, *v.owner, rules::fault::own_memory);
            }
            local = first_piece(mine, remote.bytes);
        }
        if (remote.direct == nullptr || local.direct == nullptr) {
            // By system call: never in blocks, each would cost one.
            count_foreign(local.direct == nullptr ? &mine : nullptr, remote.direct == nullptr ? &there : nullptr);
        } else if (is_timed()) {
            local.bytes = std::min(local.bytes, block_);
        }
        if (!may_make(*there.owner, pages_of(there, remote, local.bytes)) ||
            (t.inline_data == nullptr && !may_make(*mine.owner, pages_of(mine, local, local.bytes)))) {
            return end(v, *v.owner, rules::fault::unreachable);
        }
        const bool ends = local.bytes == (outward ? there.length : mine.length);
        const moved how = outward ? copy(there, remote, mine, local, local.bytes, t.words, ends, foreign_memory_)
                                  : copy(mine, local, there, remote, local.bytes, t.words, ends, foreign_memory_);
        if (how != moved::all) {
            const rules::fault f = rules::fault_of(how, outward);
            return receiver != nullptr && f == rules::fault::target_memory
                       ? end_receive(v, *receiver, t, rules::fault::receive_memory, 0)
                       : end(v, *there.owner, f);
        }
        there.advance(local.bytes);
        step(t, local.bytes);
        lease_left_ -= lease_left_ == no_lease_limit ? 0 : std::min(lease_left_, local.bytes);
        tally_.bytes += local.bytes;
        look_after(local.bytes);
    }
    return {};
}

// -- send ---------------------------------------------------------------------------------------

/// Copies the receiver's next descriptor and looks whether the message fits in.
executor::outcome executor::take_receive(vi& v, vi& to, transfer& t) noexcept {
    const abi::receive_descriptor& d = to.receives[to.receive_next & to.receive_mask].descriptor;
    if (!rules::is_posted(d, to.receive_next)) {
        return verdict::waits;
    }
    const auto segments = static_cast<std::uint16_t>(std::atomic_ref(d.segment_count).load(std::memory_order_relaxed));
    const std::uint32_t beyond = abi::receive_extra_segments(segments);
    std::memcpy(t.receive_segments, d.segments,
                std::min<std::size_t>(segments, abi::receive_segments_in_line) * sizeof(abi::segment));
    if (beyond != 0) {
        const std::uint64_t extra = to.entry->receive_extra.load_acquire();
        const std::uint64_t offset =
            extra + std::uint64_t{to.receive_next & to.receive_mask} * to.receive_extra_per_slot * sizeof(abi::segment);
        if (segments > to.d.segments_max || extra == 0 || !to.owner->window.holds(extra, 0) ||
            !to.owner->window.holds(offset, beyond * sizeof(abi::segment))) {
            count(to.owner->counters.malformed_descriptors);
            return end_receive(v, to, t, rules::fault::malformed_receive, 0);
        }
        std::memcpy(t.receive_segments + abi::receive_segments_in_line, to.owner->window.at<std::byte>(offset),
                    beyond * sizeof(abi::segment));
    }
    t.receive_count = segments;
    std::uint64_t capacity = 0;
    for (std::uint32_t i = 0; i < segments; ++i) {
        capacity += t.receive_segments[i].length;
    }
    if (t.length > capacity) {
        return end_receive(v, to, t, rules::fault::too_long, t.length);
    }
    t.started = true;
    return {};
}

/// Into the completion itself; the receiver's poller places it.
executor::outcome executor::send_small(vi& v, vi& to, transfer& t) noexcept {
    abi::receive_completion& c = to.receives[to.receive_next & to.receive_mask].completion;
    auto* sink = reinterpret_cast<std::byte*>(c.payload) + (v.is_datagram() ? 8 : 0);
    if (t.inline_data != nullptr) {
        rules::copy_small(sink, t.inline_data, t.length);
    } else {
        while (t.done != t.length) {
            place mine;
            if (!skip_empty(t) || !local_place(v, t, no_rights, mine)) {
                return end(v, *v.owner, rules::fault::own_memory);
            }
            const piece local = first_piece(mine, payload_max(v));
            if (local.direct == nullptr) {
                count_foreign(&mine, nullptr);
            }
            const piece to_piece{sink + t.done, 0, local.bytes};
            if (const moved how = copy(mine, to_piece, mine, local, local.bytes, t.words,
                                       t.done + local.bytes == t.length, foreign_memory_);
                how != moved::all) {
                return end(v, *v.owner, rules::fault_of(how, true));
            }
            step(t, local.bytes);
        }
    }
    tally_.bytes += t.length;
    complete(v, to,
             {status::success, rules::receive_flags(t.has_immediate, abi::payload_inside), t.length, t.immediate});
    return {};
}

executor::outcome executor::send(vi& v, vi& to, transfer& t) noexcept {
    if (!t.started) {
        if (t.inline_data == nullptr && !check_local(v, t, no_rights)) {
            return end(v, *v.owner, rules::fault::own_memory);
        }
        const outcome taken = take_receive(v, to, t);
        if (!t.started) {
            return taken;
        }
        if (t.length <= payload_max(v)) {
            return send_small(v, to, t);
        }
    }
    while (t.done != t.length) {
        if (t.receive_at == t.receive_segments[t.receive_segment].length) {
            ++t.receive_segment;
            t.receive_at = 0;
            continue;
        }
        const abi::segment& s = t.receive_segments[t.receive_segment];
        place there;
        const std::uint32_t used = std::min(s.length - t.receive_at, t.length - t.done);
        if (!check(to, s.key, s.address + t.receive_at, used, local_write_right, there)) {
            return end_receive(v, to, t, rules::fault::receive_memory, 0);
        }
        const std::uint32_t before = t.done;
        const outcome o = stream(v, t, there, true, &to);
        t.receive_at += t.done - before;
        if (o.what != verdict::done || o.how != status::success || t.done != before + used) {
            return o;
        }
    }
    complete(v, to, {status::success, rules::receive_flags(t.has_immediate), t.length, t.immediate});
    return {};
}

executor::outcome executor::datagram(vi& v, transfer& t) noexcept {
    const std::uint32_t generation = abi::generation_of_address(t.remote_address);
    vi* to = find(functions_, t.remote_address);
    if (to == nullptr || !to->is_datagram() || to->d.generation != generation) {
        count(v.owner->counters.rx_unknown_destination_drops);
        v.entry->counters[abi::tx_datagram_drops].fetch_add(1);
        return {};
    }
    if (tally_.receiver != nullptr && tally_.receiver != to->owner) {
        return verdict::again;  // a lease has one receiving function, which it is charged to
    }
    if (!to->owner->allowed.load(std::memory_order_relaxed) || !may_make(*to->owner, pages_of_a_message)) {
        count(to->owner->counters.rx_no_descriptor_drops);
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
        o = send(v, *to, t);
        const bool goes_on = t.started && o.what == verdict::partial;
        to->filled_by = goes_on ? &v : nullptr;
    }
    if (o.what == verdict::waits) {
        count(to->owner->counters.rx_no_descriptor_drops);
        o = end_at(v, *to, rules::fault::no_descriptor);
    }
    return o;
}

// -- remote memory --------------------------------------------------------------------------------

executor::outcome executor::write(vi& v, vi& to, transfer& t) noexcept {
    if (!t.started && t.inline_data == nullptr && !check_local(v, t, no_rights)) {
        return end(v, *v.owner, rules::fault::own_memory);
    }
    // The descriptor for the immediate data first: a message that waits has not happened at all.
    if (t.has_immediate && !to.has_receive()) {
        return verdict::waits;
    }
    place sink;
    if ((to.d.flags & abi::allow_write) == 0 ||
        (t.length != 0 && !check(to, t.remote_key, t.remote_address, t.length,
                                 static_cast<std::uint32_t>(access::remote_write), sink))) {
        if (!t.has_immediate) {
            return refuse_access(v, to, t.opcode);
        }
        return end_receive(v, to, t, rules::fault::access_told, 0);
    }
    t.started = true;
    if (t.length != 0) {
        sink.advance(t.done);
        if (const outcome o = stream(v, t, sink, true); o.what != verdict::done || o.how != status::success) {
            return o;
        }
    }
    if (t.has_immediate) {
        complete(v, to, {status::success, rules::receive_flags(true, abi::from_write), t.length, t.immediate});
    }
    return {};
}

executor::outcome executor::read(vi& v, vi& to, transfer& t) noexcept {
    if (!t.started && !check_local(v, t, local_write_right)) {
        return end(v, *v.owner, rules::fault::own_memory);
    }
    place source;
    if ((to.d.flags & abi::allow_read) == 0 ||
        (t.length != 0 && !check(to, t.remote_key, t.remote_address, t.length,
                                 static_cast<std::uint32_t>(access::remote_read), source))) {
        return refuse_access(v, to, t.opcode);
    }
    t.started = true;
    if (t.length == 0) {
        return {};
    }
    source.advance(t.done);
    return stream(v, t, source, false);
}

executor::outcome executor::atomic(vi& v, vi& to, transfer& t) noexcept {
    place mine;
    if (!check_local(v, t, local_write_right) || !local_place(v, t, local_write_right, mine)) {
        return end(v, *v.owner, rules::fault::own_memory);
    }
    place word;
    if ((to.d.flags & abi::allow_atomic) == 0 ||
        !check(to, t.remote_key, t.remote_address, 8, static_cast<std::uint32_t>(access::remote_atomic), word)) {
        return refuse_access(v, to, t.opcode);
    }
    if (t.remote_address % 8 != 0) {
        return end(v, *to.owner, rules::fault::misaligned);
    }
    const piece p = first_piece(word, 8);
    // An offset in the window that its client chose may be anything: words are shared only where they are words.
    if (p.direct == nullptr || p.bytes != 8 || reinterpret_cast<std::uintptr_t>(p.direct) % 8 != 0) {
        return end(v, *v.owner, rules::fault::unreachable);
    }
    // Where the result goes is settled first: an atomic that has happened cannot be run again.
    const piece result = first_piece(mine, 8);
    if (result.direct == nullptr || result.bytes != 8) {
        std::uint64_t there = 0;
        moved how = carry(mine, there, false);
        // Both ways it is the initiator's memory that is unmapped, or gone.
        how = how == moved::unmapped_from ? moved::unmapped_to : how == moved::gone_from ? moved::gone_to : how;
        how = how == moved::all ? carry(mine, there, true) : how;
        if (how != moved::all) {
            return end(v, *to.owner, rules::fault_of(how, false));
        }
    }
    auto& shared = *reinterpret_cast<abi::word64*>(p.direct);
    std::uint64_t old = t.compare;
    if (t.opcode == opcode::fetch_add) {
        old = shared.fetch_add(t.operand);
    } else {
        (void)shared.compare_exchange(old, t.operand);
    }
    tally_.bytes += 8;
    const moved how = carry(mine, old, true);
    return how == moved::all ? outcome() : end(v, *to.owner, rules::fault_of(how, false));
}

executor::outcome executor::execute(vi& v, transfer& t) noexcept {
    const bool begins = v.pending == nullptr;
    if (begins && !may_make(*v.owner, pages_of_a_message + t.segment_count)) {
        return end(v, *v.owner, rules::fault::unreachable);
    }
    if (v.is_datagram()) {
        return datagram(v, t);
    }
    vi& to = *v.peer;
    if (begins && !may_make(*to.owner, pages_of_a_message)) {
        return end(v, *v.owner, rules::fault::unreachable);
    }
    if (!to.owner->allowed.load(std::memory_order_relaxed)) {
        tally_.receiver_off = true;
        return verdict::waits;
    }
    switch (t.opcode) {
        case opcode::send:
            return send(v, to, t);
        case opcode::write:
            return write(v, to, t);
        case opcode::read:
            return read(v, to, t);
        default:
            return atomic(v, to, t);
    }
}

}  // namespace vinic::controller

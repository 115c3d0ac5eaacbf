// SPDX-License-Identifier: Apache-2.0
//
// vi_post.cc -- posting descriptors: the doorbell.
//
//   post -> is it connected?  is there room?  -> route::run (device/engine.hpp) -> completion
//                                                   '-> the receiver is not ready: stall()
#include <algorithm>
#include <cstring>

#include "native/state.hpp"

namespace vinic::detail {

static_assert(sizeof(segment) == sizeof(abi::segment) && offsetof(segment, length) == offsetof(abi::segment, length) &&
                  offsetof(segment, key) == offsetof(abi::segment, key),
              "the interface's segments are the engine's");

namespace {

/// Messages up to this length are moved in one go, without a look at the connection in between.
constexpr std::uint32_t one_piece_bytes_max = 64 << 10;

}  // namespace

void vi_state::push(const send_entry& e) noexcept {
    const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
    sends[at & send_mask] = e;
    send_posted.store(at + 1, std::memory_order_release);
    device::signal_if_wanted(*nic_memory, *entry, abi::send_queue);
}

void vi_state::finish(enum opcode opcode, std::uint32_t length, std::uint64_t cookie, send_flag flags,
                      enum status s) noexcept {
    if (s == status::success) [[likely]] {
        device::count_sent(*entry, opcode, length);
        if (has(flags, send_flag::unsignalled)) {
            return;
        }
    }
    push({cookie, length, opcode, s, true, false});
}

/// Whether a single segment can be sent now and without detours: the memory lies in this process, and
/// nothing has to be waited for.
inline bool vi_state::is_plain(const segment& s, send_flag flags) const noexcept {
    if (handed || s.length > one_piece_bytes_max || s.length > attributes.transfer_bytes_max ||
        entry->state.load_acquire() != outgoing.connected || send_queue_full()) {
        return false;
    }
    if (has(flags, send_flag::inlined)) {
        return s.length <= attributes.inline_bytes_max;
    }
    device::place p;
    return s.length == 0 ||
           (device::check(*nic_memory, outgoing.from_domain, s.key, s.address, s.length, 0, p) && !p.whole_space);
}

/// The common case: a send of one plain segment to a receiver that is ready.
bool vi_state::try_plain_send(const segment& s, std::uint64_t cookie, send_flag flags,
                              std::uint32_t immediate) noexcept {
    const engine_mark mark(*nic_memory, *entry, abi::posting);
    if (!mark.ok() || !is_plain(s, flags)) {
        return false;
    }
    const auto* data = reinterpret_cast<const std::byte*>(s.address);
    const bool has_immediate = has(flags, send_flag::immediate);
    device::outcome o;
    // A second time at most: a receiver that is ready may still be no case for this path.
    for (bool once_more = true;; once_more = false) {
        o = s.length <= outgoing.payload_max ? outgoing.run_small(data, s.length, has_immediate, immediate)
                                             : outgoing.run_one_piece(data, s.length, has_immediate, immediate);
        if (!o.waits() || !once_more || !await_receiver()) {
            break;
        }
    }
    if (o.waits()) {
        return false;
    }
    finish(opcode::send, s.length, cookie, flags, o.how());
    return true;
}

/// Likewise for RDMA writes without immediate data.
bool vi_state::try_plain_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags) noexcept {
    const engine_mark mark(*nic_memory, *entry, abi::posting);
    if (!mark.ok() || s.length == 0 || !is_plain(s, flags)) {
        return false;
    }
    const device::outcome o =
        outgoing.run_plain_write(reinterpret_cast<const std::byte*>(s.address), s.length, to.address, to.key);
    if (o.waits()) {
        return false;
    }
    outgoing.count_foreign_copies();
    finish(opcode::write, s.length, cookie, flags, o.how());
    return true;
}

errc vi_state::post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                          std::uint32_t immediate) noexcept {
    if (plain_path && !has(flags, send_flag::immediate)) [[likely]] {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        if (try_plain_write(s, to, cookie, flags)) {
            if ((++posts & 255) == 0) {
                nic->tick();
            }
            return errc::ok;
        }
    }
    work_request w;
    w.opcode = opcode::write;
    w.flags = flags;
    w.immediate = immediate;
    w.cookie = cookie;
    w.segments = {&s, 1};
    w.remote = to;
    return post(w);
}

errc vi_state::post_send(const segment& s, std::uint64_t cookie, send_flag flags, std::uint32_t immediate) noexcept {
    if (plain_path) [[likely]] {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        if (try_plain_send(s, cookie, flags, immediate)) {
            if ((++posts & 255) == 0) {
                nic->tick();
            }
            return errc::ok;
        }
    }
    work_request w;
    w.flags = flags;
    w.immediate = immediate;
    w.cookie = cookie;
    w.segments = {&s, 1};
    return post(w);
}

/// Checks what the interface promises to check at post, and fills `op`.
errc vi_state::prepare(const work_request& w, device::operation& op, std::byte* inline_space) noexcept {
    std::uint64_t sum = 0;
    for (const segment& s : w.segments) {
        sum += s.length;
    }
    const bool immediate = has(w.flags, send_flag::immediate);
    const bool inlined = has(w.flags, send_flag::inlined);
    const rules::posting_limits limits{attributes.segments_max, attributes.transfer_bytes_max,
                                       attributes.inline_bytes_max, attributes.reliability, attributes.service};
    if (const errc refused = rules::may_post(limits, {w.opcode, immediate, inlined, w.segments.size(), sum});
        refused != errc::ok) {
        return refused;
    }
    op.opcode = w.opcode;
    op.has_immediate = immediate;
    op.immediate = w.immediate;
    op.length = static_cast<std::uint32_t>(sum);
    op.segments = reinterpret_cast<const abi::segment*>(w.segments.data());
    op.segment_count = static_cast<std::uint16_t>(w.segments.size());
    op.remote_address = w.remote.address;
    op.remote_key = w.remote.key;
    op.operand = w.operand;
    op.compare = w.compare;
    if (inlined) {
        std::byte* to = inline_space;
        for (const segment& s : w.segments) {
            if (s.length != 0) {
                std::memcpy(to, reinterpret_cast<const void*>(s.address), s.length);
                to += s.length;
            }
        }
        op.inline_data = inline_space;
        op.segment_count = 0;
    }
    return make_room(op);
}

errc vi_state::post(const work_request& w) noexcept {
    device::operation op;
    std::byte inline_space[rules::inline_limit];
    const optional_lock hold(send_mutex, attributes.thread_safe);
    if (const errc refused = prepare(w, op, inline_space); refused != errc::ok) {
        entry->counters[abi::tx_refused_posts].add_single_writer(1);
        return refused;
    }
    if ((++posts & 255) == 0) {
        nic->tick();
    }
    const errc e = post_once(op, w);
    if (e != errc::ok) {
        entry->counters[abi::tx_refused_posts].add_single_writer(1);
    }
    return e;
}

errc vi_state::post_once(const device::operation& op, const work_request& w) noexcept {
    const engine_mark mark(*nic->memory, *entry, abi::posting);
    if (!mark.ok()) {
        return errc::concurrent_use;
    }
    const std::uint64_t state = entry->state.load_acquire();
    if (abi::link_of(state) == abi::link::none) {
        return nic->forked() ? errc::forked : nic->isolated ? errc::peer_gone : errc::invalid_handle;
    }
    if (send_queue_full() && !(nic->isolated && make_way())) {
        return errc::queue_full;
    }
    if (!plain_path) {
        return nic->isolated ? post_isolated(state, op, w) : post_datagram(op, w);
    }
    return state == outgoing.connected ? post_checked(op, w) : post_unconnected(state, op, w);
}

errc vi_state::post_unconnected(std::uint64_t state, const device::operation& op, const work_request& w) noexcept {
    if (abi::link_of(state) != abi::link::error) {
        return errc::invalid_state;
    }
    // VIA 1.0, VI states: posted in error, flushed at once.
    push({w.cookie, op.length, op.opcode, rules::flushed_by(abi::reason_of(state)), true, false});
    device::signal(*nic->memory, *entry, abi::send_queue);
    return errc::ok;
}

errc vi_state::post_checked(const device::operation& op, const work_request& w) noexcept {
    if (handed) {
        await_return();
        const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
        queue.store(at, op);
        if (device::append(outgoing, at + 1)) {
            push({w.cookie, op.length, op.opcode, status::success, !has(w.flags, send_flag::unsignalled), true});
            entry->counters[abi::tx_handed_over].add_single_writer(1);
            return errc::ok;
        }
        if (entry->send_next.load_acquire() != at || entry->state.load_acquire() != outgoing.connected) {
            // Taken back because the wait was over: the connection is being broken, or is by now.
            while (entry->state.load_acquire() == outgoing.connected) {
                os::spin_pause();
            }
            return post_unconnected(entry->state.load_acquire(), op, w);
        }
        handed = false;
        stall_deadline_ns.store(0, std::memory_order_relaxed);
    }
    device::outcome o = outgoing.run(op);
    if (o.waits() && await_receiver()) {
        o = outgoing.run(op);
    }
    if (o.waits()) {
        return stall(op, w);
    }
    outgoing.count_foreign_copies();
    finish(op.opcode, op.length, w.cookie, w.flags, o.how());
    return errc::ok;
}

}  // namespace vinic::detail

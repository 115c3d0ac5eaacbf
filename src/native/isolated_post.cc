// SPDX-License-Identifier: Apache-2.0
//
// isolated_post.cc -- posting to the device of the isolated placement: a descriptor in the ring, and a ring of the
// bell if the device does not look at that ring anyway.
//
//   prepare (vi_post.cc) -> descriptor -> what the poller will report -> lap   the device may take it from here
//                                                                      -> fence -> watched?  -> doorbell
#include "native/state.hpp"

namespace vinic::detail {

namespace {

constexpr std::uint64_t way_patience_ns = 10'000'000;

}  // namespace

/// Whether the payload can lie where the descriptor's segments would.  What the device would refuse goes to it as
/// it is, so that it does.
bool vi_state::fits_in_line(const device::operation& op) const noexcept {
    device::place p;
    // A read or atomic in front of it may bring what it is to send.
    const auto behind = static_cast<std::int32_t>(send_reported.load(std::memory_order_relaxed) - fetches_until);
    return behind >= 0 && (op.opcode == opcode::send || op.opcode == opcode::write) && op.inline_data == nullptr &&
           op.segment_count == 1 && op.length != 0 && op.length <= sizeof(abi::send_descriptor::segments) &&
           device::check(*nic_memory, domain->id, op.segments[0].key, op.segments[0].address, op.length, 0, p) &&
           !p.whole_space;
}

errc vi_state::post_isolated(std::uint64_t state, const device::operation& op, const work_request& w) noexcept {
    const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
    abi::send_descriptor& d = queue.descriptors[at & queue.mask];
    const std::atomic_ref<std::uint8_t> lap(d.lap);
    const auto depth_log2 = static_cast<std::uint32_t>(std::countr_one(send_mask));
    const std::uint64_t taken_in = open_connection.load(std::memory_order_acquire);
    const bool may_post =
        state == taken_in || (taken_in == any_connection && abi::link_of(state) == abi::link::connected);
    if (!may_post) [[unlikely]] {
        // Flushed, if at all, without the device; nor may it ever take what an earlier lap left here for this one.
        lap.store(static_cast<std::uint8_t>(abi::lap_of(at, depth_log2) - 1), std::memory_order_relaxed);
        return post_unconnected(state, op, w);
    }
    const bool is_datagram = attributes.service == service::datagram;
    if (is_datagram && w.destination.value == 0) {
        return errc::invalid_argument;
    }
    device::operation small = op;
    if (op.opcode != opcode::send && op.opcode != opcode::write) {
        fetches_until = at + 1;
    } else if (fits_in_line(op)) {
        // One line less for the device to fetch, and the buffer is free at once, as it is in direct placement.
        small.inline_data = reinterpret_cast<const std::byte*>(op.segments[0].address);
        small.segment_count = 0;
    }
    queue.store(at, small);
    if (is_datagram) {
        d.remote_address = w.destination.value;
    }
    // Before the device can be done with it: the poller looks from here to the descriptor.
    sends[at & send_mask] = {w.cookie, op.length, op.opcode, status::success, !has(w.flags, send_flag::unsignalled),
                             true};
    send_posted.store(at + 1, std::memory_order_release);
    lap.store(abi::lap_of(at, depth_log2), std::memory_order_release);
    if (bells_held == 0) {
        announce();
    }
    return errc::ok;
}

/// Takes what succeeded unsignalled off the front of a full queue, as nobody has to poll for it; waits a while for the
/// device to get there.  False: the queue is full of what has to be polled, or of what waits for its receiver.
bool vi_state::make_way() noexcept {
    const std::uint64_t end = os::now_ns() + way_patience_ns;
    do {
        const spin_guard hold(reporting);
        std::uint32_t at = send_reported.load(std::memory_order_relaxed);
        const std::uint32_t start = at;
        const std::uint32_t posted = send_posted.load(std::memory_order_relaxed);
        for (; at != posted; ++at) {
            const send_entry& e = sends[at & send_mask];
            const abi::send_descriptor& d = queue.descriptors[at & send_mask];
            if (!e.deferred || e.signalled) {
                break;
            }
            if (!rules::is_done(d, at) || static_cast<enum status>(d.status) != status::success) {
                break;
            }
            entry->counters[abi::tx_status_first].add_single_writer(1);
            device::count_sent(*entry, e.opcode, e.length);
        }
        if (at != start) {
            send_reported.store(at, std::memory_order_release);
            return true;
        }
        const send_entry& oldest = sends[at & send_mask];
        if (!oldest.deferred || oldest.signalled || !is_connected()) {
            return false;
        }
        std::this_thread::yield();
    } while (os::now_ns() < end);
    return false;
}

/// Tells the device of what was posted.
void vi_state::announce() noexcept {
    // Posted before looking whether the device watches; pairs with its fence between saying that it does not and a
    // last look.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (entry->watched.load_relaxed() == 0) {
        nic->isolated->ring(index);
    }
}

/// Several posts, and one ring.
posted vi_state::post_batch(std::span<const work_request> requests) noexcept {
    {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        ++bells_held;
    }
    posted p;
    for (; p.count < requests.size(); ++p.count) {
        if (const errc e = post(requests[p.count]); e != errc::ok) {
            p.code = e;
            break;
        }
    }
    {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        --bells_held;
    }
    if (p.count != 0) {
        announce();
    }
    return p;
}

}  // namespace vinic::detail

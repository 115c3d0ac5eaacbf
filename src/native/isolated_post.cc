// SPDX-License-Identifier: Apache-2.0
//
// isolated_post.cc -- posting to the device of the isolated placement: a descriptor in the ring, and a ring of the
// bell if the device does not look at that ring anyway.
//
//   prepare (vi_post.cc) -> descriptor -> what the poller will report -> lap   the device may take it from here
//                                                                      -> fence -> watched?  -> doorbell
#include "native/state.hpp"

namespace vinic::detail {

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
    queue.store(at, op);
    if (is_datagram) {
        d.remote_address = w.destination.value;
    }
    // Before the device can be done with it: the poller looks from here to the descriptor.
    sends[at & send_mask] = {w.cookie, op.length, op.opcode, status::success, !has(w.flags, send_flag::unsignalled),
                             true};
    send_posted.store(at + 1, std::memory_order_release);
    lap.store(abi::lap_of(at, depth_log2), std::memory_order_release);
    count_sent(op.opcode, op.length);
    if (bells_held == 0) {
        announce();
    }
    return errc::ok;
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

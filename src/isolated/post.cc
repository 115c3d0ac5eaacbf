// SPDX-License-Identifier: Apache-2.0
//
// post.cc -- posting to the device of the isolated placement: a descriptor in the ring, and a ring of the
// bell if the device does not look at that ring anyway.
//
//   prepare (placement/post.hpp) -> descriptor -> what the poller will report -> lap   the device may take it from here
//                                                                      -> fence -> watched?  -> doorbell
#include "placement/post.hpp"

#include <bit>
#include <thread>

#include "isolated/vi.hpp"
#include "tables/space.hpp"

namespace vinic::isolated {

using detail::optional_lock;

namespace {

constexpr std::uint64_t way_patience_ns = 10'000'000;

}  // namespace

/// Whether the payload can lie where the descriptor's segments would.  What the device would refuse goes to it as
/// it is, so that it does.
bool vi::fits_in_line(const rules::message& m) const noexcept {
    tables::place p;
    // A read or atomic in front of it may bring what it is to send.
    const auto behind = static_cast<std::int32_t>(send_reported.load(std::memory_order_relaxed) - fetches_until_);
    return behind >= 0 && (m.opcode == opcode::send || m.opcode == opcode::write) && m.inline_data == nullptr &&
           m.segment_count == 1 && m.length != 0 && m.length <= sizeof(abi::send_descriptor::segments) &&
           tables::check(*nic_memory, domain->id, m.segments[0].key, m.segments[0].address, m.length, 0, p) &&
           !p.whole_space;
}

errc vi::execute(std::uint64_t state, const rules::message& m, const work_request& w) noexcept {
    const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
    abi::send_descriptor& d = queue.descriptors[at & queue.mask];
    const std::atomic_ref<std::uint8_t> lap(d.lap);
    const auto depth_log2 = static_cast<std::uint32_t>(std::countr_one(send_mask));
    const std::uint64_t taken_in = open_connection_.load(std::memory_order_acquire);
    const bool may_post =
        state == taken_in || (taken_in == any_connection && abi::link_of(state) == abi::link::connected);
    if (!may_post) [[unlikely]] {
        // Flushed, if at all, without the device; nor may it ever take what an earlier lap left here for this one.
        lap.store(static_cast<std::uint8_t>(abi::lap_of(at, depth_log2) - 1), std::memory_order_relaxed);
        return post_unconnected(state, m, w);
    }
    const bool to_anybody = is_datagram();
    if (to_anybody && w.destination.value == 0) {
        return errc::invalid_argument;
    }
    rules::message small = m;
    if (m.opcode != opcode::send && m.opcode != opcode::write) {
        fetches_until_ = at + 1;
    } else if (fits_in_line(m)) {
        // One line less for the device to fetch, and the buffer is free at once, as it is in direct placement.
        small.inline_data = reinterpret_cast<const std::byte*>(m.segments[0].address);
        small.segment_count = 0;
    }
    queue.store(at, small);
    if (to_anybody) {
        d.remote_address = w.destination.value;
    }
    // Before the device can be done with it: the poller looks from here to the descriptor.
    sends[at & send_mask] = {w.cookie, m.length, m.opcode, status::success, !has(w.flags, send_flag::unsignalled),
                             true};
    send_posted.store(at + 1, std::memory_order_release);
    lap.store(abi::lap_of(at, depth_log2), std::memory_order_release);
    if (bells_held_ == 0) {
        announce();
    }
    return errc::ok;
}

/// Takes what succeeded unsignalled off the front of a full queue, as nobody has to poll for it; waits a while for the
/// device to get there.  False: the queue is full of what has to be polled, or of what waits for its receiver.
bool vi::make_way() noexcept {
    const std::uint64_t end = os::now_ns() + way_patience_ns;
    do {
        const detail::spin_guard hold(reporting);
        std::uint32_t at = send_reported.load(std::memory_order_relaxed);
        const std::uint32_t start = at;
        const std::uint32_t posted = send_posted.load(std::memory_order_relaxed);
        for (; at != posted; ++at) {
            const detail::send_entry& e = sends[at & send_mask];
            const abi::send_descriptor& d = queue.descriptors[at & send_mask];
            if (!e.deferred || e.signalled) {
                break;
            }
            if (!rules::is_done(d, at) || static_cast<enum status>(d.status) != status::success) {
                break;
            }
            entry->counters[abi::tx_status_first].add_single_writer(1);
            tables::count_sent(*entry, e.opcode, e.length);
        }
        if (at != start) {
            send_reported.store(at, std::memory_order_release);
            return true;
        }
        const detail::send_entry& oldest = sends[at & send_mask];
        if (!oldest.deferred || oldest.signalled || abi::link_of(entry->state.load_acquire()) != abi::link::connected) {
            return false;
        }
        std::this_thread::yield();
    } while (os::now_ns() < end);
    return false;
}

errc vi::post(const work_request& w) noexcept { return detail::post_through(*this, w); }

/// Tells the device of what was posted.
void vi::announce() noexcept {
    // Posted before looking whether the device watches; pairs with its fence between saying that it does not and a
    // last look.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (entry->watched.load_relaxed() == 0) {
        device_.ring(index);
    }
}

/// Several posts, and one ring.
posted vi::post_several(std::span<const work_request> requests) noexcept {
    {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        ++bells_held_;
    }
    const posted p = vi_body::post_several(requests);
    {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        --bells_held_;
    }
    if (p.count != 0) {
        announce();
    }
    return p;
}

}  // namespace vinic::isolated

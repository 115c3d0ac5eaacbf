// SPDX-License-Identifier: Apache-2.0
//
// link.cc -- ready bits, wake-ups, the store that breaks, and waiting for engines to be outside.
#include "tables/link.hpp"

#include <thread>

#include "rules/ready.hpp"

namespace vinic::tables {

void signal(const memory& m, abi::vi_entry& v, abi::queue_kind q) noexcept {
    const std::uint32_t index = v.cq[q].load_acquire();
    if (index >= abi::cq_count) {
        return;
    }
    abi::cq_entry& cq = m.cq(index);
    const std::uint32_t bit = v.cq_bit[q].load_relaxed();
    const std::uint64_t bitmap = cq.bitmap.load_acquire();
    if (!rules::has_ready_bit(bitmap, bit)) {
        return;
    }
    rules::mark_ready(m.at<abi::word64>(abi::bitmap_offset(bitmap)), bitmap, bit);
    if (rules::takes_wake(cq)) {
        cq.wakes.fetch_add(1);
        os::futex_wake(&cq.wakes.raw_);
        const std::uint32_t owner = cq.owner.load_relaxed();
        if (cq.bell.load_relaxed() != 0 && owner != 0) {
            m.process(owner - 1).bell.fetch_add(1);
            os::futex_wake(&m.process(owner - 1).bell.raw_);
        }
    }
}

bool break_link(const memory& m, abi::vi_entry& v, std::uint64_t connected, abi::break_reason mine,
                abi::break_reason peers) noexcept {
    // Read before the state changes: afterwards the owner may connect v anew.
    const std::uint32_t peer = v.peer.load_relaxed();
    const std::uint32_t peer_epoch = v.peer_epoch.load_relaxed();
    std::uint64_t expected = connected;
    const bool broke =
        v.state.compare_exchange(expected, abi::make_state(abi::epoch_of(connected), abi::link::error, mine));
    if (!broke) {
        return false;
    }
    if (peer < abi::vi_count) {
        abi::vi_entry& other = m.vi(peer);
        expected = abi::make_state(peer_epoch, abi::link::connected);
        if (other.state.compare_exchange(expected, abi::make_state(peer_epoch, abi::link::error, peers))) {
            signal(m, other, abi::send_queue);
            signal(m, other, abi::receive_queue);
        }
    }
    signal(m, v, abi::send_queue);
    signal(m, v, abi::receive_queue);
    return true;
}

bool engine_inside(const memory& m, const abi::vi_entry& v) noexcept {
    std::uint32_t inside = 0;
    for (const abi::word32& e : v.executing) {
        inside |= e.load_acquire();
    }
    if ((inside & 1) == 0) {
        return false;
    }
    const std::uint32_t owner = v.owner.load_acquire();
    return owner != 0 && m.alive(owner - 1);
}

bool wait_engine_outside(const memory& m, const abi::vi_entry& v, std::uint64_t timeout_ns) noexcept {
    const std::uint64_t end = os::now_ns() + timeout_ns;
    // Each engine by itself: while one works steadily, another may go in and out.
    for (const abi::word32& e : v.executing) {
        const std::uint32_t first = e.load_acquire();
        for (std::uint32_t spins = 0; (first & 1) != 0 && e.load_acquire() == first; ++spins) {
            if (spins < 1000) {
                os::spin_pause();
                continue;
            }
            if (!engine_inside(m, v)) {
                break;
            }
            if (os::now_ns() > end) {
                return false;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }
    return true;
}

}  // namespace vinic::tables

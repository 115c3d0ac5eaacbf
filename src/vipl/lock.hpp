// SPDX-License-Identifier: Apache-2.0
//
// lock.hpp -- the lock of the data path: one locked instruction to take, a plain store to give back.
//
//   Sections under it are a few dozen instructions.  Whoever meets it taken spins a little, then gives
//   its CPU away, then sleeps a moment each time, so that even a holder of lower priority gets on.
#pragma once

#include <atomic>
#include <cstdint>

namespace vipl {

class spin_lock {
public:
    void lock() noexcept {
        if (word_.exchange(1, std::memory_order_acquire) != 0) [[unlikely]] {
            wait();
        }
    }
    void unlock() noexcept { word_.store(0, std::memory_order_release); }

private:
    void wait() noexcept;
    std::atomic<std::uint32_t> word_{0};
};

}  // namespace vipl

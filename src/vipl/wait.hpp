// SPDX-License-Identifier: Apache-2.0
//
// wait.hpp -- waiting on a completer until something can be taken: spins, then sleeps outside the lock.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "vipl/state.hpp"

namespace vipl {

inline constexpr std::uint32_t spin_us_least = 1;
inline constexpr std::uint32_t spin_us_most = 20;

/// Calls `attempt` under the completer's lock until it returns something other than VIP_NOT_DONE.  A thread that was
/// cancelled ends here, at a moment when it holds nothing.
template <class Attempt>
VIP_RETURN wait_on(completer& c, VIP_ULONG timeout_ms, Attempt attempt) {
    using clock = std::chrono::steady_clock;
    ::pthread_testcancel();  // a thread so busy that it never sleeps may be cancelled, too
    const auto tried = [&] {
        const std::lock_guard hold(c.lock);
        return attempt();
    };
    VIP_RETURN r = tried();
    if (r != VIP_NOT_DONE) {
        return r;
    }
    const auto start = clock::now();
    const auto limit = is_infinite(timeout_ms) ? clock::time_point::max() : start + duration_of(timeout_ms);
    const std::uint32_t spin_us = c.spin_us.load(std::memory_order_relaxed);
    static const bool alone = std::thread::hardware_concurrency() < 2;
    const auto spin_end = std::min(limit, start + std::chrono::microseconds(alone ? 0 : spin_us));
    while (clock::now() < spin_end) {
        for (int i = 0; i < 8; ++i) {
            if (r = tried(); r != VIP_NOT_DONE) {
                c.spin_us.store(std::min(spin_us_most, spin_us * 2), std::memory_order_relaxed);
                return r;
            }
        }
    }
    c.spin_us.store(std::max(spin_us_least, spin_us / 2), std::memory_order_relaxed);
    for (;;) {
        ::pthread_testcancel();
        std::optional<vinic::wait_ticket> ticket;
        {
            const std::lock_guard hold(c.lock);
            if (r = attempt(); r != VIP_NOT_DONE) {
                return r;
            }
            if (clock::now() >= limit) {
                return VIP_TIMEOUT;
            }
            auto prepared = c.native.prepare_wait();
            if (!prepared) {
                return VIP_ERROR_RESOURCE;  // this process is a child of the one that opened the NIC
            }
            ticket = *prepared;
            c.sleepers += ticket ? 1u : 0u;
        }
        if (ticket) {
            c.native.commit_wait(*ticket, limit == clock::time_point::max() ? vinic::forever : limit - clock::now());
            const std::lock_guard hold(c.lock);
            --c.sleepers;
        }
    }
}

}  // namespace vipl

// SPDX-License-Identifier: Apache-2.0
//
// control_lock.cc -- the control plane's lock: a word of the device that survives its holder's death, and that nobody
// waits for without end, for its holder may be stopped.
#include <algorithm>

#include "tables/memory.hpp"

namespace vinic::tables {

bool memory::try_lock() noexcept {
    std::uint32_t expected = 0;
    return header().lock.compare_exchange(expected, owner_word());
}

bool memory::lock_until(std::uint64_t deadline_ns) noexcept {
    constexpr std::uint64_t slice_ns = 5'000'000;
    abi::word32& word = header().lock;
    std::uint64_t began_ns = 0;
    for (std::uint32_t spins = 0;; ++spins) {
        std::uint32_t seen = word.load_relaxed();
        if (seen == 0) {
            if (word.compare_exchange(seen, owner_word() | (spins > 100 ? abi::lock_waiters : 0))) {
                stuck_holder_.store(0, std::memory_order_relaxed);
                return true;
            }
            continue;
        }
        if (spins < 100) {
            os::spin_pause();
            continue;
        }
        const std::uint64_t now = os::now_ns();
        began_ns = began_ns == 0 ? now : began_ns;
        if (now >= deadline_ns) {
            last_holder_.store(seen & ~abi::lock_waiters, std::memory_order_relaxed);
            if (now - began_ns >= farewell.ns) {  // an honest one may well take longer than somebody had to spare
                stuck_holder_.store(seen & ~abi::lock_waiters, std::memory_order_relaxed);
            }
            return false;
        }
        if ((seen & abi::lock_waiters) == 0 && !word.compare_exchange(seen, seen | abi::lock_waiters)) {
            continue;
        }
        seen |= abi::lock_waiters;
        os::futex_wait(&word.raw_, seen, std::min(slice_ns, deadline_ns - now));
        const std::uint32_t holder = (seen & ~abi::lock_waiters) - 1;
        if (word.load_relaxed() == seen && !alive(holder) &&
            word.compare_exchange(seen, owner_word() | abi::lock_waiters)) {
            header().lock_breaks.fetch_add(1);
            recount();
            return true;
        }
    }
}

bool memory::lock_of_dead() noexcept {
    std::uint32_t seen = header().lock.load_relaxed();
    const std::uint32_t holder = (seen & ~abi::lock_waiters) - 1;
    if (seen == 0 || alive(holder) || !header().lock.compare_exchange(seen, owner_word() | abi::lock_waiters)) {
        return false;
    }
    header().lock_breaks.fetch_add(1);
    recount();
    return true;
}

void memory::unlock() noexcept {
    if ((header().lock.exchange(0) & abi::lock_waiters) != 0) {
        os::futex_wake(&header().lock.raw_);
    }
}

std::uint64_t memory::lock_deadline(std::uint64_t patience_ns) const noexcept {
    constexpr std::uint64_t known_to_be_stuck_ns = 10'000'000;
    const std::uint32_t holder = header().lock.load_relaxed() & ~abi::lock_waiters;
    const bool stuck = holder != 0 && holder == stuck_holder_.load(std::memory_order_relaxed);
    return os::now_ns() + (stuck ? known_to_be_stuck_ns : patience_ns);
}

error memory::fail_lock(errc code, const std::string& doing) const {
    const std::uint32_t holder = last_holder_.load(std::memory_order_relaxed) - 1;
    std::string who = "a process that has let it go by now";
    if (holder < abi::process_count) {
        const abi::process_entry& p = process(holder);
        const std::string pid = std::to_string(p.pid.load_relaxed());
        who = "process " + pid + ", which is stopped or starved: let it go on (kill -CONT " + pid + ") or end it";
    }
    return fail(code, 0, doing + ": the device's control lock was held for too long by " + who);
}

}  // namespace vinic::tables

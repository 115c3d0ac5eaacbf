// SPDX-License-Identifier: Apache-2.0
//
// guard.hpp -- what a thread holds while it is inside: the mark of an engine, a lock that is optional.
#pragma once

#include <atomic>
#include <mutex>

#include "tables/memory.hpp"

namespace vinic::detail {

/// Marks the calling thread as executing for VI `entry`.
class engine_mark {
public:
    engine_mark(const tables::memory& m, abi::vi_entry& v, abi::engine_kind kind) noexcept
        : word_(v.executing[kind]), seen_(word_.load_relaxed()) {
        if (ok()) {
            word_.store_relaxed(seen_ + 1);
            m.light_barrier();  // marked before anything is checked; pairs with a heavy barrier
        }
    }
    engine_mark(const engine_mark&) = delete;
    engine_mark& operator=(const engine_mark&) = delete;
    ~engine_mark() {
        if (ok()) {
            word_.store_release(seen_ + 2);
        }
    }
    /// False: another thread of this process is inside, against the contract.
    [[nodiscard]] bool ok() const noexcept { return (seen_ & 1) == 0; }

private:
    abi::word32& word_;
    std::uint32_t seen_;
};

/// Likewise for draining, where two threads of the process may meet: who posts receives and who connects.
class draining_mark {
public:
    explicit draining_mark(abi::vi_entry& v) noexcept
        : word_(v.executing[abi::draining]),
          seen_(word_.load_relaxed()),
          // A locked instruction: of two that come at once only one is inside.
          inside_((seen_ & 1) == 0 && word_.compare_exchange(seen_, seen_ + 1)) {}
    draining_mark(const draining_mark&) = delete;
    draining_mark& operator=(const draining_mark&) = delete;
    ~draining_mark() {
        if (inside_) {
            word_.store_release(seen_ + 2);
        }
    }
    /// False: the other one is inside, or was a moment ago.
    [[nodiscard]] bool ok() const noexcept { return inside_; }

private:
    abi::word32& word_;
    std::uint32_t seen_;
    bool inside_;
};

/// For a few instructions, where two threads may meet.
class spin_guard {
public:
    explicit spin_guard(std::atomic_flag& flag, bool wanted = true) noexcept : flag_(wanted ? &flag : nullptr) {
        while (flag_ != nullptr && flag_->test_and_set(std::memory_order_acquire)) {
            os::spin_pause();
        }
    }
    spin_guard(const spin_guard&) = delete;
    spin_guard& operator=(const spin_guard&) = delete;
    ~spin_guard() {
        if (flag_ != nullptr) {
            flag_->clear(std::memory_order_release);
        }
    }

private:
    std::atomic_flag* flag_;
};

/// Locks only where the attribute asks for it.
class optional_lock {
public:
    optional_lock(std::mutex& m, bool wanted) noexcept : mutex_(wanted ? &m : nullptr) {
        if (mutex_ != nullptr) {
            mutex_->lock();
        }
    }
    optional_lock(const optional_lock&) = delete;
    optional_lock& operator=(const optional_lock&) = delete;
    ~optional_lock() {
        if (mutex_ != nullptr) {
            mutex_->unlock();
        }
    }

private:
    std::mutex* mutex_;
};

[[nodiscard]] constexpr std::uint32_t next_power_of_two(std::uint32_t v) noexcept {
    std::uint32_t p = 1;
    while (p < v) {
        p *= 2;
    }
    return p;
}

}  // namespace vinic::detail

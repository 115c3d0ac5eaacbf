// SPDX-License-Identifier: Apache-2.0
//
// sync.hpp -- clocks, shared futexes and the asymmetric barrier.
//
//   The asymmetric barrier: a rare "heavy" side calls membarrier(2), which makes every running
//   thread of every process that registered pass a full barrier; the frequent "light" side then
//   needs none of its own, only that the compiler keeps the order.  Where membarrier is refused
//   (some seccomp filters, valgrind), light sides fence.
#pragma once

#include <atomic>
#include <cstdint>

namespace vinic::os {

/// CLOCK_MONOTONIC in nanoseconds.
[[nodiscard]] std::uint64_t now_ns() noexcept;

/// A cheap counter that runs at a constant rate, and its rate.
[[nodiscard]] inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return now_ns();
#endif
}
/// Ticks per microsecond, measured once.
[[nodiscard]] std::uint64_t ticks_per_us() noexcept;

/// One step of a spin loop.
inline void spin_pause() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/// Sleeps while *word == expected, at most timeout_ns; between processes.
void futex_wait(const std::uint32_t* word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept;
/// Wakes waiting threads, at most so many.
void futex_wake(const std::uint32_t* word, int most = 0x7fffffff) noexcept;

/// These are not cancellation points, as the calls of their kind in the C library are: the data path may sleep and
/// kick, and has no time to switch cancellation off.
void sleep_ns(std::uint64_t ns) noexcept;
/// Adds one to an event descriptor.  One that is full wakes as well.
void write_event(int fd) noexcept;
/// Whether the other end of a packet socket is closed, or this one.  Not with poll(2), which fails where a process may
/// open no file any more.
[[nodiscard]] bool has_hung_up(int socket) noexcept;

/// From now on the calling thread takes no core from somebody who has just got it, and gets less of one that others
/// want.
void work_in_background() noexcept;
/// From now on the calling thread, which does a little and sleeps again, need not wait until the turn of the thread
/// that has the core when it wakes is over, an engine that is never idle, say.
void work_in_short_turns() noexcept;

/// Registers this process for heavy barriers.  False: membarrier is not available.
[[nodiscard]] bool register_asymmetric_barrier() noexcept;
/// `fenced`: membarrier is not in use, a fence does (the light sides fence too).
void heavy_barrier(bool fenced) noexcept;
inline void light_barrier(bool fenced) noexcept {
    if (fenced) [[unlikely]] {
        std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
}

}  // namespace vinic::os

// SPDX-License-Identifier: Apache-2.0
//
// bench_clock.hpp -- the cheapest clock of the machine, and the hint for spinning loops.
//
// A tick's length is measured (bench_machine.hpp), never assumed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace vinic::cli::bench {

[[nodiscard]] inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    std::uint64_t value = 0;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
#endif
}

/// Says to the core that this is a loop that waits: on x86 it also makes the hand-over of a cache
/// line faster, because fewer speculative reads are in flight when the line changes hands.
inline void relax() noexcept {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/// Keeps the compiler from dropping or moving what a timed loop does to memory.
inline void keep_memory() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace vinic::cli::bench

// SPDX-License-Identifier: Apache-2.0
//
// notices.hpp -- what the device tells everybody who uses a function, in its identity page.
//
//     device                                     client
//     line n % 16: sequence 0, words,            has read up to m: count - m lie before it, at most 16 of them
//       sequence n + 1                           copies line m % 16 between two looks at its sequence
//     count = n + 1, futex wake                  sleeps on count
//
//   Nobody answers and nobody is waited for: a client that reads too late finds that count has run away, and knows how
//   many it has missed.  The device reads none of it, so a client that scribbles here misleads its own function only.
#pragma once

#include <atomic>

#include "abi/layout.hpp"

namespace vinic::abi {

inline constexpr std::uint32_t notices_kept = 16;

enum class notice : std::uint32_t {
    service_changed = 1,
    reset_imminent = 2,
    removal_imminent = 3,
    device_stopping = 4,
};
inline constexpr std::uint32_t notice_last = 4;

struct notice_words {
    std::uint64_t time_ns;  ///< CLOCK_MONOTONIC
    std::uint64_t guarantee;
    std::uint64_t cap;
    std::uint32_t weight;
    std::uint32_t priority;
    std::uint32_t kind;
};

struct alignas(line_size) notice_line {
    word32 sequence;  ///< 0: it is being written
    word32 kind;
    word64 time_ns;
    word64 guarantee;  ///< these four: what is in force from then on
    word64 cap;
    word32 weight;
    word32 priority;

    void write(std::uint32_t number, const notice_words& w) noexcept {
        sequence.store_relaxed(0);
        std::atomic_thread_fence(std::memory_order_release);
        kind.store_relaxed(w.kind);
        time_ns.store_relaxed(w.time_ns);
        guarantee.store_relaxed(w.guarantee);
        cap.store_relaxed(w.cap);
        weight.store_relaxed(w.weight);
        priority.store_relaxed(w.priority);
        sequence.store_release(number);
    }
    /// False: it holds another one, or is being written.
    [[nodiscard]] bool read(std::uint32_t number, notice_words& w) const noexcept {
        if (sequence.load_acquire() != number) {
            return false;
        }
        w = {time_ns.load_relaxed(), guarantee.load_relaxed(), cap.load_relaxed(),
             weight.load_relaxed(),  priority.load_relaxed(),  kind.load_relaxed()};
        std::atomic_thread_fence(std::memory_order_acquire);
        return sequence.load_relaxed() == number;
    }
};
static_assert(sizeof(notice_line) == line_size);

struct notice_board {
    alignas(line_size) word32 count;  ///< written since the window was made; a futex
    notice_line in_force;             ///< its sequence is that of the last change, 1 at first
    notice_line line[notices_kept];
};

}  // namespace vinic::abi

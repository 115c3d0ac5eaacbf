// SPDX-License-Identifier: Apache-2.0
//
// completion_words.hpp -- the shared words of the notification of completions, and what its bad twins do wrongly.
//
// Bits are made by the functions of src/abi/vi.hpp.
#pragma once

#include <string>

#include "abi/vi.hpp"
#include "machine.hpp"

namespace vinic::model::completion {

constexpr word producer_count = 2;
constexpr word messages_max = 3;

constexpr word notify = 0;
constexpr word leaf = notify + producer_count;
constexpr word summary = leaf + 1;
constexpr word armed = summary + 1;
constexpr word wakes = armed + 1;
constexpr word seq = wakes + 1;

inline std::string name_of(word a) {
    if (a >= seq) {
        return "seq[" + std::to_string((a - seq) / messages_max) + "][" + std::to_string((a - seq) % messages_max) +
               "]";
    }
    const char* fixed[] = {"notify[0]", "notify[1]", "leaf", "summary", "armed", "wakes"};
    return fixed[a];
}
constexpr word slot(std::size_t ring, word i) { return static_cast<word>(seq + ring * messages_max + i); }
constexpr word bit(std::uint32_t ring) { return static_cast<word>(abi::ready_bit(ring)); }

/// What is left out or done wrongly.
enum class broken {
    nothing,
    demote_without_barrier,
    demote_without_recheck,
    sleep_without_barrier,
    sleep_with_own_fence_only,
    sleep_without_ring_recheck,
    sleep_without_summary_recheck,
    sequence_read_after_recheck,
    sleep_without_demotion,
    summary_before_leaf,
    leaf_taken_before_summary,
    wake_without_sequence,
    ready_ring_read_once,
    never_disarmed_by_consumer,  ///< by the consumer: costs needless wake-ups, loses nothing
};

/// Who clears `armed`, so that one sleep costs one wake-up.
enum class disarm {
    by_exchange,              ///< the producer that wakes
    by_consumer,              ///< only the consumer; every producer that finds it armed wakes
    by_consumer_with_number,  ///< the same, and `armed` is the sleep's number: a producer wakes once per sleep
};

/// How a sleep ends by itself.
enum class time_out {
    never,
    reads_rings,  ///< every ring, and trusts no mark
    reads_marks,  ///< the engine's: an ordinary round
    buries,       ///< the same, and a producer that has died is found dead, which marks its ring
};

/// What the consumer does after a round that found nothing.
enum class idle { polls, sleeps, either };

/// Of the consumer's code: one runs at a time.
enum class part : word { take_marks, read_rings, demote, arm, look_again, sleep, mark };

}  // namespace vinic::model::completion

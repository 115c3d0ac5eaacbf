// SPDX-License-Identifier: Apache-2.0
//
// send_queue_words.hpp -- the shared words of the hand-over of a send queue, and what its bad twins do wrongly.
#pragma once

#include <string>

#include "machine.hpp"

namespace vinic::model::send_queue {

constexpr std::size_t sender = 0;
constexpr std::size_t receiver = 1;
constexpr word count_max = 4;
constexpr word exec = 0;
constexpr word attention = 1;
constexpr word executed = 2;
constexpr word slot = 3;
constexpr word descriptor = slot + count_max;
constexpr word done = descriptor + count_max;  // the sender's completion ring

// The word `exec`: how many messages were produced, and who executes.
constexpr word own = 0;
constexpr word handed = 1;
constexpr word peer_executing = 2;
constexpr word pack(int produced, word who) { return static_cast<word>(produced * 3 + who); }
constexpr word produced(word e) { return e / 3; }
constexpr word who(word e) { return e % 3; }

inline std::string name_of(word a) {
    const char* fixed[] = {"exec (produced * 3 + {own, handed, peer_executing})", "attention", "executed"};
    if (a < slot) {
        return fixed[a];
    }
    const char* arrays[] = {"slot[", "descriptor[", "done["};
    return arrays[(a - slot) / count_max] + std::to_string((a - slot) % count_max) + "]";
}

enum class broken {
    nothing,
    hand_over_without_barrier,
    hand_over_without_recheck,
    take_without_retry,
    reclaim_without_swap,
    return_without_swap,
    append_without_swap,
    executed_not_told,
    receiver_ignores_missing_slot,
    recovery_trusts_executed,
    recovery_does_not_wait,
};

/// What ends the connection while messages may be pending.
enum class ending {
    none,
    receiver_dies,   ///< and the sender flushes what is pending
    sender_dies,     ///< and the receiver must not hang
    sender_flushes,  ///< the sender disconnects and takes its queue back from a living receiver
};

/// Who writes `attention`.
enum class attention_rule {
    holder_writes,         ///< whoever may execute, before passing that right on
    set_after_hand_over,   ///< the sender sets it after `exec`; else as holder_writes
    never_cleared,         ///< right, but the receiver looks at `exec` on every post for ever
    receiver_clears_own,   ///< the receiver clears it when it sees that the sender executes
    cleared_after_return,  ///< the receiver clears it after it has passed the right on
    not_restored,          ///< the receiver clears it, cannot pass the right on, and does not set it again
    cleared_before_claim,  ///< the engine's: by the receiver, and the claim is a locked instruction even if it fails
    cleared_without_lock,  ///< as before, but a claim that cannot succeed is only a load
};

}  // namespace vinic::model::send_queue

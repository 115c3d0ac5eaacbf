// SPDX-License-Identifier: Apache-2.0
//
// send_queue_words.hpp -- the shared words of the hand-over of a send queue, and what its bad twins do wrongly.
//
// What lies in `hand_over` and in a VI's state is made and read by the functions of src/abi/vi.hpp.
#pragma once

#include <string>

#include "abi/vi.hpp"
#include "machine.hpp"

namespace vinic::model::send_queue {

constexpr std::size_t sender = 0;
constexpr std::size_t receiver = 1;  ///< its thread that posts receives
constexpr std::size_t third = 2;     ///< see helper
constexpr word count_max = 4;

enum : word {
    hand_over,
    attention,       ///< of the receiver
    send_next,       ///< next message to execute, which takes the receive slot of the same number
    control,         ///< the lock of the control plane
    sender_state,    ///< of the sender's VI
    receiver_state,  ///< of the receiver's VI
    posting,         ///< the sender's VI: executing[posting]
    draining,        ///< the receiver's VI: executing[draining]
    stalled,         ///< in the sender's process: a lock over the next word
    limit,           ///< 1 + the message whose limit runs
    linked,          ///< in the receiver's process: it knows its peer
    slot,
    descriptor = slot + count_max,
    arrived = descriptor + count_max,  ///< the completion of the receive
    done = arrived + count_max,        ///< of the descriptor
    words = done + count_max
};

constexpr std::uint64_t connected = abi::make_state(1, abi::link::connected);
constexpr std::uint64_t in_error = abi::make_state(1, abi::link::error, abi::break_reason::remote_disconnect);

inline std::string name_of(word a) {
    const char* fixed[] = {
        "hand_over", "attention", "send_next",      "control lock", "sender's state", "receiver's state",
        "posting",   "draining",  "lock of limits", "limit",        "linked"};
    if (a < slot) {
        return fixed[a];
    }
    const char* arrays[] = {"slot[", "descriptor[", "arrived[", "done["};
    return arrays[(a - slot) / count_max] + std::to_string((a - slot) % count_max) + "]";
}

inline std::string text_of_word(word a, std::uint64_t v) {
    if (a == hand_over) {
        const char* who[] = {"owner", "handed", "peer"};
        return "{" + std::to_string(abi::produced_of(v)) + ", from " + std::to_string(abi::first_of(v)) + ", " +
               who[static_cast<std::size_t>(abi::holder_of(v))] + "}";
    }
    if (a == sender_state || a == receiver_state) {
        return abi::link_of(v) == abi::link::connected ? "connected" : "error";
    }
    return std::to_string(v);
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
    // when the connection ends
    flush_without_wait,  ///< an engine of the peer may be inside
    flush_without_barrier,
    flush_without_break,  ///< whoever broke the connection may not have come to the peer's state
    flush_forgets_own,    ///< another thread of one's own may be inside
    flush_trusts_send_next,
    drain_ignores_state,
    // when the limit expires
    word_without_first,  ///< the word of a handed queue is the same when its head has been executed
    limit_swaps_any,     ///< takes back whatever is handed
    limit_without_lock,
    limit_tells_before_break,
    append_does_not_wait,  ///< for the break by whoever took the queue back
    // when the receiver learns of its connection late
    connects_without_fence,
    connects_without_barrier,
    connects_without_second_look,
    marks_without_lock,
};

/// What ends the connection while messages may be pending.
enum class ending {
    none,
    receiver_dies,         ///< the sender finds it dead
    sender_dies,           ///< the receiver's poller finds it dead
    sender_disconnects,    ///< by its posting thread, when that has posted
    receiver_disconnects,  ///< by another of its threads
    receiver_breaks,       ///< its engine finds an error: its own state first, and no wait
    limit_expires,         ///< in the sender's process, by whoever keeps house
};

/// Who else takes part.
enum class helper {
    nobody,
    sender_polls,    ///< finds the error and flushes sends
    receiver_polls,  ///< finds the error, or the sender dead, and flushes receives
    disconnects,     ///< in the receiver's process; flushes receives
    keeps_house,     ///< in the sender's process: sees to the limit
    connects,        ///< in the receiver's process: learns of the connection when messages may wait already
};

/// Who writes `attention`.
enum class attention_rule {
    cleared_before_claim,  ///< the engine's: by the receiver, and the claim is a locked instruction even if it fails
    cleared_without_lock,  ///< as before, but a claim that cannot succeed is only a load
    holder_writes,         ///< whoever may execute, before passing that right on
    set_after_hand_over,   ///< the sender sets it after `hand_over`; else as holder_writes
    never_cleared,         ///< right, but the receiver looks at `hand_over` on every post for ever
    receiver_clears_own,   ///< the receiver clears it when it sees that the sender executes
    cleared_after_return,  ///< the receiver clears it after it has passed the right on
    not_restored,          ///< the receiver clears it, cannot pass the right on, and does not set it again
};

}  // namespace vinic::model::send_queue

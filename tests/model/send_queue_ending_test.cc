// SPDX-License-Identifier: Apache-2.0
//
// send_queue_ending_test.cc -- a connection ends while messages wait for receive slots: each is delivered or flushed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <utility>

#include "expect.hpp"
#include "send_queue_handover.hpp"

namespace vinic::model::send_queue {
namespace {

constexpr std::pair<ending, helper> breaks[] = {
    {ending::receiver_dies, helper::nobody},
    {ending::sender_dies, helper::receiver_polls},
    {ending::sender_disconnects, helper::receiver_polls},
    {ending::receiver_disconnects, helper::disconnects},
    {ending::receiver_breaks, helper::sender_polls},
    {ending::receiver_breaks, helper::receiver_polls},
};

TEST(send_queue_ending, delivers_or_flushes_each_message) {
    for (auto [ends, with] : breaks) {
        for (word slots : {word{1}, word{2}}) {
            SCOPED_TRACE(testing::Message() << static_cast<int>(ends) << ", " << int{slots} << " slots");
            expect_passes(handover{.messages = 2, .slots = slots, .ends = ends, .with = with});
        }
    }
}

TEST(send_queue_ending, needs_each_of_its_steps) {
    const handover with_a_poller{
        .messages = 2, .slots = 2, .ends = ending::receiver_breaks, .with = helper::receiver_polls};
    for (broken wrong : {broken::flush_without_wait, broken::flush_without_barrier, broken::flush_without_break}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        handover bad = with_a_poller;
        bad.wrong = wrong;
        expect_fails(bad, "flushed");
    }
    for (broken wrong : {broken::flush_without_wait, broken::flush_without_barrier, broken::drain_ignores_state}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(handover{.messages = 2,
                              .slots = 2,
                              .wrong = wrong,
                              .ends = ending::receiver_disconnects,
                              .with = helper::disconnects},
                     "flushed");
    }
}

TEST(send_queue_ending, a_poller_waits_for_its_own_process_too) {
    for (auto [ends, with] : {breaks[1], breaks[2], breaks[4]}) {
        expect_fails(
            handover{.messages = 2, .slots = 1, .wrong = broken::flush_forgets_own, .ends = ends, .with = with},
            "flushed");
    }
}

TEST(send_queue_ending, the_completion_ring_tells_what_was_completed) {
    expect_fails(handover{.messages = 2, .wrong = broken::flush_trusts_send_next, .ends = ending::receiver_dies},
                 "stuck");
}

// -- the limit ----------------------------------------------------------------------------------------

handover limited(broken wrong = broken::nothing, word slots = 1) {
    return {.messages = 2, .slots = slots, .wrong = wrong, .ends = ending::limit_expires, .with = helper::keeps_house};
}

TEST(send_queue_ending, a_limit_ends_the_connection_for_the_message_that_has_waited) { expect_passes(limited()); }

TEST(send_queue_ending, a_limit_needs_each_of_its_steps) {
    for (broken wrong : {broken::word_without_first, broken::limit_swaps_any}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(limited(wrong), "that was delivered");
    }
    expect_fails(limited(broken::limit_without_lock), "completed and flushed");
    for (broken wrong : {broken::limit_tells_before_break, broken::append_does_not_wait}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(limited(wrong, 2), "twice or out of order");
    }
}

/// Some seconds and 300 MB.
TEST(send_queue_ending, holds_for_more_messages_and_slots) {
    if (std::getenv("VINIC_MODEL_LONG") == nullptr) {
        GTEST_SKIP() << "set VINIC_MODEL_LONG=1 to run it";
    }
    for (auto [ends, with] : breaks) {
        SCOPED_TRACE(static_cast<int>(ends));
        expect_passes(handover{.messages = 3, .slots = 2, .ends = ends, .with = with});
    }
    expect_passes(handover{.messages = 2, .slots = 2, .ends = ending::sender_disconnects, .with = helper::connects});
    expect_passes(handover{.messages = 3, .slots = 2, .with = helper::connects});
    handover more = limited(broken::nothing, 2);
    expect_passes(more);
    more.visits = 3;
    expect_passes(more);
}

}  // namespace
}  // namespace vinic::model::send_queue

// SPDX-License-Identifier: Apache-2.0
//
// send_queue_handover_test.cc -- the hand-over of a send queue holds, and each of its steps is needed.
#include "send_queue_handover.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "expect.hpp"

namespace vinic::model::send_queue {
namespace {

TEST(send_queue_handover, holds_for_all_small_counts) {
    for (word messages = 1; messages <= count_max; ++messages) {
        for (word slots = 1; slots <= count_max; ++slots) {
            SCOPED_TRACE(testing::Message() << int{messages} << " messages, " << int{slots} << " slots");
            expect_passes(handover{.messages = messages, .slots = slots});
        }
    }
}

TEST(send_queue_handover, needs_each_of_its_steps) {
    const std::pair<broken, const char*> twins[] = {
        {broken::hand_over_without_barrier, "stuck"},
        {broken::hand_over_without_recheck, "stuck"},
        {broken::reclaim_without_swap, "two executors"},
        {broken::return_without_swap, "stuck"},
        {broken::append_without_swap, "stuck"},
        {broken::executed_not_told, "before it was written"},
        {broken::receiver_ignores_missing_slot, "without a receive slot"},
    };
    for (auto [wrong, problem] : twins) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(handover{.wrong = wrong}, problem);
    }
    expect_fails(handover{.slots = 2, .wrong = broken::take_without_retry}, "stuck");
}

TEST(send_queue_handover, loses_a_message_when_the_flag_is_cleared_without_a_locked_instruction) {
    expect_fails(handover{.messages = 4, .slots = 4, .rule = attention_rule::cleared_without_lock}, "stuck");
}

TEST(send_queue_handover, holds_by_other_rules_for_the_flag) {
    for (attention_rule rule :
         {attention_rule::holder_writes, attention_rule::set_after_hand_over, attention_rule::never_cleared}) {
        SCOPED_TRACE(static_cast<int>(rule));
        expect_passes(handover{.rule = rule});
    }
}

TEST(send_queue_handover, loses_a_message_when_the_wrong_side_clears_the_flag) {
    for (attention_rule rule :
         {attention_rule::receiver_clears_own, attention_rule::cleared_after_return, attention_rule::not_restored}) {
        SCOPED_TRACE(static_cast<int>(rule));
        expect_fails(handover{.messages = 4, .slots = 4, .rule = rule}, "stuck");
    }
}

// -- two threads of the receiver ----------------------------------------------------------------------

TEST(send_queue_handover, holds_when_the_receiver_learns_of_its_connection_late) {
    for (word slots : {word{1}, word{2}}) {
        expect_passes(handover{.messages = 2, .slots = slots, .with = helper::connects});
    }
}

TEST(send_queue_handover, needs_each_step_of_whoever_connects) {
    for (broken wrong :
         {broken::connects_without_fence, broken::connects_without_barrier, broken::connects_without_second_look}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(handover{.messages = 2, .slots = 2, .wrong = wrong, .with = helper::connects}, "stuck");
    }
}

TEST(send_queue_handover, two_threads_of_the_receiver_mark_by_a_locked_instruction) {
    const handover good{.messages = 2, .slots = 1, .ends = ending::sender_disconnects, .with = helper::connects};
    expect_passes(good);
    handover bad = good;
    bad.wrong = broken::marks_without_lock;
    expect_fails(bad, "delivered and flushed");
}

}  // namespace
}  // namespace vinic::model::send_queue

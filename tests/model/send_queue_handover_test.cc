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

TEST(send_queue_handover, holds_when_the_flag_is_set_late_or_never_cleared) {
    expect_passes(handover{.rule = attention_rule::set_after_hand_over});
    expect_passes(handover{.rule = attention_rule::never_cleared});
}

TEST(send_queue_handover, holds_when_the_receiver_clears_the_flag_before_it_claims_as_the_engine_does) {
    for (word messages = 1; messages <= count_max; ++messages) {
        for (word slots = 1; slots <= count_max; ++slots) {
            SCOPED_TRACE(testing::Message() << int{messages} << " messages, " << int{slots} << " slots");
            expect_passes(handover{.messages = messages, .slots = slots, .rule = attention_rule::cleared_before_claim});
        }
    }
    for (ending ends : {ending::receiver_dies, ending::sender_dies, ending::sender_flushes}) {
        SCOPED_TRACE(static_cast<int>(ends));
        expect_passes(handover{.rule = attention_rule::cleared_before_claim, .ends = ends});
    }
    expect_fails(handover{.messages = 4, .slots = 4, .rule = attention_rule::cleared_without_lock}, "stuck");
}

TEST(send_queue_handover, holds_when_one_side_dies_or_the_sender_takes_the_queue_back) {
    for (ending ends : {ending::receiver_dies, ending::sender_dies, ending::sender_flushes}) {
        SCOPED_TRACE(static_cast<int>(ends));
        expect_passes(handover{.ends = ends});
    }
}

TEST(send_queue_handover, needs_each_of_its_steps) {
    const std::pair<broken, const char*> twins[] = {
        {broken::hand_over_without_barrier, "stuck"},
        {broken::hand_over_without_recheck, "stuck"},
        {broken::reclaim_without_swap, "two executors"},
        {broken::return_without_swap, "twice or out of order"},
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

TEST(send_queue_handover, loses_a_message_when_the_wrong_side_clears_the_flag) {
    for (attention_rule rule :
         {attention_rule::receiver_clears_own, attention_rule::cleared_after_return, attention_rule::not_restored}) {
        SCOPED_TRACE(static_cast<int>(rule));
        expect_fails(handover{.messages = 4, .slots = 4, .rule = rule}, "stuck");
    }
}

TEST(send_queue_handover, recovery_must_wait_for_a_living_receiver_and_read_the_completion_ring) {
    expect_fails(handover{.wrong = broken::recovery_does_not_wait, .ends = ending::sender_flushes},
                 "completed and flushed");
    expect_fails(handover{.wrong = broken::recovery_trusts_executed, .ends = ending::receiver_dies},
                 "completed and flushed");
}

}  // namespace
}  // namespace vinic::model::send_queue

// SPDX-License-Identifier: Apache-2.0
//
// doorbell_test.cc -- no ring is lost, and each step of the protocol is needed.
#include "doorbell.hpp"

#include <gtest/gtest.h>

#include "expect.hpp"

namespace vinic::model::doorbell {
namespace {

TEST(doorbell, holds_when_the_device_only_polls) {
    expect_passes(bells{.when_idle = idle::polls});
    expect_passes(bells{.when_idle = idle::polls, .one_leaf = false});
}

TEST(doorbell, holds_when_the_device_may_sleep_and_contexts_may_become_cold) {
    for (bool one_leaf : {true, false}) {
        expect_passes(bells{.when_idle = idle::either, .one_leaf = one_leaf});
        expect_passes(bells{.when_idle = idle::either, .one_leaf = one_leaf, .cold_is_looked_at = true});
    }
}

TEST(doorbell, needs_each_step_of_the_ringer) {
    for (broken wrong : {broken::leaf_decides, broken::or_skipped_when_set, broken::summary_before_leaf}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(bells{.wrong = wrong, .when_idle = idle::polls}, "a look did not find");
    }
    for (idle when : {idle::sleeps, idle::cools}) {
        expect_fails(bells{.posts = 1, .wrong = broken::armed_read_before_top, .when_idle = when}, "stuck");
    }
}

TEST(doorbell, needs_each_step_of_the_device) {
    for (broken wrong : {broken::top_cleared_last, broken::summary_cleared_last, broken::leaf_cleared_last}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(bells{.wrong = wrong, .when_idle = idle::polls}, "a look did not find");
    }
    for (idle when : {idle::sleeps, idle::cools}) {
        for (broken wrong :
             {broken::armed_without_fence, broken::armed_without_look, broken::armed_after_look, broken::armed_once}) {
            SCOPED_TRACE(static_cast<int>(wrong));
            expect_fails(bells{.wrong = wrong, .when_idle = when}, "");
        }
    }
}

TEST(doorbell, a_late_kick_leaves_a_cold_context_deaf_if_its_top_word_decides) {
    expect_fails(bells{.wrong = broken::kick_needs_top, .when_idle = idle::cools}, "stuck");
}

TEST(doorbell, may_disarm_before_or_after_the_look_and_leave_armed_to_the_device) {
    for (broken harmless : {broken::disarmed_late, broken::kick_without_exchange}) {
        expect_passes(bells{.wrong = harmless, .when_idle = idle::sleeps});
    }
}

TEST(doorbell, a_stopped_ringer_takes_the_kick_of_another_with_it) {
    expect_fails(bells{.posts = 1, .when_idle = idle::sleeps, .halts = true}, "stuck");
}

TEST(doorbell, a_sleep_that_ends_by_itself_makes_up_for_a_stopped_ringer) {
    expect_passes(bells{.when_idle = idle::sleeps, .halts = true, .ticks = true});
}

TEST(doorbell, a_look_at_cold_contexts_makes_up_for_a_stopped_ringer) {
    expect_fails(bells{.posts = 1, .when_idle = idle::cools, .halts = true}, "stuck");
    expect_passes(bells{.when_idle = idle::cools, .cold_is_looked_at = true, .halts = true});
}

}  // namespace
}  // namespace vinic::model::doorbell

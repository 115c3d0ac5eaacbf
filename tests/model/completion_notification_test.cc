// SPDX-License-Identifier: Apache-2.0
//
// completion_notification_test.cc -- no completion is lost, and each step of the protocol is needed.
#include "completion_notification.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "expect.hpp"

namespace vinic::model::completion {
namespace {

/// The engine's rule: whoever wakes clears `armed`, sleeps end by themselves, and then the marks are read.
notification engine(word messages = 1) {
    return {.messages = messages,
            .clears = disarm::by_exchange,
            .when_idle = idle::sleeps,
            .halts = true,
            .ticks = time_out::reads_marks};
}

TEST(completion_notification, a_halted_producer_delays_others_by_one_time_out_at_most) {
    expect_passes(engine());
    notification endless = engine();
    endless.ticks = time_out::never;
    expect_fails(endless, "stuck");
}

TEST(completion_notification, what_a_halted_producer_published_comes_with_its_burial) {
    notification demanding = engine();
    demanding.of_halted = true;
    expect_fails(demanding, "no good end");  // its mark is missing: it comes when the producer goes on, or has died
    demanding.ticks = time_out::buries;
    expect_passes(demanding);
}

TEST(completion_notification, a_time_out_at_any_moment_does_no_harm) {
    expect_passes(notification{.messages = 1, .ticks = time_out::reads_marks});
}

TEST(completion_notification, holds_when_the_consumer_only_polls) {
    expect_passes(notification{.when_idle = idle::polls});
    expect_passes(notification{.when_idle = idle::polls, .first_polled = false});
}

TEST(completion_notification, holds_when_the_consumer_may_sleep) {
    expect_passes(notification{.messages = 1, .when_idle = idle::either});
    expect_passes(notification{.messages = 2, .when_idle = idle::sleeps});
    expect_passes(notification{.messages = 2, .clears = disarm::by_consumer, .when_idle = idle::sleeps});
}

TEST(completion_notification, needs_no_heavy_barrier_to_sleep_when_nothing_was_polled_directly) {
    expect_passes(notification{.when_idle = idle::sleeps, .first_polled = false, .light_sleep = true});
}

TEST(completion_notification, only_costs_needless_wake_ups_when_the_consumer_does_not_disarm) {
    for (disarm clears : {disarm::by_exchange, disarm::by_consumer}) {
        expect_passes(notification{
            .messages = 1, .wrong = broken::never_disarmed_by_consumer, .clears = clears, .when_idle = idle::sleeps});
    }
}

TEST(completion_notification, needs_each_of_its_steps_to_poll) {
    for (broken wrong : {broken::demote_without_barrier, broken::demote_without_recheck, broken::summary_before_leaf,
                         broken::ready_ring_read_once}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(notification{.wrong = wrong, .when_idle = idle::polls}, "a poll found nothing");
    }
    expect_fails(notification{.messages = 1, .wrong = broken::leaf_taken_before_summary, .when_idle = idle::sleeps},
                 "stuck");
}

TEST(completion_notification, needs_each_of_its_steps_to_sleep) {
    for (broken wrong :
         {broken::sleep_without_barrier, broken::sleep_with_own_fence_only, broken::sleep_without_ring_recheck,
          broken::sleep_without_summary_recheck, broken::sequence_read_after_recheck, broken::sleep_without_demotion,
          broken::wake_without_sequence}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(notification{.messages = 1, .wrong = wrong, .when_idle = idle::sleeps}, "");
    }
}

// -- what a sleep without end would need ----------------------------------------------------------------

TEST(completion_notification, a_halted_producer_harms_no_other_if_only_the_consumer_disarms) {
    for (disarm clears : {disarm::by_consumer, disarm::by_consumer_with_number}) {
        expect_passes(notification{.messages = 1, .clears = clears, .when_idle = idle::sleeps, .halts = true});
    }
}

TEST(completion_notification, a_time_out_that_reads_every_ring_finds_what_a_halted_producer_published) {
    for (disarm clears : {disarm::by_exchange, disarm::by_consumer}) {
        expect_passes(notification{.messages = 1,
                                   .clears = clears,
                                   .when_idle = idle::sleeps,
                                   .halts = true,
                                   .ticks = time_out::reads_rings,
                                   .of_halted = true});
    }
}

/// More than 20 million states: a minute and 2 GB.
TEST(completion_notification, holds_for_more_messages) {
    if (std::getenv("VINIC_MODEL_LONG") == nullptr) {
        GTEST_SKIP() << "set VINIC_MODEL_LONG=1 to run it";
    }
    for (disarm clears : {disarm::by_exchange, disarm::by_consumer}) {
        expect_passes(notification{.messages = 3, .clears = clears, .when_idle = idle::sleeps});
    }
    for (bool halts : {false, true}) {
        expect_passes(notification{
            .messages = 2, .clears = disarm::by_consumer_with_number, .when_idle = idle::sleeps, .halts = halts});
    }
    expect_passes(engine(2));
}

}  // namespace
}  // namespace vinic::model::completion

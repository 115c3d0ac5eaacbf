// SPDX-License-Identifier: Apache-2.0
//
// engine_time_test.cc -- who pays for what a lease took, on a clock of the test's own.
#include "controller/engine_time.hpp"

#include <gtest/gtest.h>

namespace vinic::controller {
namespace {

thread_usage said;
int asked = 0;
thread_usage answer() noexcept {
    ++asked;
    return said;
}

/// An engine whose thread runs, waits for the core, or sleeps.
struct engine {
    engine() {
        said = {};
        asked = 0;
    }
    void runs(std::uint64_t ns) {
        now += ns;
        said.cpu_ns += ns;
    }
    void is_put_aside(std::uint64_t ns) { now += ns; }
    void sleeps(std::uint64_t ns) {
        now += ns;
        ++said.sleeps;
    }
    std::uint64_t now = 1'000'000'000;
    engine_time time{&answer};
};

TEST(engine_time, of_a_short_lease_is_what_it_took_and_nobody_is_asked) {
    engine e;
    e.time.begin(e.now);
    const int before = asked;
    e.runs(8'000);
    EXPECT_EQ(e.time.end(e.now), 8'000u);
    for (int i = 0; i < 100; ++i) {
        e.time.begin(e.now);
        e.runs(9'000);
        EXPECT_EQ(e.time.end(e.now), 9'000u);
    }
    EXPECT_EQ(asked, before) << "within a millisecond of the mark";
    for (int i = 0; i < 1000; ++i) {
        e.time.begin(e.now);
        e.runs(9'000);
        EXPECT_EQ(e.time.end(e.now), 9'000u);
    }
    EXPECT_LE(asked - before, 10) << "once in a millisecond";
}

TEST(engine_time, does_not_charge_what_the_host_took) {
    engine e;
    e.time.begin(e.now);
    e.runs(20'000);
    e.is_put_aside(4'000'000);
    e.runs(5'000);
    EXPECT_EQ(e.time.end(e.now), 25'000u);
}

TEST(engine_time, charges_a_long_lease_that_ran) {
    engine e;
    e.time.begin(e.now);
    e.runs(700'000);
    EXPECT_EQ(e.time.end(e.now), 700'000u);
}

TEST(engine_time, charges_a_lease_whose_pages_made_the_engine_sleep) {
    engine e;
    e.time.begin(e.now);
    e.runs(5'000);
    e.sleeps(300'000);
    EXPECT_EQ(e.time.end(e.now), 305'000u);
}

TEST(engine_time, of_what_was_taken_before_a_lease_makes_it_no_cheaper_than_an_ordinary_one) {
    engine e;
    e.time.begin(e.now);
    e.runs(1'000);
    (void)e.time.end(e.now);
    e.is_put_aside(900'000);
    e.time.begin(e.now);
    e.runs(60'000);
    EXPECT_EQ(e.time.end(e.now), engine_time::charge_least_ns);
    // That was asked about: the next one is not excused by it again.
    e.time.begin(e.now);
    e.runs(60'000);
    EXPECT_EQ(e.time.end(e.now), 60'000u);
}

TEST(engine_time, takes_a_wait_for_the_other_engines_for_no_lease_that_slept) {
    engine e;
    e.time.begin(e.now);
    e.runs(1'000);
    (void)e.time.end(e.now);
    e.sleeps(20'000);
    e.time.waited();
    e.time.begin(e.now);
    e.runs(30'000);
    e.is_put_aside(800'000);
    EXPECT_EQ(e.time.end(e.now), engine_time::charge_least_ns) << "the host took it, not a page";
    // One wait excuses one sleep, and only since the last look.
    e.time.waited();
    e.time.begin(e.now);
    e.sleeps(100'000);
    e.sleeps(200'000);
    EXPECT_EQ(e.time.end(e.now), 300'000u);
    e.time.begin(e.now);
    e.sleeps(100'000);
    EXPECT_EQ(e.time.end(e.now), 100'000u);
}

TEST(engine_time, starts_anew_after_a_rest) {
    engine e;
    e.time.begin(e.now);
    e.runs(1'000);
    (void)e.time.end(e.now);
    e.sleeps(500'000);
    e.time.rested();
    e.time.begin(e.now);
    e.runs(30'000);
    e.is_put_aside(1'000'000);
    EXPECT_EQ(e.time.end(e.now), 30'000u) << "the sleep was before it";
}

TEST(engine_time, has_a_limit) {
    engine e;
    e.time.begin(e.now);
    e.sleeps(60'000'000'000);
    EXPECT_EQ(e.time.end(e.now), engine_time::charge_most_ns);
}

TEST(engine_time, asks_the_kernel_what_this_thread_did) {
    const thread_usage before = usage_of_this_thread();
    volatile std::uint64_t sum = 0;
    while (usage_of_this_thread().cpu_ns < before.cpu_ns + 20'000'000) {
        sum = sum + 1;
    }
    timespec t{0, 2'000'000};
    ::nanosleep(&t, nullptr);
    const thread_usage after = usage_of_this_thread();
    EXPECT_GE(after.cpu_ns, before.cpu_ns + 20'000'000);
    EXPECT_GT(after.sleeps, before.sleeps);
}

}  // namespace
}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// vectors_test.cc -- completion vectors alone, on a virtual clock: what waits, for how long, and who is told.
#include "controller/vectors.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace vinic::controller {
namespace {

using woken = std::vector<std::uint32_t>;

struct vectors_of_a_function : testing::Test {
    static constexpr std::uint32_t function = 3;
    delivery_times times;
    /// In slices, as the device does.
    void forget(std::uint32_t context) {
        std::uint32_t next = 0;
        while (vectors.forget(context, next, 3)) {
        }
    }
    completion_vectors vectors{function, 4};

    woken arrive(std::uint32_t vector, std::uint32_t cq, std::uint64_t now_ns, std::size_t room = 16,
                 std::uint32_t context = 0) {
        std::vector<waiting_cq> out(room);
        out.resize(vectors.arrived(vector, {cq, context}, now_ns, out, times));
        return numbers(out);
    }
    woken due(std::uint64_t now_ns, std::size_t room = 16) {
        std::vector<waiting_cq> out(room);
        out.resize(vectors.take_due(now_ns, out, times));
        return numbers(out);
    }
    static woken numbers(const std::vector<waiting_cq>& all) {
        woken n;
        for (const waiting_cq& each : all) {
            n.push_back(each.index);
        }
        return n;
    }
    errc set(std::uint32_t vector, bool masked, std::uint64_t count = 0, std::uint64_t period_ns = 0) {
        return vectors.set(vector, masked, count, period_ns, times);
    }
};

TEST_F(vectors_of_a_function, an_open_one_wakes_at_once) {
    EXPECT_TRUE(vectors.is_open(2));
    EXPECT_EQ(arrive(2, 7, 100), woken{7}) << "opened between two looks";
    EXPECT_EQ(vectors.status(2).pending, 0U);
    EXPECT_EQ(times.next(), delivery_times::never);
}

TEST_F(vectors_of_a_function, a_masked_one_keeps_each_queue_once_and_delivers_on_unmask) {
    ASSERT_EQ(set(1, true), errc::ok);
    EXPECT_FALSE(vectors.is_open(1));
    for (const std::uint32_t cq : {5U, 9U, 5U, 9U, 5U}) {
        EXPECT_EQ(arrive(1, cq, 100), woken());
    }
    EXPECT_EQ(vectors.status(1).pending, 2U);
    EXPECT_EQ(times.next(), delivery_times::never) << "a mask has no end";
    EXPECT_EQ(due(~std::uint64_t{0} - 1), woken());
    ASSERT_EQ(set(1, false), errc::ok);
    EXPECT_LE(times.next(), 100U);
    EXPECT_EQ(due(100), (woken{5, 9}));
    EXPECT_EQ(vectors.status(1).pending, 0U);
    EXPECT_EQ(due(100), woken()) << "once";
}

TEST_F(vectors_of_a_function, a_period_begins_with_the_first_and_ends_for_all) {
    ASSERT_EQ(set(0, false, 0, 50), errc::ok);
    EXPECT_EQ(arrive(0, 1, 1000), woken());
    EXPECT_EQ(arrive(0, 2, 1049), woken());
    EXPECT_EQ(times.next(), 1050U);
    EXPECT_EQ(due(1049), woken());
    EXPECT_EQ(due(1050), (woken{1, 2}));
    times.begin_look();
    EXPECT_EQ(times.of(function), delivery_times::never);
    EXPECT_EQ(arrive(0, 1, 2000), woken());
    EXPECT_EQ(times.next(), 2050U) << "the next one is as long";
}

TEST_F(vectors_of_a_function, a_count_ends_it_sooner) {
    ASSERT_EQ(set(0, false, 3, 50), errc::ok);
    EXPECT_EQ(arrive(0, 1, 1000), woken());
    EXPECT_EQ(arrive(0, 1, 1001), woken());
    EXPECT_EQ(arrive(0, 2, 1002), (woken{1, 2}));
    EXPECT_EQ(times.of(function), delivery_times::never);
    EXPECT_EQ(arrive(0, 1, 1003), woken()) << "counted anew";
    EXPECT_EQ(times.of(function), 1053U);
    ASSERT_EQ(set(0, false, 1, 50), errc::ok);
    EXPECT_EQ(due(1003), woken{1}) << "new settings deliver what waits";
    EXPECT_EQ(arrive(0, 1, 1004), woken{1}) << "each is the first";
}

TEST_F(vectors_of_a_function, what_finds_no_room_stays_due) {
    ASSERT_EQ(set(0, false, 3, 50), errc::ok);
    EXPECT_EQ(arrive(0, 1, 1000), woken());
    EXPECT_EQ(arrive(0, 2, 1000), woken());
    EXPECT_EQ(arrive(0, 3, 1000, 1), woken{1});
    EXPECT_LE(times.next(), 1000U);
    EXPECT_EQ(due(1001, 1), woken{2});
    EXPECT_LE(times.of(function), 1001U);
    EXPECT_EQ(due(1001, 1), woken{3});
    EXPECT_EQ(times.of(function), delivery_times::never);
}

TEST_F(vectors_of_a_function, one_that_always_has_something_leaves_room_to_others) {
    for (const std::uint32_t v : {0U, 1U}) {
        ASSERT_EQ(set(v, false, 0, 10), errc::ok);
    }
    EXPECT_EQ(arrive(1, 100, 0), woken());
    bool told = false;
    for (std::uint32_t i = 0; i < 8 && !told; ++i) {
        (void)arrive(0, i, 0);
        told = due(100, 1) == woken{100};
    }
    EXPECT_TRUE(told);
}

TEST_F(vectors_of_a_function, a_function_that_may_not_speak_keeps_everything) {
    ASSERT_EQ(set(1, false, 1, 50), errc::ok);
    vectors.enable(false, times);
    EXPECT_FALSE(vectors.is_open(0));
    EXPECT_EQ(arrive(0, 1, 100), woken());
    EXPECT_EQ(arrive(1, 2, 100), woken()) << "whatever its count is";
    ASSERT_EQ(set(2, true), errc::ok);
    EXPECT_EQ(arrive(2, 3, 100), woken());
    EXPECT_EQ(due(1000), woken());
    vectors.enable(true, times);
    EXPECT_TRUE(vectors.is_open(0));
    EXPECT_FALSE(vectors.is_open(1));
    const woken now = due(1000);
    EXPECT_EQ(now.size(), 2U) << "not the one that is masked by itself";
    EXPECT_EQ(vectors.status(2).pending, 1U);
}

TEST_F(vectors_of_a_function, a_queue_that_changes_its_vector_waits_in_one) {
    ASSERT_EQ(set(0, true), errc::ok);
    ASSERT_EQ(set(1, true), errc::ok);
    for (std::uint32_t i = 0; i < 1000; ++i) {
        EXPECT_EQ(arrive(i % 2, 8, 100), woken());
        EXPECT_EQ(vectors.status(0).pending + vectors.status(1).pending, 1U);
    }
    EXPECT_EQ(vectors.status(1).pending, 1U);
    ASSERT_EQ(set(0, false), errc::ok);
    EXPECT_EQ(due(100), woken());
    ASSERT_EQ(set(1, false), errc::ok);
    EXPECT_EQ(due(100), woken{8});
}

TEST_F(vectors_of_a_function, a_context_that_left_is_told_nothing) {
    ASSERT_EQ(set(1, true), errc::ok);
    for (std::uint32_t cq = 0; cq < 10; ++cq) {
        EXPECT_EQ(arrive(1, cq, 100, 16, cq % 2), woken());
    }
    forget(1);
    EXPECT_EQ(vectors.status(1).pending, 5U);
    ASSERT_EQ(set(1, false), errc::ok);
    EXPECT_EQ(due(100), (woken{0, 2, 4, 6, 8}));
    ASSERT_EQ(set(1, true), errc::ok);
    EXPECT_EQ(arrive(1, 1, 100, 16, 1), woken());
    forget(1);
    vectors.reset(times);
    EXPECT_TRUE(vectors.is_open(1));
    EXPECT_EQ(due(100), woken());
}

TEST_F(vectors_of_a_function, what_could_keep_a_wake_up_for_ever_is_refused) {
    constexpr std::uint64_t second = 1'000'000'000;
    EXPECT_EQ(set(3, false, 65535, second), errc::ok);
    EXPECT_EQ(set(3, true, 1), errc::ok);
    EXPECT_EQ(set(4, false), errc::invalid_argument) << "no such vector";
    EXPECT_EQ(set(~std::uint32_t{0}, false), errc::invalid_argument);
    EXPECT_EQ(set(3, false, 65536, second), errc::invalid_argument);
    EXPECT_EQ(set(3, false, 0, second + 1), errc::invalid_argument);
    EXPECT_EQ(set(3, false, 2), errc::invalid_argument) << "a count alone might never be reached";
    EXPECT_EQ(vectors.status(3).settings, (vector_settings{true, 1, nanoseconds(0)})) << "as before";
    EXPECT_EQ(vectors.valid(3), 3U);
    EXPECT_EQ(vectors.valid(4), 0U);
    EXPECT_EQ(vectors.valid(~std::uint32_t{0}), 0U);
}

}  // namespace
}  // namespace vinic::controller

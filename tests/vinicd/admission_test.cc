// SPDX-License-Identifier: Apache-2.0
//
// admission_test.cc -- who gets a place and how much work, with a clock of the test's own.
#include "vinicd/admission.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace vinic::vinicd {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t us = 1'000;
constexpr account administrators{.of = account::kind::administrators, .id = 0};
constexpr account strangers{.of = account::kind::strangers, .id = 0};

account owner(std::uint32_t user) { return {.of = account::kind::owner, .id = user}; }
account group(std::uint32_t id) { return {.of = account::kind::group, .id = id}; }

TEST(admission, strangers_under_many_user_ids_take_no_place_but_each_others) {
    admission a(64);
    ASSERT_TRUE(a.arrive(1, administrators, 0, 0).admitted);
    ASSERT_TRUE(a.arrive(2, owner(1000), 1000, 0).admitted);
    std::uint32_t displaced = 0;
    for (admission::number n = 100; n < 10'100; ++n) {
        const auto v = a.arrive(n, strangers, static_cast<uid_t>(n), n);
        ASSERT_TRUE(v.admitted);
        if (v.leaves) {
            ASSERT_EQ(*v.leaves, n - admission::places_of_strangers);  // the oldest
            a.leave(*v.leaves);
            ++displaced;
        }
    }
    EXPECT_EQ(displaced, 10'000 - admission::places_of_strangers);
    EXPECT_EQ(a.arrive(3, administrators, 0, second_ns).leaves, std::nullopt);
    EXPECT_EQ(a.arrive(4, owner(1000), 1000, second_ns).leaves, std::nullopt);
}

TEST(admission, who_holds_the_most_gives_way_and_a_single_one_stays) {
    admission a(64);
    ASSERT_TRUE(a.arrive(1, strangers, 7, 0).admitted);  // the oldest, and all that user 7 has
    for (admission::number n = 2; n <= admission::places_of_strangers; ++n) {
        ASSERT_EQ(a.arrive(n, strangers, 8, n).leaves, std::nullopt);
    }
    EXPECT_EQ(a.arrive(100, strangers, 8, 1000).leaves, 2U);
    a.leave(2);
    EXPECT_EQ(a.arrive(101, strangers, 9, 1000).leaves, 3U);
}

TEST(admission, who_was_heard_of_last_stays_longest) {
    admission a(64);
    for (admission::number n = 0; n < admission::places; ++n) {
        ASSERT_TRUE(a.arrive(n, administrators, 0, n).admitted);
    }
    a.ask(0, 5000);
    EXPECT_EQ(a.arrive(1000, administrators, 0, 6000).leaves, 1U);
}

TEST(admission, contexts_in_use_are_never_taken) {
    admission a(2);
    const std::uint32_t most = 2 + admission::spare_of_function;
    for (admission::number n = 0; n < most; ++n) {
        ASSERT_TRUE(a.arrive(n, owner(1), 1, n).admitted);
        ASSERT_TRUE(a.attach(n, 5, n).admitted);
    }
    a.enter(0);
    a.enter(1);
    ASSERT_TRUE(a.arrive(100, owner(1), 1, 100).admitted);
    EXPECT_EQ(a.attach(100, 5, 100).leaves, 2U);  // on the way in only
    a.leave(2);
    for (admission::number n = 3; n < most; ++n) {
        a.enter(n);
    }
    a.enter(100);
    ASSERT_TRUE(a.arrive(101, owner(1), 1, 101).admitted);
    EXPECT_FALSE(a.attach(101, 5, 101).admitted);
    EXPECT_TRUE(a.attach(101, 6, 101).admitted);
}

TEST(admission, whoever_is_silent_for_too_long_is_late) {
    admission a(64);
    ASSERT_TRUE(a.arrive(1, owner(1), 1, 0).admitted);  // silent
    ASSERT_TRUE(a.arrive(2, owner(1), 1, 0).admitted);
    a.ask(2, 0);
    ASSERT_TRUE(a.arrive(3, strangers, 2, 0).admitted);
    a.ask(3, 0);
    ASSERT_TRUE(a.arrive(4, owner(1), 1, 0).admitted);
    a.monitor(4);
    ASSERT_TRUE(a.arrive(5, owner(1), 1, 0).admitted);
    ASSERT_TRUE(a.attach(5, 1, 0).admitted);
    ASSERT_TRUE(a.arrive(6, owner(1), 1, 0).admitted);
    ASSERT_TRUE(a.attach(6, 1, 0).admitted);
    a.enter(6);
    EXPECT_TRUE(a.late(admission::patience_ns).empty());
    EXPECT_EQ(a.late(admission::patience_ns + 1), (std::vector<admission::number>{1, 3, 5}));
    EXPECT_EQ(a.late(admission::idle_max_ns + 1), (std::vector<admission::number>{1, 2, 3, 5}));
    a.ask(2, admission::idle_max_ns);
    EXPECT_EQ(a.late(admission::idle_max_ns + 1), (std::vector<admission::number>{1, 3, 5}));
}

TEST(admission, when_there_is_no_room_for_anybody_strangers_go_first) {
    admission a(64);
    EXPECT_EQ(a.weakest(administrators), std::nullopt);
    ASSERT_TRUE(a.arrive(1, administrators, 0, 0).admitted);
    ASSERT_TRUE(a.arrive(2, owner(1), 1, 1).admitted);
    ASSERT_TRUE(a.arrive(3, group(1), 2, 2).admitted);
    ASSERT_TRUE(a.arrive(4, strangers, 3, 3).admitted);
    for (const admission::number n : {4U, 3U, 2U, 1U}) {
        EXPECT_EQ(a.weakest(administrators), n);
        EXPECT_NE(a.weakest(administrators, n), n) << "not whom it is for";
        EXPECT_EQ(a.weakest(strangers), n == 4 ? std::optional(n) : std::nullopt);
        a.leave(n);
    }
}

TEST(admission, of_equals_whoever_has_the_most_connections_goes_first) {
    admission a(64);
    ASSERT_TRUE(a.arrive(1, owner(1), 1, 0).admitted);
    for (admission::number n = 2; n <= 4; ++n) {
        ASSERT_TRUE(a.arrive(n, owner(2), 2, n).admitted);
    }
    EXPECT_EQ(a.weakest(owner(2)), 2U) << "his own oldest, and not that of who has one only";
    EXPECT_EQ(a.weakest(owner(1)), 2U);
    a.leave(2);
    a.leave(3);
    EXPECT_EQ(a.weakest(owner(2)), 1U) << "the one that was silent longest";
}

/// How long somebody worked who always wants to, in steps of `step_ns`, in `seconds`.
std::uint64_t worked(admission& a, account of, const std::vector<uid_t>& users, std::uint64_t seconds) {
    constexpr std::uint64_t step_ns = 100 * us;
    std::uint64_t sum = 0;
    std::size_t turn = 0;
    for (std::uint64_t now = 0; now < seconds * second_ns; now += step_ns) {
        const uid_t user = users[turn++ % users.size()];
        if (a.free_at_ns(of, user) <= now) {
            a.charge(of, user, now, step_ns);
            sum += step_ns;
        }
    }
    return sum;
}

TEST(admission, all_strangers_together_get_a_twentieth) {
    admission a(64);
    std::vector<uid_t> many(1000);
    for (uid_t i = 0; i < many.size(); ++i) {
        many[i] = 100'000 + i;
    }
    const std::uint64_t sum = worked(a, strangers, many, 10);
    EXPECT_GE(sum, 450'000'000U);
    EXPECT_LE(sum, 520'000'000U);
    EXPECT_EQ(a.free_at_ns(administrators, 0), 0U);
    EXPECT_EQ(a.free_at_ns(owner(5), 5), 0U);
}

TEST(admission, one_member_leaves_half_of_the_groups_share_to_the_others) {
    admission a(64);
    const std::uint64_t alone = worked(a, group(1), {7}, 10);
    EXPECT_LE(alone, 1'050'000'000U);
    EXPECT_LE(a.free_at_ns(group(1), 8), 10 * second_ns);
    EXPECT_GT(a.free_at_ns(group(1), 7), 10 * second_ns - second_ns);
}

TEST(admission, what_a_member_does_beyond_one_half_holds_up_nobody_else) {
    admission a(64);
    for (std::uint64_t now = 0; now < 10 * second_ns; now += 100 * us) {
        a.charge(group(1), 7, now, 90 * us);  // connects again and again, and nobody can prevent that
        ASSERT_LE(a.free_at_ns(group(1), 8), now);
    }
    EXPECT_GT(a.free_at_ns(group(1), 7), 10 * second_ns);
    // Nor does that debt keep two others from sharing what is the group's.
    std::uint64_t sum = 0;
    for (std::uint64_t now = 10 * second_ns; now < 20 * second_ns; now += 100 * us) {
        a.charge(group(1), 7, now, 90 * us);
        const uid_t user = now / (100 * us) % 2 == 0 ? 8 : 9;
        if (a.free_at_ns(group(1), user) <= now) {
            a.charge(group(1), user, now, 100 * us);
            sum += 100 * us;
        }
    }
    EXPECT_GE(sum, 1'900'000'000U);
    EXPECT_LE(sum, 2'100'000'000U);
}

TEST(admission, a_debt_is_paid_by_time_and_then_forgotten) {
    admission a(64);
    a.charge(strangers, 1, 0, 200'000 * us);  // one long request
    EXPECT_GT(a.free_at_ns(strangers, 2), 3 * second_ns);
    EXPECT_LE(a.free_at_ns(strangers, 2), 4 * second_ns);
    (void)a.late(4 * second_ns);
    EXPECT_EQ(a.free_at_ns(strangers, 2), 0U);
}

TEST(admission, no_debt_grows_beyond_some_seconds) {
    admission a(64);
    for (const account of : {strangers, group(1), owner(1), administrators}) {
        for (std::uint64_t now = 0; now <= 60 * second_ns; now += second_ns) {
            a.charge(of, 1, now, 100 * second_ns);
            ASSERT_GT(a.free_at_ns(of, 1), now);
            ASSERT_LE(a.free_at_ns(of, 1), now + work_budget::debt_max_ns);
        }
        (void)a.late(60 * second_ns + work_budget::debt_max_ns);
        EXPECT_EQ(a.free_at_ns(of, 1), 0U);
    }
}

TEST(admission, a_clock_that_stands_still_or_jumps_ahead_is_no_way_around_it) {
    admission a(64);
    for (int i = 0; i < 1000; ++i) {
        a.charge(strangers, 1, 5 * second_ns, 100 * us);  // the same moment again and again
    }
    EXPECT_GT(a.free_at_ns(strangers, 1), 5 * second_ns);
    // Asleep for a day: what was earned meanwhile is one burst, not a day.
    constexpr std::uint64_t day_ns = 86'400 * second_ns;
    a.charge(strangers, 1, day_ns, 20'000 * us);
    EXPECT_GT(a.free_at_ns(strangers, 1), day_ns);
}

}  // namespace
}  // namespace vinic::vinicd

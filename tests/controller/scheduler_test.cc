// SPDX-License-Identifier: Apache-2.0
//
// scheduler_test.cc -- the life of a grant, and how long somebody waits for one.
#include "controller/scheduler.hpp"

#include <gtest/gtest.h>

#include <map>

#include "controller/simulation.hpp"

namespace vinic::controller::test {
namespace {

constexpr served one_message{.bytes = 64, .descriptors = 1, .engine_ns = 8, .more = false};
constexpr served one_of_many{.bytes = 64, .descriptors = 1, .engine_ns = 8, .more = true};

scheduler of_functions(std::uint32_t count, const scheduler_options& options = {}) {
    scheduler s(options);
    for (std::uint32_t f = 0; f < count; ++f) {
        s.set_entitlement(f, {}, 0);
    }
    return s;
}

TEST(scheduler, turns_that_came_late_are_counted_by_how_late) {
    scheduler s = of_functions(2);
    std::uint64_t now = 0;
    for (const std::uint64_t waited : {1'000U, 1'001U, 50'000U, 2'000'000U}) {
        s.ready({1, 0}, now);
        const auto g = s.next(now + waited);
        ASSERT_TRUE(g);
        now += waited + 1;
        s.done(*g, one_message, now);
    }
    EXPECT_EQ(s.counters(1).long_waits, (std::array<std::uint64_t, 4>{3, 2, 1, 1}));
}

TEST(scheduler, a_grant_names_the_vi_its_queue_its_engine_and_the_lease) {
    scheduler s = of_functions(2, {.engines = 2, .lease_bytes = 1000, .lease_descriptors = 7});
    EXPECT_FALSE(s.next(0));
    EXPECT_FALSE(s.has_work());
    s.ready({1, 65535}, 0);
    EXPECT_TRUE(s.has_work());
    const auto g = s.next(5);
    ASSERT_TRUE(g);
    EXPECT_EQ(g->vi, (vi_name{1, 65535}));
    EXPECT_EQ(g->engine, 0U);
    EXPECT_LT(g->queue, 64U);
    EXPECT_EQ(g->bytes_max, 1000U);
    EXPECT_EQ(g->descriptors_max, 7U);
    EXPECT_FALSE(s.has_work());
    EXPECT_FALSE(s.next(5));
    s.done(*g, one_message, 13);
    EXPECT_FALSE(s.next(13));
    const scheduling_counters c = s.counters(1);
    EXPECT_EQ(c.grants, 1U);
    EXPECT_EQ(c.bytes, 64U);
    EXPECT_EQ(c.descriptors, 1U);
    EXPECT_EQ(c.engine_ns, 8U);
    EXPECT_EQ(c.wait_ns, 5U);
    EXPECT_EQ(c.long_waits, (std::array<std::uint64_t, 4>{}));
    EXPECT_EQ(s.counters(0).grants, 0U);
}

TEST(scheduler, turns_of_requests_grant_one_message) {
    scheduler s = of_functions(1, {.order = policy::request_round_robin});
    s.ready({0, 0}, 0);
    EXPECT_EQ(s.next(0)->descriptors_max, 1U);
}

TEST(scheduler, all_engines_busy_is_no_error_and_the_first_that_turns_idle_is_used) {
    scheduler s = of_functions(1, {.engines = 2});
    for (std::uint32_t vi = 0; vi < 3; ++vi) {
        s.ready({0, vi}, 0);
    }
    const auto first = s.next(0);
    const auto second = s.next(0);
    ASSERT_TRUE(first && second);
    EXPECT_NE(first->engine, second->engine);
    EXPECT_FALSE(s.next(0));
    EXPECT_TRUE(s.has_work());
    s.done(*second, one_message, 8);
    const auto third = s.next(8);
    ASSERT_TRUE(third);
    EXPECT_EQ(third->engine, second->engine);
    EXPECT_EQ(third->vi.vi, 2U);
}

TEST(scheduler, ready_under_grant_is_not_lost_and_ready_twice_is_once) {
    scheduler s = of_functions(1);
    s.ready({0, 3}, 0);
    s.ready({0, 3}, 0);
    const auto g = s.next(0);
    ASSERT_TRUE(g);
    s.ready({0, 3}, 1);
    EXPECT_FALSE(s.has_work()) << "one VI is on one engine at most";
    s.done(*g, one_message, 8);
    const auto again = s.next(8);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->vi.vi, 3U);
    s.done(*again, one_message, 16);
    EXPECT_FALSE(s.next(16)) << "said once under the grant, served once";
}

TEST(scheduler, who_has_more_goes_to_the_end) {
    scheduler s = of_functions(1, {.queues = 1});
    s.ready({0, 0}, 0);
    s.ready({0, 1}, 0);
    for (std::uint64_t turn = 0; turn < 6; ++turn) {
        const auto g = s.next(turn);
        ASSERT_TRUE(g);
        EXPECT_EQ(g->vi.vi, turn % 2);
        s.done(*g, one_of_many, turn);
    }
}

TEST(scheduler, forgetting_takes_out_what_waits_and_nothing_else) {
    scheduler s = of_functions(2);
    EXPECT_TRUE(s.forget({0, 0})) << "it was never there";
    EXPECT_TRUE(s.forget({77, 0}));
    s.ready({0, 0}, 0);
    s.ready({0, 1}, 0);
    EXPECT_TRUE(s.forget({0, 0}));
    EXPECT_TRUE(s.forget({0, 0}));
    const auto g = s.next(0);
    ASSERT_TRUE(g);
    EXPECT_EQ(g->vi.vi, 1U);
    EXPECT_FALSE(s.forget({0, 1}));
    s.done(*g, one_of_many, 1);
    EXPECT_TRUE(s.has_work()) << "a refusal changes nothing";
    EXPECT_TRUE(s.forget({0, 1}));
    EXPECT_FALSE(s.has_work());
    EXPECT_FALSE(s.next(2));
}

TEST(scheduler, forgetting_the_one_that_a_cap_holds_back_leaves_nobody_to_wake_for) {
    scheduler s({});
    s.set_entitlement(0, {.cap = 1'000'000}, 0);
    s.ready({0, 0}, 0);
    const auto g = s.next(0);
    ASSERT_TRUE(g);
    s.done(*g, {.bytes = 1'000'000, .descriptors = 1, .engine_ns = 1, .more = true}, 0);
    EXPECT_FALSE(s.next(0));
    EXPECT_EQ(s.next_time(), second_ns);
    EXPECT_TRUE(s.forget({0, 0}));
    EXPECT_EQ(s.next_time(), 0U);
}

TEST(scheduler, whoever_comes_while_a_cap_holds_another_back_can_be_served) {
    scheduler s({});
    s.set_entitlement(0, {.cap = 1'000'000}, 0);
    s.set_entitlement(1, {}, 0);
    EXPECT_FALSE(s.can_serve());
    s.ready({0, 0}, 0);
    EXPECT_TRUE(s.can_serve());
    s.done(*s.next(0), {.bytes = 1'000'000, .descriptors = 1, .engine_ns = 1, .more = true}, 0);
    EXPECT_FALSE(s.next(0));
    EXPECT_TRUE(s.has_work());
    EXPECT_FALSE(s.can_serve());
    s.ready({1, 0}, 10);
    EXPECT_EQ(s.next_time(), second_ns) << "which is the other's";
    EXPECT_TRUE(s.can_serve());
    s.done(*s.next(10), one_message, 20);
    EXPECT_FALSE(s.can_serve());
    EXPECT_TRUE(s.next(second_ns));
    EXPECT_FALSE(s.can_serve());
}

TEST(scheduler, a_function_may_go_while_its_grants_are_out) {
    scheduler s = of_functions(2, {.engines = 3});
    for (std::uint32_t vi = 0; vi < 4; ++vi) {
        s.ready({1, vi}, 0);
    }
    const auto first = s.next(0);
    const auto second = s.next(0);
    s.remove_function(1, 1);
    EXPECT_FALSE(s.has_work());
    s.ready({1, 0}, 1);
    EXPECT_FALSE(s.has_work()) << "it is not there";
    s.done(*first, one_of_many, 2);
    EXPECT_FALSE(s.has_work());
    EXPECT_EQ(s.counters(1).bytes, 0U);

    // It comes back before the second grant is over: that VI waits for it, and is charged nothing for it.
    s.set_entitlement(1, {}, 3);
    s.ready(second->vi, 3);
    EXPECT_FALSE(s.next(3)) << "one VI is on one engine at most, whoever owns it";
    s.done(*second, {.bytes = 1 << 30, .descriptors = 1, .engine_ns = 1, .more = true}, 4);
    const auto again = s.next(4);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->vi, second->vi);
    s.done(*again, one_message, 5);
    EXPECT_EQ(s.counters(1).bytes, 64U);
    EXPECT_EQ(s.counters(1).grants, 1U);
}

TEST(scheduler, a_function_that_is_made_anew_counts_anew_and_a_changed_one_does_not) {
    scheduler s = of_functions(1);
    s.ready({0, 0}, 0);
    s.done(*s.next(0), one_message, 1);
    s.set_entitlement(0, {.weight = 2}, 2);
    EXPECT_EQ(s.counters(0).grants, 1U);
    s.remove_function(0, 3);
    EXPECT_EQ(s.counters(0).grants, 1U);
    s.set_entitlement(0, {}, 4);
    EXPECT_EQ(s.counters(0).grants, 0U);
}

TEST(scheduler, what_was_done_for_a_receiver_is_counted) {
    scheduler s = of_functions(2);
    s.charge_receiver(1, 4096, 0);
    s.charge_receiver(9, 4096, 0);
    EXPECT_EQ(s.counters(1).received_charge, 4096U);
    EXPECT_EQ(s.counters(1).bytes, 0U);
}

TEST(scheduler, settings_outside_their_limits_are_named) {
    EXPECT_EQ(complaint(entitlement{}), "");
    EXPECT_EQ(complaint(scheduler_options{}), "");
    EXPECT_NE(complaint(entitlement{.weight = 0}), "");
    EXPECT_NE(complaint(entitlement{.weight = 10'001}), "");
    EXPECT_NE(complaint(entitlement{.priority = 8}), "");
    EXPECT_NE(complaint(entitlement{.reserved_queues = 1025}), "");
    EXPECT_NE(complaint(entitlement{.guarantee = 2, .cap = 1}), "");
    EXPECT_NE(complaint(scheduler_options{.engines = 0}), "");
    EXPECT_NE(complaint(scheduler_options{.engines = 65}), "");
    EXPECT_NE(complaint(scheduler_options{.queues = 0}), "");
    EXPECT_NE(complaint(scheduler_options{.queues = 1025}), "");
    EXPECT_NE(complaint(scheduler_options{.lease_descriptors = 0}), "");
    EXPECT_NE(complaint(scheduler_options{.bytes_per_second = 0}), "");
    EXPECT_EQ(scheduler({.engines = 1000, .queues = 0}).options().engines, 64U);
}

// -- how long one waits -----------------------------------------------------------------------------------------------

/// The longest that one 64-byte message of function 1 waits for its engine beside 1 GiB messages of others.
std::uint64_t longest_wait(const scheduler_options& options, std::uint32_t bulk_functions, std::uint32_t bulk_vis) {
    simulation s(options);
    s.function(1);
    for (std::uint32_t f = 2; f < 2 + bulk_functions; ++f) {
        s.function(f);
        for (std::uint32_t vi = 0; vi < bulk_vis; ++vi) {
            s.send({f, vi}, 1 << 30);
        }
    }
    std::uint64_t longest = 0;
    std::uint64_t since = endless;
    s.on_grant = [&](const grant& g) {
        if (g.vi.function == 1) {
            longest = std::max(longest, s.now() - since);
            since = endless;
        }
    };
    for (std::uint64_t i = 1; i <= 500; ++i) {
        s.at(i * 300'007, [&] {
            since = std::min(since, s.now());
            s.send({1, 0}, 64, 1);
        });
    }
    s.run_until(500 * 300'007ULL + second_ns);
    EXPECT_EQ(s.bytes(1), 500U * 64);
    return longest;
}

TEST(scheduler, a_gibibyte_holds_up_a_small_message_for_one_lease_at_most) {
    constexpr std::uint64_t lease_ns = (64 << 10) * second_ns / engine_rate;
    for (const std::uint32_t engines : {1U, 2U, 4U}) {
        EXPECT_LE(longest_wait({.engines = engines}, 1, 1), lease_ns) << engines;
        EXPECT_LE(longest_wait({.engines = engines}, 7, 3), lease_ns) << engines;
        EXPECT_LE(longest_wait({.engines = engines, .queues = 1}, 7, 3), lease_ns) << engines;
    }
}

TEST(scheduler, without_a_lease_it_holds_it_up_until_it_is_through) {
    EXPECT_GT(longest_wait({.lease_bytes = 0, .lease_descriptors = 1}, 1, 1), 100'000'000U);
}

TEST(scheduler, in_order_of_arrival_it_waits_for_everybody_in_front) {
    constexpr std::uint64_t lease_ns = (64 << 10) * second_ns / engine_rate;
    EXPECT_GT(longest_wait({.order = policy::fifo}, 7, 3), 20 * lease_ns);
}

TEST(scheduler, a_neighbour_of_the_same_function_waits_for_one_turn_of_each_of_its_vis) {
    constexpr std::uint64_t lease_ns = (64 << 10) * second_ns / engine_rate;
    simulation s({});
    s.function(1);
    for (std::uint32_t vi = 1; vi <= 5; ++vi) {
        s.send({1, vi}, 1 << 30);
    }
    s.run_for(10 * lease_ns + 100);
    const std::uint64_t begin = s.now();
    s.send({1, 0}, 64, 1);
    s.run_for(20 * lease_ns);
    EXPECT_LE(s.of({1, 0}).first_grant_ns - begin, 5 * lease_ns);
}

// -- any number of queues ---------------------------------------------------------------------------------------------

TEST(scheduler, the_number_of_queues_changes_nothing_but_the_order_among_vis) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> reference;
    for (const std::uint32_t queues : {1U, 2U, 16U, 1024U}) {
        for (const std::uint32_t engines : {1U, 3U}) {
            simulation s({.engines = engines, .queues = queues});
            std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> digests;
            s.on_message = [&](vi_name vi, std::uint64_t number) {
                std::uint64_t& digest = digests[{vi.function, vi.vi}];
                digest = digest * 0x9e3779b97f4a7c15 + number;
            };
            for (std::uint32_t f = 0; f < 5; ++f) {
                s.function(f, {.weight = f + 1, .priority = f % 2});
                for (std::uint32_t vi = 0; vi < 40; ++vi) {
                    for (std::uint64_t burst = 0; burst < 5; ++burst) {
                        s.at(burst * 10'000 * (f + 1) + vi * 777,
                             [&s, f, vi] { s.send({f, vi}, 64ULL << (vi % 12), 10 + vi); });
                    }
                }
            }
            s.run_until(endless);
            EXPECT_EQ(digests.size(), 200U);
            if (reference.empty()) {
                reference = digests;
            }
            EXPECT_EQ(digests, reference) << queues << " queues, " << engines << " engines";
        }
    }
}

}  // namespace
}  // namespace vinic::controller::test

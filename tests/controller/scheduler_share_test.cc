// SPDX-License-Identifier: Apache-2.0
//
// scheduler_share_test.cc -- who gets how much of the engines, to exact numbers on a virtual clock.
#include <gtest/gtest.h>

#include "controller/simulation.hpp"

namespace vinic::controller::test {
namespace {

/// Functions 1 .. count send endlessly, the even ones 64 bytes at a time and the odd ones 4 KiB.
void mixed(simulation& s, std::uint32_t count) {
    for (std::uint32_t f = 1; f <= count; ++f) {
        s.function(f);
        s.send({f, 0}, f % 2 == 0 ? 64 : 4096);
    }
}

TEST(scheduler_share, equal_functions_get_equal_bytes_whatever_the_size_of_their_messages) {
    for (const std::uint32_t count : {2U, 3U, 8U, 64U, 256U}) {
        simulation s({});
        mixed(s, count);
        s.run_for(second_ns / 10);
        const auto shares = s.shares(1, count);
        EXPECT_GE(jain(shares), 0.999) << count;
        EXPECT_LE(max_over_min(shares), count <= 64 ? 1.01 : 1.03) << count;
    }
}

TEST(scheduler_share, several_engines_share_as_evenly_as_one) {
    for (const std::uint32_t engines : {2U, 4U}) {
        for (const std::uint32_t vis : {1U, 3U}) {
            simulation s({.engines = engines});
            for (std::uint32_t f = 1; f <= 9; ++f) {
                s.function(f);
                for (std::uint32_t vi = 0; vi < vis; ++vi) {
                    s.send({f, vi}, f % 2 == 0 ? 64 : 4096);
                }
            }
            s.run_for(second_ns / 10);
            EXPECT_GE(jain(s.shares(1, 9)), 0.999) << engines << " engines, " << vis << " VIs";
            const auto shares = s.shares(1, 9);
            double sum = 0;
            for (const double share : shares) {
                sum += share;
            }
            EXPECT_GE(sum / (engine_rate / 10.0 * engines), 0.999) << "no engine was idle";
        }
    }
}

TEST(scheduler_share, turns_of_requests_give_the_sender_of_large_messages_nearly_all) {
    simulation s({.order = policy::request_round_robin});
    mixed(s, 2);
    s.run_for(second_ns / 100);
    EXPECT_NEAR(jain(s.shares(1, 2)), 0.516, 0.001);
}

TEST(scheduler_share, order_of_arrival_gives_whoever_has_more_vis_more) {
    simulation s({.queues = 1024, .order = policy::fifo});
    s.function(1);
    s.function(2);
    s.send({1, 0}, 4096);
    for (std::uint32_t vi = 0; vi < 9; ++vi) {
        s.send({2, vi}, 4096);
    }
    s.run_for(second_ns / 100);
    EXPECT_NEAR(static_cast<double>(s.bytes(2)) / static_cast<double>(s.bytes(1)), 9, 0.2);
}

TEST(scheduler_share, the_number_of_vis_and_queues_buys_nothing) {
    simulation s({.queues = 1024});
    s.function(1);
    s.function(2, {.reserved_queues = 512});
    s.send({1, 0}, 4096);
    for (std::uint32_t vi = 0; vi < 900; ++vi) {
        s.send({2, vi}, 4096);
    }
    s.run_for(second_ns / 10);
    EXPECT_LE(max_over_min(s.shares(1, 2)), 1.001);
}

TEST(scheduler_share, weights_one_two_and_four_give_shares_in_that_ratio) {
    simulation s({});
    for (std::uint32_t f = 1; f <= 3; ++f) {
        s.function(f, {.weight = 1U << (f - 1)});
        s.send({f, 0}, f == 2 ? 64 : 4096);
    }
    s.run_for(second_ns / 10);
    const auto total = static_cast<double>(s.bytes(1) + s.bytes(2) + s.bytes(3));
    EXPECT_NEAR(static_cast<double>(s.bytes(1)) / total, 1.0 / 7, 0.0005);
    EXPECT_NEAR(static_cast<double>(s.bytes(2)) / total, 2.0 / 7, 0.0005);
    EXPECT_NEAR(static_cast<double>(s.bytes(3)) / total, 4.0 / 7, 0.0005);
}

TEST(scheduler_share, a_guarantee_is_delivered_among_greedy_functions) {
    for (const std::uint32_t count : {8U, 64U}) {
        for (const std::uint32_t bytes : {64U, 4096U, 1U << 20}) {
            simulation s({});
            for (std::uint32_t f = 1; f <= count; ++f) {
                s.function(f, {.guarantee = f == 1 ? engine_rate / 2 : 0, .weight = f == 1 ? 1U : 100U});
                s.send({f, 0}, f == 1 ? bytes : 1 << 20);
            }
            s.run_for(second_ns / 10);
            EXPECT_GE(static_cast<double>(s.bytes(1)), 0.995 * engine_rate / 2 / 10) << count << " " << bytes;
            EXPECT_LE(static_cast<double>(s.bytes(1)), 1.005 * engine_rate / 2 / 10) << count << " " << bytes;
        }
    }
}

TEST(scheduler_share, neither_baseline_delivers_a_guarantee) {
    for (const policy order : {policy::request_round_robin, policy::fifo}) {
        simulation s({.order = order});
        for (std::uint32_t f = 1; f <= 8; ++f) {
            s.function(f, {.guarantee = f == 1 ? engine_rate / 2 : 0});
            s.send({f, 0}, 64 << 10);
        }
        s.run_for(second_ns / 10);
        EXPECT_NEAR(static_cast<double>(s.bytes(1)), engine_rate / 8.0 / 10, engine_rate / 1000.0);
    }
}

TEST(scheduler_share, what_a_guarantee_leaves_unused_is_not_lost) {
    simulation s({});
    s.function(1, {.guarantee = engine_rate / 4 * 3});
    s.function(2);
    s.function(3, {.cap = engine_rate / 10});
    s.send({2, 0}, 4096);
    s.send({3, 0}, 4096);
    s.run_for(second_ns / 10);
    const double all = engine_rate / 10.0;
    EXPECT_GE(static_cast<double>(s.bytes(2) + s.bytes(3)) / all, 0.999);
    EXPECT_NEAR(static_cast<double>(s.bytes(3)) / all, 0.1, 0.0002);
}

TEST(scheduler_share, a_cap_is_kept_by_any_number_of_engines) {
    for (const std::uint32_t engines : {1U, 2U, 8U}) {
        simulation s({.engines = engines});
        s.function(1, {.cap = 1'000'000'000});
        for (std::uint32_t vi = 0; vi < 20; ++vi) {
            s.send({1, vi}, 4096);
        }
        s.run_for(second_ns);
        EXPECT_NEAR(static_cast<double>(s.bytes(1)), 1e9, 1e6) << engines;
        EXPECT_NEAR(static_cast<double>(s.device().counters(1).capped_ns), 1e9, 0.6e9);
    }
}

TEST(scheduler_share, a_cap_of_one_wakes_at_the_right_time_and_not_in_between) {
    simulation s({});
    s.function(1, {.cap = 100'000'000});
    std::uint64_t grants = 0;
    s.on_grant = [&](const grant&) { ++grants; };
    s.send({1, 0}, 4096, 1000);
    s.run_until(endless);
    EXPECT_EQ(s.bytes(1), 4'096'000U);
    EXPECT_EQ(grants, 63U) << "leases of sixteen messages";
    EXPECT_NEAR(static_cast<double>(s.now()), 4'096'000 * 10.0, 65536 * 10.0);
    EXPECT_EQ(s.device().next_time(), 0U);
}

TEST(scheduler_share, engine_time_is_charged_where_it_is_more_than_the_bytes) {
    // Function 2 sends 64 bytes at a time and holds the engine for 400 ns more with each, as bad keys or many segments
    // do.
    simulation s({});
    s.function(1);
    s.function(2);
    s.send({1, 0}, 4096);
    s.send({2, 0}, 64, endless, 400);
    s.run_for(second_ns / 10);
    const auto time = [&](std::uint32_t f) { return static_cast<double>(s.device().counters(f).engine_ns); };
    EXPECT_NEAR(time(1) / time(2), 1, 0.01);
    EXPECT_NEAR(static_cast<double>(s.bytes(1)), engine_rate / 2 / 10.0, engine_rate / 1000.0);
}

TEST(scheduler_share, without_the_charge_for_time_the_slow_one_would_take_nearly_all) {
    // The same, where an engine's second is worth next to nothing.
    simulation s({.bytes_per_second = 1000});
    s.function(1);
    s.function(2);
    s.send({1, 0}, 4096);
    s.send({2, 0}, 64, endless, 400);
    s.run_for(second_ns / 10);
    EXPECT_LT(static_cast<double>(s.bytes(1)), 0.04 * engine_rate / 10);
}

TEST(scheduler_share, classes_are_strict_and_shares_count_within_one) {
    simulation s({});
    s.function(1, {.weight = 3, .priority = 1});
    s.function(2, {.weight = 1, .priority = 1});
    s.function(3, {.guarantee = engine_rate / 2, .priority = 0});
    for (std::uint32_t f = 1; f <= 3; ++f) {
        s.send({f, 0}, 4096);
    }
    s.run_for(second_ns / 100);
    EXPECT_EQ(s.bytes(3), 0U);
    EXPECT_NEAR(static_cast<double>(s.bytes(1)) / static_cast<double>(s.bytes(2)), 3, 0.02);
    s.stop({1, 0});
    s.stop({2, 0});
    const std::uint64_t before = s.bytes(3);
    s.run_for(second_ns / 100);
    EXPECT_NEAR(static_cast<double>(s.bytes(3) - before), engine_rate / 100.0, 200'000);
}

TEST(scheduler_share, four_thousand_vis_are_no_better_than_one) {
    for (const std::uint32_t queues : {1U, 64U, 1024U}) {
        simulation s({.queues = queues});
        s.function(1);
        s.function(2);
        for (std::uint32_t vi = 0; vi < 4096; ++vi) {
            s.send({2, vi}, 4096);
        }
        s.send({1, 0}, 4096);
        s.run_for(second_ns / 10);
        EXPECT_LE(max_over_min(s.shares(1, 2)), 1.002) << queues;
        EXPECT_EQ(s.device().counters(1).queue_waits, queues == 1 ? 1U : 0U) << "its own queue was kept for it";
        EXPECT_GT(s.device().counters(2).queue_waits, 3000U);
    }
}

TEST(scheduler_share, a_function_with_a_grant_under_way_is_not_idle) {
    // One VI is on an engine for 5 ms; when another comes after 4 ms, the guarantee has been due for that long.
    simulation s({.engines = 2});
    s.function(1, {.guarantee = engine_rate / 10});
    s.function(2, {.weight = 10'000});
    s.send({1, 0}, 64, 1, 5'000'000);
    s.send({2, 0}, 4096);
    s.run_for(4'000'000);
    s.send({1, 1}, 4096);
    s.run_for(900'000);
    EXPECT_NEAR(static_cast<double>(s.of({1, 1}).bytes), 4.9e-3 * engine_rate / 10, 2 * 65536);
}

TEST(scheduler_share, a_change_counts_from_the_next_grant) {
    simulation s({});
    for (std::uint32_t f = 1; f <= 2; ++f) {
        s.function(f);
        s.send({f, 0}, 4096);
    }
    const auto moved = [&s] {
        const std::uint64_t before = s.bytes(1);
        s.run_for(second_ns / 1000);
        return static_cast<double>(s.bytes(1) - before) / (engine_rate / 1000.0);
    };
    EXPECT_NEAR(moved(), 0.5, 0.02);
    s.function(1, {.weight = 3});
    EXPECT_NEAR(moved(), 0.75, 0.02);
    s.function(1, {.cap = engine_rate / 10});
    EXPECT_NEAR(moved(), 0.1, 0.02);
    s.function(1, {.guarantee = engine_rate / 10 * 9});
    EXPECT_NEAR(moved(), 0.9, 0.02);
    s.function(1, {.priority = 1});
    EXPECT_NEAR(moved(), 1, 0.02);
    s.function(1);
    EXPECT_NEAR(moved(), 0.5, 0.02);
}

}  // namespace
}  // namespace vinic::controller::test

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

TEST(scheduler_share, weights_one_two_and_four) {
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

}  // namespace
}  // namespace vinic::controller::test

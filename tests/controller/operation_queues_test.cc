// SPDX-License-Identifier: Apache-2.0
//
// operation_queues_test.cc -- leases of queues: reserved, shared, given back; and the order of VIs inside them.
#include "controller/operation_queues.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace vinic::controller {
namespace {

constexpr std::uint64_t quantum = 64 << 10;

class queues_of {
public:
    queues_of(std::uint32_t queues, std::vector<std::uint32_t> reserved) : queues_(queues, quantum) {
        for (std::uint32_t f = 0; f < reserved.size(); ++f) {
            queues_.reserve(f, reserved[f]);
        }
    }
    /// True: it found a queue of its own.
    bool bind(std::uint32_t function, std::uint32_t vi) {
        return queues_.bind({function, vi}, queues_.entry({function, vi}), 0);
    }
    std::uint32_t take(std::uint32_t function) { return queues_.take(function).vi; }
    void give_back(std::uint32_t function, std::uint32_t vi, std::uint64_t bytes, bool more) {
        queues_.give_back({function, vi}, queues_.entry({function, vi}), bytes, more, 0);
    }
    /// Takes and gives back with more to do; returns who it was.
    std::uint32_t serve(std::uint32_t function, std::uint64_t bytes) {
        const std::uint32_t vi = take(function);
        give_back(function, vi, bytes, true);
        return vi;
    }
    std::uint32_t queue_of(std::uint32_t function, std::uint32_t vi) {
        return queues_.queue_of(queues_.entry({function, vi}));
    }
    operation_queues& operator*() { return queues_; }

private:
    operation_queues queues_;
};

TEST(operation_queues, with_enough_queues_each_vi_has_its_own) {
    queues_of q(16, {1});
    std::set<std::uint32_t> seen;
    for (std::uint32_t vi = 0; vi < 16; ++vi) {
        EXPECT_TRUE(q.bind(0, vi));
        seen.insert(q.queue_of(0, vi));
    }
    EXPECT_EQ(seen.size(), 16U);
    EXPECT_FALSE(q.bind(0, 16)) << "the seventeenth shares one";
    EXPECT_LT(q.queue_of(0, 16), 16U);
}

TEST(operation_queues, the_last_queue_reserved_for_another_is_never_taken) {
    queues_of q(8, {1, 3, 0});
    for (std::uint32_t vi = 0; vi < 4096; ++vi) {
        EXPECT_EQ(q.bind(0, vi), vi < 5) << vi;  // 8, less three that are reserved for function 1
    }
    for (std::uint32_t vi = 0; vi < 3; ++vi) {
        EXPECT_TRUE(q.bind(1, vi));
    }
    EXPECT_FALSE(q.bind(1, 3));
    EXPECT_EQ((*q).owned(1), 3U);
}

TEST(operation_queues, without_reservation_and_free_queue_a_function_is_a_guest_and_waits_for_nobody) {
    queues_of q(1, {1, 0});
    EXPECT_TRUE(q.bind(0, 0));
    EXPECT_TRUE((q.bind(0, 1), true));
    EXPECT_FALSE(q.bind(1, 7));
    EXPECT_EQ(q.queue_of(1, 7), 0U);
    EXPECT_EQ(q.take(1), 7U) << "what the owner has waiting does not matter";
    q.give_back(1, 7, 100, false);
    EXPECT_TRUE((*q).idle(1));
}

TEST(operation_queues, more_reservations_than_queues_are_served_as_they_come) {
    queues_of q(2, {2, 2, 2});
    EXPECT_TRUE(q.bind(0, 0));
    EXPECT_TRUE(q.bind(1, 0));
    EXPECT_FALSE(q.bind(2, 0));
    EXPECT_FALSE(q.bind(0, 1));
    for (std::uint32_t f = 0; f < 3; ++f) {
        EXPECT_EQ(q.take(f), 0U);
        q.give_back(f, 0, 1, false);
    }
    EXPECT_TRUE(q.bind(2, 0)) << "one was given back";
}

TEST(operation_queues, a_drained_vi_gives_its_queue_back) {
    queues_of q(1, {0, 0});
    for (std::uint32_t turn = 0; turn < 100; ++turn) {
        const std::uint32_t function = turn % 2;
        EXPECT_TRUE(q.bind(function, turn));
        EXPECT_EQ(q.take(function), turn);
        q.give_back(function, turn, 1, false);
        EXPECT_EQ((*q).owned(function), 0U);
    }
}

TEST(operation_queues, a_queue_is_first_in_first_out_and_rotates) {
    queues_of q(1, {1});
    for (std::uint32_t vi : {5U, 3U, 9U}) {
        q.bind(0, vi);
    }
    for (int turn = 0; turn < 4; ++turn) {
        EXPECT_EQ(q.serve(0, quantum), 5U);
        EXPECT_EQ(q.serve(0, quantum), 3U);
        EXPECT_EQ(q.serve(0, 64), 9U);
    }
}

TEST(operation_queues, a_vi_is_forgotten_wherever_it_stands) {
    for (std::uint32_t gone = 0; gone < 4; ++gone) {
        queues_of q(1, {1});
        for (std::uint32_t vi = 0; vi < 4; ++vi) {
            q.bind(0, vi);
        }
        (*q).forget({0, gone}, (*q).entry({0, gone}));
        EXPECT_EQ((*q).queued(0), 3U);
        for (std::uint32_t vi = 0; vi < 4; ++vi) {
            if (vi != gone) {
                EXPECT_EQ(q.take(0), vi);
                q.give_back(0, vi, 1, false);
            }
        }
        EXPECT_TRUE((*q).idle(0));
        EXPECT_EQ((*q).owned(0), 0U);
    }
}

TEST(operation_queues, closing_forgets_what_waits_and_keeps_what_is_under_grant) {
    queues_of q(4, {2, 2});
    for (std::uint32_t vi = 0; vi < 600; vi += 100) {
        q.bind(0, vi);
    }
    const std::uint32_t granted = q.take(0);
    EXPECT_EQ((*q).close(0), 5U);
    EXPECT_EQ((*q).queued(0), 0U);
    EXPECT_FALSE((*q).idle(0));
    q.give_back(0, granted, 1, false);
    EXPECT_TRUE((*q).idle(0));
    for (std::uint32_t vi = 0; vi < 4; ++vi) {
        EXPECT_TRUE(q.bind(1, vi)) << "all queues are free again";
    }
}

TEST(operation_queues, queues_of_one_function_get_equal_bytes_whatever_a_grant_moves) {
    queues_of q(2, {2});
    q.bind(0, 0);
    q.bind(0, 1);
    std::uint64_t moved[2] = {};
    for (int i = 0; i < 100'000; ++i) {
        const std::uint32_t vi = q.take(0);
        const std::uint64_t bytes = vi == 0 ? 4096 : quantum;
        moved[vi] += bytes;
        q.give_back(0, vi, bytes, true);
    }
    EXPECT_NEAR(static_cast<double>(moved[0]) / static_cast<double>(moved[1]), 1, 0.001);
}

TEST(operation_queues, a_vi_gets_the_same_whether_it_shares_its_queue_or_not) {
    queues_of q(2, {2});
    for (std::uint32_t vi = 0; vi < 6; ++vi) {
        q.bind(0, vi);
    }
    std::vector<std::uint32_t> in_queue[2];
    for (std::uint32_t vi = 0; vi < 6; ++vi) {
        in_queue[q.queue_of(0, vi)].push_back(vi);
    }
    ASSERT_EQ(in_queue[0].size(), 3U);
    for (int i = 0; i < 2; ++i) {  // of the second queue only one stays
        (*q).forget({0, in_queue[1][0]}, (*q).entry({0, in_queue[1][0]}));
        in_queue[1].erase(in_queue[1].begin());
    }
    std::uint64_t moved[6] = {};
    for (int i = 0; i < 40'000; ++i) {
        const std::uint32_t vi = q.take(0);
        moved[vi] += quantum;
        q.give_back(0, vi, quantum, true);
    }
    for (const std::uint32_t vi : in_queue[0]) {
        EXPECT_NEAR(static_cast<double>(moved[vi]) / static_cast<double>(moved[in_queue[1][0]]), 1, 0.01) << vi;
    }
}

TEST(operation_queues, a_newcomer_waits_for_one_turn_of_each_lane_at_most) {
    queues_of q(16, {16});
    for (std::uint32_t vi = 0; vi < 8; ++vi) {
        q.bind(0, vi);
    }
    for (int i = 0; i < 1000; ++i) {
        q.serve(0, quantum - 4096);
    }
    q.bind(0, 8);
    int turns = 0;
    while (q.serve(0, quantum - 4096) != 8) {
        ++turns;
    }
    EXPECT_LE(turns, 8);
}

TEST(operation_queues, one_that_was_charged_far_too_much_is_heard_again_soon) {
    queues_of q(2, {2});
    q.bind(0, 0);
    q.bind(0, 1);
    while (q.serve(0, quantum) != 0) {
    }
    const std::uint32_t vi = q.take(0);
    q.give_back(0, vi, 1ULL << 40, true);
    int others = 0;
    while (q.serve(0, quantum) != vi) {
        ++others;
    }
    EXPECT_LE(others, byte_round_robin::debt_quanta_max + 1);
}

}  // namespace
}  // namespace vinic::controller

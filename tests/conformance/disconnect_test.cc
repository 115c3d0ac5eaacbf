// SPDX-License-Identifier: Apache-2.0
//
// disconnect_test.cc -- the end of a connection from either side, what is flushed, what stays, and connecting again.
#include "fixture.hpp"

namespace conformance {
namespace {

class disconnect : public with_handles {
protected:
    pair linked{{}, GetParam()};
    endpoint& left = linked.left;
    endpoint& right = linked.right;

    static void post_receives(endpoint& side, std::uint64_t count, std::uint64_t first_cookie = 0) {
        for (std::uint64_t i = 0; i < count; ++i)
            ASSERT_EQ(side.vi.post_receive(side.at(i * 64, 64), first_cookie + i), vinic::errc::ok);
    }
    static void expect_flushed(endpoint& side, std::uint64_t count, std::uint64_t first_cookie = 0) {
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto done = next(side.receives);
            EXPECT_EQ(done.cookie, first_cookie + i) << "flushed in posting order";
            EXPECT_EQ(done.status, vinic::status::flushed);
            EXPECT_EQ(done.opcode, vinic::opcode::receive);
            EXPECT_EQ(done.vi, side.vi.number());
        }
    }
    void expect_message_flows(endpoint& from, endpoint& to) {
        fill(from.bytes(0, 64), 9);
        ASSERT_EQ(to.vi.post_receive(to.at(512, 64), 100), vinic::errc::ok);
        ASSERT_EQ(from.vi.post_send(from.at(0, 64), 200), vinic::errc::ok);
        EXPECT_EQ(next(to.receives).cookie, 100u);
        EXPECT_EQ(next(from.sends).cookie, 200u);
        EXPECT_TRUE(matches(to.bytes(512, 64), 9));
    }
};

TEST_P(disconnect, by_one_side_is_idle_there_and_error_at_the_other) {
    must(left.vi.disconnect());
    EXPECT_EQ(left.vi.state(), vinic::vi_state::idle);
    EXPECT_TRUE(comes_to(right.vi, vinic::vi_state::error));
    EXPECT_EQ(code_of(right.vi.disconnect()), vinic::errc::ok);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::idle);
}

TEST_P(disconnect, by_the_accepting_side_is_the_same) {
    must(right.vi.disconnect());
    EXPECT_EQ(right.vi.state(), vinic::vi_state::idle);
    EXPECT_TRUE(comes_to(left.vi, vinic::vi_state::error));
}

TEST_P(disconnect, by_both_sides_at_once_ends_idle_for_both) {
    for (int round = 0; round < 30; ++round) {
        auto other = in_thread([&] { return right.vi.disconnect(); });
        EXPECT_EQ(code_of(left.vi.disconnect()), vinic::errc::ok);
        EXPECT_EQ(code_of(other.get()), vinic::errc::ok);
        ASSERT_EQ(left.vi.state(), vinic::vi_state::idle);
        ASSERT_EQ(right.vi.state(), vinic::vi_state::idle);
        connect(right.nic, left.vi, right.vi);
    }
    expect_message_flows(left, right);
}

TEST_P(disconnect, flushes_the_receives_of_both_sides_in_order) {
    post_receives(left, 10);
    post_receives(right, 20, 1000);
    must(left.vi.disconnect());
    expect_flushed(left, 10);
    expect_flushed(right, 20, 1000);
    EXPECT_TRUE(is_quiet(left.receives));
    EXPECT_TRUE(is_quiet(right.receives));
    EXPECT_EQ(left.vi.receives_outstanding(), 0u);
    EXPECT_EQ(right.vi.receives_outstanding(), 0u);
}

TEST_P(disconnect, flushes_sends_that_still_wait_for_a_receiver) {
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(left.vi.post_send(left.at(0, 32), i), vinic::errc::ok);
    EXPECT_TRUE(is_quiet(left.sends)) << "no receive is posted";
    must(left.vi.disconnect());
    for (std::uint64_t i = 0; i < 5; ++i) {
        const auto done = next(left.sends);
        EXPECT_EQ(done.cookie, i);
        EXPECT_EQ(done.status, vinic::status::flushed);
        EXPECT_EQ(done.opcode, vinic::opcode::send);
    }
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
}

TEST_P(disconnect, by_the_receiver_flushes_the_sends_that_wait_for_it) {
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(left.vi.post_send(left.at(0, 32), i), vinic::errc::ok);
    must(right.vi.disconnect());
    for (std::uint64_t i = 0; i < 5; ++i) {
        const auto done = next(left.sends);
        EXPECT_EQ(done.cookie, i);
        EXPECT_EQ(done.status, vinic::status::flushed);
    }
    EXPECT_EQ(left.vi.state(), vinic::vi_state::error);
}

TEST_P(disconnect, keeps_what_had_already_arrived) {
    fill(left.bytes(0, 640), 6);
    post_receives(right, 6);
    for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(left.vi.post_send(left.at(i * 64, 64), i), vinic::errc::ok);
    EXPECT_EQ(next(left.sends, 4).size(), 4u);
    must(left.vi.disconnect());
    for (std::uint64_t i = 0; i < 4; ++i) {
        const auto done = next(right.receives);
        EXPECT_EQ(done.cookie, i);
        EXPECT_EQ(done.status, vinic::status::success);
    }
    EXPECT_TRUE(matches(right.bytes(0, 256), 6));
    expect_flushed(right, 2, 4);
}

TEST_P(disconnect, keeps_unpolled_completions_of_the_side_that_leaves) {
    post_receives(right, 3);
    for (std::uint64_t i = 0; i < 3; ++i) ASSERT_EQ(left.vi.post_send(left.at(0, 64), i), vinic::errc::ok);
    must(right.vi.disconnect());
    for (const auto& done : next(right.receives, 3)) EXPECT_EQ(done.status, vinic::status::success);
    for (const auto& done : next(left.sends, 3)) EXPECT_EQ(done.status, vinic::status::success);
}

TEST_P(disconnect, stops_writes_of_the_other_side) {
    must(right.vi.disconnect());
    ASSERT_TRUE(comes_to(left.vi, vinic::vi_state::error));
    fill(left.bytes(0, 64), 3);
    ASSERT_EQ(left.vi.post_write(left.at(0, 64), right.remote(), 1), vinic::errc::ok);
    EXPECT_EQ(next(left.sends).status, vinic::status::flushed);
    EXPECT_TRUE(all_are(right.bytes(0, 64), std::byte{0}));
}

TEST_P(disconnect, from_error_returns_to_idle_and_connects_again) {
    for (int round = 0; round < 10; ++round) {
        endpoint& leaver = round % 2 == 0 ? left : right;
        endpoint& other = round % 2 == 0 ? right : left;
        must(leaver.vi.disconnect());
        ASSERT_TRUE(comes_to(other.vi, vinic::vi_state::error));
        must(other.vi.disconnect());
        connect(right.nic, left.vi, right.vi);
        expect_message_flows(left, right);
        expect_message_flows(right, left);
    }
}

TEST_P(disconnect, lets_a_vi_connect_to_somebody_else) {
    endpoint third(linked.nics[0], {});
    must(left.vi.disconnect());
    connect(linked.nics[0], left.vi, third.vi);
    expect_message_flows(left, third);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::error) << "the old peer hears nothing of the new connection";
    ASSERT_EQ(right.vi.post_send(right.at(0, 8), 1), vinic::errc::ok);
    EXPECT_EQ(next(right.sends).status, vinic::status::flushed);
    EXPECT_EQ(code_of(right.vi.disconnect()), vinic::errc::ok);
    EXPECT_EQ(left.vi.state(), vinic::vi_state::connected) << "nor ends it";
    expect_message_flows(third, left);
}

TEST_P(disconnect, keeps_faults_of_the_earlier_connection_away_from_the_next_one) {
    // A small message travels in its completion, and only the poll finds that its memory is gone.
    arena storage(right.nic, memory_kind::device, 4096);
    vinic::region memory = must(right.domain.register_memory(storage.bytes(), vinic::access::all));
    ASSERT_EQ(right.vi.post_receive({memory, 0, 64}, 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(0, 32), 2), vinic::errc::ok);
    EXPECT_EQ(next(left.sends).status, vinic::status::success);
    must(memory.close());
    must(left.vi.disconnect());
    must(right.vi.disconnect());
    connect(right.nic, left.vi, right.vi);
    EXPECT_EQ(next(right.receives).status, vinic::status::local_protection);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::connected);
    EXPECT_EQ(left.vi.state(), vinic::vi_state::connected);
    expect_message_flows(left, right);
}

TEST_P(disconnect, tells_the_length_of_what_succeeded_behind_flushed_sends) {
    ASSERT_EQ(left.vi.post_send(left.at(0, 32), 1), vinic::errc::ok) << "waits for a receive";
    must(left.vi.disconnect());
    must(right.vi.disconnect());
    connect(right.nic, left.vi, right.vi);
    ASSERT_EQ(left.vi.post_write(left.at(0, 48), right.remote(), 2), vinic::errc::ok);
    must(left.vi.disconnect());
    // Both by one poll, if the placement can: the second is reported in the course of flushing.
    vinic::completion done[2];
    const std::size_t n = must(left.sends.wait(done, patience));
    ASSERT_NE(n, 0u);
    if (n == 1)
        done[1] = next(left.sends);
    EXPECT_EQ(done[0].status, vinic::status::flushed);
    EXPECT_EQ(done[1].status, vinic::status::success);
    EXPECT_EQ(done[1].length, 48u);
}

TEST_P(disconnect, leaves_receives_that_were_posted_before_connecting_in_place) {
    must(left.vi.disconnect());
    must(right.vi.disconnect());
    post_receives(right, 3);
    connect(right.nic, left.vi, right.vi);
    EXPECT_EQ(right.vi.receives_outstanding(), 3u) << "posted while idle";
    fill(left.bytes(0, 64), 2);
    ASSERT_EQ(left.vi.post_send(left.at(0, 64), 1), vinic::errc::ok);
    const auto done = next(right.receives);
    EXPECT_EQ(done.cookie, 0u);
    EXPECT_EQ(done.status, vinic::status::success);
    EXPECT_TRUE(matches(right.bytes(0, 64), 2));
}

TEST_P(disconnect, happens_when_the_peers_handle_is_destroyed) {
    post_receives(left, 2);
    {
        const auto gone = std::move(right.vi);
    }
    EXPECT_TRUE(comes_to(left.vi, vinic::vi_state::error));
    expect_flushed(left, 2);
}

TEST_P(disconnect, happens_when_the_peer_is_closed) {
    must(right.vi.close());
    EXPECT_TRUE(comes_to(left.vi, vinic::vi_state::error));
    EXPECT_EQ(code_of(left.vi.disconnect()), vinic::errc::ok);
}

TEST_P(disconnect, wakes_a_thread_that_waits_for_a_completion) {
    post_receives(left, 1);
    auto waiting = in_thread([&] { return next(left.receives); });
    std::this_thread::sleep_for(quiet_time);  // long enough for the thread to sleep in most runs
    must(right.vi.disconnect());
    EXPECT_EQ(waiting.get().status, vinic::status::flushed);
}

TEST_P(disconnect, while_messages_flow_delivers_each_once_or_flushes_it) {
    constexpr std::uint64_t depth = 64;
    for (int round = 0; round < 20; ++round) {
        post_receives(right, depth);
        auto sender = in_thread([&] {
            std::uint64_t posted = 0;
            while (posted < depth && left.vi.post_send(left.at(0, 64), posted) == vinic::errc::ok) ++posted;
            return posted;
        });
        must(right.vi.disconnect());
        const std::uint64_t posted = sender.get();
        std::uint64_t arrived = 0;
        for (std::uint64_t i = 0; i < depth; ++i) {
            const auto done = next(right.receives);
            ASSERT_EQ(done.cookie, i);
            if (done.status == vinic::status::success) {
                ASSERT_EQ(arrived, i) << "a message after a flushed receive";
                ++arrived;
            }
        }
        std::uint64_t sent = 0;
        for (const auto& done : next(left.sends, posted)) sent += done.status == vinic::status::success ? 1 : 0;
        EXPECT_EQ(sent, arrived) << "one machine: what was sent has arrived, and the other way round";
        must(left.vi.disconnect());
        connect(right.nic, left.vi, right.vi);
    }
}

CONFORMANCE_BOTH_WAYS(disconnect);

}  // namespace
}  // namespace conformance

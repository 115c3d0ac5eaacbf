// SPDX-License-Identifier: Apache-2.0
//
// flush_test.cc -- the state machine: what descriptors and queues do when a VI is not connected, or no longer.
#include "fixture.hpp"

namespace vipl_test {
namespace {

constexpr std::uint32_t flushed_send = done_send | VIP_STATUS_DESC_FLUSHED_ERROR;
constexpr std::uint32_t flushed_receive = done_receive | VIP_STATUS_DESC_FLUSHED_ERROR;

class flush : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    pair p{at_level(GetParam())};
};
VIPL_ALL_LEVELS(flush);

TEST_P(flush, disconnect_flushes_receives_in_order_and_returns_to_idle) {
    constexpr std::size_t count = 300;
    for (std::size_t i = 0; i < count; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(0, 64)}));
    }
    must(VipDisconnect(p.right.vi));
    EXPECT_EQ(p.right.state(), VIP_STATE_IDLE);
    for (std::size_t i = 0; i < count; ++i) {
        VIP_DESCRIPTOR* d = nullptr;
        ASSERT_EQ(VipRecvDone(p.right.vi, &d), VIP_DESCRIPTOR_ERROR) << "all of them are there when it returns";
        ASSERT_EQ(d, p.right.descriptor(i));
        ASSERT_EQ(d->CS.Status, flushed_receive);
    }
    VIP_DESCRIPTOR* d = p.right.descriptor(0);
    EXPECT_EQ(VipRecvDone(p.right.vi, &d), VIP_DESCRIPTOR_ERROR);
    EXPECT_EQ(d, nullptr);
}

TEST_P(flush, what_arrived_before_is_still_there_behind_a_disconnect_of_the_peer) {
    for (std::size_t i = 0; i < 5; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(i * 64, 64)}));
    }
    for (std::uint32_t i = 0; i < 3; ++i) {
        fill(p.left.bytes(0, 64), i);
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
        ASSERT_EQ(p.left.finish_send(s), done_send);
    }
    must(VipDisconnect(p.left.vi));
    ASSERT_TRUE(p.right.comes_to(VIP_STATE_ERROR));
    for (std::uint32_t i = 0; i < 3; ++i) {
        ASSERT_EQ(p.right.finish_receive(p.right.descriptor(i)), done_receive);
        ASSERT_TRUE(matches(p.right.bytes(i * 64, 64), i));
    }
    EXPECT_EQ(p.right.finish_receive(p.right.descriptor(3)), flushed_receive);
    EXPECT_EQ(p.right.finish_receive(p.right.descriptor(4)), flushed_receive);
}

TEST_P(flush, what_arrived_before_is_still_there_behind_a_disconnect_of_ones_own) {
    for (std::size_t i = 0; i < 3; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(i * 64, 64)}));
    }
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, VIP_CONTROL_IMMEDIATE, {p.left.at(0, 64)}, 9));
    ASSERT_EQ(p.left.finish_send(s), done_send);
    // The first one is known to be there, as Status shows.
    ASSERT_TRUE(comes_true([&] {
        VIP_DESCRIPTOR* d = nullptr;
        return VipRecvDone(p.right.vi, &d) != VIP_NOT_DONE;
    }));
    s = p.left.post_send(p.left.write(0, VIP_CONTROL_IMMEDIATE, {p.left.at(0, 64)}, 9));
    ASSERT_EQ(p.left.finish_send(s), done_send);
    must(VipDisconnect(p.right.vi));
    const std::uint32_t second = p.right.finish_receive(p.right.descriptor(1));
    EXPECT_EQ(second, done_receive | VIP_STATUS_IMMEDIATE);
    EXPECT_EQ(p.right.finish_receive(p.right.descriptor(2)), flushed_receive);
}

TEST_P(flush, in_state_error_posts_are_flushed) {
    must(VipDisconnect(p.left.vi));
    ASSERT_TRUE(p.right.comes_to(VIP_STATE_ERROR));
    VIP_DESCRIPTOR* s = p.right.post_send(p.right.write(0, 0, {p.right.at(0, 8)}));
    EXPECT_EQ(p.right.finish_send(s), flushed_send);
    VIP_DESCRIPTOR* w =
        p.right.post_send(p.right.write_rdma(1, VIP_CONTROL_OP_RDMAWRITE, p.left.at(0, 0), {p.right.at(0, 8)}));
    EXPECT_EQ(p.right.finish_send(w), done_write | VIP_STATUS_DESC_FLUSHED_ERROR);
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(2, 0, {p.right.at(0, 8)}));
    EXPECT_EQ(p.right.finish_receive(r), flushed_receive);
}

TEST_P(flush, in_state_idle_sends_are_flushed_and_receives_are_kept) {
    nic n;
    endpoint idle(n, at_level(GetParam()));
    VIP_DESCRIPTOR* s = idle.post_send(idle.write(0, 0, {idle.at(0, 8)}));
    EXPECT_EQ(idle.finish_send(s), flushed_send);
    VIP_DESCRIPTOR* r = idle.post_receive(idle.write(1, 0, {idle.at(0, 8)}));
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_EQ(VipRecvDone(idle.vi, &d), VIP_NOT_DONE);
    EXPECT_EQ(r->CS.Status, 0u);
    must(VipDisconnect(idle.vi));
    EXPECT_EQ(idle.finish_receive(r), flushed_receive);
}

TEST_P(flush, receives_kept_in_idle_serve_the_next_connection) {
    must(VipDisconnect(p.left.vi));
    ASSERT_TRUE(p.right.comes_to(VIP_STATE_ERROR));
    must(VipDisconnect(p.right.vi));
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 8)}));
    connect(p.left, p.right);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 8)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
}

TEST_P(flush, undrained_descriptors_do_not_hinder_the_next_connection) {
    VIP_DESCRIPTOR* old_receive = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 8)}));
    must(VipDisconnect(p.left.vi));
    ASSERT_TRUE(p.right.comes_to(VIP_STATE_ERROR));
    VIP_DESCRIPTOR* old_send = p.right.post_send(p.right.write(1, 0, {p.right.at(0, 8)}));
    must(VipDisconnect(p.right.vi));
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(2, 0, {p.right.at(0, 8)}));
    connect(p.left, p.right);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 8)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    VIP_DESCRIPTOR* own = p.right.post_send(p.right.write_rdma(3, VIP_CONTROL_OP_RDMAWRITE, p.left.at(64, 0), {}));
    EXPECT_EQ(p.right.finish_receive(old_receive), flushed_receive);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    EXPECT_EQ(p.right.finish_send(old_send), flushed_send);
    EXPECT_EQ(p.right.finish_send(own), done_write);
}

TEST_P(flush, a_wait_in_another_thread_gets_the_flushed_descriptor) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 8)}));
    std::thread waiting([&] { EXPECT_EQ(p.right.finish_receive(r), flushed_receive); });
    std::this_thread::sleep_for(quiet_time);
    must(VipDisconnect(p.left.vi));
    waiting.join();
}

TEST_P(flush, the_peer_may_be_gone_when_one_disconnects) {
    must(VipDisconnect(p.left.vi));
    EXPECT_EQ(VipDisconnect(p.right.vi), VIP_SUCCESS);
    EXPECT_EQ(p.right.state(), VIP_STATE_IDLE);
    EXPECT_EQ(VipDisconnect(p.left.vi), VIP_SUCCESS) << "twice is harmless";
    EXPECT_EQ(p.left.state(), VIP_STATE_IDLE);
}

TEST_P(flush, is_right_when_both_sides_disconnect_at_once) {
    for (int i = 0; i < 30; ++i) {
        p.left.post_receive(p.left.write(0, 0, {p.left.at(0, 8)}));
        p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 8)}));
        std::thread other([&] { EXPECT_EQ(VipDisconnect(p.left.vi), VIP_SUCCESS); });
        EXPECT_EQ(VipDisconnect(p.right.vi), VIP_SUCCESS);
        other.join();
        ASSERT_EQ(p.left.state(), VIP_STATE_IDLE);
        ASSERT_EQ(p.right.state(), VIP_STATE_IDLE);
        ASSERT_EQ(p.left.drain(), 1u);
        ASSERT_EQ(p.right.drain(), 1u);
        connect(p.left, p.right);
    }
}

/// Whatever is under way when the connection ends: every descriptor comes back once, in order, and what the receiver
/// got is a beginning of what was sent.
TEST_P(flush, loses_nothing_under_load) {
    for (std::uint32_t round = 0; round < 10; ++round) {
        constexpr std::size_t count = 200;
        for (std::size_t i = 0; i < count; ++i) {
            p.right.post_receive(p.right.write(i, 0, {p.right.at(0, 64)}));
        }
        std::thread sending([&] {
            for (std::uint32_t i = 0; i < count; ++i) {
                p.left.post_send(p.left.write(i, VIP_CONTROL_IMMEDIATE, {p.left.at(0, 64)}, i));
            }
        });
        std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
        must(VipDisconnect(p.right.vi));
        sending.join();
        must(VipDisconnect(p.left.vi));
        bool flushed = false;
        for (std::uint32_t i = 0; i < count; ++i) {
            ASSERT_NE(p.left.finish_send(p.left.descriptor(i)) & VIP_STATUS_DONE, 0u);
            const std::uint32_t status = p.right.finish_receive(p.right.descriptor(i));
            ASSERT_TRUE(status == flushed_receive || (!flushed && status == (done_receive | VIP_STATUS_IMMEDIATE)));
            flushed = status == flushed_receive;
            if (!flushed) {
                ASSERT_EQ(p.right.descriptor(i)->CS.ImmediateData, i);
            }
        }
        connect(p.left, p.right);
    }
}

/// "First uncompleted one unknown, later ones certainly not delivered": the sender knows a beginning that arrived.
TEST(flush_reception, completed_sends_have_arrived) {
    pair p(at_level(VIP_SERVICE_RELIABLE_RECEPTION));
    constexpr std::size_t count = 100;
    for (std::size_t i = 0; i < 30; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(0, 64)}));
    }
    for (std::size_t i = 0; i < count; ++i) {
        p.left.post_send(p.left.write(i, 0, {p.left.at(0, 64)}));
    }
    std::size_t sent = 0;
    std::size_t received = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t status = p.left.finish_send(p.left.descriptor(i));
        sent += status == done_send ? 1u : 0u;
        ASSERT_TRUE(i < 30 ? status == done_send
                           : status == (i == 30 ? done_send | VIP_STATUS_REMOTE_DESC_ERROR : flushed_send))
            << i << ": " << status;
    }
    for (std::size_t i = 0; i < 30; ++i) {
        received += p.right.finish_receive(p.right.descriptor(i)) == done_receive ? 1u : 0u;
    }
    EXPECT_EQ(sent, 30u);
    EXPECT_EQ(received, 30u);
}

}  // namespace
}  // namespace vipl_test

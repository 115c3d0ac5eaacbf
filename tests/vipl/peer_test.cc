// SPDX-License-Identifier: Apache-2.0
//
// peer_test.cc -- connections between equals.
#include "fixture.hpp"

namespace vipl_test {
namespace {

class peers : public testing::Test {
protected:
    VIP_RETURN ask(endpoint& e, net_address& here, net_address& there, VIP_ULONG timeout_ms = patience_ms) {
        return VipConnectPeerRequest(e.vi, here.get(), there.get(), timeout_ms);
    }
    nic left_nic;
    nic right_nic;
    net_address left_address = left_nic.address("left-" + fresh_discriminator());
    net_address right_address = right_nic.address("right-" + fresh_discriminator());
    VIP_VI_ATTRIBUTES attributes{};
};

TEST_F(peers, requests_that_match_connect) {
    endpoint_options options;
    options.vi_write = false;
    endpoint left(left_nic, options);
    options.vi_write = true;
    endpoint right(right_nic, options);
    ASSERT_EQ(ask(left, left_address, right_address), VIP_SUCCESS);
    EXPECT_EQ(left.state(), VIP_STATE_CONNECT_PENDING);
    EXPECT_EQ(VipConnectPeerDone(left.vi, &attributes), VIP_NOT_DONE);
    EXPECT_EQ(VipDestroyVi(left.vi), VIP_INVALID_STATE);
    EXPECT_EQ(ask(left, left_address, right_address), VIP_INVALID_STATE) << "pending already";
    ASSERT_EQ(ask(right, right_address, left_address), VIP_SUCCESS);
    ASSERT_EQ(VipConnectPeerWait(left.vi, &attributes), VIP_SUCCESS);
    EXPECT_EQ(attributes.ReliabilityLevel, VIP_SERVICE_RELIABLE_DELIVERY);
    EXPECT_EQ(attributes.MaxTransferSize, options.transfer_bytes_max);
    EXPECT_NE(attributes.EnableRdmaWrite, VIP_FALSE);
    ASSERT_EQ(VipConnectPeerWait(right.vi, &attributes), VIP_SUCCESS);
    EXPECT_EQ(attributes.EnableRdmaWrite, VIP_FALSE);
    EXPECT_EQ(left.state(), VIP_STATE_CONNECTED);
    EXPECT_EQ(right.state(), VIP_STATE_CONNECTED);

    VIP_DESCRIPTOR* r = right.post_receive(right.write(0, 0, {right.at(0, 100)}));
    fill(left.bytes(0, 100), 1);
    VIP_DESCRIPTOR* s = left.post_send(left.write(0, 0, {left.at(0, 100)}));
    EXPECT_EQ(left.finish_send(s), done_send);
    EXPECT_EQ(right.finish_receive(r), done_receive);
    EXPECT_TRUE(matches(right.bytes(0, 100), 1));
}

TEST_F(peers, done_tells_success_without_wait) {
    endpoint left(left_nic);
    endpoint right(right_nic);
    must(ask(left, left_address, right_address));
    must(ask(right, right_address, left_address));
    for (const endpoint* e : {&left, &right}) {
        VIP_RETURN r = VIP_NOT_DONE;
        EXPECT_TRUE(comes_true([&] { return (r = VipConnectPeerDone(e->vi, &attributes)) != VIP_NOT_DONE; }));
        EXPECT_EQ(r, VIP_SUCCESS);
        EXPECT_EQ(VipConnectPeerDone(e->vi, &attributes), VIP_INVALID_STATE) << "told before";
        EXPECT_EQ(VipConnectPeerWait(e->vi, &attributes), VIP_INVALID_STATE);
        EXPECT_EQ(e->state(), VIP_STATE_CONNECTED);
    }
}

TEST_F(peers, with_bad_parameters_are_refused) {
    endpoint e(left_nic);
    net_address too_long = right_nic.address(std::string(65, 'x'));
    EXPECT_EQ(VipConnectPeerRequest(e.vi, nullptr, right_address.get(), 10), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerRequest(e.vi, left_address.get(), nullptr, 10), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerRequest(e.vi, left_address.get(), right_address.get(), 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerRequest(e.vi, left_address.get(), too_long.get(), 10), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerDone(e.vi, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerWait(e.vi, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerDone(e.vi, &attributes), VIP_INVALID_STATE) << "no request was made";
    EXPECT_EQ(VipConnectPeerWait(e.vi, &attributes), VIP_INVALID_STATE);
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
}

TEST_F(peers, want_an_idle_vi) {
    pair p;
    EXPECT_EQ(ask(p.left, left_address, right_address), VIP_INVALID_STATE);
    EXPECT_EQ(VipConnectPeerDone(p.left.vi, &attributes), VIP_INVALID_STATE);
}

TEST_F(peers, are_told_when_the_time_is_over) {
    endpoint e(left_nic);
    ASSERT_EQ(ask(e, left_address, right_address, 40), VIP_SUCCESS);
    EXPECT_EQ(VipConnectPeerWait(e.vi, &attributes), VIP_TIMEOUT);
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
    ASSERT_EQ(ask(e, left_address, right_address, 40), VIP_SUCCESS);
    VIP_RETURN r = VIP_NOT_DONE;
    EXPECT_TRUE(comes_true([&] { return (r = VipConnectPeerDone(e.vi, &attributes)) != VIP_NOT_DONE; }));
    EXPECT_EQ(r, VIP_TIMEOUT);
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
}

TEST_F(peers, both_addresses_must_be_crossed) {
    endpoint left(left_nic);
    endpoint right(right_nic);
    net_address other = right_nic.address("other");
    must(ask(left, left_address, right_address, 60));
    must(ask(right, other, left_address, 60));  // not where left looks
    EXPECT_EQ(VipConnectPeerWait(left.vi, &attributes), VIP_TIMEOUT);
    EXPECT_EQ(VipConnectPeerWait(right.vi, &attributes), VIP_TIMEOUT);
}

TEST_F(peers, attributes_must_match) {
    const struct {
        VIP_RELIABILITY_LEVEL level;
        VIP_ULONG bytes;
        VIP_QOS quality;
        VIP_RETURN wanted;
    } cases[] = {{VIP_SERVICE_RELIABLE_RECEPTION, 65536, nullptr, VIP_INVALID_RELIABILITY_LEVEL},
                 {VIP_SERVICE_RELIABLE_DELIVERY, 65535, nullptr, VIP_INVALID_MTU},
                 {VIP_SERVICE_RELIABLE_DELIVERY, 65536, wild_handle(9), VIP_INVALID_QOS}};
    for (const auto& c : cases) {
        endpoint left(left_nic);
        endpoint_options options;
        options.level = c.level;
        options.transfer_bytes_max = c.bytes;
        options.quality_of_service = c.quality;
        endpoint right(right_nic, options);
        must(ask(left, left_address, right_address, 5000));
        must(ask(right, right_address, left_address, 5000));
        EXPECT_EQ(VipConnectPeerWait(left.vi, &attributes), c.wanted);
        EXPECT_EQ(VipConnectPeerWait(right.vi, &attributes), c.wanted);
        EXPECT_EQ(left.state(), VIP_STATE_IDLE);
        EXPECT_EQ(right.state(), VIP_STATE_IDLE);
    }
}

TEST_F(peers, disconnect_ends_a_request) {
    endpoint left(left_nic);
    endpoint right(right_nic);
    must(ask(left, left_address, right_address));
    std::thread waiting([&] {
        VIP_VI_ATTRIBUTES a;
        EXPECT_EQ(VipConnectPeerWait(left.vi, &a), VIP_INVALID_STATE);
    });
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(VipDisconnect(left.vi), VIP_SUCCESS);
    waiting.join();
    EXPECT_EQ(left.state(), VIP_STATE_IDLE);
    EXPECT_EQ(VipConnectPeerDone(left.vi, &attributes), VIP_INVALID_STATE);
    must(ask(right, right_address, left_address, 40));
    EXPECT_EQ(VipConnectPeerWait(right.vi, &attributes), VIP_TIMEOUT) << "the request is withdrawn";
}

TEST_F(peers, receives_posted_before_serve_the_connection) {
    endpoint left(left_nic);
    endpoint right(right_nic);
    VIP_DESCRIPTOR* before = right.post_receive(right.write(0, 0, {right.at(0, 8)}));
    must(ask(right, right_address, left_address));
    VIP_DESCRIPTOR* pending = right.post_receive(right.write(1, 0, {right.at(8, 8)}));
    must(ask(left, left_address, right_address));
    must(VipConnectPeerWait(left.vi, &attributes));
    VIP_DESCRIPTOR* s = left.post_send(left.write(0, 0, {left.at(0, 8)}));
    EXPECT_EQ(left.finish_send(s), done_send);
    left.post_send(s);
    EXPECT_EQ(left.finish_send(s), done_send);
    must(VipConnectPeerWait(right.vi, &attributes));
    EXPECT_EQ(right.finish_receive(before), done_receive);
    EXPECT_EQ(right.finish_receive(pending), done_receive);
}

TEST_F(peers, may_be_of_one_nic_handle) {
    endpoint left(left_nic);
    endpoint right(left_nic);
    net_address other = left_nic.address("other-end");
    must(ask(left, left_address, other));
    must(ask(right, other, left_address));
    EXPECT_EQ(VipConnectPeerWait(left.vi, &attributes), VIP_SUCCESS);
    EXPECT_EQ(VipConnectPeerWait(right.vi, &attributes), VIP_SUCCESS);
}

}  // namespace
}  // namespace vipl_test

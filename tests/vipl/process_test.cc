// SPDX-License-Identifier: Apache-2.0
//
// process_test.cc -- two processes, or more: transfers, connections, names, settings.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "child.hpp"
#include "fixture.hpp"

namespace vipl_test {
namespace {

class processes : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    void say_level(child& c) { c.words.say_number(GetParam()); }
    nic n;
    std::string discriminator = fresh_discriminator();
};
VIPL_ALL_LEVELS(processes);

TEST_P(processes, send_messages_there_and_back) {
    child server("echo");
    say_level(server);
    server.words.say(discriminator);
    server.words.hear("waiting");
    endpoint e(n, at_level(GetParam()));
    connect_to(e, discriminator);
    for (std::uint32_t i = 0; i < 1000; ++i) {
        const std::uint32_t bytes = i * 37 % 8193;
        VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {e.at(0, 8192)}, 1));
        fill(e.bytes(8192, bytes), i);
        VIP_DESCRIPTOR* s = e.post_send(e.write(1, i % 3 == 0 ? 0 : VIP_CONTROL_IMMEDIATE, {e.at(8192, bytes)}, i));
        ASSERT_EQ(e.finish_send(s), done_send);
        ASSERT_EQ(e.finish_receive(r), done_receive | (i % 3 == 0 ? 0u : VIP_STATUS_IMMEDIATE));
        ASSERT_EQ(r->CS.Length, bytes);
        ASSERT_EQ(r->CS.ImmediateData, i % 3 == 0 ? 1 : i);
        ASSERT_TRUE(matches(e.bytes(0, bytes), i));
    }
    must(VipDisconnect(e.vi));
    EXPECT_EQ(server.exit_code(), 0);
}

TEST_P(processes, may_be_served_by_one_completion_queue) {
    constexpr std::size_t count = 3;
    const completion_queue cq(n);
    std::vector<std::unique_ptr<child>> children;
    std::vector<std::unique_ptr<endpoint>> all;
    for (std::size_t i = 0; i < count; ++i) {
        children.push_back(std::make_unique<child>("echo"));
        endpoint_options o = at_level(GetParam());
        o.receive_cq = cq;
        all.push_back(std::make_unique<endpoint>(n, o));
        const std::string d = fresh_discriminator();
        say_level(*children[i]);
        children[i]->words.say(d);
        children[i]->words.hear("waiting");
        connect_to(*all[i], d);
    }
    std::map<VIP_VI_HANDLE, std::uint32_t> answers;
    for (std::uint32_t round = 0; round < 200; ++round) {
        for (const auto& e : all) {
            e->post_receive(e->write(0, 0, {}));
            VIP_DESCRIPTOR* s = e->post_send(e->write(1, VIP_CONTROL_IMMEDIATE, {}, round));
            ASSERT_EQ(e->finish_send(s), done_send);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const cq_entry entry = next_entry(cq);
            VIP_DESCRIPTOR* d = nullptr;
            ASSERT_EQ(entry.receive, VIP_TRUE);
            ASSERT_EQ(VipRecvDone(entry.vi, &d), VIP_SUCCESS);
            ASSERT_EQ(d->CS.ImmediateData, answers[entry.vi]++);
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        must(VipDisconnect(all[i]->vi));
        EXPECT_EQ(children[i]->exit_code(), 0);
    }
}

class process : public testing::Test {
protected:
    nic n;
    std::string discriminator = fresh_discriminator();
};

TEST_F(process, an_rdma_write_needs_no_call_of_its_target) {
    child target("passive_target");
    target.words.say(discriminator);
    target.words.hear("waiting");
    endpoint e(n);
    connect_to(e, discriminator);
    const std::string place = target.words.hear();
    std::uint64_t address_and_handle[2];
    ASSERT_EQ(place.size(), sizeof address_and_handle);
    std::memcpy(address_and_handle, place.data(), place.size());
    const piece there{reinterpret_cast<void*>(address_and_handle[0]), 0,
                      static_cast<VIP_MEM_HANDLE>(address_and_handle[1])};
    for (std::uint64_t round = 1; round <= 100; ++round) {
        std::fill_n(reinterpret_cast<std::uint64_t*>(e.buffer()), 1000, round);
        VIP_DESCRIPTOR* w = e.post_send(e.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, there, {e.at(0, 8000)}));
        ASSERT_EQ(e.finish_send(w), done_write);
        target.words.hear("seen");
    }
    fill(e.bytes(0, 8000), 1);
    VIP_DESCRIPTOR* r = e.post_send(e.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, there, {e.at(0, 8000)}));
    EXPECT_EQ(e.finish_send(r), done_read);
    EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(e.buffer()), 100u);
    must(VipDisconnect(e.vi));
    EXPECT_EQ(target.exit_code(), 0);
}

TEST_F(process, connects_with_another_as_its_equal) {
    child other("peer");
    endpoint e(n);
    net_address here = n.address("parent");
    net_address there = n.address("child");
    must(VipConnectPeerRequest(e.vi, here.get(), there.get(), patience_ms));
    VIP_VI_ATTRIBUTES remote;
    ASSERT_EQ(VipConnectPeerWait(e.vi, &remote), VIP_SUCCESS);
    EXPECT_NE(remote.EnableRdmaWrite, VIP_FALSE);
    fill(e.bytes(0, 100), 1);
    VIP_DESCRIPTOR* s = e.post_send(e.write(0, 0, {e.at(0, 100)}));
    EXPECT_EQ(e.finish_send(s), done_send);
    other.words.hear("received");
    other.words.say("end");
    EXPECT_EQ(other.exit_code(), 0);
}

TEST_F(process, an_address_belongs_to_one_process_at_a_time) {
    child other("waiter");
    other.words.say(discriminator);
    other.words.hear("waiting");
    net_address here = n.address(discriminator);
    net_address remote;
    VIP_VI_ATTRIBUTES a;
    VIP_CONN_HANDLE request = nullptr;
    EXPECT_EQ(VipConnectWait(n, here.get(), 0, remote.get(), &a, &request), VIP_ERROR_RESOURCE);
    net_address another = n.address(fresh_discriminator());
    EXPECT_EQ(VipConnectWait(n, another.get(), 0, remote.get(), &a, &request), VIP_TIMEOUT);
    other.words.say("go");
    EXPECT_EQ(other.exit_code(), 0);
    EXPECT_EQ(VipConnectWait(n, here.get(), 0, remote.get(), &a, &request), VIP_TIMEOUT);
}

TEST_F(process, may_be_one_of_several_hosts_of_a_device) {
    const std::string table = "alpha=02:00:00:00:00:01;beta=02:00:00:00:00:02";
    child beta("host", {{"VINIC_VIPL_HOST", "beta"}, {"VINIC_VIPL_HOSTS", table}});
    beta.words.say(discriminator);
    beta.words.hear("waiting");
    const with_environment names("VINIC_VIPL_HOSTS", table);
    const with_environment own("VINIC_VIPL_HOST", "alpha");
    nic alpha;
    endpoint e(alpha);
    char name[] = "beta";
    net_address found;
    must(VipNSGetHostByName(alpha, name, found.get(), 0));
    const std::string host = found.host();
    net_address to(std::span(reinterpret_cast<const VIP_UINT8*>(host.data()), host.size()), discriminator);
    net_address wrong = alpha.address(discriminator);  // that discriminator, but another host
    VIP_VI_ATTRIBUTES a;
    EXPECT_EQ(VipConnectRequest(e.vi, wrong.get(), wrong.get(), VIP_INFINITE, &a), VIP_NO_MATCH);
    connect_to(e, to);
    EXPECT_EQ(beta.words.hear(), host);
    beta.words.say("end");
    EXPECT_EQ(beta.exit_code(), 0);
}

TEST_F(process, strict_mode_wants_protection_tags) {
    child c("strict", {{"VINIC_VIPL_STRICT", "1"}});
    EXPECT_EQ(c.exit_code(), 0);
}

TEST_F(process, handles_belong_to_the_process_that_opened_the_nic) {
    endpoint e(n);
    multi::process forked([&](multi::channel&) {
        // The child of a fork opens the NIC anew; the parent's handle is good for closing.
        multi::require(VipCloseNic(n) == VIP_SUCCESS, "closing the parent's handle");
        nic own;
        endpoint mine(own);
        endpoint other(own);
        connect(mine, other);
        VIP_DESCRIPTOR* r = other.post_receive(other.write(0, 0, {}));
        VIP_DESCRIPTOR* s = mine.post_send(mine.write(0, 0, {}));
        multi::require(mine.finish_send(s) == done_send, "sending");
        multi::require(other.finish_receive(r) == done_receive, "receiving");
    });
    EXPECT_EQ(forked.exit_code(), 0);
    nic another;
    endpoint peer(another);
    connect(peer, e);  // nothing was taken from the parent
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {}));
    VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
    EXPECT_EQ(peer.finish_send(s), done_send);
    EXPECT_EQ(e.finish_receive(r), done_receive);
}

}  // namespace
}  // namespace vipl_test

// SPDX-License-Identifier: Apache-2.0
//
// checklist_second_test.cc -- what real programs that were written for the architecture rely on: items 10 to 18.
#include <algorithm>
#include <cstring>
#include <future>
#include <set>

#include "fixture.hpp"

namespace vipl_test {
namespace {

/// 10.
TEST(checklist, item_10_messages_may_be_without_segments_and_without_bytes) {
    pair p;
    VIP_DESCRIPTOR* acknowledgement = p.right.post_receive(p.right.write(0, 0, {}));
    VIP_DESCRIPTOR* empty = p.right.post_receive(p.right.write(1, 0, {p.right.at(0, 64)}));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, VIP_CONTROL_IMMEDIATE, {}, 15));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 0)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(acknowledgement), done_receive | VIP_STATUS_IMMEDIATE);
    EXPECT_EQ(p.right.finish_receive(empty), done_receive);
    EXPECT_EQ(empty->CS.Length, 0u);
}

/// 11. (cq_test.cc has more of it.)
TEST(checklist, item_11_a_completion_queue_serves_several_vis) {
    nic here;
    nic there;
    const completion_queue cq(here, 2);
    endpoint_options o;
    o.send_cq = o.receive_cq = cq;
    endpoint a(here, o);
    endpoint b(here, o);
    endpoint peer_of_a(there);
    endpoint peer_of_b(there);
    connect(peer_of_a, a);
    connect(peer_of_b, b);
    std::multiset<VIP_VI_HANDLE> wanted;
    for (std::size_t i = 0; i < 100; ++i) {
        endpoint& e = i % 3 == 0 ? a : b;
        const endpoint& peer = i % 3 == 0 ? peer_of_a : peer_of_b;
        e.post_receive(e.write(i, 0, {}));
        VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
        ASSERT_EQ(peer.finish_send(s), done_send);
        wanted.insert(e.vi);
        ASSERT_EQ(VipResizeCQ(cq, 2 + i), VIP_SUCCESS);
    }
    std::multiset<VIP_VI_HANDLE> got;
    for (std::size_t i = 0; i < 100; ++i) {
        const cq_entry e = next_entry(cq);
        ASSERT_EQ(e.receive, VIP_TRUE);
        got.insert(e.vi);
    }
    EXPECT_EQ(got, wanted);
}

/// 12. One process opens the device twice and uses the two handles from two threads.
TEST(checklist, item_12_two_threads_use_a_nic_handle_each) {
    pair p;
    constexpr std::uint32_t count = 2000;
    for (std::size_t i = 0; i < 64; ++i) {
        p.right.post_receive(p.right.write(i, 0, {}));
        p.left.post_receive(p.left.write(i, 0, {}));
    }
    std::thread serving([&] {
        for (std::uint32_t i = 0; i < count; ++i) {
            VIP_DESCRIPTOR* d = p.right.descriptor(i % 64);
            ASSERT_EQ(p.right.finish_receive(d), done_receive | VIP_STATUS_IMMEDIATE);
            const std::uint32_t number = d->CS.ImmediateData;
            p.right.post_receive(p.right.write(i % 64, 0, {}));
            VIP_DESCRIPTOR* s = p.right.post_send(p.right.write(100, VIP_CONTROL_IMMEDIATE, {}, number + 1));
            ASSERT_EQ(p.right.finish_send(s), done_send);
        }
    });
    for (std::uint32_t i = 0; i < count; ++i) {
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(100, VIP_CONTROL_IMMEDIATE, {}, i));
        ASSERT_EQ(p.left.finish_send(s), done_send);
        VIP_DESCRIPTOR* d = p.left.descriptor(i % 64);
        ASSERT_EQ(p.left.finish_receive(d), done_receive | VIP_STATUS_IMMEDIATE);
        ASSERT_EQ(d->CS.ImmediateData, i + 1);
        p.left.post_receive(p.left.write(i % 64, 0, {}));
    }
    serving.join();
}

/// 13. A VI whose attributes were zeroed matches any memory of its NIC handle.
TEST(checklist, item_13_a_vi_without_a_tag_may_use_all_memory_of_its_nic_handle) {
    pair p;
    must(VipDisconnect(p.left.vi));
    must(VipDisconnect(p.right.vi));
    VIP_VI_ATTRIBUTES a = p.right.attributes();
    a.Ptag = nullptr;
    ASSERT_EQ(VipSetViAttributes(p.right.vi, &a), VIP_SUCCESS);
    VIP_VI_HANDLE made = nullptr;
    ASSERT_EQ(VipCreateVi(p.right_nic, &a, nullptr, nullptr, &made), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyVi(made), VIP_SUCCESS);
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    connect(p.left, p.right);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    VIP_DESCRIPTOR* w = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, p.right.at(0, 0), {p.left.at(0, 64)});
    p.left.post_send(w);
    EXPECT_EQ(p.left.finish_send(w), done_write);
    // Of its own NIC handle only.
    error_log errors(p.right_nic);
    EXPECT_EQ(VipPostSend(p.right.vi, p.left.write(1, 0, {}), p.left.memory), VIP_SUCCESS);
    EXPECT_EQ(errors.wait_for(VIP_ERROR_POST_DESC).DescriptorPtr, p.left.descriptor(1));
}

/// 14.
TEST(checklist, item_14_names_leave_discriminators_alone) {
    nic n;
    char name[] = "localhost";
    alignas(8) std::uint8_t bytes[40];
    std::memset(bytes, 0xaa, sizeof bytes);  // HostAddressLen is garbage too
    auto* address = reinterpret_cast<VIP_NET_ADDRESS*>(bytes);
    address->DiscriminatorLen = 4;
    std::memcpy(bytes + 10, "mine", 4);
    ASSERT_EQ(VipNSGetHostByName(n, name, address, 0), VIP_SUCCESS);
    EXPECT_EQ(address->HostAddressLen, 6u);
    EXPECT_EQ(address->DiscriminatorLen, 4u);
    EXPECT_EQ(std::memcmp(bytes + 4, n.attributes().LocalNicAddress, 6), 0);
    EXPECT_EQ(std::memcmp(bytes + 10, "mine", 4), 0);
    EXPECT_TRUE(std::all_of(bytes + 14, bytes + sizeof bytes, [](std::uint8_t b) { return b == 0xaa; }));
}

/// 15.
TEST(checklist, item_15_disconnecting_twice_succeeds) {
    pair p;
    EXPECT_EQ(VipDisconnect(p.left.vi), VIP_SUCCESS);
    EXPECT_EQ(VipDisconnect(p.left.vi), VIP_SUCCESS);
    EXPECT_EQ(VipDisconnect(p.right.vi), VIP_SUCCESS);
    EXPECT_EQ(VipDisconnect(p.right.vi), VIP_SUCCESS);
    EXPECT_EQ(p.left.state(), VIP_STATE_IDLE);
    EXPECT_EQ(p.right.state(), VIP_STATE_IDLE);
}

/// 16. Strictly in the order of posting, also with RDMA reads among them and with errors.
TEST(checklist, item_16_descriptors_complete_strictly_in_order) {
    pair p;
    for (std::size_t i = 0; i < 30; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(0, 64)}));
        p.left.post_send(
            i % 2 == 0 ? p.left.write_rdma(i, VIP_CONTROL_OP_RDMAREAD, p.right.at(8192, 0), {p.left.at(0, 100000)})
                       : p.left.write(i, 0, {p.left.at(0, 8)}));
    }
    must(VipDisconnect(p.left.vi));
    p.left.post_send(p.left.write(30, 0, {}));
    for (std::size_t i = 0; i <= 30; ++i) {
        (void)p.left.finish_send(p.left.descriptor(i));
    }
    for (std::size_t i = 0; i < 30; ++i) {
        (void)p.right.finish_receive(p.right.descriptor(i));
    }
}

/// 17. One thread per discriminator sits in VipConnectWait while others use other VIs.
TEST(checklist, item_17_waiting_for_connections_disturbs_nobody) {
    pair p;
    constexpr std::size_t count = 4;
    std::vector<std::string> discriminators;
    for (std::size_t i = 0; i < count; ++i) {
        discriminators.push_back(fresh_discriminator());
    }
    std::vector<std::future<std::string>> servers;
    for (const std::string& d : discriminators) {
        servers.push_back(std::async(std::launch::async, [&p, d] {
            endpoint server(p.right_nic);
            net_address here = p.right_nic.address(d);
            net_address remote;
            VIP_VI_ATTRIBUTES a;
            VIP_CONN_HANDLE c = nullptr;
            must(VipConnectWait(p.right_nic, here.get(), patience_ms, remote.get(), &a, &c));
            must(VipConnectAccept(c, server.vi));
            (void)server.comes_to(VIP_STATE_ERROR);
            return remote.discriminator();
        }));
    }
    for (int i = 0; i < 500; ++i) {
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {}));
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {}));
        ASSERT_EQ(p.left.finish_send(s), done_send);
        ASSERT_EQ(p.right.finish_receive(r), done_receive);
    }
    for (std::size_t i = count; i-- != 0;) {
        endpoint client(p.left_nic);
        net_address from = p.left_nic.address("to " + discriminators[i]);
        net_address to = p.right_nic.address(discriminators[i]);
        EXPECT_TRUE(comes_true([&] {
            VIP_VI_ATTRIBUTES a;
            return VipConnectRequest(client.vi, from.get(), to.get(), patience_ms, &a) == VIP_SUCCESS;
        }));
    }
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(servers[i].get(), "to " + discriminators[i]);
    }
}

/// 18.
TEST(checklist, item_18_remote_attributes_are_filled) {
    nic client_nic;
    nic server_nic;
    endpoint_options o;
    o.transfer_bytes_max = 12345;
    o.quality_of_service = wild_handle(5);
    endpoint client(client_nic, o);
    endpoint server(server_nic, o);
    std::memset(&client.remote_attributes, 0xff, sizeof(VIP_VI_ATTRIBUTES));
    std::memset(&server.remote_attributes, 0xff, sizeof(VIP_VI_ATTRIBUTES));
    connect(client, server);
    for (const VIP_VI_ATTRIBUTES& a : {client.remote_attributes, server.remote_attributes}) {
        EXPECT_EQ(a.ReliabilityLevel, o.level);
        EXPECT_EQ(a.MaxTransferSize, o.transfer_bytes_max);
        EXPECT_EQ(a.QoS, o.quality_of_service);
        EXPECT_EQ(a.Ptag, nullptr);
        EXPECT_EQ(a.EnableRdmaWrite, VIP_TRUE);
        EXPECT_EQ(a.EnableRdmaRead, VIP_TRUE);
    }
}

}  // namespace
}  // namespace vipl_test

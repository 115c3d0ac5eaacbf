// SPDX-License-Identifier: Apache-2.0
//
// checklist_first_test.cc -- what real programs that were written for the architecture rely on: items 1 to 9 of 18.
#include <algorithm>
#include <cstring>
#include <future>
#include <set>

#include "fixture.hpp"

namespace vipl_test {
namespace {

/// 1. Receives are posted in Idle, before there is a connection, on both sides.
TEST(checklist, item_01_receives_are_posted_in_idle) {
    nic client_nic;
    nic server_nic;
    endpoint client(client_nic);
    endpoint server(server_nic);
    VIP_DESCRIPTOR* at_client = client.post_receive(client.write(0, 0, {client.at(0, 64)}));
    VIP_DESCRIPTOR* at_server = server.post_receive(server.write(0, 0, {server.at(0, 64)}));
    connect(client, server);
    VIP_DESCRIPTOR* s = client.post_send(client.write(1, 0, {client.at(64, 8)}));
    EXPECT_EQ(client.finish_send(s), done_send);
    EXPECT_EQ(server.finish_receive(at_server), done_receive);
    s = server.post_send(server.write(1, 0, {server.at(64, 8)}));
    EXPECT_EQ(server.finish_send(s), done_send);
    EXPECT_EQ(client.finish_receive(at_client), done_receive);
}

/// 2. Clients spin on VIP_NO_MATCH until their server is there, with VIP_INFINITE.
TEST(checklist, item_02_no_match_comes_promptly) {
    nic n;
    endpoint e(n);
    net_address from = n.address("client");
    net_address to = n.address(fresh_discriminator());
    VIP_VI_ATTRIBUTES a;
    for (int i = 0; i < 200; ++i) {
        ASSERT_EQ(VipConnectRequest(e.vi, from.get(), to.get(), VIP_INFINITE, &a), VIP_NO_MATCH);
        ASSERT_EQ(e.state(), VIP_STATE_IDLE);
    }
}

/// 3.
TEST(checklist, item_03_a_timeout_of_zero_is_invalid) {
    nic n;
    endpoint e(n);
    net_address from = n.address("client");
    net_address to = n.address(fresh_discriminator());
    VIP_VI_ATTRIBUTES a;
    EXPECT_EQ(VipConnectRequest(e.vi, from.get(), to.get(), 0, &a), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectPeerRequest(e.vi, from.get(), to.get(), 0), VIP_INVALID_PARAMETER);
}

/// 4.
TEST(checklist, item_04_done_on_an_empty_queue_is_a_descriptor_error) {
    const pair p;
    for (auto* done : {&VipSendDone, &VipRecvDone}) {
        VIP_DESCRIPTOR* d = p.left.descriptor(0);
        EXPECT_EQ(done(p.left.vi, &d), VIP_DESCRIPTOR_ERROR);
        EXPECT_EQ(d, nullptr);
    }
}

/// 5. Disconnect flushes, the drain loop ends, then everything can be destroyed.
TEST(checklist, item_05_what_was_drained_can_be_destroyed) {
    VIP_NIC_HANDLE n = nullptr;
    VIP_CQ_HANDLE cq = nullptr;
    VIP_PROTECTION_HANDLE tag = nullptr;
    VIP_VI_HANDLE vi = nullptr;
    VIP_MEM_HANDLE memory = 0;
    alignas(64) std::array<VIP_DESCRIPTOR, 20> descriptors{};
    must(VipOpenNic(nic::default_device, &n));
    must(VipCreateCQ(n, 4, &cq));
    must(VipCreatePtag(n, &tag));
    VIP_MEM_ATTRIBUTES rights{tag, VIP_FALSE, VIP_FALSE};
    must(VipRegisterMem(n, descriptors.data(), sizeof descriptors, &rights, &memory));
    VIP_VI_ATTRIBUTES a{};
    a.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
    a.MaxTransferSize = 65536;
    a.Ptag = tag;
    must(VipCreateVi(n, &a, cq, cq, &vi));
    {
        nic other;
        endpoint peer(other);
        net_address from = other.address("from");
        net_address to(std::span(other.attributes().LocalNicAddress, 6), fresh_discriminator());
        auto serving = std::async(std::launch::async, [&] {
            net_address remote;
            VIP_VI_ATTRIBUTES remote_attributes;
            VIP_CONN_HANDLE c = nullptr;
            must(VipConnectWait(n, to.get(), patience_ms, remote.get(), &remote_attributes, &c));
            must(VipConnectAccept(c, vi));
        });
        EXPECT_TRUE(comes_true([&] {
            VIP_VI_ATTRIBUTES remote_attributes;
            return VipConnectRequest(peer.vi, from.get(), to.get(), patience_ms, &remote_attributes) == VIP_SUCCESS;
        }));
        serving.get();
        for (VIP_DESCRIPTOR& d : descriptors) {
            must(VipPostRecv(vi, &d, memory));
        }
        VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
        EXPECT_EQ(peer.finish_send(s), done_send);
        ASSERT_EQ(VipDisconnect(vi), VIP_SUCCESS);
    }
    std::size_t drained = 0;
    VIP_DESCRIPTOR* d = nullptr;
    VIP_RETURN r = VipRecvDone(vi, &d);
    while (r == VIP_SUCCESS || (r == VIP_DESCRIPTOR_ERROR && d != nullptr)) {
        ASSERT_EQ(d, &descriptors[drained++]);
        r = VipRecvDone(vi, &d);
    }
    EXPECT_EQ(drained, descriptors.size());
    EXPECT_EQ(VipDestroyVi(vi), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyCQ(cq), VIP_SUCCESS) << "stale entries are no reason";
    EXPECT_EQ(VipDeregisterMem(n, descriptors.data(), memory), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_SUCCESS);
    EXPECT_EQ(VipCloseNic(n), VIP_SUCCESS);
}

/// 6.
TEST(checklist, item_06_a_peer_that_disconnects_is_seen_and_its_data_can_still_be_read) {
    pair p;
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    fill(p.left.bytes(0, 64), 3);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    must(VipDisconnect(p.left.vi));
    EXPECT_TRUE(comes_true([&] { return p.right.state() != VIP_STATE_CONNECTED; }));
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    EXPECT_TRUE(matches(p.right.bytes(0, 64), 3));
}

/// 7.
TEST(checklist, item_07_each_registration_gives_a_handle_of_its_own) {
    nic n;
    VIP_PROTECTION_HANDLE tag = nullptr;
    must(VipCreatePtag(n, &tag));
    std::vector<char> bytes(4096);
    std::set<VIP_MEM_HANDLE> handles;
    for (int i = 0; i < 200; ++i) {
        VIP_MEM_ATTRIBUTES rights{tag, i % 2, VIP_FALSE};
        VIP_MEM_HANDLE h = 0;
        must(VipRegisterMem(n, bytes.data(), bytes.size(), &rights, &h));
        EXPECT_NE(h, 0u);
        EXPECT_NE(h, 0xFFFFFFFFu);
        EXPECT_TRUE(handles.insert(h).second) << "the same region twice gives two handles";
        VIP_MEM_ATTRIBUTES out{};
        must(VipQueryMem(n, bytes.data(), h, &out));
        EXPECT_EQ(out.EnableRdmaWrite != 0, i % 2 != 0) << "with attributes of their own";
    }
    for (const VIP_MEM_HANDLE h : handles) {
        EXPECT_EQ(VipDeregisterMem(n, bytes.data(), h), VIP_SUCCESS);
    }
}

/// 8. The target busy-waits on the last word of the block and makes no call meanwhile.
TEST(checklist, item_08_tail_word_is_visible_last) {
    pair p;
    for (std::uint32_t round = 1; round <= 200; ++round) {
        const std::size_t words = 1 + round * 7 % 2000;
        auto* source = reinterpret_cast<std::uint32_t*>(p.left.buffer());
        auto* target = reinterpret_cast<std::uint32_t*>(p.right.buffer());
        std::fill_n(source, words, round);
        std::thread writing([&] {
            VIP_DESCRIPTOR* w =
                p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, p.right.at(0, 0), {p.left.at(0, words * 4)});
            p.left.post_send(w);
            EXPECT_EQ(p.left.finish_send(w), done_write);
        });
        const std::atomic_ref<std::uint32_t> tail(target[words - 1]);
        const bool came = comes_true([&] {
            for (int i = 0; i < 1000; ++i) {
                if (tail.load(std::memory_order_acquire) == round) {
                    return true;
                }
            }
            return false;
        });
        const auto wrong = static_cast<std::size_t>(
            std::count_if(target, target + words, [&](std::uint32_t word) { return word != round; }));
        writing.join();
        ASSERT_TRUE(came);
        ASSERT_EQ(wrong, 0u) << words;
    }
}

/// 9.
TEST(checklist, item_09_immediate_data_is_written_only_where_it_was_sent) {
    pair p;
    const std::uint32_t untouched = 0x11223344;
    for (const bool carries : {true, false, true}) {
        VIP_DESCRIPTOR* r =
            p.right.post_receive(p.right.write(0, VIP_CONTROL_IMMEDIATE, {p.right.at(0, 64)}, untouched));
        VIP_DESCRIPTOR* s = p.left.post_send(
            p.left.write(0, carries ? VIP_CONTROL_IMMEDIATE : 0, {p.left.at(0, 8)}, static_cast<std::uint32_t>(-77)));
        EXPECT_EQ(p.left.finish_send(s), done_send);
        EXPECT_EQ(p.right.finish_receive(r), done_receive | (carries ? VIP_STATUS_IMMEDIATE : 0u));
        EXPECT_EQ(static_cast<std::int32_t>(r->CS.ImmediateData), carries ? -77 : std::int32_t{0x11223344});
    }
}

}  // namespace
}  // namespace vipl_test

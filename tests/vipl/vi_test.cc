// SPDX-License-Identifier: Apache-2.0
//
// vi_test.cc -- creating, destroying and querying VIs; their attributes and states; data of the program.
#include <set>

#include "fixture.hpp"

namespace vipl_test {
namespace {

class vi : public testing::Test {
protected:
    vi() {
        must(VipCreatePtag(n, &tag));
        good.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
        good.MaxTransferSize = 4096;
        good.Ptag = tag;
    }
    ~vi() override { EXPECT_EQ(VipDestroyPtag(n, tag), VIP_SUCCESS); }

    VIP_RETURN create(VIP_VI_ATTRIBUTES a) {
        VIP_VI_HANDLE made = wild_handle();
        const VIP_RETURN r = VipCreateVi(n, &a, nullptr, nullptr, &made);
        EXPECT_EQ(made != nullptr, r == VIP_SUCCESS);
        if (r == VIP_SUCCESS) {
            EXPECT_EQ(VipDestroyVi(made), VIP_SUCCESS);
        }
        return r;
    }

    nic n;
    VIP_PROTECTION_HANDLE tag = nullptr;
    VIP_VI_ATTRIBUTES good{};
};

TEST_F(vi, create_refuses_bad_parameters) {
    VIP_VI_HANDLE v = nullptr;
    EXPECT_EQ(VipCreateVi(nullptr, &good, nullptr, nullptr, &v), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateVi(wild_handle(), &good, nullptr, nullptr, &v), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateVi(n, nullptr, nullptr, nullptr, &v), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateVi(n, &good, nullptr, nullptr, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateVi(n, &good, wild_handle(), nullptr, &v), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateVi(n, &good, nullptr, wild_handle(), &v), VIP_INVALID_PARAMETER);
    nic other;
    const completion_queue foreign(other);
    EXPECT_EQ(VipCreateVi(n, &good, foreign, nullptr, &v), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateVi(n, &good, nullptr, foreign, &v), VIP_INVALID_PARAMETER);
    EXPECT_EQ(v, nullptr);
    EXPECT_EQ(create(good), VIP_SUCCESS);
}

TEST_F(vi, create_wants_exactly_one_reliability_level) {
    VIP_VI_ATTRIBUTES a = good;
    for (const int level : {0, 3, 5, 6, 7, 8, VIP_SERVICE_ACK, VIP_SERVICE_ACK | 1, VIP_SERVICE_DFC}) {
        a.ReliabilityLevel = static_cast<VIP_RELIABILITY_LEVEL>(level);
        EXPECT_EQ(create(a), VIP_INVALID_RELIABILITY_LEVEL) << level;
    }
    for (const VIP_RELIABILITY_LEVEL level : all_levels) {
        a.ReliabilityLevel = level;
        EXPECT_EQ(create(a), VIP_SUCCESS) << level;
    }
}

TEST_F(vi, create_wants_a_transfer_size_of_the_nic) {
    VIP_VI_ATTRIBUTES a = good;
    const VIP_ULONG most = n.attributes().MaxTransferSize;
    for (const VIP_ULONG bad : {VIP_ULONG{0}, most + 1, ~VIP_ULONG{0}, VIP_ULONG{1} << 32}) {
        a.MaxTransferSize = bad;
        EXPECT_EQ(create(a), VIP_INVALID_MTU) << bad;
    }
    for (const VIP_ULONG fine : {VIP_ULONG{1}, VIP_ULONG{32768}, most}) {
        a.MaxTransferSize = fine;
        EXPECT_EQ(create(a), VIP_SUCCESS) << fine;
    }
}

TEST_F(vi, create_wants_a_tag_of_the_nic_handle) {
    VIP_VI_ATTRIBUTES a = good;
    a.Ptag = wild_handle();
    EXPECT_EQ(create(a), VIP_INVALID_PTAG);
    nic other;
    must(VipCreatePtag(other, &a.Ptag));
    EXPECT_EQ(create(a), VIP_INVALID_PTAG);
    VIP_PROTECTION_HANDLE dead = nullptr;
    must(VipCreatePtag(n, &dead));
    must(VipDestroyPtag(n, dead));
    a.Ptag = dead;
    EXPECT_EQ(create(a), VIP_INVALID_PTAG);
}

TEST_F(vi, rdma_read_is_not_for_unreliable_vis) {
    VIP_VI_ATTRIBUTES a = good;
    a.EnableRdmaRead = VIP_TRUE;
    EXPECT_EQ(create(a), VIP_SUCCESS);
    a.ReliabilityLevel = VIP_SERVICE_UNRELIABLE;
    EXPECT_EQ(create(a), VIP_INVALID_RDMAREAD);
    a.EnableRdmaRead = 8;  // tested for nonzero
    EXPECT_EQ(create(a), VIP_INVALID_RDMAREAD);
    a.EnableRdmaRead = VIP_FALSE;
    EXPECT_EQ(create(a), VIP_SUCCESS);
}

TEST_F(vi, any_quality_of_service_will_do) {
    VIP_VI_ATTRIBUTES a = good;
    a.QoS = wild_handle(0x1234);
    EXPECT_EQ(create(a), VIP_SUCCESS);
}

TEST_F(vi, destroy_wants_an_idle_vi_without_descriptors) {
    EXPECT_EQ(VipDestroyVi(nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyVi(wild_handle()), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyVi(tag), VIP_INVALID_PARAMETER) << "a handle of another kind";
    pair p;
    EXPECT_EQ(VipDestroyVi(p.left.vi), VIP_INVALID_STATE);
    must(VipDisconnect(p.right.vi));
    ASSERT_TRUE(p.left.comes_to(VIP_STATE_ERROR));
    EXPECT_EQ(VipDestroyVi(p.left.vi), VIP_INVALID_STATE);
    must(VipDisconnect(p.left.vi));
    p.left.post_receive(p.left.write(0, 0, {p.left.at(0, 8)}));
    EXPECT_EQ(VipDestroyVi(p.left.vi), VIP_ERROR_RESOURCE);
    must(VipDisconnect(p.left.vi));
    EXPECT_EQ(VipDestroyVi(p.left.vi), VIP_ERROR_RESOURCE) << "flushed, not yet taken";
    EXPECT_EQ(p.left.drain(), 1u);
    EXPECT_EQ(VipDestroyVi(p.left.vi), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyVi(p.left.vi), VIP_INVALID_PARAMETER);
    p.left.vi = nullptr;
}

TEST_F(vi, a_dead_handle_is_refused_by_every_function) {
    VIP_VI_HANDLE v = nullptr;
    must(VipCreateVi(n, &good, nullptr, nullptr, &v));
    must(VipDestroyVi(v));
    VIP_VI_HANDLE next = nullptr;  // may live where the other did
    must(VipCreateVi(n, &good, nullptr, nullptr, &next));
    for (VIP_VI_HANDLE bad :
         {v, VIP_VI_HANDLE{}, wild_handle(), wild_handle(1), VIP_VI_HANDLE{tag}, VIP_VI_HANDLE{n}}) {
        VIP_DESCRIPTOR* d = nullptr;
        VIP_VI_STATE state;
        VIP_VI_ATTRIBUTES a = good;
        VIP_BOOLEAN empty;
        net_address here = n.address("x");
        const auto handler = [](VIP_PVOID, VIP_NIC_HANDLE, VIP_VI_HANDLE, VIP_DESCRIPTOR*) {};
        alignas(64) VIP_DESCRIPTOR own{};
        EXPECT_EQ(VipQueryVi(bad, &state, &a, &empty, &empty), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipSetViAttributes(bad, &a), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipConnectRequest(bad, here.get(), here.get(), 10, &a), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipConnectPeerRequest(bad, here.get(), here.get(), 10), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipConnectPeerDone(bad, &a), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipConnectPeerWait(bad, &a), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipDisconnect(bad), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipPostSend(bad, &own, 1), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipPostRecv(bad, &own, 1), VIP_INVALID_PARAMETER);
        for (auto* done : {&VipSendDone, &VipRecvDone}) {
            d = &own;
            EXPECT_EQ(done(bad, &d), VIP_INVALID_PARAMETER);
            EXPECT_EQ(d, nullptr) << "written on every return";
        }
        for (auto* wait : {&VipSendWait, &VipRecvWait}) {
            d = &own;
            EXPECT_EQ(wait(bad, VIP_INFINITE, &d), VIP_INVALID_PARAMETER);
            EXPECT_EQ(d, nullptr);
        }
        EXPECT_EQ(VipSendNotify(bad, nullptr, handler), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipRecvNotify(bad, nullptr, handler), VIP_INVALID_PARAMETER);
        EXPECT_EQ(VipGetUserData(bad), nullptr);
        VipSetUserData(bad, &own);
    }
    EXPECT_EQ(VipGetUserData(next), nullptr);
    EXPECT_EQ(VipDestroyVi(next), VIP_SUCCESS);
}

TEST_F(vi, query_tells_state_attributes_and_queues) {
    VIP_VI_ATTRIBUTES in = good;
    in.QoS = wild_handle(7);
    in.EnableRdmaWrite = VIP_TRUE;
    VIP_VI_HANDLE v = nullptr;
    must(VipCreateVi(n, &in, nullptr, nullptr, &v));
    VIP_VI_STATE state = VIP_STATE_ERROR;
    VIP_VI_ATTRIBUTES out{};
    VIP_BOOLEAN send_empty = VIP_FALSE;
    VIP_BOOLEAN receive_empty = VIP_FALSE;
    EXPECT_EQ(VipQueryVi(v, nullptr, &out, &send_empty, &receive_empty), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryVi(v, &state, nullptr, &send_empty, &receive_empty), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryVi(v, &state, &out, nullptr, &receive_empty), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryVi(v, &state, &out, &send_empty, nullptr), VIP_INVALID_PARAMETER);
    ASSERT_EQ(VipQueryVi(v, &state, &out, &send_empty, &receive_empty), VIP_SUCCESS);
    EXPECT_EQ(state, VIP_STATE_IDLE);
    EXPECT_EQ(out.ReliabilityLevel, in.ReliabilityLevel);
    EXPECT_EQ(out.MaxTransferSize, in.MaxTransferSize);
    EXPECT_EQ(out.QoS, in.QoS);
    EXPECT_EQ(out.Ptag, tag);
    EXPECT_NE(out.EnableRdmaWrite, VIP_FALSE);
    EXPECT_EQ(out.EnableRdmaRead, VIP_FALSE);
    EXPECT_EQ(send_empty, VIP_TRUE);
    EXPECT_EQ(receive_empty, VIP_TRUE);
    must(VipDestroyVi(v));
}

TEST_F(vi, a_queue_is_empty_when_done_can_return_nothing_more) {
    endpoint e(n);
    VIP_VI_STATE state;
    VIP_VI_ATTRIBUTES a;
    VIP_BOOLEAN send_empty = VIP_FALSE;
    VIP_BOOLEAN receive_empty = VIP_FALSE;
    VIP_DESCRIPTOR* d = e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    must(VipQueryVi(e.vi, &state, &a, &send_empty, &receive_empty));
    EXPECT_EQ(send_empty, VIP_TRUE);
    EXPECT_EQ(receive_empty, VIP_FALSE);
    must(VipDisconnect(e.vi));
    must(VipQueryVi(e.vi, &state, &a, &send_empty, &receive_empty));
    EXPECT_EQ(receive_empty, VIP_FALSE) << "flushed, but still to be taken";
    EXPECT_EQ(e.finish_receive(d), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
    must(VipQueryVi(e.vi, &state, &a, &send_empty, &receive_empty));
    EXPECT_EQ(receive_empty, VIP_TRUE);
}

TEST_F(vi, attributes_of_an_idle_vi_can_be_changed) {
    VIP_VI_HANDLE v = nullptr;
    must(VipCreateVi(n, &good, nullptr, nullptr, &v));
    VIP_VI_ATTRIBUTES in = good;
    in.ReliabilityLevel = VIP_SERVICE_RELIABLE_RECEPTION;
    in.MaxTransferSize = 100;
    in.EnableRdmaRead = VIP_TRUE;
    EXPECT_EQ(VipSetViAttributes(v, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipSetViAttributes(v, &in), VIP_SUCCESS);
    VIP_VI_STATE state;
    VIP_VI_ATTRIBUTES out;
    VIP_BOOLEAN empty;
    must(VipQueryVi(v, &state, &out, &empty, &empty));
    EXPECT_EQ(out.ReliabilityLevel, VIP_SERVICE_RELIABLE_RECEPTION);
    EXPECT_EQ(out.MaxTransferSize, 100u);
    EXPECT_NE(out.EnableRdmaRead, VIP_FALSE);

    VIP_VI_ATTRIBUTES bad = in;
    bad.ReliabilityLevel = 0;
    EXPECT_EQ(VipSetViAttributes(v, &bad), VIP_INVALID_RELIABILITY_LEVEL);
    bad = in;
    bad.MaxTransferSize = 0;
    EXPECT_EQ(VipSetViAttributes(v, &bad), VIP_INVALID_MTU);
    bad = in;
    bad.Ptag = wild_handle();
    EXPECT_EQ(VipSetViAttributes(v, &bad), VIP_INVALID_PTAG);
    bad = in;
    bad.ReliabilityLevel = VIP_SERVICE_UNRELIABLE;
    EXPECT_EQ(VipSetViAttributes(v, &bad), VIP_INVALID_RDMAREAD);
    must(VipQueryVi(v, &state, &out, &empty, &empty));
    EXPECT_EQ(out.MaxTransferSize, 100u) << "a refused change changes nothing";
    must(VipDestroyVi(v));
}

TEST_F(vi, attributes_of_a_vi_that_is_not_idle_stay) {
    pair p;
    VIP_VI_ATTRIBUTES a = p.left.attributes();
    EXPECT_EQ(VipSetViAttributes(p.left.vi, &a), VIP_INVALID_STATE);
    must(VipDisconnect(p.right.vi));
    ASSERT_TRUE(p.left.comes_to(VIP_STATE_ERROR));
    EXPECT_EQ(VipSetViAttributes(p.left.vi, &a), VIP_INVALID_STATE);
    must(VipDisconnect(p.left.vi));
    EXPECT_EQ(VipSetViAttributes(p.left.vi, &a), VIP_SUCCESS);
}

TEST_F(vi, a_new_tag_holds_for_the_next_connection) {
    nic other;
    endpoint e(n);
    endpoint peer(other);
    VIP_VI_ATTRIBUTES a = e.attributes();
    a.Ptag = tag;  // not that of the endpoint's memory
    ASSERT_EQ(VipSetViAttributes(e.vi, &a), VIP_SUCCESS);
    error_log errors(n);
    connect(peer, e);
    VIP_DESCRIPTOR* d = e.write(0, 0, {e.at(0, 8)});
    EXPECT_EQ(VipPostSend(e.vi, d, e.memory), VIP_SUCCESS);
    EXPECT_EQ(errors.wait_for(VIP_ERROR_POST_DESC).DescriptorPtr, d) << "the descriptor itself lies in that memory";
    must(VipDisconnect(e.vi));
    a.Ptag = e.tag;
    EXPECT_EQ(VipSetViAttributes(e.vi, &a), VIP_SUCCESS);
}

TEST_F(vi, data_of_the_program_stays_with_it) {
    VIP_VI_HANDLE v = nullptr;
    must(VipCreateVi(n, &good, nullptr, nullptr, &v));
    int mine = 0;
    EXPECT_EQ(VipGetUserData(v), nullptr);
    VipSetUserData(v, &mine);
    EXPECT_EQ(VipGetUserData(v), &mine);
    VipSetUserData(v, nullptr);
    EXPECT_EQ(VipGetUserData(v), nullptr);
    must(VipDestroyVi(v));
}

TEST_F(vi, done_on_an_empty_queue_is_a_descriptor_error) {
    endpoint e(n);
    VIP_DESCRIPTOR* d = e.descriptor(0);
    EXPECT_EQ(VipSendDone(e.vi, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRecvDone(e.vi, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipSendWait(e.vi, 0, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRecvWait(e.vi, 0, nullptr), VIP_INVALID_PARAMETER);
    for (auto* done : {&VipSendDone, &VipRecvDone}) {
        d = e.descriptor(0);
        EXPECT_EQ(done(e.vi, &d), VIP_DESCRIPTOR_ERROR);
        EXPECT_EQ(d, nullptr);
    }
    for (auto* wait : {&VipSendWait, &VipRecvWait}) {
        d = e.descriptor(0);
        EXPECT_EQ(wait(e.vi, VIP_INFINITE, &d), VIP_DESCRIPTOR_ERROR) << "told at once";
        EXPECT_EQ(d, nullptr);
    }
}

}  // namespace
}  // namespace vipl_test

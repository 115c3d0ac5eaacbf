// SPDX-License-Identifier: Apache-2.0
//
// limits_test.cc -- what VipQueryNic promises can be used up; one more is refused, and nothing else breaks.
#include <sys/mman.h>

#include <memory>

#include "fixture.hpp"

namespace vipl_test {
namespace {

class limits : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {};
VIPL_ALL_LEVELS(limits);

TEST_P(limits, a_receive_queue_is_filled) {
    pair p(at_level(GetParam()));
    const std::size_t most = p.right_nic.attributes().MaxDescriptorsPerQueue;
    ASSERT_LT(most, endpoint::descriptors);
    error_log errors(p.right_nic);
    for (std::size_t i = 0; i < most; ++i) {
        ASSERT_EQ(VipPostRecv(p.right.vi, p.right.write(i, 0, {p.right.at(0, 64)}), p.right.memory), VIP_SUCCESS) << i;
    }
    VIP_DESCRIPTOR* more = p.right.write(most, 0, {p.right.at(0, 64)});
    EXPECT_EQ(VipPostRecv(p.right.vi, more, p.right.memory), VIP_ERROR_RESOURCE);
    const VIP_ERROR_DESCRIPTOR e = errors.wait_for(VIP_ERROR_VI_OVERRUN);
    EXPECT_EQ(e.ViHandle, p.right.vi);
    EXPECT_EQ(e.DescriptorPtr, more);
    for (std::uint32_t i = 0; i < most; ++i) {
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, VIP_CONTROL_IMMEDIATE, {}, i));
        ASSERT_EQ(p.left.finish_send(s), done_send);
    }
    ASSERT_EQ(VipPostRecv(p.right.vi, more, p.right.memory), VIP_ERROR_RESOURCE) << "complete, but not taken";
    for (std::uint32_t i = 0; i < most; ++i) {
        ASSERT_EQ(p.right.finish_receive(p.right.descriptor(i)), done_receive | VIP_STATUS_IMMEDIATE);
        ASSERT_EQ(p.right.descriptor(i)->CS.ImmediateData, i);
    }
    EXPECT_EQ(VipPostRecv(p.right.vi, more, p.right.memory), VIP_SUCCESS) << "there is room again";
    EXPECT_EQ(p.right.state(), VIP_STATE_CONNECTED);
}

TEST_P(limits, a_send_queue_is_filled) {
    pair p(at_level(GetParam()));
    const std::size_t most = p.left_nic.attributes().MaxDescriptorsPerQueue;
    error_log errors(p.left_nic);
    for (std::size_t i = 0; i < most; ++i) {
        VIP_DESCRIPTOR* w = p.left.write_rdma(i, VIP_CONTROL_OP_RDMAWRITE, p.right.at(i * 8, 0), {p.left.at(i * 8, 8)});
        ASSERT_EQ(VipPostSend(p.left.vi, w, p.left.memory), VIP_SUCCESS) << i;
    }
    VIP_DESCRIPTOR* more = p.left.write(most, 0, {});
    EXPECT_EQ(VipPostSend(p.left.vi, more, p.left.memory), VIP_ERROR_RESOURCE);
    EXPECT_EQ(errors.wait_for(VIP_ERROR_VI_OVERRUN).DescriptorPtr, more);
    for (std::size_t i = 0; i < most; ++i) {
        ASSERT_EQ(p.left.finish_send(p.left.descriptor(i)), done_write) << i;
    }
    EXPECT_EQ(p.left.drain(), 0u) << "the refused one was not queued";
    EXPECT_EQ(p.left.state(), VIP_STATE_CONNECTED);
}

TEST_P(limits, a_full_queue_is_flushed) {
    pair p(at_level(GetParam()));
    const std::size_t most = p.right_nic.attributes().MaxDescriptorsPerQueue;
    for (std::size_t i = 0; i < most; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(0, 64)}));
    }
    must(VipDisconnect(p.left.vi));
    ASSERT_TRUE(p.right.comes_to(VIP_STATE_ERROR));
    for (std::size_t i = 0; i < most; ++i) {
        ASSERT_EQ(p.right.finish_receive(p.right.descriptor(i)), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
    }
}

TEST_P(limits, flushed_sends_fill_the_queue_too) {
    nic n;
    const endpoint e(n, at_level(GetParam()));
    const std::size_t most = n.attributes().MaxDescriptorsPerQueue;
    for (std::size_t i = 0; i < most; ++i) {
        ASSERT_EQ(VipPostSend(e.vi, e.write(i, 0, {}), e.memory), VIP_SUCCESS);
    }
    EXPECT_EQ(VipPostSend(e.vi, e.write(most, 0, {}), e.memory), VIP_ERROR_RESOURCE);
    for (std::size_t i = 0; i < most; ++i) {
        ASSERT_EQ(e.finish_send(e.descriptor(i)), done_send | VIP_STATUS_DESC_FLUSHED_ERROR);
    }
}

TEST_P(limits, many_descriptors_of_many_segments_arrive) {
    pair p(at_level(GetParam()));
    const std::size_t segments = p.left_nic.attributes().MaxSegmentsPerDesc;
    ASSERT_LE(sizeof(VIP_CONTROL_SEGMENT) + segments * sizeof(VIP_DATA_SEGMENT), endpoint::wide_bytes);
    std::vector<piece> sent;
    std::vector<piece> received;
    for (std::size_t i = 0; i < segments; ++i) {
        sent.push_back(p.left.at(i * 3, 3));
        received.push_back(p.right.at(i * 3, 3));
    }
    for (std::uint32_t round = 0; round < 20; ++round) {
        for (std::size_t i = 0; i < endpoint::wide_descriptors; ++i) {
            p.right.post_receive(p.right.write(p.right.wide_descriptor(i), 0, received));
        }
        fill(p.left.bytes(0, segments * 3), round);
        for (std::size_t i = 0; i < endpoint::wide_descriptors; ++i) {
            VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(p.left.wide_descriptor(i), 0, sent));
            ASSERT_EQ(p.left.finish_send(s), done_send);
            ASSERT_EQ(p.right.finish_receive(p.right.wide_descriptor(i)), done_receive);
        }
        ASSERT_TRUE(matches(p.right.bytes(0, segments * 3), round));
    }
}

TEST_P(limits, a_large_transfer_arrives_whole) {
    constexpr std::size_t bytes = std::size_t{64} << 20;
    endpoint_options o = at_level(GetParam());
    o.transfer_bytes_max = bytes;
    pair p(o);
    ASSERT_GE(p.left_nic.attributes().MaxTransferSize, bytes);
    const auto storage = [](std::size_t n) {
        return std::unique_ptr<char, void (*)(char*)>(static_cast<char*>(std::aligned_alloc(4096, n)),
                                                      [](char* q) { std::free(q); });
    };
    const auto from = storage(bytes);
    const auto to = storage(bytes);
    fill({from.get(), bytes}, 1);
    VIP_MEM_HANDLE from_handle = 0;
    VIP_MEM_HANDLE to_handle = 0;
    VIP_MEM_ATTRIBUTES left_rights{p.left.tag, VIP_TRUE, VIP_TRUE};
    VIP_MEM_ATTRIBUTES right_rights{p.right.tag, VIP_TRUE, VIP_TRUE};
    must(VipRegisterMem(p.left_nic, from.get(), bytes, &left_rights, &from_handle));
    must(VipRegisterMem(p.right_nic, to.get(), bytes, &right_rights, &to_handle));
    const piece source{from.get(), static_cast<std::uint32_t>(bytes), from_handle};
    const piece target{to.get(), static_cast<std::uint32_t>(bytes), to_handle};
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {target}));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {source}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    EXPECT_EQ(r->CS.Length, bytes);
    EXPECT_TRUE(matches({to.get(), bytes}, 1));
    must(VipDeregisterMem(p.left_nic, from.get(), from_handle));
    must(VipDeregisterMem(p.right_nic, to.get(), to_handle));
}

TEST(limits_of_the_nic, allow_many_vis_and_completion_queues) {
    nic n;
    constexpr std::size_t count = 300;
    ASSERT_GE(n.attributes().MaxVI, count);
    ASSERT_GE(n.attributes().MaxCQ, count);
    VIP_VI_ATTRIBUTES a{};
    a.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
    a.MaxTransferSize = 4096;
    must(VipCreatePtag(n, &a.Ptag));
    std::vector<VIP_VI_HANDLE> vis(count);
    std::vector<VIP_CQ_HANDLE> queues(count);
    for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(VipCreateCQ(n, 1024, &queues[i]), VIP_SUCCESS) << i;
        ASSERT_EQ(VipCreateVi(n, &a, queues[i], queues[i], &vis[i]), VIP_SUCCESS) << i;
    }
    for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(VipDestroyVi(vis[i]), VIP_SUCCESS);
        ASSERT_EQ(VipDestroyCQ(queues[i]), VIP_SUCCESS);
    }
}

TEST(limits_of_the_nic, vis_come_and_go) {
    nic n;
    for (int i = 0; i < 500; ++i) {
        VIP_VI_ATTRIBUTES a{};
        a.ReliabilityLevel = VIP_SERVICE_UNRELIABLE;
        a.MaxTransferSize = 4096;
        VIP_VI_HANDLE v = nullptr;
        must(VipCreateVi(n, &a, nullptr, nullptr, &v));
        must(VipDestroyVi(v));
    }
}

TEST(limits_of_the_nic, allow_many_regions) {
    nic n;
    constexpr std::size_t count = 3000;
    ASSERT_GE(n.attributes().MaxRegisterRegions, count);
    std::vector<char> bytes(count + 100);
    VIP_MEM_ATTRIBUTES rights{};
    must(VipCreatePtag(n, &rights.Ptag));
    std::vector<VIP_MEM_HANDLE> handles(count);
    for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(VipRegisterMem(n, bytes.data() + i, 100, &rights, &handles[i]), VIP_SUCCESS) << i;
    }
    for (std::size_t i = 0; i < count; ++i) {
        VIP_MEM_ATTRIBUTES out{};
        ASSERT_EQ(VipQueryMem(n, bytes.data() + i + 99, handles[i], &out), VIP_SUCCESS);
        ASSERT_EQ(VipDeregisterMem(n, bytes.data() + i, handles[i]), VIP_SUCCESS);
    }
}

TEST(limits_of_the_nic, allow_a_large_block_that_is_hardly_touched) {
    nic n;
    constexpr std::size_t bytes = std::size_t{256} << 20;
    ASSERT_GE(n.attributes().MaxRegisterBlockBytes, bytes);
    // Address space only, but for its ends.
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(p, MAP_FAILED);
    VIP_MEM_ATTRIBUTES rights{};
    VIP_MEM_HANDLE h = 0;
    const std::span<char> all(static_cast<char*>(p), bytes);
    all.front() = 'a';
    EXPECT_EQ(VipRegisterMem(n, p, bytes, &rights, &h), VIP_SUCCESS);
    all.back() = 'z';
    EXPECT_EQ(VipDeregisterMem(n, p, h), VIP_SUCCESS);
    EXPECT_EQ(all.front(), 'a');
    EXPECT_EQ(all.back(), 'z');
    ::munmap(p, bytes);
}

}  // namespace
}  // namespace vipl_test

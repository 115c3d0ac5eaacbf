// SPDX-License-Identifier: Apache-2.0
//
// rdma_test.cc -- RDMA writes and reads: rights, immediate data, gathering and scattering, the queue fence.
#include <cstring>

#include "fixture.hpp"

namespace vipl_test {
namespace {

class rdma_write : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    pair p{at_level(GetParam())};
};
VIPL_ALL_LEVELS(rdma_write);

TEST_P(rdma_write, lands_where_it_is_told) {
    fill(p.left.bytes(0, 3000), 1);
    VIP_DESCRIPTOR* s = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, p.right.at(7, 0),
                                          {p.left.at(0, 1000), p.left.at(1000, 0), p.left.at(1000, 2000)});
    p.left.post_send(s);
    ASSERT_EQ(p.left.finish_send(s), done_write);
    ASSERT_TRUE(comes_true([&] { return bool(matches(p.right.bytes(7, 3000), 1)); }));
    EXPECT_EQ(p.right.bytes(3007, 1)[0], 0);
    EXPECT_EQ(p.right.bytes(6, 1)[0], 0);
}

TEST_P(rdma_write, consumes_no_receive_descriptor) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    VIP_DESCRIPTOR* s = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, p.right.at(0, 0), {p.left.at(0, 64)});
    p.left.post_send(s);
    ASSERT_EQ(p.left.finish_send(s), done_write);
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_EQ(VipRecvWait(p.right.vi, quiet_time_ms, &d), VIP_TIMEOUT);
    VIP_DESCRIPTOR* message = p.left.post_send(p.left.write(1, 0, {p.left.at(0, 8)}));
    ASSERT_EQ(p.left.finish_send(message), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
}

TEST_P(rdma_write, with_immediate_data_consumes_a_descriptor) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    fill(p.left.bytes(0, 500), 2);
    fill(p.right.bytes(0, 64), 9);
    VIP_DESCRIPTOR* s = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE | VIP_CONTROL_IMMEDIATE, p.right.at(8192, 0),
                                          {p.left.at(0, 500)}, 0xcafe0001);
    p.left.post_send(s);
    ASSERT_EQ(p.left.finish_send(s), done_write);
    ASSERT_EQ(p.right.finish_receive(r), done_remote_write | VIP_STATUS_IMMEDIATE);
    EXPECT_EQ(r->CS.ImmediateData, 0xcafe0001u);
    EXPECT_TRUE(matches(p.right.bytes(8192, 500), 2)) << "the data is there when the descriptor says so";
    EXPECT_TRUE(matches(p.right.bytes(0, 64), 9)) << "the descriptor's own buffer is not touched";
}

TEST_P(rdma_write, of_no_bytes_carries_immediate_data) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {}));
    VIP_DESCRIPTOR* s = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE | VIP_CONTROL_IMMEDIATE, p.right.at(0, 0), {}, 3);
    p.left.post_send(s);
    ASSERT_EQ(p.left.finish_send(s), done_write);
    ASSERT_EQ(p.right.finish_receive(r), done_remote_write | VIP_STATUS_IMMEDIATE);
    EXPECT_EQ(r->CS.ImmediateData, 3u);
}

TEST_P(rdma_write, gathers_251_data_segments) {
    std::vector<piece> pieces;
    for (std::size_t i = 0; i < 251; ++i) {
        pieces.push_back(p.left.at(i * 16, 16));
    }
    fill(p.left.bytes(0, 251 * 16), 4);
    VIP_DESCRIPTOR* s =
        p.left.write_rdma(p.left.wide_descriptor(0), VIP_CONTROL_OP_RDMAWRITE, p.right.at(5, 0), pieces);
    ASSERT_EQ(s->CS.SegCount, 252u);
    p.left.post_send(s);
    ASSERT_EQ(p.left.finish_send(s), done_write);
    EXPECT_TRUE(comes_true([&] { return bool(matches(p.right.bytes(5, 251 * 16), 4)); }));
}

/// What the target lacks.
struct lack {
    const char* name;
    bool vi, memory;
    int handle_offset;
    std::ptrdiff_t address_offset;
};
const lack lacks[] = {{"right_on_the_vi", false, true, 0, 0},
                      {"right_on_the_region", true, false, 0, 0},
                      {"handle", true, true, 12345, 0},
                      {"range", true, true, 0, std::ptrdiff_t{1} << 30},
                      {"range_at_its_end", true, true, 0, endpoint::buffer_bytes - 8}};

TEST_P(rdma_write, is_refused_without_right_handle_or_range) {
    for (const lack& l : lacks) {
        SCOPED_TRACE(l.name);
        endpoint_options target = at_level(GetParam());
        target.vi_write = l.vi;
        target.memory_write = l.memory;
        pair q(at_level(GetParam()), target);
        error_log errors(q.right_nic);
        fill(q.right.bytes(0, 64), 1);
        piece to = q.right.at(0, 0);
        to.handle += static_cast<VIP_MEM_HANDLE>(l.handle_offset);
        to.at = q.right.buffer(static_cast<std::size_t>(l.address_offset));
        VIP_DESCRIPTOR* s = q.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, to, {q.left.at(0, 8192)});
        q.left.post_send(s);
        const std::uint32_t status = q.left.finish_send(s);
        EXPECT_EQ(status & VIP_STATUS_OP_MASK, std::uint32_t{VIP_STATUS_OP_RDMA_WRITE});
        if (GetParam() == VIP_SERVICE_UNRELIABLE) {
            EXPECT_TRUE(q.left.state() == VIP_STATE_CONNECTED) << "nobody else is harmed";
        } else {
            EXPECT_NE(status & VIP_STATUS_ERROR_MASK, 0u);
            EXPECT_TRUE(q.left.comes_to(VIP_STATE_ERROR));
            EXPECT_TRUE(q.right.comes_to(VIP_STATE_ERROR));
        }
        if (GetParam() == VIP_SERVICE_RELIABLE_RECEPTION) {
            EXPECT_EQ(status, done_write | VIP_STATUS_RDMA_PROT_ERROR);
        }
        const VIP_ERROR_DESCRIPTOR e = errors.wait_for(VIP_ERROR_RDMAW_PROT);
        EXPECT_EQ(e.ViHandle, q.right.vi);
        EXPECT_EQ(e.NicHandle, q.right_nic.handle);
        EXPECT_TRUE(matches(q.right.bytes(0, 64), 1)) << "nothing was written";
    }
}

TEST_P(rdma_write, is_refused_for_memory_of_another_tag) {
    VIP_PROTECTION_HANDLE other = nullptr;
    must(VipCreatePtag(p.right_nic, &other));
    std::vector<char> bytes(100);
    VIP_MEM_ATTRIBUTES rights{other, VIP_TRUE, VIP_TRUE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(p.right_nic, bytes.data(), bytes.size(), &rights, &handle));
    error_log errors(p.right_nic);
    fill(p.left.bytes(0, 8), 1);
    VIP_DESCRIPTOR* s =
        p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, piece{bytes.data(), 0, handle}, {p.left.at(0, 8)});
    p.left.post_send(s);
    (void)p.left.finish_send(s);
    (void)errors.wait_for(VIP_ERROR_RDMAW_PROT);
    EXPECT_EQ(bytes, std::vector<char>(100));
    must(VipDeregisterMem(p.right_nic, bytes.data(), handle));
    must(VipDestroyPtag(p.right_nic, other));
}

/// With immediate data a refused write is told by the receive descriptor.
TEST_P(rdma_write, refused_with_immediate_data_goes_to_the_receive_descriptor) {
    endpoint_options closed = at_level(GetParam());
    closed.memory_write = false;
    pair q(at_level(GetParam()), closed);
    const error_log errors(q.right_nic);
    VIP_DESCRIPTOR* r = q.right.post_receive(q.right.write(0, 0, {q.right.at(0, 64)}));
    VIP_DESCRIPTOR* s = q.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE | VIP_CONTROL_IMMEDIATE, q.right.at(4096, 0),
                                          {q.left.at(0, 8)}, 1);
    q.left.post_send(s);
    (void)q.left.finish_send(s);
    const std::uint32_t status = q.right.finish_receive(r);
    EXPECT_EQ(status & VIP_STATUS_OP_MASK, std::uint32_t{VIP_STATUS_OP_REMOTE_RDMA_WRITE});
    EXPECT_EQ(status & VIP_STATUS_ERROR_MASK, std::uint32_t{VIP_STATUS_RDMA_PROT_ERROR});
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(errors.count(VIP_ERROR_RDMAW_PROT), 0u) << "instead of the asynchronous error";
}

TEST_P(rdma_write, rights_need_not_be_one) {
    std::vector<char> bytes(64);
    VIP_MEM_ATTRIBUTES rights{p.right.tag, 4, 2};  // tested for nonzero
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(p.right_nic, bytes.data(), bytes.size(), &rights, &handle));
    fill(p.left.bytes(0, 64), 6);
    VIP_DESCRIPTOR* s =
        p.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, piece{bytes.data(), 0, handle}, {p.left.at(0, 64)});
    p.left.post_send(s);
    EXPECT_EQ(p.left.finish_send(s), done_write);
    EXPECT_TRUE(comes_true([&] { return bool(matches(bytes, 6)); }));
    must(VipDeregisterMem(p.right_nic, bytes.data(), handle));
}

// -- reads ------------------------------------------------------------------------------------

class rdma_read : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    pair p{at_level(GetParam())};
};
VIPL_RELIABLE_LEVELS(rdma_read);

TEST_P(rdma_read, fetches_and_scatters) {
    fill(p.right.bytes(3, 3000), 1);
    VIP_DESCRIPTOR* s = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, p.right.at(3, 0),
                                          {p.left.at(0, 1000), p.left.at(5000, 0), p.left.at(1000, 2000)});
    p.left.post_send(s);
    ASSERT_EQ(p.left.finish_send(s), done_read);
    EXPECT_TRUE(matches(p.left.bytes(0, 3000), 1));
    EXPECT_EQ(p.left.bytes(3000, 1)[0], 0);
}

TEST_P(rdma_read, is_refused_without_right_handle_or_range) {
    for (const lack& l : lacks) {
        SCOPED_TRACE(l.name);
        endpoint_options target = at_level(GetParam());
        target.vi_read = l.vi;
        target.memory_read = l.memory;
        pair q(at_level(GetParam()), target);
        error_log errors(q.right_nic);
        piece from = q.right.at(static_cast<std::size_t>(l.address_offset), 0);
        from.handle += static_cast<VIP_MEM_HANDLE>(l.handle_offset);
        fill(q.left.bytes(0, 8192), 8);
        VIP_DESCRIPTOR* s = q.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, from, {q.left.at(0, 8192)});
        q.left.post_send(s);
        EXPECT_EQ(q.left.finish_send(s), done_read | VIP_STATUS_RDMA_PROT_ERROR);
        EXPECT_TRUE(q.left.comes_to(VIP_STATE_ERROR));
        EXPECT_EQ(errors.wait_for(VIP_ERROR_RDMAR_PROT).ViHandle, q.right.vi);
        EXPECT_TRUE(matches(q.left.bytes(0, 8192), 8)) << "nothing was read";
    }
}

TEST_P(rdma_read, keeps_its_place_in_the_queue) {
    constexpr std::size_t count = 60;
    for (std::size_t i = 0; i < count; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(0, 64)}));
    }
    for (std::size_t i = 0; i < count; ++i) {
        VIP_DESCRIPTOR* d =
            i % 3 == 0   ? p.left.write_rdma(i, VIP_CONTROL_OP_RDMAREAD, p.right.at(8192, 0), {p.left.at(0, 30000)})
            : i % 3 == 1 ? p.left.write_rdma(i, VIP_CONTROL_OP_RDMAWRITE, p.right.at(65536, 0), {p.left.at(65536, 8)})
                         : p.left.write(i, VIP_CONTROL_QFENCE, {p.left.at(65536, 8)});
        p.left.post_send(d);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t wanted = i % 3 == 0 ? done_read : i % 3 == 1 ? done_write : done_send;
        ASSERT_EQ(p.left.finish_send(p.left.descriptor(i)), wanted) << i;
    }
}

/// What a fenced send carries was read by the RDMA read before it.
TEST_P(rdma_read, fence_makes_later_descriptors_see_what_was_read) {
    for (std::uint32_t round = 0; round < 50; ++round) {
        fill(p.right.bytes(8192, 2000), round);
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 4096)}));
        VIP_DESCRIPTOR* read = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, p.right.at(8192, 0), {p.left.at(0, 2000)});
        VIP_DESCRIPTOR* send = p.left.write(1, VIP_CONTROL_QFENCE, {p.left.at(0, 2000)});
        p.left.post_send(read);
        p.left.post_send(send);
        ASSERT_EQ(p.left.finish_send(read), done_read);
        ASSERT_EQ(p.left.finish_send(send), done_send);
        ASSERT_EQ(p.right.finish_receive(r), done_receive);
        ASSERT_TRUE(matches(p.right.bytes(0, 2000), round));
    }
}

TEST_P(rdma_read, does_not_carry_immediate_data) {
    VIP_DESCRIPTOR* s =
        p.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD | VIP_CONTROL_IMMEDIATE, p.right.at(0, 0), {p.left.at(0, 8)}, 1);
    p.left.post_send(s);
    EXPECT_EQ(p.left.finish_send(s), done_read | VIP_STATUS_FORMAT_ERROR);
}

TEST(rdma_read_unreliable, is_a_format_error) {
    pair p(at_level(VIP_SERVICE_UNRELIABLE));
    VIP_DESCRIPTOR* s = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, p.right.at(0, 0), {p.left.at(0, 8)});
    p.left.post_send(s);
    EXPECT_EQ(p.left.finish_send(s), done_read | VIP_STATUS_FORMAT_ERROR);
    EXPECT_EQ(p.left.state(), VIP_STATE_CONNECTED);
}

TEST_P(rdma_read, initiator_needs_no_rights_of_its_own) {
    endpoint_options closed = at_level(GetParam());
    closed.vi_read = closed.vi_write = closed.memory_read = closed.memory_write = false;
    pair q(closed, at_level(GetParam()));
    fill(q.right.bytes(0, 100), 7);
    VIP_DESCRIPTOR* s = q.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, q.right.at(0, 0), {q.left.at(0, 100)});
    q.left.post_send(s);
    EXPECT_EQ(q.left.finish_send(s), done_read);
    EXPECT_TRUE(matches(q.left.bytes(0, 100), 7));
}

}  // namespace
}  // namespace vipl_test

// SPDX-License-Identifier: Apache-2.0
//
// transfer_test.cc -- messages at the three reliability levels: what arrives, what descriptors say, Done and Wait.
#include <algorithm>
#include <cstring>

#include "fixture.hpp"

namespace vipl_test {
namespace {

class transfer : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    pair p{at_level(GetParam())};
};
VIPL_ALL_LEVELS(transfer);

TEST_P(transfer, a_message_arrives) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 4096)}));
    fill(p.left.bytes(0, 1000), 1);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 1000)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(s->CS.Length, 1000u);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    EXPECT_EQ(r->CS.Length, 1000u) << "bytes received";
    EXPECT_TRUE(matches(p.right.bytes(0, 1000), 1));
    EXPECT_EQ(p.right.bytes(1000, 1)[0], 0) << "no more than that";
}

TEST_P(transfer, messages_of_many_sizes_arrive) {
    for (const std::uint32_t n : {1u, 2u, 7u, 8u, 63u, 64u, 65u, 127u, 255u, 256u, 257u, 4095u, 4096u, 4097u, 16300u,
                                  32768u, 65472u, 65535u, 65536u}) {
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 65536)}));
        fill(p.left.bytes(0, n), n);
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, n)}));
        ASSERT_EQ(p.left.finish_send(s), done_send) << n;
        ASSERT_EQ(p.right.finish_receive(r), done_receive) << n;
        ASSERT_EQ(r->CS.Length, n);
        ASSERT_TRUE(matches(p.right.bytes(0, n), n));
    }
}

TEST_P(transfer, immediate_data_arrives) {
    for (const std::uint32_t value : {0u, 1u, 0xdeadbeefu, 0x80000000u, 0xFFFFFFFFu}) {
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}, 0x5a5a5a5a));
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, VIP_CONTROL_IMMEDIATE, {p.left.at(0, 4)}, value));
        ASSERT_EQ(p.left.finish_send(s), done_send) << "VIP_STATUS_IMMEDIATE is the receive queue's";
        ASSERT_EQ(p.right.finish_receive(r), done_receive | VIP_STATUS_IMMEDIATE);
        ASSERT_EQ(r->CS.ImmediateData, value);
    }
}

TEST_P(transfer, without_immediate_data_the_field_is_untouched) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, VIP_CONTROL_IMMEDIATE, {p.right.at(0, 64)}, 0x5a5a5a5a));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 4)}, 77));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive) << "the bit in a receive's Control is ignored";
    EXPECT_EQ(r->CS.ImmediateData, 0x5a5a5a5au);
}

TEST_P(transfer, empty_messages_arrive) {
    const struct {
        std::vector<piece> sent, received;
        std::uint16_t control;
    } cases[] = {{{}, {}, 0},
                 {{}, {}, VIP_CONTROL_IMMEDIATE},
                 {{}, {p.right.at(0, 64)}, 0},
                 {{p.left.at(0, 0)}, {}, VIP_CONTROL_IMMEDIATE},
                 {{p.left.at(0, 0)}, {p.right.at(0, 0)}, 0},
                 {{p.left.at(0, 0), p.left.at(9, 0), p.left.at(0, 0)}, {p.right.at(0, 0), p.right.at(0, 9)}, 0}};
    for (const auto& c : cases) {
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(p.right.wide_descriptor(0), 0, c.received));
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(p.left.wide_descriptor(0), c.control, c.sent, 5));
        ASSERT_EQ(p.left.finish_send(s), done_send);
        ASSERT_EQ(p.right.finish_receive(r),
                  done_receive | ((c.control & VIP_CONTROL_IMMEDIATE) != 0 ? VIP_STATUS_IMMEDIATE : 0u));
        ASSERT_EQ(r->CS.Length, 0u);
    }
}

TEST_P(transfer, segments_are_gathered_and_scattered) {
    const auto most = p.left_nic.attributes().MaxSegmentsPerDesc;
    ASSERT_GE(most, 252u);
    for (const std::size_t count : {std::size_t{2}, std::size_t{3}, std::size_t{4}, std::size_t{100}, most}) {
        std::vector<piece> sent;
        std::vector<piece> received;
        for (std::size_t i = 0; i < count; ++i) {
            sent.push_back(p.left.at(i * 64 + 1, 1 + i % 50));         // many unaligned pieces
            received.push_back(p.right.at((count - 1 - i) * 64, 26));  // backwards
        }
        std::string message;
        std::uint32_t seed = 0;
        for (const piece& s : sent) {
            fill({static_cast<char*>(s.at), s.bytes}, ++seed);
            message.append(static_cast<const char*>(s.at), s.bytes);
        }
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(p.right.wide_descriptor(0), 0, received));
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(p.left.wide_descriptor(0), 0, sent));
        if (message.size() <= count * 26) {
            ASSERT_EQ(p.left.finish_send(s), done_send) << count;
            ASSERT_EQ(p.right.finish_receive(r), done_receive) << count;
            ASSERT_EQ(r->CS.Length, message.size());
            std::string arrived;
            for (const piece& to : received) {
                arrived.append(static_cast<const char*>(to.at), to.bytes);
            }
            ASSERT_EQ(arrived.substr(0, message.size()), message) << count;
        } else {
            FAIL() << "the test's own numbers";
        }
    }
}

TEST_P(transfer, segments_may_lie_in_several_regions) {
    std::vector<char> other(300);
    VIP_MEM_ATTRIBUTES rights{p.left.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(p.left_nic, other.data(), other.size(), &rights, &handle));
    fill(other, 3);
    fill(p.left.bytes(0, 100), 4);
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 1000)}));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 100), piece{other.data(), 300, handle}}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    EXPECT_TRUE(matches(p.right.bytes(0, 100), 4));
    EXPECT_TRUE(matches(p.right.bytes(100, 300), 3));
    must(VipDeregisterMem(p.left_nic, other.data(), handle));
}

TEST_P(transfer, descriptors_complete_in_the_order_of_posting) {
    constexpr std::size_t count = 200;
    for (std::size_t i = 0; i < count; ++i) {
        p.right.post_receive(p.right.write(i, 0, {p.right.at(i * 8, 8)}));
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t number = i;
        std::memcpy(p.left.buffer(i * 8), &number, 8);
        p.left.post_send(p.left.write(i, VIP_CONTROL_IMMEDIATE, {p.left.at(i * 8, 8)}, static_cast<std::uint32_t>(i)));
    }
    for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(p.left.finish_send(p.left.descriptor(i)), done_send);
        ASSERT_EQ(p.right.finish_receive(p.right.descriptor(i)), done_receive | VIP_STATUS_IMMEDIATE);
        ASSERT_EQ(p.right.descriptor(i)->CS.ImmediateData, i);
        std::uint64_t number = 0;
        std::memcpy(&number, p.right.buffer(i * 8), 8);
        ASSERT_EQ(number, i);
    }
}

TEST_P(transfer, done_says_how_it_stands) {
    VIP_DESCRIPTOR* d = p.right.descriptor(9);
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    EXPECT_EQ(VipRecvDone(p.right.vi, &d), VIP_NOT_DONE);
    EXPECT_EQ(d, nullptr);
    EXPECT_EQ(r->CS.Status, 0u);
    d = p.right.descriptor(9);
    EXPECT_EQ(VipRecvWait(p.right.vi, quiet_time_ms, &d), VIP_TIMEOUT);
    EXPECT_EQ(d, nullptr);
    EXPECT_EQ(VipRecvWait(p.right.vi, 0, &d), VIP_TIMEOUT);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    VIP_RETURN code = VIP_NOT_DONE;
    EXPECT_TRUE(comes_true([&] { return (code = VipRecvDone(p.right.vi, &d)) != VIP_NOT_DONE; }));
    EXPECT_EQ(code, VIP_SUCCESS);
    EXPECT_EQ(d, r);
    EXPECT_EQ(VipRecvDone(p.right.vi, &d), VIP_DESCRIPTOR_ERROR);
    EXPECT_EQ(d, nullptr);
}

TEST_P(transfer, wait_wakes_up) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    for (const VIP_ULONG timeout : {VIP_INFINITE, VIP_ULONG{0xFFFFFFFF}, patience_ms}) {
        std::thread sending([&] {
            std::this_thread::sleep_for(quiet_time);
            VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
            EXPECT_EQ(p.left.finish_send(s), done_send);
        });
        VIP_DESCRIPTOR* d = nullptr;
        EXPECT_EQ(VipRecvWait(p.right.vi, timeout, &d), VIP_SUCCESS);
        EXPECT_EQ(d, r);
        sending.join();
        p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    }
}

TEST_P(transfer, status_can_be_looked_at_instead_of_done) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    EXPECT_EQ(std::atomic_ref(r->CS.Status).load(std::memory_order_acquire), done_receive);
}

TEST_P(transfer, a_descriptor_can_be_posted_again) {
    VIP_DESCRIPTOR* r = p.right.write(0, 0, {p.right.at(0, 64)});
    VIP_DESCRIPTOR* s = p.left.write(0, 0, {p.left.at(0, 64)});
    for (int i = 0; i < 3000; ++i) {  // several times around the rings
        r->CS.Length = 64;
        r->CS.Status = 0;
        s->CS.Status = 0;
        p.right.post_receive(r);
        p.left.post_send(s);
        ASSERT_EQ(p.left.finish_send(s), done_send);
        ASSERT_EQ(p.right.finish_receive(r), done_receive);
    }
}

TEST_P(transfer, both_directions_work_at_once) {
    for (endpoint* e : {&p.left, &p.right}) {
        for (std::size_t i = 0; i < 50; ++i) {
            e->post_receive(e->write(i, 0, {e->at(i * 64, 64)}));
        }
    }
    for (std::size_t i = 0; i < 50; ++i) {
        for (endpoint* e : {&p.left, &p.right}) {
            e->post_send(e->write(100 + i, VIP_CONTROL_IMMEDIATE, {e->at(65536, 64)}, static_cast<std::uint32_t>(i)));
        }
    }
    for (std::size_t i = 0; i < 50; ++i) {
        for (endpoint* e : {&p.left, &p.right}) {
            ASSERT_EQ(e->finish_send(e->descriptor(100 + i)), done_send);
            ASSERT_EQ(e->finish_receive(e->descriptor(i)), done_receive | VIP_STATUS_IMMEDIATE);
            ASSERT_EQ(e->descriptor(i)->CS.ImmediateData, i);
        }
    }
}

TEST_P(transfer, the_provider_owns_next_while_posted_and_the_program_afterwards) {
    VIP_DESCRIPTOR* r = p.right.write(0, 0, {p.right.at(0, 64)});
    r->CS.Next.Address = r;  // a free list of the program's
    r->CS.NextHandle = 0x1234;
    error_log errors(p.right_nic);
    p.right.post_receive(r);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
    r->CS.Next.Address = r;
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(errors.count(), 0u);
}

}  // namespace
}  // namespace vipl_test

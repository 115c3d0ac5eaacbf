// SPDX-License-Identifier: Apache-2.0
//
// vi_test.cc -- a virtual interface by itself: attributes and their limits, states, and what each state refuses.
//
//     idle --connect--> connecting --answer--> connected --peer leaves, error--> error
//       ^------------------------- disconnect, from any state -----------------------|
#include <bit>

#include "fixture.hpp"

namespace conformance {
namespace {

class vi : public testing::Test {
protected:
    vinic::nic nic = open_device();
    vinic::domain domain = must(nic.create_domain());
    vinic::completion_queue cq = must(nic.create_completion_queue());
    vinic::vi_attributes attributes = [this] {
        vinic::vi_attributes made;
        made.send_cq = &cq;
        made.receive_cq = &cq;
        return made;
    }();
    vinic::buffer buffer = must(nic.allocate(4096));
    vinic::region memory = must(domain.register_memory(buffer.bytes(), vinic::access::all));
};

TEST_F(vi, starts_idle_with_empty_queues) {
    const auto made = must(domain.create_vi(attributes));
    EXPECT_EQ(made.state(), vinic::vi_state::idle);
    EXPECT_EQ(made.sends_outstanding(), 0u);
    EXPECT_EQ(made.receives_outstanding(), 0u);
}

TEST_F(vi, tells_its_attributes) {
    attributes.reliability = vinic::reliability::reception;
    attributes.send_depth = 100;
    attributes.receive_depth = 7;
    attributes.segments_max = 12;
    attributes.inline_bytes_max = 100;
    attributes.transfer_bytes_max = 65536;
    attributes.receiver_wait = 5ms;
    attributes.rdma_read = false;
    attributes.thread_safe = true;
    attributes.context = 0x1234567890abcdefu;
    const auto told = must(domain.create_vi(attributes)).attributes();
    EXPECT_EQ(told.reliability, vinic::reliability::reception);
    EXPECT_EQ(told.service, vinic::service::connected);
    EXPECT_EQ(told.send_depth, 128u) << "rounded up to a power of two";
    EXPECT_EQ(told.receive_depth, 8u);
    EXPECT_GE(told.segments_max, 12u);
    EXPECT_GE(told.inline_bytes_max, 100u);
    EXPECT_EQ(told.transfer_bytes_max, 65536u);
    EXPECT_EQ(told.receiver_wait, 5ms);
    EXPECT_TRUE(told.rdma_write);
    EXPECT_FALSE(told.rdma_read);
    EXPECT_TRUE(told.rdma_atomic);
    EXPECT_TRUE(told.thread_safe);
    EXPECT_EQ(told.context, 0x1234567890abcdefu);
}

TEST_F(vi, may_be_as_small_or_as_large_as_the_limits) {
    attributes.send_depth = attributes.receive_depth = attributes.segments_max = 1;
    attributes.inline_bytes_max = 0;
    EXPECT_EQ(code_of(domain.create_vi(attributes)), vinic::errc::ok);
    attributes.send_depth = attributes.receive_depth = 32768;
    EXPECT_EQ(code_of(domain.create_vi(attributes)), vinic::errc::ok) << "depth";
    attributes.send_depth = attributes.receive_depth = 64;
    attributes.segments_max = 256;
    EXPECT_EQ(code_of(domain.create_vi(attributes)), vinic::errc::ok) << "segments";
    attributes.segments_max = 3;
    attributes.inline_bytes_max = 1024;
    EXPECT_EQ(code_of(domain.create_vi(attributes)), vinic::errc::ok) << "inline";
}

TEST_F(vi, beyond_the_limits_is_refused) {
    const auto refused = [&](auto change, const char* what) {
        auto wrong = attributes;
        change(wrong);
        EXPECT_EQ(code_of(domain.create_vi(wrong)), vinic::errc::invalid_argument) << what;
    };
    refused([](auto& a) { a.send_cq = nullptr; }, "no send queue");
    refused([](auto& a) { a.receive_cq = nullptr; }, "no receive queue");
    refused([](auto& a) { a.send_depth = 0; }, "send depth 0");
    refused([](auto& a) { a.send_depth = 32769; }, "send depth too large");
    refused([](auto& a) { a.receive_depth = 0; }, "receive depth 0");
    refused([](auto& a) { a.receive_depth = 32769; }, "receive depth too large");
    refused([](auto& a) { a.segments_max = 0; }, "no segments");
    refused([](auto& a) { a.segments_max = 257; }, "too many segments");
    refused([](auto& a) { a.inline_bytes_max = 1025; }, "inline too large");
    refused([](auto& a) { a.receiver_wait = -1ns; }, "negative wait");
    refused([](auto& a) { a.reliability = static_cast<vinic::reliability>(3); }, "unknown level");
    refused([](auto& a) { a.service = static_cast<vinic::service>(2); }, "unknown service");
    EXPECT_EQ(cq.queues_attached(), 0u) << "a refused VI leaves nothing attached";
}

TEST_F(vi, on_an_empty_completion_queue_or_one_of_another_device_is_refused) {
    vinic::completion_queue empty;
    attributes.send_cq = &empty;
    const auto made = domain.create_vi(attributes);
    EXPECT_TRUE(code_of(made) == vinic::errc::invalid_argument || code_of(made) == vinic::errc::invalid_handle)
        << vinic::name(code_of(made));
    vinic::open_options elsewhere;
    elsewhere.directory = under_test().directory;
    auto other = must(vinic::nic::open("shm:" + unique_name("other"), elsewhere));
    auto foreign = must(other.create_completion_queue());
    attributes.send_cq = &foreign;
    const auto across = domain.create_vi(attributes);
    EXPECT_TRUE(code_of(across) == vinic::errc::invalid_argument || code_of(across) == vinic::errc::invalid_handle)
        << vinic::name(code_of(across));
}

TEST_F(vi, numbers_differ_while_they_live) {
    std::vector<vinic::virtual_interface> made;
    for (int i = 0; i < 50; ++i) {
        made.push_back(must(domain.create_vi(attributes)));
        for (std::size_t j = 0; j + 1 < made.size(); ++j) EXPECT_NE(made[j].number(), made.back().number());
    }
}

TEST_F(vi, changes_its_attributes_while_idle) {
    auto made = must(domain.create_vi(attributes));
    auto wanted = made.attributes();
    wanted.reliability = vinic::reliability::unreliable;
    wanted.transfer_bytes_max = 1000;
    wanted.receiver_wait = 0ns;
    wanted.rdma_write = wanted.rdma_read = wanted.rdma_atomic = false;
    wanted.context = 99;
    ASSERT_EQ(code_of(made.set_attributes(wanted)), vinic::errc::ok);
    const auto told = made.attributes();
    EXPECT_EQ(told.reliability, vinic::reliability::unreliable);
    EXPECT_EQ(told.transfer_bytes_max, 1000u);
    EXPECT_EQ(told.receiver_wait, 0ns);
    EXPECT_FALSE(told.rdma_write || told.rdma_read || told.rdma_atomic);
    EXPECT_EQ(told.context, 99u);
}

TEST_F(vi, does_not_change_its_attributes_in_any_other_state) {
    pair linked;
    auto wanted = linked.left.vi.attributes();
    wanted.context = 5;
    EXPECT_EQ(code_of(linked.left.vi.set_attributes(wanted)), vinic::errc::invalid_state) << "connected";
    must(linked.right.vi.disconnect());
    ASSERT_TRUE(comes_to(linked.left.vi, vinic::vi_state::error));
    EXPECT_EQ(code_of(linked.left.vi.set_attributes(wanted)), vinic::errc::invalid_state) << "error";
    must(linked.left.vi.disconnect());
    EXPECT_EQ(code_of(linked.left.vi.set_attributes(wanted)), vinic::errc::ok) << "idle again";
    auto waiting = must(domain.create_vi(attributes));
    must(waiting.connect_peer(fresh_address(), fresh_address(), patience));
    EXPECT_EQ(code_of(waiting.set_attributes(attributes)), vinic::errc::invalid_state) << "connecting";
}

TEST_F(vi, that_is_idle_keeps_receives_and_refuses_everything_else) {
    auto made = must(domain.create_vi(attributes));
    const vinic::segment piece = {memory, 0, 8};
    EXPECT_EQ(made.post_receive(piece, 1), vinic::errc::ok);
    EXPECT_EQ(made.receives_outstanding(), 1u);
    const auto wrong = vinic::errc::invalid_state;
    EXPECT_EQ(made.post_send(piece, 2), wrong);
    EXPECT_EQ(made.post_write(piece, memory.remote(), 2), wrong);
    EXPECT_EQ(made.post_read(piece, memory.remote(), 2), wrong);
    EXPECT_EQ(made.post_fetch_add(piece, memory.remote(), 1, 2), wrong);
    EXPECT_EQ(made.post_compare_swap(piece, memory.remote(), 1, 2, 2), wrong);
    vinic::work_request request;
    const auto batch = made.post({&request, 1});
    EXPECT_EQ(batch.count, 0u);
    EXPECT_EQ(batch.code, wrong);
    EXPECT_EQ(made.sends_outstanding(), 0u) << "nothing was posted";
    EXPECT_TRUE(is_quiet(cq));
}

TEST_F(vi, that_is_connecting_keeps_receives_and_refuses_sends) {
    auto made = must(domain.create_vi(attributes));
    must(made.connect_peer(fresh_address(), fresh_address(), patience));
    EXPECT_EQ(made.state(), vinic::vi_state::connecting);
    const vinic::segment piece = {memory, 0, 8};
    EXPECT_EQ(made.post_receive(piece, 1), vinic::errc::ok);
    EXPECT_EQ(made.post_send(piece, 2), vinic::errc::invalid_state);
    must(made.disconnect());
    EXPECT_EQ(made.state(), vinic::vi_state::idle);
}

TEST_F(vi, in_error_flushes_whatever_is_posted) {
    // As VIA ("VI states") and InfiniBand have it: a program that posts and polls learns of the end of the connection
    // from its completions and needs no second path for refused posts.
    pair linked;
    auto& left = linked.left;
    must(linked.right.vi.disconnect());
    ASSERT_TRUE(comes_to(left.vi, vinic::vi_state::error));
    ASSERT_EQ(left.vi.post_send(left.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_write(left.at(0, 8), linked.right.remote(), 2), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(0, 8), 3, vinic::send_flag::unsignalled), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_receive(left.at(0, 8), 4), vinic::errc::ok);
    for (std::uint64_t cookie = 1; cookie <= 3; ++cookie) {
        const auto done = next(left.sends);
        EXPECT_EQ(done.cookie, cookie);
        EXPECT_EQ(done.status, vinic::status::flushed);
    }
    const auto done = next(left.receives);
    EXPECT_EQ(done.cookie, 4u);
    EXPECT_EQ(done.status, vinic::status::flushed);
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
    EXPECT_EQ(left.vi.receives_outstanding(), 0u);
    EXPECT_TRUE(all_are(linked.right.bytes(), std::byte{0}));
}

TEST_F(vi, does_nothing_harmful_when_disconnected_again_and_again) {
    auto made = must(domain.create_vi(attributes));
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(code_of(made.disconnect()), vinic::errc::ok);
        EXPECT_EQ(made.state(), vinic::vi_state::idle);
    }
    EXPECT_TRUE(is_quiet(cq));
}

TEST_F(vi, flushes_the_receives_of_an_idle_one_when_disconnected) {
    auto made = must(domain.create_vi(attributes));
    for (std::uint64_t cookie = 0; cookie < 5; ++cookie) {
        ASSERT_EQ(made.post_receive({memory, 0, 8}, cookie), vinic::errc::ok);
    }
    must(made.disconnect());
    for (std::uint64_t cookie = 0; cookie < 5; ++cookie) {
        const auto done = next(cq);
        EXPECT_EQ(done.cookie, cookie);
        EXPECT_EQ(done.status, vinic::status::flushed);
        EXPECT_EQ(done.opcode, vinic::opcode::receive);
        EXPECT_EQ(done.vi, made.number());
    }
    EXPECT_EQ(made.receives_outstanding(), 0u);
}

TEST_F(vi, takes_as_many_receives_as_its_queue_is_deep) {
    for (const std::uint32_t depth : {1u, 2u, 5u, 64u}) {
        attributes.receive_depth = depth;
        auto made = must(domain.create_vi(attributes));
        const std::uint32_t real_depth = made.attributes().receive_depth;
        EXPECT_GE(real_depth, depth);
        EXPECT_TRUE(std::has_single_bit(real_depth));
        for (std::uint32_t i = 0; i < real_depth; ++i) ASSERT_EQ(made.post_receive({memory, 0, 8}, i), vinic::errc::ok);
        EXPECT_EQ(made.receives_outstanding(), real_depth);
        EXPECT_EQ(made.post_receive({memory, 0, 8}, 999), vinic::errc::queue_full);
        EXPECT_EQ(made.receives_outstanding(), real_depth);
    }
}

TEST_F(vi, refuses_more_segments_than_it_was_made_for) {
    attributes.segments_max = 4;
    auto made = must(domain.create_vi(attributes));
    const std::size_t limit = made.attributes().segments_max;
    const std::vector<vinic::segment> pieces(limit + 1, vinic::segment{memory, 0, 8});
    EXPECT_EQ(made.post_receive(std::span(pieces).first(limit), 1), vinic::errc::ok);
    EXPECT_EQ(made.post_receive(pieces, 2), vinic::errc::too_many_segments);
    EXPECT_EQ(made.receives_outstanding(), 1u);
}

TEST_F(vi, refuses_what_only_datagrams_can_do) {
    pair linked;
    const vinic::segment piece = linked.left.at(0, 8);
    EXPECT_EQ(linked.left.vi.send_to({}, {&piece, 1}, 1), vinic::errc::not_supported);
    auto idle = must(domain.create_vi(attributes));
    EXPECT_EQ(code_of(idle.bind(fresh_address())), vinic::errc::not_supported);
}

TEST_F(vi, is_created_and_destroyed_thousands_of_times) {
    for (int i = 0; i < 3000; ++i) {
        auto made = must(domain.create_vi(attributes));
        if (i % 3 == 0)
            must(made.close());
    }
    EXPECT_EQ(cq.queues_attached(), 0u);
}

TEST_F(vi, exists_in_thousands_at_once) {
    attributes.send_depth = attributes.receive_depth = 4;
    std::vector<vinic::virtual_interface> made;
    for (int i = 0; i < 2000; ++i) made.push_back(must(domain.create_vi(attributes)));
    connect(nic, made.front(), made.back());
    ASSERT_EQ(made.back().post_receive({memory, 0, 8}, 1), vinic::errc::ok);
    ASSERT_EQ(made.front().post_send({memory, 8, 8}, 2), vinic::errc::ok);
    EXPECT_EQ(next(cq, 2).back().status, vinic::status::success);
}

TEST_F(vi, keeps_its_domain_and_its_completion_queue_open) {
    auto made = must(domain.create_vi(attributes));
    EXPECT_EQ(code_of(cq.close()), vinic::errc::busy);
    must(memory.close());
    EXPECT_EQ(code_of(domain.close()), vinic::errc::busy);
    must(made.close());
    EXPECT_FALSE(made);
    EXPECT_EQ(code_of(cq.close()), vinic::errc::ok);
    EXPECT_EQ(code_of(domain.close()), vinic::errc::ok);
}

}  // namespace
}  // namespace conformance

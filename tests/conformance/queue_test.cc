// SPDX-License-Identifier: Apache-2.0
//
// queue_test.cc -- many messages: order, full queues, rings that wrap round, batches, unsignalled sends, threads.
#include <cstring>

#include "fixture.hpp"

namespace conformance {
namespace {

endpoint_options of_depth(std::uint32_t depth) {
    endpoint_options options;
    options.attributes.send_depth = options.attributes.receive_depth = depth;
    return options;
}

class queue : public testing::TestWithParam<std::uint32_t> {
protected:
    pair linked{of_depth(GetParam()), handles::two};
    endpoint& left = linked.left;
    endpoint& right = linked.right;
    std::uint32_t depth = left.vi.attributes().send_depth;
};

TEST_P(queue, of_this_depth_completes_in_posting_order_however_often_it_wraps) {
    std::uint64_t posted = 0;
    std::uint64_t polled = 0;
    const std::uint64_t total = 40 * std::uint64_t{depth} + 7;
    while (polled < total) {
        // A batch size without a common factor with the depth moves the start of every batch round the ring.
        const std::uint64_t batch = std::min({std::uint64_t{depth}, total - posted, 1 + posted % 7});
        for (std::uint64_t i = 0; i < batch; ++i)
            ASSERT_EQ(right.vi.post_receive(right.at(8 * ((posted + i) % 64), 8), posted + i), vinic::errc::ok);
        for (std::uint64_t i = 0; i < batch; ++i) {
            // Each from a place of its own: it is the NIC's until the completion is polled.
            const std::size_t place = 8 * (posted % 64);
            std::memcpy(left.bytes(place, 8).data(), &posted, 8);
            ASSERT_EQ(left.vi.post_send(left.at(place, 8), posted), vinic::errc::ok);
            ++posted;
        }
        for (std::uint64_t i = 0; i < batch; ++i, ++polled) {
            const auto received = next(right.receives);
            ASSERT_EQ(received.cookie, polled);
            ASSERT_EQ(received.status, vinic::status::success);
            std::uint64_t value = 0;
            std::memcpy(&value, right.bytes(8 * (polled % 64), 8).data(), 8);
            ASSERT_EQ(value, polled);
            ASSERT_EQ(next(left.sends).cookie, polled);
        }
    }
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
    EXPECT_EQ(right.vi.receives_outstanding(), 0u);
}

TEST_P(queue, of_this_depth_is_full_when_so_many_sends_are_unpolled) {
    for (std::uint32_t i = 0; i < depth; ++i) {
        ASSERT_EQ(right.vi.post_receive(right.at(0, 8), i), vinic::errc::ok);
        ASSERT_EQ(left.vi.post_send(left.at(0, 8), i), vinic::errc::ok);
    }
    EXPECT_EQ(left.vi.sends_outstanding(), depth);
    EXPECT_EQ(left.vi.post_send(left.at(0, 8), 999), vinic::errc::queue_full);
    EXPECT_EQ(left.vi.sends_outstanding(), depth);
    EXPECT_EQ(next(left.sends).cookie, 0u);
    EXPECT_EQ(next(right.receives).cookie, 0u);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), depth), vinic::errc::ok);
    EXPECT_EQ(left.vi.post_send(left.at(0, 8), depth), vinic::errc::ok) << "one was polled, so one fits";
    for (std::uint32_t i = 1; i <= depth; ++i) {
        EXPECT_EQ(next(left.sends).cookie, i);
        EXPECT_EQ(next(right.receives).cookie, i);
    }
}

INSTANTIATE_TEST_SUITE_P(depth, queue, testing::Values(1, 2, 3, 8, 64, 1024), testing::PrintToStringParamName());

TEST(queue_of_mixed_descriptors, holds_each_message_against_the_descriptor_that_it_meets) {
    // Unreliable, so that a message too long for its descriptor ends that descriptor and not the connection.
    endpoint_options options = of_depth(16);
    options.attributes.reliability = vinic::reliability::unreliable;
    pair linked(options, handles::two);
    std::uint32_t random = 1;
    const auto at_most = [&](std::uint32_t most) { return (random = random * 1664525 + 1013904223) >> 8 & most; };
    std::uint32_t room[16] = {};
    std::uint64_t posted = 0;
    std::uint64_t sent = 0;
    while (sent < 4000) {
        for (std::uint32_t burst = at_most(15); burst != 0 && posted - sent < 16; --burst, ++posted) {
            room[posted % 16] = at_most(3) == 0 ? at_most(15) : 16 + at_most(63);  // few are small, and in any place
            ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(128 * (posted % 16), room[posted % 16]), posted),
                      vinic::errc::ok);
        }
        for (std::uint32_t burst = at_most(15); burst != 0 && sent != posted; --burst, ++sent) {
            const std::uint32_t length = at_most(63);
            ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, length), sent), vinic::errc::ok);
            EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
            const auto received = next(linked.right.receives);
            ASSERT_EQ(received.cookie, sent);
            ASSERT_EQ(received.status, length <= room[sent % 16] ? vinic::status::success : vinic::status::local_length)
                << length << " bytes for a descriptor of " << room[sent % 16];
        }
    }
}

class batch : public with_handles {
protected:
    pair linked{of_depth(16), GetParam()};
    endpoint& left = linked.left;
    endpoint& right = linked.right;
};

TEST_P(batch, posts_operations_of_all_kinds_in_order) {
    const vinic::segment payload = left.at(0, 64);
    const vinic::segment result = left.at(128, 8);
    const vinic::segment target = right.at(0, 64);
    fill(left.bytes(0, 64), 5);
    const vinic::receive_request receives[] = {{{&target, 1}, 100}, {{}, 101}};
    const auto received = right.vi.post_receives(receives);
    EXPECT_EQ(received.count, 2u);
    EXPECT_EQ(received.code, vinic::errc::ok);
    vinic::work_request requests[5];
    for (std::uint64_t i = 0; i < 5; ++i) requests[i].cookie = i + 1;
    requests[0].segments = {&payload, 1};
    requests[1].opcode = vinic::opcode::write;
    requests[1].segments = {&payload, 1};
    requests[1].remote = right.remote(512);
    requests[2].opcode = vinic::opcode::fetch_add;
    requests[2].segments = {&result, 1};
    requests[2].remote = right.remote(1024);
    requests[2].operand = 5;
    requests[3].opcode = vinic::opcode::compare_swap;
    requests[3].segments = {&result, 1};
    requests[3].remote = right.remote(1024);
    requests[3].compare = 5;
    requests[3].operand = 77;
    requests[4].flags = vinic::send_flag::immediate;
    requests[4].immediate = 9;
    const auto sent = left.vi.post(requests);
    EXPECT_EQ(sent.count, 5u);
    EXPECT_EQ(sent.code, vinic::errc::ok);
    const vinic::opcode kinds[] = {vinic::opcode::send, vinic::opcode::write, vinic::opcode::fetch_add,
                                   vinic::opcode::compare_swap, vinic::opcode::send};
    for (std::uint64_t i = 0; i < 5; ++i) {
        const auto done = next(left.sends);
        EXPECT_EQ(done.cookie, i + 1);
        EXPECT_EQ(done.opcode, kinds[i]);
        EXPECT_EQ(done.status, vinic::status::success);
    }
    EXPECT_EQ(next(right.receives).length, 64u);
    EXPECT_EQ(next(right.receives).immediate, 9u);
    EXPECT_TRUE(matches(right.bytes(0, 64), 5));
    EXPECT_TRUE(matches(right.bytes(512, 64), 5));
    EXPECT_EQ(right.word(1024).load(), 77u);
    EXPECT_EQ(left.word(128).load(), 5u) << "the compare-and-swap read what the addition wrote";
}

TEST_P(batch, stops_at_the_request_that_is_refused) {
    const vinic::segment piece = left.at(0, 8);
    const std::vector<vinic::segment> too_many(left.vi.attributes().segments_max + 1, piece);
    const vinic::receive_request receives[] = {{{}, 1}, {{}, 2}, {too_many, 3}, {{}, 4}};
    const auto received = right.vi.post_receives(receives);
    EXPECT_EQ(received.count, 2u);
    EXPECT_EQ(received.code, vinic::errc::too_many_segments);
    EXPECT_EQ(right.vi.receives_outstanding(), 2u);
    vinic::work_request requests[3];
    requests[1].segments = too_many;
    const auto sent = left.vi.post(requests);
    EXPECT_EQ(sent.count, 1u);
    EXPECT_EQ(sent.code, vinic::errc::too_many_segments);
    EXPECT_EQ(left.vi.sends_outstanding(), 1u);
}

TEST_P(batch, that_does_not_fit_is_posted_as_far_as_it_does) {
    std::vector<vinic::receive_request> receives(40);
    for (std::uint64_t i = 0; i < 40; ++i) receives[i].cookie = i;
    const auto received = right.vi.post_receives(receives);
    EXPECT_EQ(received.count, 16u);
    EXPECT_EQ(received.code, vinic::errc::queue_full);
    std::vector<vinic::work_request> requests(40);
    for (std::uint64_t i = 0; i < 40; ++i) requests[i].cookie = i;
    const auto sent = left.vi.post(requests);
    EXPECT_EQ(sent.count, 16u);
    EXPECT_EQ(sent.code, vinic::errc::queue_full);
    for (std::uint64_t i = 0; i < 16; ++i) {
        EXPECT_EQ(next(right.receives).cookie, i);
        EXPECT_EQ(next(left.sends).cookie, i);
    }
}

TEST_P(batch, of_nothing_is_nothing) {
    EXPECT_EQ(left.vi.post({}).count, 0u);
    EXPECT_EQ(left.vi.post({}).code, vinic::errc::ok);
    EXPECT_EQ(right.vi.post_receives({}).count, 0u);
}

TEST_P(batch, does_not_take_a_receive_operation_on_the_send_queue) {
    vinic::work_request request;
    request.opcode = vinic::opcode::receive;
    const auto sent = left.vi.post({&request, 1});
    EXPECT_EQ(sent.count, 0u);
    EXPECT_NE(sent.code, vinic::errc::ok);
}

TEST_P(batch, of_unsignalled_sends_completes_only_where_it_is_asked_to) {
    for (std::uint64_t i = 0; i < 1000; ++i) {
        ASSERT_EQ(right.vi.post_receive(right.at(0, 8), i), vinic::errc::ok);
        const auto flags = i % 8 == 7 ? vinic::send_flag::none : vinic::send_flag::unsignalled;
        ASSERT_EQ(left.vi.post_send(left.at(0, 8), i, flags), vinic::errc::ok) << i;
        EXPECT_EQ(next(right.receives).cookie, i);
        if (i % 8 == 7) {
            EXPECT_EQ(next(left.sends).cookie, i);
        }
    }
    EXPECT_TRUE(is_quiet(left.sends));
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
}

TEST_P(batch, of_unsignalled_sends_reports_errors_all_the_same) {
    const vinic::segment wrong_key(left.memory.address(), 8, left.memory.key() ^ 1);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(wrong_key, 2, vinic::send_flag::unsignalled), vinic::errc::ok);
    const auto done = next(left.sends);
    EXPECT_EQ(done.cookie, 2u);
    EXPECT_EQ(done.status, vinic::status::local_protection);
}

CONFORMANCE_BOTH_WAYS(batch);

class stream : public with_handles {};

/// Sends `count` messages that carry their number, of sizes that change, as fast as the queue takes them.
void send_numbered(endpoint& side, std::uint64_t count) {
    const std::uint64_t depth = side.vi.attributes().send_depth;
    for (std::uint64_t posted = 0, polled = 0; polled < count;) {
        vinic::completion done[16];
        for (std::size_t i = 0, n = side.sends.poll(done); i < n; ++i, ++polled) {
            if (done[i].status != vinic::status::success || done[i].cookie != polled)
                throw std::runtime_error(std::string("send ended with ") + vinic::name(done[i].status));
        }
        if (posted == count || posted - polled == depth)
            continue;
        const std::size_t offset = 512 * (posted % depth);
        std::memcpy(side.bytes(offset, 8).data(), &posted, 8);
        if (side.vi.post_send(side.at(offset, 8 + posted % 300), posted) != vinic::errc::ok)
            throw std::runtime_error("a send was refused");
        ++posted;
    }
}

/// Receives them; the receiver starts with nothing posted and never posts more than `window` at a time.
void receive_numbered(endpoint& side, std::uint64_t count, std::uint64_t window) {
    std::uint64_t posted = 0;
    for (std::uint64_t received = 0; received < count; ++received) {
        for (; posted < count && posted < received + window; ++posted) {
            if (side.vi.post_receive(side.at(32768 + 512 * (posted % window), 512), posted) != vinic::errc::ok)
                throw std::runtime_error("a receive was refused");
        }
        const auto done = next(side.receives);
        std::uint64_t number = 0;
        std::memcpy(&number, side.bytes(32768 + 512 * (received % window), 8).data(), 8);
        if (done.status != vinic::status::success || done.cookie != received || number != received ||
            done.length != 8 + received % 300)
            throw std::runtime_error("message " + std::to_string(received) + " arrived as " + std::to_string(number) +
                                     ", " + vinic::name(done.status));
    }
}

TEST_P(stream, between_two_threads_loses_repeats_and_reorders_nothing) {
    // A small window makes the sender wait for the receiver again and again, so the queue changes hands all the time.
    for (const std::uint64_t window : {1u, 3u, 32u}) {
        pair linked(of_depth(32), GetParam());
        auto sender = in_thread([&] { send_numbered(linked.left, 20000); });
        auto receiver = in_thread([&] { receive_numbered(linked.right, 20000, window); });
        EXPECT_NO_THROW(receiver.get()) << "window " << window;
        EXPECT_NO_THROW(sender.get()) << "window " << window;
    }
}

TEST_P(stream, in_both_directions_between_four_threads_is_the_same) {
    pair linked(of_depth(16), GetParam());
    std::vector<std::future<void>> workers;
    for (endpoint* side : {&linked.left, &linked.right}) {
        workers.push_back(in_thread([side] { send_numbered(*side, 10000); }));
        workers.push_back(in_thread([side] { receive_numbered(*side, 10000, 8); }));
    }
    for (auto& worker : workers) EXPECT_NO_THROW(worker.get());
}

CONFORMANCE_BOTH_WAYS(stream);

TEST(thread_safe_vi, takes_sends_and_receives_from_several_threads) {
    constexpr std::uint64_t threads = 4;
    constexpr std::uint64_t each = 3000;
    auto options = of_depth(64);
    options.attributes.thread_safe = true;
    options.queue.thread_safe = true;
    pair linked(options);
    std::atomic<std::uint64_t> sum = 0;
    std::atomic<std::uint64_t> arrived = 0;
    std::vector<std::future<void>> workers;
    for (std::uint64_t t = 0; t < threads; ++t) {
        workers.push_back(in_thread([&, t] {
            auto& left = linked.left;
            for (std::uint64_t i = 0; i < each; ++i) {
                const std::uint64_t number = t * each + i;
                const vinic::segment payload(&number, 8, 0);
                vinic::completion done[8];
                const auto flags = vinic::send_flag::inlined | vinic::send_flag::immediate;
                while (left.vi.post_send(payload, number, flags, 1) == vinic::errc::queue_full)
                    static_cast<void>(left.sends.poll(done));
            }
        }));
        workers.push_back(in_thread([&, t] {
            auto& right = linked.right;
            for (std::uint64_t i = 0; i < each;) {
                const auto posted = right.vi.post_receive(right.at(8 * (t * each + i) % 65536, 8), 0);
                if (posted == vinic::errc::ok)
                    ++i;
                vinic::completion done[8];
                for (std::size_t k = 0, n = right.receives.poll(done); k < n; ++k) {
                    sum += done[k].immediate;
                    ++arrived;
                }
            }
        }));
    }
    for (auto& worker : workers) worker.get();
    vinic::completion done[8];
    EXPECT_TRUE(comes_true([&] {
        for (std::size_t k = 0, n = linked.right.receives.poll(done); k < n; ++k) {
            sum += done[k].immediate;
            ++arrived;
        }
        static_cast<void>(linked.left.sends.poll(done));
        return arrived == threads * each;
    }));
    EXPECT_EQ(sum, threads * each);
    EXPECT_EQ(linked.right.vi.receives_outstanding(), 0u);
}

}  // namespace
}  // namespace conformance

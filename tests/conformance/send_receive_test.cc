// SPDX-License-Identifier: Apache-2.0
//
// send_receive_test.cc -- one message: every size, every kind of memory, gather and scatter, immediate data, inline.
#include <random>

#include "fixture.hpp"

namespace conformance {
namespace {

/// Sends `bytes` from `source` to `target`, which lie at odd offsets, and looks at everything that can be seen.
void expect_message(endpoint& from, endpoint& to, std::size_t bytes, std::size_t source, std::size_t target) {
    const auto seed = static_cast<std::uint32_t>(bytes + source);
    fill(from.bytes(source, bytes), seed);
    const auto guard = to.bytes(target + bytes, 64);
    fill(guard, 1);
    const std::byte before = to.bytes()[target - 1];
    ASSERT_EQ(to.vi.post_receive(to.at(target, bytes + 32), 11), vinic::errc::ok);
    ASSERT_EQ(from.vi.post_send(from.at(source, bytes), 22), vinic::errc::ok);
    const auto received = next(to.receives);
    EXPECT_EQ(received.status, vinic::status::success);
    EXPECT_EQ(received.opcode, vinic::opcode::receive);
    EXPECT_EQ(received.length, bytes);
    EXPECT_EQ(received.cookie, 11u);
    EXPECT_FALSE(received.has_immediate);
    EXPECT_TRUE(matches(to.bytes(target, bytes), seed)) << bytes << " bytes";
    EXPECT_TRUE(matches(guard, 1)) << "written beyond the message of " << bytes << " bytes";
    EXPECT_EQ(to.bytes()[target - 1], before) << "written in front of the message of " << bytes << " bytes";
    const auto sent = next(from.sends);
    EXPECT_EQ(sent.status, vinic::status::success);
    EXPECT_EQ(sent.opcode, vinic::opcode::send);
    EXPECT_EQ(sent.length, bytes);
    EXPECT_EQ(sent.cookie, 22u);
}

class message_of : public testing::TestWithParam<std::size_t> {};

TEST_P(message_of, this_size_arrives_whole_in_both_directions) {
    endpoint_options options;
    options.memory_bytes = 2 * GetParam() + 4 * 4096;
    pair linked(options, handles::two);
    const std::size_t other = GetParam() + 2 * 4096;
    expect_message(linked.left, linked.right, GetParam(), 1, 129);
    expect_message(linked.right, linked.left, GetParam(), other + 64, other + 127);
    expect_message(linked.left, linked.right, GetParam(), 4096, 4096);
}

INSTANTIATE_TEST_SUITE_P(bytes, message_of,
                         testing::Values(0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 47, 48, 49, 63, 64, 65, 96, 127, 128, 129,
                                         255, 256, 257, 511, 1000, 1024, 1025, 4095, 4096, 4097, 8192, 65535, 65536,
                                         65537, mebibyte - 1, mebibyte, 16 * mebibyte),
                         testing::PrintToStringParamName());

class between : public testing::TestWithParam<std::tuple<memory_kind, memory_kind>> {};

TEST_P(between, these_kinds_of_memory_messages_of_all_sizes_arrive) {
    endpoint_options left;
    left.memory_bytes = 2 * mebibyte;
    left.kind = std::get<0>(GetParam());
    endpoint_options right = left;
    right.kind = std::get<1>(GetParam());
    pair linked(left, right, handles::two);
    for (const std::size_t bytes : {0u, 1u, 8u, 48u, 49u, 64u, 100u, 1000u, 4096u, 5000u, 65536u, 200001u, 1048576u}) {
        expect_message(linked.left, linked.right, bytes, 33, 4097);
    }
}

INSTANTIATE_TEST_SUITE_P(memory, between,
                         testing::Combine(testing::ValuesIn(memory_kinds), testing::ValuesIn(memory_kinds)),
                         [](const auto& kinds) {
                             return std::string(name(std::get<0>(kinds.param))) + "_to_" +
                                    name(std::get<1>(kinds.param));
                         });

class send_receive : public with_handles {
protected:
    static endpoint_options roomy() {
        endpoint_options options;
        options.attributes.segments_max = 16;
        options.attributes.inline_bytes_max = 200;
        options.attributes.context = 0xabcdef;
        return options;
    }
    pair linked{roomy(), GetParam()};
    endpoint& left = linked.left;
    endpoint& right = linked.right;
};

TEST_P(send_receive, reports_the_vi_and_its_context) {
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(0, 8), 2), vinic::errc::ok);
    const auto received = next(right.receives);
    EXPECT_EQ(received.vi, right.vi.number());
    EXPECT_EQ(received.vi_context, 0xabcdefu);
    const auto sent = next(left.sends);
    EXPECT_EQ(sent.vi, left.vi.number());
    EXPECT_EQ(sent.vi_context, 0xabcdefu);
}

TEST_P(send_receive, counts_what_is_outstanding_until_it_is_polled) {
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 2), vinic::errc::ok);
    EXPECT_EQ(right.vi.receives_outstanding(), 2u);
    ASSERT_EQ(left.vi.post_send(left.at(0, 8), 3), vinic::errc::ok);
    EXPECT_EQ(left.vi.sends_outstanding(), 1u);
    EXPECT_EQ(next(left.sends).cookie, 3u);
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
    EXPECT_EQ(next(right.receives).cookie, 1u);
    EXPECT_EQ(right.vi.receives_outstanding(), 1u);
}

TEST_P(send_receive, gathers_and_scatters_in_every_way) {
    std::mt19937 random(7);  // NOLINT: the same cuts in every run
    for (int round = 0; round < 200; ++round) {
        const auto pieces_of = [&](const endpoint& side, std::size_t total) {
            std::vector<vinic::segment> pieces;
            std::size_t offset = random() % 100;
            while (pieces.size() < 15 && random() % 8 != 0) {
                const std::size_t piece = random() % 4 == 0 ? 0 : random() % (total + 1);
                pieces.push_back(side.at(offset, piece));
                total -= piece;
                offset += piece + random() % 50;
            }
            pieces.push_back(side.at(offset, total));
            return pieces;
        };
        const std::size_t bytes = random() % 3 == 0 ? random() % 100 : random() % 20000;
        const auto gather = pieces_of(left, bytes);
        const auto scatter = pieces_of(right, bytes);
        const auto content = pattern(bytes, static_cast<std::uint32_t>(round));
        std::size_t done_bytes = 0;
        for (const auto& piece : gather) {
            std::copy_n(content.data() + done_bytes, piece.length, reinterpret_cast<std::byte*>(piece.address));
            done_bytes += piece.length;
        }
        ASSERT_EQ(right.vi.post_receive(scatter, 1), vinic::errc::ok);
        ASSERT_EQ(left.vi.post_send(gather, 2), vinic::errc::ok);
        const auto received = next(right.receives);
        ASSERT_EQ(received.status, vinic::status::success);
        ASSERT_EQ(received.length, bytes);
        ASSERT_EQ(next(left.sends).status, vinic::status::success);
        std::vector<std::byte> arrived;
        for (const auto& piece : scatter) {
            const auto* start = reinterpret_cast<const std::byte*>(piece.address);
            arrived.insert(arrived.end(), start, start + piece.length);
        }
        ASSERT_EQ(arrived, content) << "round " << round;
    }
}

TEST_P(send_receive, of_no_segments_at_all_is_a_message_that_takes_a_receive) {
    ASSERT_EQ(right.vi.post_receive(std::span<const vinic::segment>{}, 1), vinic::errc::ok);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 100), 2), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(std::span<const vinic::segment>{}, 3), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(0, 0), 4), vinic::errc::ok);
    for (const std::uint64_t cookie : {1u, 2u}) {
        const auto received = next(right.receives);
        EXPECT_EQ(received.cookie, cookie);
        EXPECT_EQ(received.status, vinic::status::success);
        EXPECT_EQ(received.length, 0u);
    }
    EXPECT_TRUE(all_are(right.bytes(0, 100), std::byte{0}));
}

TEST_P(send_receive, carries_all_32_bits_of_immediate_data) {
    for (const std::uint32_t value : {0u, 1u, 0x80000000u, 0xdeadbeefu, 0xffffffffu}) {
        for (const std::size_t bytes : {0u, 4u, 48u, 300u, 9000u}) {
            fill(left.bytes(0, bytes), value);
            ASSERT_EQ(right.vi.post_receive(right.at(0, bytes), 1), vinic::errc::ok);
            ASSERT_EQ(left.vi.post_send(left.at(0, bytes), 2, vinic::send_flag::immediate, value), vinic::errc::ok);
            const auto received = next(right.receives);
            ASSERT_EQ(received.status, vinic::status::success);
            EXPECT_TRUE(received.has_immediate);
            EXPECT_EQ(received.immediate, value);
            EXPECT_EQ(received.length, bytes) << "immediate data is not counted";
            EXPECT_TRUE(matches(right.bytes(0, bytes), value));
            EXPECT_EQ(next(left.sends).status, vinic::status::success);
        }
    }
}

TEST_P(send_receive, without_the_flag_carries_no_immediate_data) {
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(0, 8), 2, vinic::send_flag::none, 0x1234), vinic::errc::ok);
    EXPECT_FALSE(next(right.receives).has_immediate);
}

TEST_P(send_receive, inline_needs_no_key_and_frees_the_buffer_at_once) {
    const std::size_t limit = left.vi.attributes().inline_bytes_max;
    for (std::size_t bytes = 0; bytes <= limit; ++bytes) {
        auto content = pattern(bytes, static_cast<std::uint32_t>(bytes));
        const vinic::segment unregistered(content.data(), static_cast<std::uint32_t>(bytes), 0);
        // Nobody has posted a receive yet, so the message waits while the buffer changes.
        ASSERT_EQ(left.vi.post_send(unregistered, bytes, vinic::send_flag::inlined), vinic::errc::ok);
        std::fill(content.begin(), content.end(), std::byte{0xee});
        ASSERT_EQ(right.vi.post_receive(right.at(0, limit), 1), vinic::errc::ok);
        const auto received = next(right.receives);
        ASSERT_EQ(received.status, vinic::status::success) << bytes;
        ASSERT_EQ(received.length, bytes);
        ASSERT_TRUE(matches(right.bytes(0, bytes), static_cast<std::uint32_t>(bytes)));
        ASSERT_EQ(next(left.sends).status, vinic::status::success);
    }
}

TEST_P(send_receive, inline_gathers_too) {
    const auto content = pattern(100, 3);
    const vinic::segment pieces[] = {
        {content.data(), 10, 0}, {content.data() + 10, 0, 0}, {content.data() + 10, 90, 0}};
    ASSERT_EQ(right.vi.post_receive(right.at(0, 100), 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(pieces, 2, vinic::send_flag::inlined | vinic::send_flag::immediate, 5),
              vinic::errc::ok);
    const auto received = next(right.receives);
    EXPECT_EQ(received.length, 100u);
    EXPECT_EQ(received.immediate, 5u);
    EXPECT_TRUE(matches(right.bytes(0, 100), 3));
}

TEST_P(send_receive, inline_beyond_the_limit_is_refused_and_not_inline_needs_its_key) {
    const std::size_t limit = left.vi.attributes().inline_bytes_max;
    ASSERT_EQ(right.vi.post_receive(right.at(0, limit + 1), 1), vinic::errc::ok);
    EXPECT_EQ(left.vi.post_send(left.at(0, limit + 1), 2, vinic::send_flag::inlined), vinic::errc::message_too_large);
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
    const auto content = pattern(8, 1);
    ASSERT_EQ(left.vi.post_send(vinic::segment(content.data(), 8, 0), 3), vinic::errc::ok);
    EXPECT_EQ(next(left.sends).status, vinic::status::local_protection);
}

TEST_P(send_receive, of_too_many_segments_is_refused) {
    const std::size_t limit = left.vi.attributes().segments_max;
    const std::vector<vinic::segment> pieces(limit + 1, left.at(0, 1));
    ASSERT_EQ(right.vi.post_receive(right.at(0, 100), 1), vinic::errc::ok);
    EXPECT_EQ(left.vi.post_send(pieces, 2), vinic::errc::too_many_segments);
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
    EXPECT_EQ(left.vi.post_send(std::span(pieces).first(limit), 3), vinic::errc::ok);
    EXPECT_EQ(next(right.receives).length, limit);
}

TEST_P(send_receive, works_in_both_directions_at_once) {
    for (endpoint* side : {&left, &right}) ASSERT_EQ(side->vi.post_receive(side->at(4096, 4096), 1), vinic::errc::ok);
    fill(left.bytes(0, 4096), 1);
    fill(right.bytes(0, 4096), 2);
    ASSERT_EQ(left.vi.post_send(left.at(0, 4096), 2), vinic::errc::ok);
    ASSERT_EQ(right.vi.post_send(right.at(0, 4096), 3), vinic::errc::ok);
    EXPECT_EQ(next(left.receives).status, vinic::status::success);
    EXPECT_EQ(next(right.receives).status, vinic::status::success);
    EXPECT_TRUE(matches(right.bytes(4096, 4096), 1));
    EXPECT_TRUE(matches(left.bytes(4096, 4096), 2));
}

CONFORMANCE_BOTH_WAYS(send_receive);

TEST(largest_transfer, is_accepted_and_one_byte_more_is_refused) {
    endpoint_options options;
    options.attributes.transfer_bytes_max = 10000;
    pair linked(options);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 10000), 1), vinic::errc::ok);
    const vinic::segment two_pieces[] = {linked.left.at(0, 10000), linked.left.at(0, 1)};
    EXPECT_EQ(linked.left.vi.post_send(linked.left.at(0, 10001), 2), vinic::errc::message_too_large);
    EXPECT_EQ(linked.left.vi.post_send(two_pieces, 2), vinic::errc::message_too_large);
    EXPECT_EQ(linked.left.vi.post_write(linked.left.at(0, 10001), linked.right.remote(), 2),
              vinic::errc::message_too_large);
    EXPECT_EQ(linked.left.vi.post_read(linked.left.at(0, 10001), linked.right.remote(), 2),
              vinic::errc::message_too_large);
    EXPECT_EQ(linked.left.vi.sends_outstanding(), 0u);
    EXPECT_EQ(linked.left.vi.post_send(linked.left.at(0, 10000), 3), vinic::errc::ok);
    EXPECT_EQ(next(linked.right.receives).length, 10000u);
}

TEST(largest_transfer, counts_segments_that_add_up_to_more_than_32_bits) {
    pair linked;
    const vinic::segment huge(linked.left.memory.address(), 0xffffffffu, linked.left.memory.key());
    const vinic::segment pieces[] = {huge, huge, {linked.left.memory.address(), 2, linked.left.memory.key()}};
    EXPECT_EQ(linked.left.vi.post_send(pieces, 1), vinic::errc::message_too_large);
}

}  // namespace
}  // namespace conformance

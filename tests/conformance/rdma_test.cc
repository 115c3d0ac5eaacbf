// SPDX-License-Identifier: Apache-2.0
//
// rdma_test.cc -- write, write with immediate data and read: every size and kind of memory, bounds, order, fences.
#include <cstring>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::status;

void expect_write_and_read(endpoint& near, endpoint& far, std::size_t bytes, std::size_t source, std::size_t target) {
    const auto seed = static_cast<std::uint32_t>(bytes * 3 + target);
    fill(near.bytes(source, bytes), seed);
    fill(far.bytes(target + bytes, 64), 1);
    const std::byte before = far.bytes()[target - 1];
    ASSERT_EQ(near.vi.post_write(near.at(source, bytes), far.remote(target), 1), errc::ok);
    const auto written = next(near.sends);
    EXPECT_EQ(written.status, status::success) << bytes << " bytes";
    EXPECT_EQ(written.opcode, vinic::opcode::write);
    EXPECT_EQ(written.length, bytes);
    EXPECT_TRUE(matches(far.bytes(target, bytes), seed)) << bytes << " bytes";
    EXPECT_TRUE(matches(far.bytes(target + bytes, 64), 1)) << "written beyond the end of " << bytes << " bytes";
    EXPECT_EQ(far.bytes()[target - 1], before) << "written in front of " << bytes << " bytes";

    fill(far.bytes(target, bytes), seed + 1);
    fill(near.bytes(source + bytes, 64), 2);
    ASSERT_EQ(near.vi.post_read(near.at(source, bytes), far.remote(target), 2), errc::ok);
    const auto read = next(near.sends);
    EXPECT_EQ(read.status, status::success) << bytes << " bytes";
    EXPECT_EQ(read.opcode, vinic::opcode::read);
    EXPECT_EQ(read.length, bytes);
    EXPECT_TRUE(matches(near.bytes(source, bytes), seed + 1)) << bytes << " bytes";
    EXPECT_TRUE(matches(near.bytes(source + bytes, 64), 2)) << "read beyond the end of " << bytes << " bytes";
}

class rdma_of : public testing::TestWithParam<std::size_t> {};

TEST_P(rdma_of, this_size_writes_and_reads_every_byte_and_no_other) {
    endpoint_options options;
    options.memory_bytes = GetParam() + 3 * 4096;
    pair linked(options, handles::two);
    expect_write_and_read(linked.left, linked.right, GetParam(), 1, 131);
    expect_write_and_read(linked.right, linked.left, GetParam(), 4096, 4096);
}

INSTANTIATE_TEST_SUITE_P(bytes, rdma_of,
                         testing::Values(0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 127, 128,
                                         129, 1000, 4095, 4096, 4097, 65535, 65536, mebibyte + 1, 16 * mebibyte),
                         testing::PrintToStringParamName());

class rdma_between : public testing::TestWithParam<std::tuple<memory_kind, memory_kind>> {};

TEST_P(rdma_between, these_kinds_of_memory_moves_every_size) {
    endpoint_options left;
    left.memory_bytes = 2 * mebibyte;
    left.kind = std::get<0>(GetParam());
    endpoint_options right = left;
    right.kind = std::get<1>(GetParam());
    pair linked(left, right, handles::two);
    for (const std::size_t bytes : {0u, 1u, 7u, 8u, 49u, 100u, 4096u, 5000u, 65536u, 200001u, 1048576u}) {
        expect_write_and_read(linked.left, linked.right, bytes, 37, 4099);
    }
}

INSTANTIATE_TEST_SUITE_P(memory, rdma_between,
                         testing::Combine(testing::ValuesIn(memory_kinds), testing::ValuesIn(memory_kinds)),
                         [](const auto& kinds) {
                             return std::string(name(std::get<0>(kinds.param))) + "_to_" +
                                    name(std::get<1>(kinds.param));
                         });

class rdma : public with_handles {
protected:
    pair linked{{}, GetParam()};
    endpoint& left = linked.left;
    endpoint& right = linked.right;
};

TEST_P(rdma, gathers_what_it_writes_and_scatters_what_it_reads) {
    fill(left.bytes(0, 300), 1);
    const vinic::segment pieces[] = {left.at(200, 100), left.at(0, 0), left.at(0, 150)};
    ASSERT_EQ(left.vi.post_write(pieces, right.remote(50), 1), errc::ok);
    EXPECT_EQ(next(left.sends).length, 250u);
    EXPECT_EQ(std::memcmp(right.bytes(50, 100).data(), left.bytes(200, 100).data(), 100), 0);
    EXPECT_EQ(std::memcmp(right.bytes(150, 150).data(), left.bytes(0, 150).data(), 150), 0);
    const vinic::segment places[] = {left.at(1000, 30), left.at(2000, 220)};
    ASSERT_EQ(left.vi.post_read(places, right.remote(50), 2), errc::ok);
    EXPECT_EQ(next(left.sends).length, 250u);
    EXPECT_EQ(std::memcmp(left.bytes(1000, 30).data(), right.bytes(50, 30).data(), 30), 0);
    EXPECT_EQ(std::memcmp(left.bytes(2000, 220).data(), right.bytes(80, 220).data(), 220), 0);
}

TEST_P(rdma, write_without_immediate_data_is_not_noticed_by_the_target) {
    ASSERT_EQ(right.vi.post_receive(right.at(0, 100), 1), errc::ok);
    ASSERT_EQ(left.vi.post_write(left.at(0, 100), right.remote(1000), 2), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success);
    EXPECT_TRUE(is_quiet(right.receives));
    EXPECT_EQ(right.vi.receives_outstanding(), 1u);
}

TEST_P(rdma, write_with_immediate_data_takes_a_receive_and_leaves_its_memory_alone) {
    fill(left.bytes(0, 5000), 5);
    for (const std::size_t bytes : {0u, 1u, 64u, 5000u}) {
        ASSERT_EQ(right.vi.post_receive(right.at(0, 100), 7), errc::ok);
        ASSERT_EQ(
            left.vi.post_write(left.at(0, bytes), right.remote(1000), 2, vinic::send_flag::immediate, 0xfeedbeefu),
            errc::ok);
        const auto received = next(right.receives);
        EXPECT_EQ(received.status, status::success);
        EXPECT_EQ(received.opcode, vinic::opcode::receive_write);
        EXPECT_EQ(received.cookie, 7u);
        EXPECT_TRUE(received.has_immediate);
        EXPECT_EQ(received.immediate, 0xfeedbeefu);
        // VIA leaves the length open; InfiniBand reports the bytes that were written.
        EXPECT_EQ(received.length, bytes);
        EXPECT_TRUE(matches(right.bytes(1000, bytes), 5));
        EXPECT_TRUE(all_are(right.bytes(0, 100), std::byte{0})) << "the receive's own memory";
        EXPECT_EQ(next(left.sends).status, status::success);
    }
}

TEST_P(rdma, inline_write_needs_no_key_and_frees_the_buffer_at_once) {
    std::byte on_stack[40];
    fill(on_stack, 3);
    ASSERT_EQ(left.vi.post_write(vinic::segment(on_stack, 40, 0), right.remote(5), 1, vinic::send_flag::inlined),
              errc::ok);
    fill(on_stack, 4);
    EXPECT_EQ(next(left.sends).status, status::success);
    EXPECT_TRUE(matches(right.bytes(5, 40), 3));
}

TEST_P(rdma, reads_cannot_be_inline) {
    // A read has no payload to copy at post: the flag is either refused or means nothing, but the data arrives.
    fill(right.bytes(0, 40), 3);
    const auto posted = left.vi.post_read(left.at(0, 40), right.remote(), 1, vinic::send_flag::inlined);
    if (posted == errc::ok) {
        EXPECT_EQ(next(left.sends).status, status::success);
        EXPECT_TRUE(matches(left.bytes(0, 40), 3));
    } else {
        EXPECT_TRUE(posted == errc::invalid_argument || posted == errc::not_supported) << vinic::name(posted);
    }
}

/// Whether the word takes this value; looks without a pause at first, because the tests below want to be quick.
bool takes_value(std::atomic_ref<std::uint64_t> word, std::uint64_t value) {
    for (int spins = 0; spins < 100000; ++spins) {
        if (word.load(std::memory_order_acquire) == value)
            return true;
    }
    return comes_true([&] { return word.load(std::memory_order_acquire) == value; });
}

TEST_P(rdma, makes_the_last_word_of_a_write_visible_last) {
    // The target polls the last word of the block and reads the rest as soon as it changes, as VIA programs do.  It
    // reads from the end, where a writer that starts with the last word would come last.
    for (const std::size_t bytes : {16u, 64u, 1000u, 4096u, 20000u}) {
        constexpr std::uint64_t rounds = 300;
        std::atomic<std::uint64_t> seen = 0;
        const std::size_t words = bytes / 8;
        right.word(bytes - 8).store(0);
        auto target = in_thread([&] {
            std::uint64_t torn = 0;
            for (std::uint64_t round = 1; round <= rounds; ++round) {
                if (!takes_value(right.word(bytes - 8), round))
                    return ~std::uint64_t{0};
                for (std::size_t w = words; w-- > 0;) {
                    if (right.word(8 * w).load(std::memory_order_relaxed) != round)
                        ++torn;
                }
                seen = round;
            }
            return torn;
        });
        for (std::uint64_t round = 1; round <= rounds; ++round) {
            for (std::size_t w = 0; w < words; ++w) left.word(8 * w).store(round, std::memory_order_relaxed);
            ASSERT_EQ(left.vi.post_write(left.at(0, bytes), right.remote(), round), errc::ok);
            EXPECT_EQ(next(left.sends).status, status::success);
            ASSERT_TRUE(comes_true([&] { return seen == round; }));
        }
        EXPECT_EQ(target.get(), 0u) << bytes << " bytes: words that came after the last one";
    }
}

TEST_P(rdma, makes_words_visible_in_ascending_order) {
    // A reader that looks at a high word first and a low word after it never finds the low one older.
    constexpr std::size_t words = 2048;
    std::atomic<bool> stop = false;
    auto target = in_thread([&] {
        std::uint64_t out_of_order = 0;
        for (std::size_t w = words - 1; !stop; w = w < 8 ? words - 1 : w - 7) {
            for (const std::size_t lower : {std::size_t{0}, w / 2, w - 1}) {
                const std::uint64_t high = right.word(8 * w).load(std::memory_order_acquire);
                const std::uint64_t low = right.word(8 * lower).load(std::memory_order_acquire);
                if (low < high)
                    ++out_of_order;
            }
        }
        return out_of_order;
    });
    for (std::uint64_t round = 1; round <= 3000; ++round) {
        for (std::size_t w = 0; w < words; ++w) left.word(8 * w).store(round, std::memory_order_relaxed);
        ASSERT_EQ(left.vi.post_write(left.at(0, 8 * words), right.remote(), round), errc::ok);
        ASSERT_EQ(next(left.sends).status, status::success);
    }
    stop = true;
    EXPECT_EQ(target.get(), 0u);
}

TEST_P(rdma, writes_before_a_send_are_visible_when_the_send_arrives) {
    for (std::uint32_t round = 0; round < 200; ++round) {
        fill(left.bytes(0, 3000), round);
        ASSERT_EQ(right.vi.post_receive(right.at(0, 8), round), errc::ok);
        ASSERT_EQ(left.vi.post_write(left.at(0, 3000), right.remote(4096), 1, vinic::send_flag::unsignalled), errc::ok);
        ASSERT_EQ(left.vi.post_send(left.at(0, 8), round), errc::ok);
        ASSERT_EQ(next(right.receives).cookie, round);
        ASSERT_TRUE(matches(right.bytes(4096, 3000), round));
        ASSERT_EQ(next(left.sends).cookie, round);
    }
}

TEST_P(rdma, fence_waits_for_reads_and_atomics_in_front_of_it) {
    for (std::uint64_t round = 1; round <= 200; ++round) {
        right.word(0).store(round);
        ASSERT_EQ(left.vi.post_read(left.at(0, 8), right.remote(0), 1), errc::ok);
        ASSERT_EQ(left.vi.post_write(left.at(0, 8), right.remote(512), 2, vinic::send_flag::fence), errc::ok);
        for (const auto& done : next(left.sends, 2)) ASSERT_EQ(done.status, status::success);
        ASSERT_EQ(right.word(512).load(), round) << "the write sent what was there before the read";
        ASSERT_EQ(left.vi.post_fetch_add(left.at(64, 8), right.remote(0), 1000, 3), errc::ok);
        ASSERT_EQ(left.vi.post_write(left.at(64, 8), right.remote(512), 4, vinic::send_flag::fence), errc::ok);
        for (const auto& done : next(left.sends, 2)) ASSERT_EQ(done.status, status::success);
        ASSERT_EQ(right.word(512).load(), round);
    }
}

TEST_P(rdma, works_while_the_target_posts_and_polls_nothing) {
    const std::uint32_t outstanding = right.vi.receives_outstanding();
    for (std::uint32_t round = 0; round < 500; ++round) {
        fill(left.bytes(0, 128), round);
        ASSERT_EQ(left.vi.post_write(left.at(0, 128), right.remote(128 * (round % 100)), round), errc::ok);
        ASSERT_EQ(left.vi.post_read(left.at(4096, 128), right.remote(128 * (round % 100)), round), errc::ok);
        for (const auto& done : next(left.sends, 2)) ASSERT_EQ(done.status, status::success);
        ASSERT_TRUE(matches(left.bytes(4096, 128), round));
    }
    EXPECT_EQ(right.vi.receives_outstanding(), outstanding);
}

TEST_P(rdma, of_zero_bytes_succeeds_and_changes_nothing) {
    ASSERT_EQ(left.vi.post_write(left.at(0, 0), right.remote(), 1), errc::ok);
    ASSERT_EQ(left.vi.post_write(std::span<const vinic::segment>{}, right.remote(), 2), errc::ok);
    ASSERT_EQ(left.vi.post_read(left.at(0, 0), right.remote(), 3), errc::ok);
    ASSERT_EQ(left.vi.post_read(std::span<const vinic::segment>{}, right.remote(), 4), errc::ok);
    for (const auto& done : next(left.sends, 4)) {
        EXPECT_EQ(done.status, status::success);
        EXPECT_EQ(done.length, 0u);
    }
    EXPECT_TRUE(all_are(right.bytes(0, 64), std::byte{0}));
}

TEST_P(rdma, up_to_the_very_last_byte_of_a_region_is_allowed) {
    const std::size_t size = right.memory.length();
    fill(left.bytes(0, 100), 9);
    ASSERT_EQ(left.vi.post_write(left.at(0, 100), right.remote(size - 100), 1), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success);
    EXPECT_TRUE(matches(right.bytes(size - 100, 100), 9));
    ASSERT_EQ(left.vi.post_write(left.at(0, 100), right.remote(size - 99), 2), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::remote_protection) << "one byte more is not";
}

CONFORMANCE_BOTH_WAYS(rdma);

}  // namespace
}  // namespace conformance

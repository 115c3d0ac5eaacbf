// SPDX-License-Identifier: Apache-2.0
//
// word_copy_test.cc -- a message that comes in pieces: after each of them the target consists of whole words.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "rules/copy.hpp"

namespace {

using vinic::rules::copy_ascending;
using vinic::rules::word_copy;

constexpr std::size_t room = 256;

/// Whether every aligned word in [offset, offset + bytes) is wholly new (as `from`) or wholly old (0).
testing::AssertionResult consists_of_whole_words(const std::byte* to, const std::byte* from, std::size_t offset,
                                                 std::size_t bytes) {
    for (const std::size_t word : {2u, 4u, 8u}) {
        for (std::size_t at = (offset + word - 1) / word * word; at + word <= offset + bytes; at += word) {
            const auto is_new = [&](std::size_t i) { return to[i] == from[i - offset]; };
            bool all = true;
            bool none = true;
            for (std::size_t i = at; i < at + word; ++i) {
                all = all && is_new(i);
                none = none && !is_new(i);
            }
            if (!all && !none) {
                return testing::AssertionFailure() << "the word of " << word << " at " << at << " is half written";
            }
        }
    }
    return testing::AssertionSuccess();
}

void expect_whole_words(std::size_t offset, std::size_t bytes, std::size_t piece_most, std::mt19937& random) {
    alignas(64) std::byte to[room]{};
    std::byte from[room];
    std::memset(from, 0x5a, sizeof from);
    word_copy words;
    for (std::size_t done = 0; done < bytes;) {
        const std::size_t n = std::min(bytes - done, 1 + random() % piece_most);
        words.put(to + offset + done, from + done, n, done + n == bytes);
        done += n;
        ASSERT_TRUE(consists_of_whole_words(to, from, offset, bytes));
        ASSERT_LE(words.held(), 7u);
        for (std::size_t i = 0; i < done - words.held(); ++i) {
            ASSERT_EQ(to[offset + i], from[i]) << "byte " << i << " is due";
        }
    }
    ASSERT_EQ(words.held(), 0u);
    std::vector<std::byte> expected(room);
    std::memcpy(expected.data() + offset, from, bytes);
    ASSERT_EQ(std::memcmp(to, expected.data(), room), 0);
}

TEST(word_copy, of_pieces_of_any_length_leaves_whole_words_after_each) {
    constexpr std::uint32_t seed = 9;
    std::mt19937 random(seed);
    for (std::size_t piece_most = 1; piece_most <= 20; ++piece_most) {
        for (std::size_t offset = 0; offset < 16; ++offset) {
            for (std::size_t bytes = 1; bytes <= 70; ++bytes) {
                ASSERT_NO_FATAL_FAILURE(expect_whole_words(offset, bytes, piece_most, random))
                    << bytes << " bytes to " << offset << " in pieces of at most " << piece_most;
            }
        }
    }
}

TEST(word_copy, moves_what_it_holds_with_the_memory_that_it_belongs_to) {
    // Between two pieces the target may come to lie elsewhere: what is held goes before the next piece, wherever that
    // is.
    alignas(64) std::byte first[16]{};
    alignas(64) std::byte second[16]{};
    const std::byte from[8] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                               std::byte{5}, std::byte{6}, std::byte{7}, std::byte{8}};
    word_copy words;
    words.put(first, from, 3, false);
    EXPECT_EQ(words.held(), 3u);
    words.put(second + 3, from + 3, 5, true);
    EXPECT_EQ(std::memcmp(second, from, 8), 0);
    EXPECT_EQ(first[0], std::byte{0});
}

/// Where memory lies is said by its owner, who may lie: each piece by itself is inside, and nothing beside it is
/// touched.
TEST(word_copy, of_pieces_that_do_not_follow_each_other_stores_inside_of_each_and_nowhere_else) {
    constexpr std::size_t piece_most = 16;
    std::mt19937 random(9);
    std::byte from[piece_most];
    std::memset(from, 0x5a, sizeof from);
    struct {
        word_copy words;
        std::byte behind[64]{};
    } engine;
    for (int i = 0; i < 200'000; ++i) {
        alignas(64) std::byte to[room]{};
        const std::size_t at = 64 + random() % 64;
        const std::size_t n = 1 + random() % piece_most;
        const std::size_t word = at / 8 * 8;  // bytes before the piece, if the one before was in the same word
        const bool ends = random() % 4 == 0;
        engine.words.put(to + at, from, n, ends);
        ASSERT_LE(engine.words.held(), 7u);
        for (std::size_t k = 0; k < room; ++k) {
            ASSERT_TRUE(to[k] == std::byte{0} || (to[k] == from[0] && k >= word && k < at + n)) << k << ' ' << at;
        }
        for (const std::byte b : engine.behind) {
            ASSERT_EQ(b, std::byte{0});
        }
    }
}

TEST(copying, any_length_to_any_alignment_stores_these_bytes_and_no_other) {
    for (std::size_t bytes = 0; bytes <= 4200; bytes += bytes < 300 ? 1 : 97) {
        for (std::size_t offset = 64; offset < 128; offset += bytes < 300 ? 1 : 5) {
            std::vector<std::byte> to(bytes + 256);
            std::vector<std::byte> from(bytes + 8);
            for (std::size_t i = 0; i < from.size(); ++i) {
                from[i] = static_cast<std::byte>(i * 5 + i / 256 + 1);
            }
            std::vector<std::byte> expected(to);
            std::copy_n(from.begin() + 3, bytes, expected.begin() + static_cast<std::ptrdiff_t>(offset));
            copy_ascending(to.data() + offset, from.data() + 3, bytes);
            ASSERT_EQ(to, expected) << bytes << " bytes to " << offset;
        }
    }
}

}  // namespace

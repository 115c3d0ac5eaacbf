// SPDX-License-Identifier: Apache-2.0
//
// copy_steps_test.cc -- which stores a copy consists of, for every length and alignment: the shipped steps with a store
// that writes down what it is asked for.
#include "rules/copy_steps.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace {

using vinic::rules::copy_in_steps;
using vinic::rules::copy_wide;

struct step {
    std::size_t at;  ///< from the start of the target
    std::size_t bytes;
};

struct recorder {
    std::byte* start;
    std::vector<step>* steps;
    template <std::size_t N>
    void move(std::byte* to, const std::byte* from) const {
        std::memcpy(to, from, N);
        steps->push_back({static_cast<std::size_t>(to - start), N});
    }
};

/// How one copy goes, and room for it.
class copying : public testing::TestWithParam<bool> {
protected:
    void expect_whole_words(std::size_t offset, std::size_t source, std::size_t bytes) {
        std::vector<std::byte> expected(to_, to_ + sizeof to_);
        std::memcpy(expected.data() + offset, from_ + source, bytes);
        std::vector<step> steps;
        copy_in_steps(recorder{to_, &steps}, {to_ + offset, from_ + source, bytes},
                      [](const recorder& r, std::byte* to, const std::byte* from, std::size_t n) {
                          return GetParam() ? copy_wide(r, to, from, n) : 0;
                      });
        ASSERT_EQ(std::memcmp(expected.data(), to_, sizeof to_), 0);
        std::size_t next = offset;
        for (const step& s : steps) {
            ASSERT_EQ(s.at, next) << "not the next byte upwards";
            ASSERT_EQ(s.at % s.bytes, 0u) << "a store that is not aligned to its size";
            next += s.bytes;
        }
        ASSERT_EQ(next, offset + bytes);
        for (const std::size_t word : {2u, 4u, 8u}) {
            expect_no_word_in_two(steps, word, offset, bytes);
        }
    }

    alignas(64) std::byte to_[5000]{};
    std::byte from_[5000];

private:
    /// Of the words of this size that lie in the range as a whole.
    static void expect_no_word_in_two(const std::vector<step>& steps, std::size_t word, std::size_t offset,
                                      std::size_t bytes) {
        for (const step& s : steps) {
            const std::size_t first = s.at / word * word;  // the word that the step begins in
            const bool is_inside = first >= offset && first + word <= offset + bytes;
            ASSERT_TRUE(!is_inside || first == s.at) << "a word of " << word << " is stored in parts";
        }
    }

    void SetUp() override {
        for (std::size_t i = 0; i < sizeof from_; ++i) {
            from_[i] = static_cast<std::byte>(i * 7 + i / 256 + 1);
        }
    }
};

TEST_P(copying, every_short_length_at_every_alignment_stores_whole_words_upwards) {
    for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
        for (std::size_t offset = 0; offset < 64; ++offset) {
            for (const std::size_t source : {0u, 1u, 4u, 7u}) {
                ASSERT_NO_FATAL_FAILURE(expect_whole_words(offset, source, bytes))
                    << bytes << " bytes to " << offset << " from " << source;
            }
        }
    }
}

TEST_P(copying, lengths_about_a_page_store_whole_words_upwards) {
    for (std::size_t bytes = 4096 - 9; bytes <= 4096 + 9; ++bytes) {
        for (std::size_t offset = 0; offset < 64; ++offset) {
            ASSERT_NO_FATAL_FAILURE(expect_whole_words(offset, 3, bytes)) << bytes << " bytes to " << offset;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(in, copying, testing::Bool(),
                         [](const auto& of) { return of.param ? "wide_steps" : "narrow_steps"; });

}  // namespace

// SPDX-License-Identifier: Apache-2.0
//
// foreign_copy_test.cc -- words that the kernel brings from another process' memory, as somebody sees them who polls.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "os/foreign_memory.hpp"

namespace vinic::os {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t bytes = 15 * page;

/// How far behind the start of a page.
struct offsets {
    std::size_t source;
    std::size_t target;
};

/// The word of the target in which, or before which, the first page of the source ends.
std::size_t straddling_word(const offsets& o) { return (page - o.source + o.target) / 8 * 8; }

struct alignas(page) area {
    std::byte at[bytes + page];
};

class foreign_copy : public testing::TestWithParam<offsets> {};

TEST_P(foreign_copy, brings_a_word_whole_that_lies_in_two_pages) {
    const auto source = std::make_unique<area>();
    const auto target = std::make_unique<area>();
    std::memset(source->at, 0, sizeof source->at);
    std::memset(target->at, 0, sizeof target->at);
    auto& seen = *reinterpret_cast<std::uint64_t*>(target->at + straddling_word(GetParam()));
    std::atomic<bool> done{false};
    std::size_t torn = 0;
    std::thread watcher([&] {
        while (!done.load(std::memory_order_relaxed)) {
            const std::uint64_t word = std::atomic_ref(seen).load(std::memory_order_relaxed);
            torn += word != (word & 0xff) * 0x0101'0101'0101'0101u ? 1 : 0;
        }
    });
    for (int i = 1; i <= 3000; ++i) {
        std::memset(source->at, i % 251, sizeof source->at);
        rules::word_copy words;
        ASSERT_EQ(read_foreign(static_cast<std::uint32_t>(::getpid()),
                               reinterpret_cast<std::uint64_t>(source->at) + GetParam().source,
                               target->at + GetParam().target, bytes, words, true),
                  0);
    }
    done = true;
    watcher.join();
    EXPECT_EQ(torn, 0u);
    EXPECT_EQ(std::memcmp(target->at + GetParam().target, source->at + GetParam().source, bytes), 0);
}

INSTANTIATE_TEST_SUITE_P(from, foreign_copy,
                         testing::Values(offsets{0, 0}, offsets{2, 0}, offsets{4, 0}, offsets{8, 0}, offsets{2, 2},
                                         offsets{6, 2}, offsets{1, 4}, offsets{5, 5}),
                         [](const auto& one) {
                             return std::to_string(one.param.source) + "_to_" + std::to_string(one.param.target);
                         });

}  // namespace
}  // namespace vinic::os

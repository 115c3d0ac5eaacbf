// SPDX-License-Identifier: Apache-2.0
//
// bench_test.cc -- the parts of the benchmarks that could lie: percentiles, patterns, the count of
// outstanding descriptors, the mapping that the bare copies use, and two processes that fail.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "bench/arguments.hpp"
#include "cli/bench_clock.hpp"
#include "cli/bench_endpoint.hpp"
#include "cli/bench_limits.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_pair.hpp"
#include "cli/bench_place.hpp"
#include "cli/bench_statistics.hpp"

namespace vinic::cli::bench {
namespace {

core_pair two_cores() {
    const std::vector<int> cores = allowed_cores();
    return {cores.front(), cores.back()};
}

TEST(summary, of_one_to_a_thousand_has_the_percentiles_of_its_definition) {
    std::vector<std::uint32_t> samples(1000);
    std::iota(samples.rbegin(), samples.rend(), 1u);
    const summary s = summarise(samples);
    EXPECT_EQ(s.count, 1000u);
    EXPECT_DOUBLE_EQ(s.min, 1);
    EXPECT_DOUBLE_EQ(s.max, 1000);
    EXPECT_DOUBLE_EQ(s.average, 500.5);
    EXPECT_DOUBLE_EQ(s.p50, 500);
    EXPECT_DOUBLE_EQ(s.p99, 990);
    EXPECT_DOUBLE_EQ(s.p999, 999);
    EXPECT_NEAR(s.deviation, 288.675, 0.001);
    EXPECT_DOUBLE_EQ(s.scaled(0.5).p99, 495);
}

TEST(summary, of_one_sample_is_that_sample) {
    std::array<std::uint32_t, 1> one{7};
    const summary s = summarise(one);
    EXPECT_DOUBLE_EQ(s.p50, 7);
    EXPECT_DOUBLE_EQ(s.p999, 7);
    EXPECT_DOUBLE_EQ(s.deviation, 0);
}

TEST(summary, of_nothing_is_zero) { EXPECT_EQ(summarise({}).count, 0u); }

TEST(pattern, finds_every_changed_byte_and_nothing_else) {
    for (const std::size_t size : {1u, 7u, 8u, 9u, 4096u, 4099u}) {
        std::vector<std::byte> bytes(size);
        fill_pattern(bytes, 3);
        EXPECT_FALSE(find_difference(bytes, 3)) << size;
        EXPECT_TRUE(find_difference(bytes, 4)) << "another seed must differ, " << size;
        for (const std::size_t at : {std::size_t{0}, size / 2, size - 1}) {
            bytes[at] ^= std::byte{1};
            EXPECT_EQ(find_difference(bytes, 3), at / 8 * 8) << size;
            bytes[at] ^= std::byte{1};
        }
    }
}

TEST(pattern, leaves_out_what_lies_before_from) {
    std::vector<std::byte> bytes(64);
    fill_pattern(bytes, 1);
    bytes[3] ^= std::byte{1};
    EXPECT_FALSE(find_difference(bytes, 1, 8));
    EXPECT_TRUE(find_difference(bytes, 1, 0));
}

TEST(send_window, never_counts_more_than_its_depth_and_signals_every_nth_and_the_last) {
    send_window window(8, 4);
    std::vector<bool> signalled;
    for (int i = 0; i < 8; ++i) {
        ASSERT_TRUE(window.room_for(1));
        signalled.push_back(window.count_one(false));
    }
    EXPECT_FALSE(window.room_for(1));
    EXPECT_EQ(signalled, (std::vector<bool>{false, false, false, true, false, false, false, true}));
    window.retire(4);
    EXPECT_TRUE(window.room_for(4));
    EXPECT_FALSE(window.room_for(5));
    EXPECT_TRUE(window.count_one(true));
    EXPECT_EQ(window.cookie(), 9u);
    window.retire(window.cookie());
    EXPECT_TRUE(window.empty());
}

TEST(place, finds_the_other_mapping_of_the_same_bytes) {
    const int file = memfd_create("bench-test", MFD_CLOEXEC);
    ASSERT_GE(file, 0);
    ASSERT_EQ(ftruncate(file, 8192), 0);
    void* one = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ASSERT_NE(one, MAP_FAILED);
    auto* bytes = static_cast<std::byte*>(one);
    const file_place place = place_of({bytes + 4096 + 64, 128});
    ASSERT_NE(place.file, 0u);
    EXPECT_EQ(place.offset, 4096u + 64u);
    const auto found = find_mapping(place, 128);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->data(), bytes + 4096 + 64);
    EXPECT_FALSE(find_mapping(place, 8192)) << "only part of it is mapped";
    munmap(one, 8192);
    close(file);
    EXPECT_FALSE(find_mapping(place, 128));
}

TEST(place, of_private_memory_is_nowhere) {
    std::vector<std::byte> bytes(64);
    EXPECT_EQ(place_of(bytes).file, 0u);
    EXPECT_FALSE(find_mapping(file_place{}, 64));
}

TEST(pair, meets_and_hands_over_a_cache_line) {
    std::size_t samples = 0;
    run_pair(two_cores(), [&](session& with) {
        const summary trips = hand_off(with, 1000);
        samples = trips.count;
        with.meet();
    });
    EXPECT_EQ(samples, 1000u);
}

std::string sentence_of(const std::function<void(session&)>& work) {
    try {
        run_pair(two_cores(), work);
    } catch (const failure& why) {
        return why.what();
    }
    return {};
}

TEST(pair, tells_why_the_target_failed) {
    EXPECT_EQ(sentence_of([](session& with) {
                  if (!with.initiator()) {
                      throw failure("no such thing");
                  }
                  with.meet();
              }),
              "target: no such thing");
}

TEST(pair, tells_why_the_initiator_failed_and_the_target_does_not_hang) {
    EXPECT_EQ(sentence_of([](session& with) {
                  if (with.initiator()) {
                      throw failure("broken here");
                  }
                  with.meet();
              }),
              "broken here");
}

TEST(pair, notices_a_target_that_vanishes) {
    EXPECT_FALSE(sentence_of([](session& with) {
                     if (!with.initiator()) {
                         _exit(3);
                     }
                     while (true) {
                         with.spin();
                         relax();
                     }
                 }).empty());
}

TEST(cores, that_are_not_allowed_are_refused) {
    EXPECT_THROW((void)choose_cores({allowed_cores().back() + 1, 0}), failure);
}

TEST(clock, has_a_plausible_tick) {
    const double tick_ns = nanoseconds_per_tick();
    EXPECT_GT(tick_ns, 0.05);
    EXPECT_LT(tick_ns, 100);
}

TEST(median, is_the_middle_one) {
    EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
    EXPECT_DOUBLE_EQ(median({}), 0);
}

}  // namespace
}  // namespace vinic::cli::bench

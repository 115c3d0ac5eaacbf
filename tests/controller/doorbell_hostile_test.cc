// SPDX-License-Identifier: Apache-2.0
//
// doorbell_hostile_test.cc -- what is in an area bounds what it costs, and harms nobody else.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "controller/doorbell_area.hpp"

namespace vinic::controller {
namespace {

TEST(doorbells_hostile, a_vi_beyond_the_contexts_limit_is_counted_and_not_given_out) {
    for (std::uint32_t vis_max : {1u, 63u, 64u, 65u, 4096u, 4097u, 65535u}) {
        doorbells bells;
        const doorbell_area area;
        bells.add_context(1, 0, area.data(), vis_max);
        (void)area.ring(vis_max - 1);
        (void)area.ring(vis_max);
        (void)area.ring(65535);
        EXPECT_EQ(vis_of(poll(bells)), (std::vector{vis_max - 1})) << vis_max;
        EXPECT_GE(bells.counters(1, 0).spurious, 1u);
        EXPECT_TRUE(poll(bells).empty());
    }
}

TEST(doorbells_hostile, a_context_without_vis_gives_nothing) {
    doorbells bells;
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), 0);
    (void)area.ring(0);
    EXPECT_TRUE(poll(bells).empty());
    EXPECT_TRUE(poll(bells, 0, 0).empty());
    EXPECT_TRUE(poll(bells, 1, 0).empty());
}

TEST(doorbells_hostile, marks_that_lead_to_nothing_cost_little_and_are_counted) {
    doorbells bells;
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), abi::vi_count);
    area.top().store_relaxed(~0ULL);
    for (std::uint32_t i = 0; i < abi::bell_summary_count; ++i) {
        area.summary(i).store_relaxed(~0ULL);
    }
    std::uint64_t words = 0;
    std::size_t passes = 0;
    for (; area.top().load_relaxed() != 0 || passes == 0 || bells.counters(1, 0).words != words; ++passes) {
        words = bells.counters(1, 0).words;
        EXPECT_TRUE(poll(bells, 64, 4).empty());
        EXPECT_LE(bells.counters(1, 0).words - words, 4 + doorbells::words_over_budget);
    }
    EXPECT_EQ(words, 1u + 16 + 1024);
    EXPECT_EQ(bells.counters(1, 0).spurious, 48u + 1024) << "bits of top that mean nothing, and empty leaves";
    (void)area.ring(77);
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{77u}));
}

TEST(doorbells_hostile, an_area_that_always_asks_for_everything_takes_its_budget_and_no_more) {
    doorbells bells(16);
    const doorbell_area hostile(1, 0);
    const doorbell_area victim(2, 0);
    bells.add_context(1, 0, hostile.data(), abi::vi_count);
    bells.add_context(2, 0, victim.data(), abi::vi_count);
    for (std::uint32_t pass = 0; pass < 2000; ++pass) {
        hostile.each_word([](abi::word64& word) { word.store_relaxed(~0ULL); });
        hostile.armed().store_relaxed(pass % 2);
        (void)victim.ring(pass);
        const std::uint64_t words = bells.counters(1, 0).words;
        const auto found = poll(bells, 4096, 64);
        ASSERT_EQ(found.size(), 65u);
        ASSERT_NE(std::ranges::find(found, rung{2, 0, pass}), found.end());
        ASSERT_LE(bells.counters(1, 0).words - words, 64 + doorbells::words_over_budget);
    }
}

TEST(doorbells_hostile, what_leads_to_nothing_is_told_for_each_function) {
    doorbells bells;
    const doorbell_area hostile(1, 0);
    const doorbell_area also_hostile(1, 1);
    const doorbell_area honest(2, 0);
    bells.add_context(1, 0, hostile.data(), abi::vi_count);
    bells.add_context(1, 1, also_hostile.data(), abi::vi_count);
    bells.add_context(2, 0, honest.data(), abi::vi_count);
    (void)honest.ring(5);
    EXPECT_EQ(poll(bells).size(), 1u);
    EXPECT_TRUE(bells.wasted().empty());
    hostile.top().store_relaxed(1);                // leads to an empty summary
    also_hostile.top().store_relaxed(1ULL << 63);  // means nothing
    (void)honest.ring(6);
    EXPECT_EQ(poll(bells).size(), 1u);
    ASSERT_EQ(bells.wasted().size(), 1u);
    EXPECT_EQ(bells.wasted()[0].function, 1u);
    EXPECT_EQ(bells.wasted()[0].words, 2u);
    EXPECT_TRUE(poll(bells).empty());
    EXPECT_TRUE(bells.wasted().empty());
}

std::uint64_t slow_clock_ns = 0;
std::uint64_t slow_clock_step_ns = 0;
std::uint64_t slow_clock() noexcept { return slow_clock_ns += slow_clock_step_ns; }

TEST(doorbells_hostile, a_pass_that_takes_too_long_goes_on_in_the_next_one) {
    constexpr std::uint32_t contexts = 64;
    for (std::uint64_t step : {std::uint64_t{1}, doorbells::pass_ns + 1}) {
        const bool slow = step > doorbells::pass_ns;
        slow_clock_step_ns = step;
        doorbells bells(4096, &slow_clock);
        std::vector<std::unique_ptr<doorbell_area>> areas;
        for (std::uint32_t i = 0; i < contexts; ++i) {
            areas.push_back(std::make_unique<doorbell_area>(1, i));
            bells.add_context(1, i, areas[i]->data(), abi::vi_count);
        }
        EXPECT_EQ(bells.arm_all(), !slow) << "an engine must not sleep while pages are being made";
        std::vector<std::uint32_t> kicks(contexts);
        for (std::uint32_t i = 0; i < contexts; ++i) {
            kicks[i] = areas[i]->ring(i) == abi::rang::kick ? 1 : 0;
        }
        EXPECT_EQ(std::ranges::count(kicks, 1u), slow ? 0 : contexts);
        std::vector<std::uint32_t> found;
        std::size_t passes = 0;
        for (; found.size() < contexts && passes < 1000; ++passes) {
            for (const rung& r : poll(bells, 256, 256)) {
                EXPECT_EQ(r.vi, r.context);
                found.push_back(r.vi);
            }
            EXPECT_EQ(bells.saw_all(), !slow);
        }
        std::ranges::sort(found);
        EXPECT_EQ(found.size(), contexts);
        EXPECT_EQ(std::ranges::adjacent_find(found), found.end()) << "each is given out once";
        EXPECT_EQ(passes > 1, slow);
        // Nobody is left armed for ever.
        for (int i = 0; i < 100; ++i) {
            EXPECT_TRUE(poll(bells).empty());
        }
        EXPECT_TRUE(std::ranges::all_of(areas, [](const auto& a) { return a->armed().load_relaxed() == 0; }));
    }
}

TEST(doorbells_hostile, random_garbage_gives_only_vis_that_exist) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 200; ++round) {
        doorbells bells(static_cast<std::uint32_t>(random() % 8));
        const auto vis_max = static_cast<std::uint32_t>(random() % (abi::vi_count + 1));
        const doorbell_area area;
        const doorbell_area quiet(3, 0);
        bells.add_context(1, 0, area.data(), vis_max);
        bells.add_context(3, 0, quiet.data(), abi::vi_count);
        for (int pass = 0; pass < 50; ++pass) {
            if (random() % 2 == 0) {
                area.each_word([&](abi::word64& word) { word.store_relaxed(random() & random()); });
            }
            if (random() % 8 == 0) {
                area.armed().store_relaxed(random());
            }
            switch (random() % 8) {
                case 0:
                    (void)bells.arm_all();
                    break;
                case 1:
                    (void)bells.kicked(1);
                    break;
                case 2:
                    bells.add_context(1, 0, area.data(), vis_max);
                    break;
                default:
                    break;
            }
            const auto room = static_cast<std::size_t>(random() % 200);
            for (const rung& r : poll(bells, room, static_cast<std::uint32_t>(random() % 100))) {
                ASSERT_EQ(r.function, 1u);
                ASSERT_LT(r.vi, vis_max);
            }
        }
        bells.remove_context(1, 0);
        (void)quiet.ring(1);
        (void)bells.kicked(3);
        ASSERT_EQ(vis_of(poll(bells)), (std::vector{1u}));
    }
}

}  // namespace
}  // namespace vinic::controller

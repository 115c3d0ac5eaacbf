// SPDX-License-Identifier: Apache-2.0
//
// doorbell_test.cc -- every VI that was rung is found, by whatever way to sleep and back.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "controller/doorbell_area.hpp"
#include "controller/doorbells.hpp"

namespace vinic::controller {
namespace {

using abi::rang;

// -- layout -------------------------------------------------------------------------------------

TEST(doorbell_layout, no_two_words_of_an_area_lie_at_the_same_place) {
    for (std::uint32_t colour = 0; colour < abi::bell_colour_count; ++colour) {
        std::set<std::uint32_t> places{abi::bell_top_offset(colour), abi::bell_armed_offset(colour)};
        for (std::uint32_t i = 0; i < abi::bell_summary_count; ++i) {
            places.insert(abi::bell_summary_offset(colour, i));
        }
        for (std::uint32_t i = 0; i < abi::bell_leaf_count; ++i) {
            places.insert(abi::bell_leaf_offset(colour, i));
        }
        EXPECT_EQ(places.size(), 2 + abi::bell_summary_count + abi::bell_leaf_count);
        EXPECT_LE(*places.rbegin(), abi::doorbell_bytes - sizeof(abi::word64));
        EXPECT_TRUE(std::ranges::none_of(places, [](std::uint32_t at) { return at % sizeof(abi::word64) != 0; }));
    }
}

TEST(doorbell_layout, top_and_armed_have_lines_of_their_own) {
    for (std::uint32_t colour = 0; colour < abi::bell_colour_count; ++colour) {
        const auto line = [](std::uint32_t at) { return at / abi::line_size; };
        std::set<std::size_t> others{line(abi::bell_summary_offset(colour, 0)),
                                     line(abi::bell_summary_offset(colour, 15))};
        for (std::uint32_t i = 0; i < abi::bell_leaf_count; ++i) {
            others.insert(line(abi::bell_leaf_offset(colour, i)));
        }
        EXPECT_FALSE(others.contains(line(abi::bell_top_offset(colour))));
        EXPECT_FALSE(others.contains(line(abi::bell_armed_offset(colour))));
        EXPECT_NE(line(abi::bell_top_offset(colour)), line(abi::bell_armed_offset(colour)));
    }
}

TEST(doorbell_layout, areas_are_spread_over_the_sets_of_the_cache) {
    const auto most_in_a_set = [](std::uint32_t functions, std::uint32_t contexts) {
        std::map<std::uint64_t, std::uint32_t> sets;
        for (std::uint32_t f = 0; f < functions; ++f) {
            for (std::uint32_t c = 0; c < contexts; ++c) {
                const std::uint64_t at = abi::doorbell_offset(c) + abi::bell_top_offset(abi::doorbell_colour(f, c));
                ++sets[at / abi::line_size % abi::bell_colour_count];
            }
        }
        return std::ranges::max_element(sets, {}, [](const auto& s) { return s.second; })->second;
    };
    EXPECT_EQ(most_in_a_set(1, 64), 1u);
    EXPECT_EQ(most_in_a_set(64, 1), 1u);
    EXPECT_EQ(most_in_a_set(256, 1), 4u);
    EXPECT_LE(most_in_a_set(8, 8), 2u);
    EXPECT_LE(most_in_a_set(16, 4), 2u);
}

// -- rings and polls ----------------------------------------------------------------------------

TEST(doorbells, a_rung_vi_is_found_once) {
    doorbells bells;
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), abi::vi_count);
    for (std::uint32_t vi : {0u, 1u, 63u, 64u, 4095u, 4096u, 40000u, 65535u}) {
        EXPECT_EQ(area.ring(vi), rang::quiet);
        EXPECT_EQ(area.ring(vi), rang::quiet) << "twice is the same as once";
        EXPECT_EQ(poll(bells), (std::vector{rung{1, 0, vi}}));
        EXPECT_TRUE(poll(bells).empty());
    }
    EXPECT_EQ(bells.counters(1, 0).vis, 8u);
    EXPECT_EQ(bells.counters(1, 0).spurious, 0u);
}

TEST(doorbells, every_vi_of_a_full_area_is_found_once) {
    doorbells bells;
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), abi::vi_count);
    for (std::uint32_t vi = 0; vi < abi::vi_count; ++vi) {
        ASSERT_EQ(area.ring(vi), rang::quiet);
    }
    std::set<std::uint32_t> all;
    for (std::size_t pass = 0; pass < abi::vi_count / 64; ++pass) {
        const auto found = poll(bells, abi::vi_count, 64);
        ASSERT_EQ(found.size(), 64u) << "the budget of a pass is used, and kept";
        for (const rung& r : found) {
            ASSERT_TRUE(all.insert(r.vi).second);
        }
    }
    EXPECT_EQ(all.size(), abi::vi_count);
    EXPECT_TRUE(poll(bells).empty());
}

TEST(doorbells, what_is_rung_while_others_wait_in_the_private_copy_waits_for_them) {
    doorbells bells;
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), 64);
    for (std::uint32_t vi : {1u, 2u, 3u}) {
        (void)area.ring(vi);
    }
    EXPECT_EQ(vis_of(poll(bells, 64, 1)), (std::vector{1u}));
    (void)area.ring(1);  // a VI that always rings must not pass the others
    EXPECT_EQ(vis_of(poll(bells, 64, 1)), (std::vector{2u}));
    (void)area.ring(1);
    EXPECT_EQ(vis_of(poll(bells, 64, 1)), (std::vector{3u}));
    EXPECT_EQ(vis_of(poll(bells, 64, 1)), (std::vector{1u}));
    EXPECT_TRUE(poll(bells).empty());
}

TEST(doorbells, contexts_take_turns_when_there_is_room_for_one) {
    doorbells bells;
    std::vector<doorbell_area> areas;
    for (std::uint32_t c = 0; c < 5; ++c) {
        areas.emplace_back(1, c);
        bells.add_context(1, c, areas[c].data(), 64);
    }
    std::array<std::size_t, 5> served{};
    for (int pass = 0; pass < 500; ++pass) {
        for (const auto& area : areas) {
            for (std::uint32_t vi = 0; vi < 64; ++vi) {
                (void)area.ring(vi);
            }
        }
        const auto found = poll(bells, 3, 3);
        ASSERT_EQ(found.size(), 3u);
        for (const rung& r : found) {
            ++served[r.context];
        }
    }
    const auto [least, most] = std::ranges::minmax(served);
    EXPECT_LE(most - least, 3u);
}

TEST(doorbells, many_contexts_buy_a_function_no_more_of_a_pass) {
    doorbells bells;
    std::vector<doorbell_area> areas;
    for (std::uint32_t c = 0; c < 64; ++c) {
        areas.emplace_back(1, c);
        bells.add_context(1, c, areas[c].data(), 64);
    }
    const doorbell_area quiet(2, 0);
    bells.add_context(2, 0, quiet.data(), 64);
    std::set<std::uint32_t> contexts;
    for (int pass = 0; pass < 65; ++pass) {
        for (const auto& area : areas) {
            for (std::uint32_t vi = 0; vi < 64; ++vi) {
                (void)area.ring(vi);
            }
        }
        (void)quiet.ring(7);
        const auto found = poll(bells, 64, 8);
        EXPECT_EQ(found.size(), 9u) << "eight of the storm";
        EXPECT_TRUE(std::ranges::find(found, rung{2, 0, 7}) != found.end()) << "and whoever rings once";
        for (const rung& r : found) {
            contexts.insert(r.function == 1 ? r.context : 64);
        }
    }
    EXPECT_EQ(contexts.size(), 65u) << "each context had its turn";
}

TEST(doorbells, a_context_is_named_by_its_area_and_rings_nobody_elses_vi) {
    doorbells bells;
    const doorbell_area a(1, 0);
    const doorbell_area b(1, 1);
    const doorbell_area other_function(2, 0);
    bells.add_context(1, 0, a.data(), 100);
    bells.add_context(1, 1, b.data(), 100);
    bells.add_context(2, 0, other_function.data(), 100);
    a.each_word([](abi::word64& word) { word.store_relaxed(~0ULL); });
    for (int pass = 0; pass < 100; ++pass) {
        for (const rung& r : poll(bells, 4096, 64)) {
            ASSERT_EQ(r.function, 1u);
            ASSERT_EQ(r.context, 0u);
            ASSERT_LT(r.vi, 100u);
        }
    }
    (void)b.ring(7);
    (void)other_function.ring(9);
    const auto found = poll(bells);
    EXPECT_EQ(found.size(), 2u);
    EXPECT_NE(std::ranges::find(found, rung{1, 1, 7}), found.end());
    EXPECT_NE(std::ranges::find(found, rung{2, 0, 9}), found.end());
}

TEST(doorbells, a_removed_context_is_not_touched_and_its_neighbours_stay) {
    doorbells bells(4);
    std::vector<doorbell_area> areas;
    for (std::uint32_t c = 0; c < 6; ++c) {
        areas.emplace_back(1, c);
        bells.add_context(1, c, areas[c].data(), 64);
        (void)areas[c].ring(c);
    }
    bells.remove_context(1, 2);
    bells.remove_context(1, 2);
    bells.remove_context(7, 9);
    EXPECT_EQ(poll(bells).size(), 5u);
    EXPECT_NE(areas[2].top().load_relaxed(), 0u);
    for (int pass = 0; pass < 100; ++pass) {
        EXPECT_TRUE(poll(bells).empty());
    }
    EXPECT_EQ(bells.cold_count(), 5u);
    bells.remove_context(1, 0);  // cold ones go, too
    bells.remove_context(1, 5);
    EXPECT_EQ(areas[4].ring(11), rang::kick);
    EXPECT_EQ(bells.kicked(1), 1u);
    EXPECT_EQ(poll(bells), (std::vector{rung{1, 4, 11}}));
    EXPECT_EQ(bells.counters(1, 0), bells.counters(9, 9)) << "zeroes";
}

TEST(doorbells, what_was_rung_before_a_context_was_added_is_found) {
    doorbells bells;
    const doorbell_area area;
    (void)area.ring(42);
    bells.add_context(1, 0, area.data(), 64);
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{42u}));
}

// -- cold contexts and sleep --------------------------------------------------------------------

TEST(doorbells, an_idle_context_becomes_cold_and_its_ring_kicks_once) {
    doorbells bells(8);
    const doorbell_area idle(1, 0);
    const doorbell_area busy(1, 1);
    bells.add_context(1, 0, idle.data(), 64);
    bells.add_context(1, 1, busy.data(), 64);
    for (int pass = 0; pass < 100; ++pass) {
        (void)busy.ring(1);
        EXPECT_EQ(poll(bells).size(), 1u);
    }
    EXPECT_EQ(bells.hot_count(), 1u);
    EXPECT_EQ(bells.counters(1, 0).demotions, 1u);
    EXPECT_EQ(idle.ring(5), rang::kick);
    EXPECT_EQ(idle.ring(6), rang::quiet) << "the first kick tells of both";
    EXPECT_EQ(bells.kicked(2), 0u) << "another function's event descriptor";
    EXPECT_EQ(bells.kicked(1), 1u);
    EXPECT_EQ(bells.kicked(1), 0u);
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{5u, 6u}));
    EXPECT_EQ(bells.counters(1, 0).wakes, 1u);
    EXPECT_EQ(idle.ring(7), rang::quiet);
}

TEST(doorbells, a_context_that_was_rung_does_not_become_cold_for_want_of_room) {
    doorbells bells(0);
    const doorbell_area area(1, 0);
    bells.add_context(1, 0, area.data(), 64);
    (void)area.ring(5);
    for (int pass = 0; pass < 10; ++pass) {
        EXPECT_TRUE(poll(bells, 0).empty());
        EXPECT_EQ(bells.hot_count(), 1u) << "cold, it would wait for a kick that nobody owes it";
    }
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{5u}));
}

TEST(doorbells, a_kick_that_never_comes_is_made_up_for_while_the_device_is_awake) {
    doorbells bells(8);
    const doorbell_area idle(1, 0);
    bells.add_context(1, 0, idle.data(), 64);
    for (int pass = 0; pass < 100; ++pass) {
        (void)poll(bells);
    }
    ASSERT_EQ(bells.cold_count(), 1u);
    EXPECT_EQ(idle.ring(5), rang::kick);  // and the ringer stops before it writes
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{5u}));
}

TEST(doorbells, a_late_kick_for_what_was_found_long_ago_does_not_leave_its_context_deaf) {
    doorbells bells(8);
    const doorbell_area area(1, 0);
    bells.add_context(1, 0, area.data(), 64);
    const auto until_cold = [&] {
        for (int pass = 0; pass < 100; ++pass) {
            (void)poll(bells);
        }
        ASSERT_EQ(bells.cold_count(), 1u);
    };
    until_cold();
    area.armed().store_relaxed(0);  // the ringer's exchange; all it rang for has been found, its kick is on the way
    EXPECT_EQ(bells.kicked(1), 1u) << "nothing is marked, but its next ring would be quiet";
    until_cold();
    EXPECT_EQ(area.ring(3), rang::kick);
}

TEST(doorbells, arming_finds_what_is_there_and_ends_with_the_next_poll) {
    doorbells bells;
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), 64);
    (void)area.ring(1);
    (void)area.ring(2);
    EXPECT_FALSE(bells.arm_all());
    EXPECT_EQ(poll(bells, 1).size(), 1u);
    EXPECT_FALSE(bells.arm_all()) << "one waits in the private copy";
    EXPECT_EQ(poll(bells, 1).size(), 1u);
    EXPECT_TRUE(bells.arm_all());
    EXPECT_TRUE(bells.arm_all()) << "again after a spurious wake-up";
    EXPECT_EQ(area.ring(3), rang::kick);
    EXPECT_EQ(area.ring(4), rang::quiet);
    EXPECT_FALSE(bells.arm_all());
    EXPECT_EQ(bells.kicked(1), 0u) << "it never was cold";
    EXPECT_EQ(poll(bells).size(), 2u);
    EXPECT_EQ(area.armed().load_relaxed(), 0u);
    EXPECT_EQ(area.ring(5), rang::quiet);
    EXPECT_EQ(poll(bells).size(), 1u);
    EXPECT_TRUE(bells.arm_all());
    EXPECT_TRUE(poll(bells).empty());
    EXPECT_EQ(area.ring(6), rang::quiet) << "the device woke up because of somebody else";
}

TEST(doorbells, arming_does_not_sleep_over_a_cold_context_that_is_about_to_kick) {
    doorbells bells(8);
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), 64);
    for (int pass = 0; pass < 100; ++pass) {
        (void)poll(bells);
    }
    EXPECT_TRUE(bells.arm_all());
    EXPECT_EQ(area.ring(3), rang::kick);
    EXPECT_FALSE(bells.arm_all());
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{3u}));
}

TEST(doorbells, a_context_that_comes_while_the_device_sleeps_kicks) {
    doorbells bells;
    EXPECT_TRUE(bells.arm_all());
    const doorbell_area area;
    bells.add_context(1, 0, area.data(), 64);
    EXPECT_EQ(area.ring(3), rang::kick);
    EXPECT_EQ(vis_of(poll(bells)), (std::vector{3u}));
}

}  // namespace
}  // namespace vinic::controller

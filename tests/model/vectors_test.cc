// SPDX-License-Identifier: Apache-2.0
//
// vectors_test.cc -- masks and moderation lose no wake-up, and each step of the protocol is needed.
#include "vectors.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "expect.hpp"
#include "wander.hpp"

namespace vinic::model::vectors {
namespace {

bool is_long() { return std::getenv("VINIC_MODEL_LONG") != nullptr; }

TEST(vectors, lose_nothing_while_they_are_masked_and_unmasked) {
    expect_passes(vector_protocol{.messages = 1, .moderated = false});
    expect_passes(vector_protocol{.messages = 2, .moderated = false});
}

TEST(vectors, lose_nothing_while_a_period_delays_them) {
    expect_passes(vector_protocol{.messages = 2, .moderated = true, .masks = 0});
    expect_passes(vector_protocol{.messages = 3, .moderated = true, .count = 2, .masks = 0});
}

TEST(vectors, lose_nothing_when_both_come_together) {
    expect_passes(vector_protocol{.messages = 1, .moderated = true});
    expect_passes(vector_protocol{.messages = 2, .moderated = true, .count = 2});
}

TEST(vectors, need_each_of_their_steps) {
    using enum broken;
    for (const broken wrong : {looked_at_before_next_is_cleared, next_before_due}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(vector_protocol{.messages = 2, .moderated = true, .masks = 0, .wrong = wrong}, "");
    }
    for (const broken wrong : {unmask_forgets_pending, masked_read_before_lock, taken_and_not_due}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(vector_protocol{.messages = 1, .moderated = wrong == taken_and_not_due, .wrong = wrong}, "");
    }
    expect_fails(vector_protocol{.messages = 1, .moderated = true, .masks = 0, .wrong = armed_taken_when_kept}, "");
    expect_fails(
        vector_protocol{.messages = 1, .moderated = true, .count = 1, .masks = 0, .wrong = count_forgets_pending}, "");
}

/// Some milliseconds, or some seconds for 1e8 steps.
TEST(vectors, lose_nothing_in_random_interleavings_of_more) {
    const std::uint64_t seed = std::random_device{}();
    const std::uint64_t steps = is_long() ? 100'000'000 : 300'000;
    for (const bool moderated : {false, true}) {
        const verdict v = wander(
            vector_protocol{.messages = 20, .moderated = moderated, .count = moderated ? word{3} : word{0}, .masks = 6},
            steps / 2, seed);
        EXPECT_TRUE(v.passed()) << v.problem << ", seed " << seed;
        std::cout << "    " << v.transitions << " steps in " << v.states << " walks, seed " << seed << "\n";
    }
}

TEST(vectors, random_interleavings_find_what_is_broken) {
    using enum broken;
    for (const broken wrong : {looked_at_before_next_is_cleared, unmask_forgets_pending}) {
        const verdict v = wander(vector_protocol{.messages = 4,
                                                 .moderated = wrong == looked_at_before_next_is_cleared,
                                                 .masks = wrong == unmask_forgets_pending ? word{2} : word{0},
                                                 .wrong = wrong},
                                 20'000'000, 1);
        EXPECT_FALSE(v.passed()) << static_cast<int>(wrong);
    }
}

TEST(vectors, lose_nothing_for_more_messages) {
    if (!is_long()) {
        GTEST_SKIP() << "set VINIC_MODEL_LONG=1 to run it";
    }
    expect_passes(vector_protocol{.messages = 2, .moderated = true, .count = 2, .masks = 2});
    expect_passes(vector_protocol{.messages = 3, .moderated = true, .count = 2, .masks = 1});
}

}  // namespace
}  // namespace vinic::model::vectors

// SPDX-License-Identifier: Apache-2.0
//
// checker_test.cc -- the checker itself: it must allow exactly what x86 allows, or its verdicts on the
// protocols mean nothing.  Each litmus test is run twice: "is this outcome possible?"
#include "checker.hpp"

#include <gtest/gtest.h>

#include "expect.hpp"

namespace vinic::model {
namespace {

/// Two threads of two steps over two words, and an outcome that is looked for.
struct litmus {
    static constexpr std::size_t thread_count = 2;
    static constexpr word x = 0;
    static constexpr word y = 1;
    static constexpr std::size_t memory_words = 2;
    static constexpr std::size_t buffer_entries = 2;
    struct locals {
        word first = 0;
        word second = 0;
    };
    struct ghost {
        std::array<word, 4> seen{9, 9, 9, 9};  ///< what thread 0 and thread 1 loaded
    };
    using state = machine_state<litmus>;
    using context = thread_context<litmus>;

    /// The code of one thread; each returns what it has seen.
    enum class shape { store_buffering, message_passing, own_store_first, livelock, lost_wake_up };
    enum class order { plain, fences, heavy_on_one_side, light_fence_on_one_side, locked_stores };

    shape what = shape::store_buffering;
    order how = order::plain;
    std::array<word, 4> looked_for{};

    static std::string thread_name(std::size_t thread) { return "thread " + std::to_string(thread); }
    static std::string name(word a) { return a == x ? "x" : "y"; }
    void start(state&) const {}
    [[nodiscard]] const char* check(const state& s) const {
        return s.ghost.seen == looked_for ? "the outcome is possible" : nullptr;
    }
    [[nodiscard]] bool good(const state& s) const { return s.over(0) && s.over(1); }
    [[nodiscard]] bool may_halt(const state&, std::size_t) const { return false; }
    [[nodiscard]] bool may_tick(const state&, std::size_t) const { return false; }

    void saw(context& t, std::size_t which, word value) const { t.whole().ghost.seen[2 * t.index() + which] = value; }

    bool step(context& t) const {
        switch (what) {
            case shape::store_buffering:
                return store_buffering(t);
            case shape::message_passing:
                return message_passing(t);
            case shape::own_store_first:
                return own_store_first(t);
            case shape::livelock:
                return livelock(t);
            case shape::lost_wake_up:
                return lost_wake_up(t);
        }
        return true;
    }
    bool store_buffering(context& t) const {
        const word mine = t.index() == 0 ? x : y;
        const word theirs = t.index() == 0 ? y : x;
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        if (how == order::locked_stores) {
            t.exchange(mine, 1);
        } else {
            t.store(mine, 1);
        }
        if (how == order::fences || (how == order::light_fence_on_one_side && t.index() == 0)) {
            MODEL_STEP(t);
            t.fence();
        }
        if (how == order::heavy_on_one_side && t.index() == 0) {
            MODEL_STEP(t);
            t.heavy_barrier();
        }
        MODEL_STEP(t);
        saw(t, 0, t.load(theirs));
        saw(t, 1, 0);
        MODEL_END(t);
    }
    bool message_passing(context& t) const {
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        if (t.index() == 0) {
            t.store(x, 1);
            saw(t, 0, 0);
        } else {
            saw(t, 0, t.load(y));
        }
        MODEL_STEP(t);
        if (t.index() == 0) {
            t.store(y, 1);
            saw(t, 1, 0);
        } else {
            saw(t, 1, t.load(x));
        }
        MODEL_END(t);
    }
    bool own_store_first(context& t) const {
        const word mine = t.index() == 0 ? x : y;
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.store(mine, 1);
        MODEL_STEP(t);
        saw(t, 0, t.load(mine));
        MODEL_STEP(t);
        saw(t, 1, t.load(mine == x ? y : x));
        MODEL_END(t);
    }
    /// Thread 0 spins for ever for something that nobody does.
    bool livelock(context& t) const {
        MODEL_BEGIN(t);
        do {
            MODEL_STEP(t);
            t.locals().first = t.load(x);
        } while (t.index() == 0 && t.locals().first == 0);
        MODEL_END(t);
    }
    /// The classic: test, then sleep, and the wake-up comes between.
    bool lost_wake_up(context& t) const {
        MODEL_BEGIN(t);
        if (t.index() == 0) {
            MODEL_STEP(t);
            t.locals().first = t.load(x);
            if (t.locals().first == 0) {
                MODEL_STEP(t);  // y never changes: the sleep is not told that x did
                t.futex_wait(how == order::plain ? y : x, 0);
                MODEL_STEP(t);
                t.pause("awake");
            }
        } else {
            MODEL_STEP(t);
            t.exchange(x, 1);
            MODEL_STEP(t);
            t.futex_wake(how == order::plain ? y : x);
        }
        MODEL_END(t);
    }
};

using shape = litmus::shape;
using order = litmus::order;
constexpr std::array<word, 4> nothing_looked_for{7, 7, 7, 7};

void expect_possible(const litmus& test) { expect_fails(test, "possible"); }

TEST(checker, lets_a_load_pass_an_earlier_store) {
    expect_possible({.what = shape::store_buffering, .looked_for = {0, 0, 0, 0}});
    expect_possible({.what = shape::store_buffering, .looked_for = {1, 0, 1, 0}});
}
TEST(checker, keeps_a_load_behind_a_store_with_a_fence_between) {
    expect_passes(litmus{.what = shape::store_buffering, .how = order::fences, .looked_for = {0, 0, 0, 0}});
    expect_passes(litmus{.what = shape::store_buffering, .how = order::locked_stores, .looked_for = {0, 0, 0, 0}});
}
TEST(checker, needs_one_heavy_barrier_or_two_fences) {
    expect_passes(litmus{.what = shape::store_buffering, .how = order::heavy_on_one_side, .looked_for = {0, 0, 0, 0}});
    expect_possible(
        {.what = shape::store_buffering, .how = order::light_fence_on_one_side, .looked_for = {0, 0, 0, 0}});
}
TEST(checker, keeps_stores_in_order) {
    expect_possible({.what = shape::message_passing, .looked_for = {0, 0, 1, 1}});
    expect_possible({.what = shape::message_passing, .looked_for = {0, 0, 0, 1}});
    expect_passes(litmus{.what = shape::message_passing, .looked_for = {0, 0, 1, 0}});
}
TEST(checker, lets_a_thread_see_its_own_store_before_others_do) {
    expect_possible({.what = shape::own_store_first, .looked_for = {1, 0, 1, 0}});
    expect_passes(litmus{.what = shape::own_store_first, .looked_for = {0, 0, 1, 1}});
}
TEST(checker, finds_a_loop_that_never_ends) {
    const verdict v = explore(litmus{.what = shape::livelock, .looked_for = nothing_looked_for});
    EXPECT_NE(v.problem.find("no good end"), std::string::npos) << v.text();  // from the first state on: no trace
}
TEST(checker, finds_a_lost_wake_up) {
    expect_fails(litmus{.what = shape::lost_wake_up, .how = order::plain, .looked_for = nothing_looked_for}, "stuck");
    expect_passes(litmus{.what = shape::lost_wake_up, .how = order::fences, .looked_for = nothing_looked_for});
}
TEST(checker, tells_a_shortest_trace) {
    const verdict v = explore(litmus{.what = shape::store_buffering, .looked_for = {0, 0, 0, 0}});
    ASSERT_EQ(v.trace.size(), 4u) << v.text();
    EXPECT_EQ(v.trace[0], "thread 0: store x = 1 (into its buffer)");
}
TEST(checker, refuses_to_guess_when_there_are_too_many_states) {
    const litmus test{.what = shape::store_buffering, .looked_for = nothing_looked_for};
    EXPECT_THROW((void)checker<litmus>(test, 3).run(), std::length_error);
}

}  // namespace
}  // namespace vinic::model

// SPDX-License-Identifier: Apache-2.0
//
// deregistration_test.cc -- no executor touches a region's memory after it was given back to the user.
// See docs/protocols.md.
//
//     executor x                                     thread that deregisters
//       executing[x] = odd          plain              key = invalid
//       key valid ? use the memory                     heavy barrier
//       executing[x] = even         plain              each x: odd ? wait until it has changed or x is dead
//                                                      the memory is the user's
//
// In the isolated placement an executor is an engine of the device.  It counts under a lock, and lets go of that before
// it reads a key; whoever deregisters is a thread of the same process.  So the fence of that thread is enough, and none
// is not.
#include <gtest/gtest.h>

#include "checker.hpp"
#include "expect.hpp"

namespace vinic::model::closing {
namespace {

enum class broken {
    nothing,
    without_barrier,
    with_own_fence_only,
    without_wait,
    counter_read_before_barrier,
    key_read_before_executing,
    executing_ends_before_use,
    waits_for_the_dead,
};

struct deregistration {
    static constexpr std::size_t executor_count = 2;
    static constexpr std::size_t thread_count = executor_count + 1;
    static constexpr std::size_t owner = executor_count;
    static constexpr word executing = 0;
    static constexpr word key = executing + executor_count;
    static constexpr word data = key + 1;
    static constexpr std::size_t memory_words = data + 1;
    static constexpr std::size_t buffer_entries = 8;
    static constexpr word users_value = 99;

    struct locals {
        word i = 0;
        word value = 0;
        word count = 0;                           // executor: its own counter
        std::array<word, executor_count> seen{};  // owner: counters as read
    };
    struct ghost {
        word given_back = 0;
    };
    using state = machine_state<deregistration>;
    using context = thread_context<deregistration>;

    word operations = 2;  ///< of each executor
    broken wrong = broken::nothing;
    bool halts = false;     ///< executor 0 may be killed at any step
    bool isolated = false;  ///< a locked instruction stands between `executing` and the key, and the owner has a fence

    static std::string thread_name(std::size_t thread) {
        return thread == owner ? "owner     " : "executor " + std::to_string(thread);
    }
    static std::string name(word a) {
        const char* names[] = {"executing[0]", "executing[1]", "key", "data"};
        return names[a];
    }
    void start(state& s) const { s.memory[key] = 1; }
    [[nodiscard]] const char* check(const state& s) const {
        return s.ghost.given_back != 0 && s.memory[data] != users_value
                   ? "the memory was written after it was given back"
                   : nullptr;
    }
    [[nodiscard]] bool good(const state& s) const { return s.over(0) && s.over(1) && s.over(owner); }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const { return halts && thread == 0; }
    [[nodiscard]] bool may_tick(const state&, std::size_t) const { return false; }

    bool step(context& t) const { return t.index() == owner ? deregister(t) : execute(t); }

    bool execute(context& t) const {
        auto& l = t.locals();
        const word me = static_cast<word>(executing + t.index());
        MODEL_BEGIN(t);
        for (l.i = 0; l.i < operations; ++l.i) {
            if (wrong == broken::key_read_before_executing) {
                MODEL_STEP(t);
                l.value = t.load(key);
            }
            MODEL_STEP(t);
            t.store(me, ++l.count);
            if (isolated) {
                MODEL_STEP(t);
                t.fence();
            }
            if (wrong != broken::key_read_before_executing) {
                MODEL_STEP(t);
                l.value = t.load(key);
            }
            if (wrong == broken::executing_ends_before_use) {
                MODEL_STEP(t);
                t.store(me, ++l.count);
            }
            if (l.value != 0) {
                MODEL_STEP(t);
                l.value = t.load(data);
                if (t.whole().ghost.given_back != 0) {
                    t.fail("the memory was read after it was given back");
                }
                MODEL_STEP(t);
                t.store(data, static_cast<word>(1 + t.index()));
            }
            if (wrong != broken::executing_ends_before_use) {
                MODEL_STEP(t);
                t.store(me, ++l.count);
            }
        }
        MODEL_END(t);
    }

    bool deregister(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (wrong == broken::counter_read_before_barrier) {
            for (l.i = 0; l.i < executor_count; ++l.i) {
                MODEL_STEP(t);
                l.seen[l.i] = t.load(static_cast<word>(executing + l.i));
            }
        }
        MODEL_STEP(t);
        t.store(key, 0);
        if (wrong == broken::with_own_fence_only || (isolated && wrong != broken::without_barrier)) {
            MODEL_STEP(t);
            t.fence();
        } else if (wrong != broken::without_barrier) {
            MODEL_STEP(t);
            t.heavy_barrier();
        }
        if (wrong != broken::counter_read_before_barrier) {
            for (l.i = 0; l.i < executor_count; ++l.i) {
                MODEL_STEP(t);
                l.seen[l.i] = t.load(static_cast<word>(executing + l.i));
            }
        }
        for (l.i = 0; l.i < executor_count && wrong != broken::without_wait; ++l.i) {
            if (l.seen[l.i] % 2 != 0) {
                MODEL_STEP(t);
                t.await(static_cast<word>(executing + l.i), [&](word now) {
                    return now != l.seen[l.i] || (wrong != broken::waits_for_the_dead && t.whole().over(l.i));
                });
            }
        }
        MODEL_STEP(t);
        t.exchange(data, users_value);
        t.whole().ghost.given_back = 1;
        MODEL_END(t);
    }
};

TEST(deregistration, holds_for_two_executors) { expect_passes(deregistration{}); }
TEST(deregistration, holds_when_an_executor_is_killed) { expect_passes(deregistration{.halts = true}); }

TEST(deregistration, needs_each_of_its_steps) {
    for (broken wrong :
         {broken::without_barrier, broken::with_own_fence_only, broken::without_wait,
          broken::counter_read_before_barrier, broken::key_read_before_executing, broken::executing_ends_before_use}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(deregistration{.wrong = wrong}, "given back");
    }
}
TEST(deregistration, holds_in_the_isolated_placement_by_the_owners_own_fence) {
    expect_passes(deregistration{.isolated = true});
}
TEST(deregistration, needs_each_of_its_steps_in_the_isolated_placement) {
    for (broken wrong : {broken::without_barrier, broken::without_wait, broken::counter_read_before_barrier,
                         broken::key_read_before_executing, broken::executing_ends_before_use}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(deregistration{.wrong = wrong, .isolated = true}, "given back");
    }
}
TEST(deregistration, hangs_when_it_waits_for_the_dead) {
    expect_fails(deregistration{.wrong = broken::waits_for_the_dead, .halts = true}, "stuck");
}

}  // namespace
}  // namespace vinic::model::closing

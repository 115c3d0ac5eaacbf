// SPDX-License-Identifier: Apache-2.0
//
// break_and_flush_test.cc -- one side breaks a connection while the other writes into its receive
// buffers: what was published is delivered, the rest is flushed, and after that nothing is written.
// See docs/protocols.md.
//
//     executor (side A)                               breaker (side B)
//       A.executing = odd            plain              compare-swap A.state {g, connected} -> {g, error}
//       A.state == {g, connected} ?                     heavy barrier
//           write B's buffer, publish                   A.executing odd ? wait until changed or A is dead
//       A.executing = even           plain              deliver what is published, flush the rest
//
// The state word {g, ...} is made and read by the functions of src/abi/vi.hpp; g is its epoch.
#include <gtest/gtest.h>

#include "abi/vi.hpp"
#include "checker.hpp"
#include "expect.hpp"

namespace vinic::model::breaking {
namespace {

enum class broken {
    nothing,
    without_barrier,
    with_own_fence_only,
    without_wait,
    delivers_before_wait,
    state_read_before_executing,
    executing_ends_before_publication,
    waits_for_the_dead,
};

/// How the breaker writes the other side's state.
enum class break_by {
    swap_with_generation,  ///< compare-swap of {generation, connected}
    swap_of_state_only,    ///< compare-swap that does not know which connection it breaks
    plain_store,
};

struct break_and_flush {
    static constexpr std::size_t thread_count = 2;
    static constexpr std::size_t executor = 0;
    static constexpr std::size_t breaker = 1;
    static constexpr word messages = 2;
    static constexpr word state_word = 0;
    static constexpr word executing = 1;
    static constexpr word buffer = 2;
    static constexpr word ring = buffer + messages;
    static constexpr std::size_t memory_words = ring + messages;
    static constexpr std::size_t buffer_entries = 9;
    static constexpr word users_value = 99;
    using value = std::uint64_t;
    static constexpr value connected(std::uint32_t epoch) { return abi::make_state(epoch, abi::link::connected); }
    static constexpr value error(std::uint32_t epoch) {
        return abi::make_state(epoch, abi::link::error, abi::break_reason::remote_error);
    }

    struct locals {
        word i = 0;
        word value = 0;
        word count = 0;
        word part = 0;  // of the breaker's code
        packed<std::uint64_t> seen;
        std::array<word, messages> published{};
    };
    struct ghost {
        std::array<word, messages> flushed{};
        word reconnected = 0;
    };
    using state = machine_state<break_and_flush>;
    using context = thread_context<break_and_flush>;

    broken wrong = broken::nothing;
    break_by how = break_by::swap_with_generation;
    bool reconnects = false;  ///< A ends the connection itself and connects with somebody else
    bool halts = false;       ///< A may be killed at any step

    static std::string thread_name(std::size_t thread) { return thread == executor ? "executor" : "breaker "; }
    static std::string name(word a) {
        const char* names[] = {"A.state", "A.executing", "buffer[0]", "buffer[1]", "ring[0]", "ring[1]"};
        return names[a];
    }
    static std::string text(word a, value v) {
        return a != state_word ? std::to_string(v)
                               : "{" + std::to_string(abi::epoch_of(v)) +
                                     (abi::link_of(v) == abi::link::connected ? ", connected}" : ", error}");
    }
    void start(state& s) const { s.memory[state_word] = connected(1); }
    [[nodiscard]] const char* check(const state& s) const {
        for (std::size_t i = 0; i < messages; ++i) {
            if (s.ghost.flushed[i] != 0 && s.memory[ring + i] != 0) {
                return "a completion was published after its descriptor was flushed";
            }
            if (s.ghost.flushed[i] != 0 && s.memory[buffer + i] != users_value) {
                return "a buffer was written after it was flushed";
            }
        }
        return s.ghost.reconnected != 0 && s.memory[state_word] != connected(2)
                   ? "the next connection was broken by the breaker of the last one"
                   : nullptr;
    }
    [[nodiscard]] bool good(const state& s) const {
        if (!s.over(executor) || !s.over(breaker)) {
            return false;
        }
        for (std::size_t i = 0; i < messages; ++i) {  // delivered or flushed, each of them
            if (s.ghost.flushed[i] == 0 && s.memory[ring + i] == 0) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const { return halts && thread == executor; }
    [[nodiscard]] bool may_tick(const state&, std::size_t) const { return false; }

    bool step(context& t) const { return t.index() == executor ? execute(t) : break_connection(t); }

    bool execute(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        for (l.i = 0; l.i < messages; ++l.i) {
            if (wrong == broken::state_read_before_executing) {
                MODEL_STEP(t);
                l.seen = t.load(state_word);
            }
            MODEL_STEP(t);
            t.store(executing, ++l.count);
            if (wrong != broken::state_read_before_executing) {
                MODEL_STEP(t);
                l.seen = t.load(state_word);
            }
            if (l.seen == connected(1)) {
                MODEL_STEP(t);
                t.store(static_cast<word>(buffer + l.i), 1);
                if (wrong == broken::executing_ends_before_publication) {
                    MODEL_STEP(t);
                    t.store(executing, ++l.count);
                }
                MODEL_STEP(t);
                t.store(static_cast<word>(ring + l.i), 1);
            }
            if (l.count % 2 != 0) {
                MODEL_STEP(t);
                t.store(executing, ++l.count);
            }
        }
        if (reconnects) {
            // The control plane: the old connection's end and the new one's begin are locked operations.
            MODEL_STEP(t);
            t.exchange(state_word, connected(2));
            t.whole().ghost.reconnected = 1;
        }
        MODEL_END(t);
    }

    bool break_connection(context& t) const { return t.locals().part == 0 ? set_error(t) && flush(t) : flush(t); }

    bool set_error(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (how == break_by::plain_store) {
            MODEL_STEP(t);
            t.store(state_word, error(1));
        } else if (how == break_by::swap_of_state_only) {
            MODEL_STEP(t);
            l.seen = t.load(state_word);
            if (abi::link_of(l.seen) == abi::link::connected) {
                MODEL_STEP(t);
                t.compare_swap(state_word, l.seen, error(abi::epoch_of(l.seen)));
            }
        } else {
            MODEL_STEP(t);
            t.compare_swap(state_word, connected(1), error(1));
        }
        if (wrong == broken::with_own_fence_only) {
            MODEL_STEP(t);
            t.fence();
        } else if (wrong != broken::without_barrier) {
            MODEL_STEP(t);
            t.heavy_barrier();
        }
        l.part = 1;
        MODEL_END(t);
    }

    bool flush(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (wrong == broken::delivers_before_wait) {
            for (l.i = 0; l.i < messages; ++l.i) {
                MODEL_STEP(t);
                l.published[l.i] = static_cast<word>(t.load(static_cast<word>(ring + l.i)));
            }
        }
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(executing));
        if (l.value % 2 != 0 && wrong != broken::without_wait) {
            MODEL_STEP(t);
            t.await(executing, [&](value now) {
                return now != l.value || (wrong != broken::waits_for_the_dead && t.whole().over(executor));
            });
        }
        if (wrong != broken::delivers_before_wait) {
            for (l.i = 0; l.i < messages; ++l.i) {
                MODEL_STEP(t);
                l.published[l.i] = static_cast<word>(t.load(static_cast<word>(ring + l.i)));
            }
        }
        for (l.i = 0; l.i < messages; ++l.i) {
            if (l.published[l.i] == 0) {
                MODEL_STEP(t);
                t.exchange(static_cast<word>(buffer + l.i), users_value);
                t.whole().ghost.flushed[l.i] = 1;
            }
        }
        MODEL_END(t);
    }
};

TEST(break_and_flush, holds) { expect_passes(break_and_flush{}); }
TEST(break_and_flush, holds_when_the_executor_is_killed) { expect_passes(break_and_flush{.halts = true}); }
TEST(break_and_flush, leaves_the_next_connection_alone) { expect_passes(break_and_flush{.reconnects = true}); }

TEST(break_and_flush, needs_each_of_its_steps) {
    for (broken wrong :
         {broken::without_barrier, broken::with_own_fence_only, broken::without_wait, broken::delivers_before_wait,
          broken::state_read_before_executing, broken::executing_ends_before_publication}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        expect_fails(break_and_flush{.wrong = wrong}, "flushed");
    }
}
TEST(break_and_flush, hangs_when_it_waits_for_the_dead) {
    expect_fails(break_and_flush{.wrong = broken::waits_for_the_dead, .halts = true}, "stuck");
}
TEST(break_and_flush, must_name_the_connection_that_it_breaks) {
    for (break_by how : {break_by::plain_store, break_by::swap_of_state_only}) {
        SCOPED_TRACE(static_cast<int>(how));
        expect_fails(break_and_flush{.how = how, .reconnects = true}, "next connection");
    }
}

}  // namespace
}  // namespace vinic::model::breaking

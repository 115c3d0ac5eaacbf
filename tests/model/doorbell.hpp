// SPDX-License-Identifier: Apache-2.0
//
// doorbell.hpp -- the protocol: no ring is lost between the threads of a context and a device that polls the
// context's top word, becomes cold, or sleeps.  See docs/protocols.md and src/abi/doorbell.hpp.
//
//     ringer r                                          device
//       post[r][i] = its lap       plain                  top != 0 ? exchange top, summary, leaves; read what
//       leaf |= r                  locked                   is posted where they say so
//       summary has it ? : summary |= leaf                sleeps:  armed = 1, fence, top == 0, wait for a kick,
//       top has it ? : top |= 1                                    armed = 0, look
//       armed ? exchange 0 gave 1 ? kick                  cold:    the same, but a kick only counts if armed == 0
//
// Bits and laps are made by the functions of src/abi.
#pragma once

#include "abi/doorbell.hpp"
#include "checker.hpp"

namespace vinic::model::doorbell {

constexpr word ringer_count = 2;
constexpr word depth_log2 = 1;
constexpr word posts_max = 1 << depth_log2;

/// What is left out or done wrongly.
enum class broken {
    nothing,
    // the ringer
    leaf_decides,           ///< marks the words above only if the leaf was 0
    or_skipped_when_set,    ///< no locked OR of a leaf that has the bit already
    summary_before_leaf,    ///< marks from above
    armed_read_before_top,  ///< looks at armed before it marks the top word
    kick_without_exchange,  ///< leaves armed as it is: costs needless kicks, loses nothing
    // the device
    top_cleared_last,      ///< looks at the top word, takes what is below it, then clears it
    summary_cleared_last,  ///< the same with the summary
    leaf_cleared_last,     ///< the same with the leaves: reads what is posted, then clears them
    armed_without_fence,
    armed_without_look,
    armed_after_look,  ///< looks for the last time, then arms
    armed_once,        ///< believes that armed is still set after a kick
    kick_needs_top,    ///< a cold context stays cold if a kick finds its top word empty
    disarmed_late,     ///< looks before it clears armed: right as well
};

/// What the device may do after a look that found nothing.
enum class idle { polls, sleeps, cools, either };

struct bells {
    static constexpr std::size_t thread_count = ringer_count + 1;
    static constexpr std::size_t device = ringer_count;
    static constexpr word leaf = 0;
    static constexpr word summary = leaf + ringer_count;
    static constexpr word top = summary + 1;
    static constexpr word armed = top + 1;
    static constexpr word kicks = armed + 1;  // the event descriptor's count
    static constexpr word post = kicks + 1;
    static constexpr std::size_t memory_words = post + ringer_count * posts_max;
    static constexpr std::size_t buffer_entries = 6;

    struct locals {
        word i = 0;  // ringer: post; device: leaf or ringer
        word value = 0;
        word armed_before = 0;  // what armed was, for the bad twin that looks too early
        word flagged = 0;       // leaves to take
        word ready = 0;         // ringers whose posts must be read, by bit
        word found = 0;
        word cold = 0;
        word arms = 0;  // how often it has armed
        word part = 0;
        std::array<word, ringer_count> head{};
    };
    struct ghost {
        std::array<word, ringer_count> marked{};  ///< posts whose marks were complete
        std::array<word, ringer_count> must{};    ///< of these, when the look that is under way began
    };
    using state = machine_state<bells>;
    using context = thread_context<bells>;

    word posts = 2;
    broken wrong = broken::nothing;
    idle when_idle = idle::either;
    bool one_leaf = true;            ///< both ringers' VIs are in the same leaf
    bool cold_is_looked_at = false;  ///< now and then, kick or not: the device is awake because of others
    bool halts = false;              ///< ringer 0 may halt at any step
    bool ticks = false;              ///< a sleep ends by time-out after a halt

    static std::string thread_name(std::size_t thread) {
        return thread == device ? "device  " : "ringer " + std::to_string(thread);
    }
    static std::string name(word a) {
        if (a >= post) {
            return "post[" + std::to_string((a - post) / posts_max) + "][" + std::to_string((a - post) % posts_max) +
                   "]";
        }
        const char* fixed[] = {"leaf[0]", "leaf[1]", "summary", "top", "armed", "kicks"};
        return fixed[a];
    }
    static word slot(std::size_t ringer, word i) {
        return static_cast<word>(post + ringer * posts_max + i % posts_max);
    }
    static word lap(word i) { return abi::lap_of(i, depth_log2); }
    static word bit(std::size_t number) { return static_cast<word>(abi::bell_bit(static_cast<std::uint32_t>(number))); }
    [[nodiscard]] word leaf_of(std::size_t ringer) const { return one_leaf ? word{0} : static_cast<word>(ringer); }

    void start(state&) const {}

    // -- properties -----------------------------------------------------------------------------

    [[nodiscard]] const char* check(const state&) const { return nullptr; }
    [[nodiscard]] bool good(const state& s) const {
        for (std::size_t r = 0; r < ringer_count; ++r) {
            const bool halted = s.threads[r].run == run_state::halted;
            if (!s.over(r) || (!halted && s.threads[device].locals.head[r] != posts)) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const { return halts && thread == 0; }
    [[nodiscard]] bool may_tick(const state& s, std::size_t thread) const {
        return ticks && thread == device && s.threads[0].run == run_state::halted;
    }
    /// A look finds whatever was marked before it began, whatever other ringers are in the middle of.
    void begin_look(context& t) const {
        t.whole().ghost.must = t.whole().ghost.marked;
        t.locals().found = 0;
    }
    void end_look(context& t) const {
        for (std::size_t r = 0; r < ringer_count; ++r) {
            if (t.locals().head[r] < t.whole().ghost.must[r]) {
                t.fail("a look did not find what had been rung for before it began");
            }
        }
        t.whole().ghost.must = {};
    }

    // -- code -----------------------------------------------------------------------------------

    bool step(context& t) const { return t.index() == device ? serve(t) : ring_all(t); }

    /// Part 0 posts and marks, part 1 kicks.
    bool ring_all(context& t) const {
        auto& l = t.locals();
        while (l.i != posts) {
            if (!(l.part == 0 ? mark(t) : kick(t))) {
                return false;
            }
        }
        return true;
    }

    bool mark(context& t) const {
        auto& l = t.locals();
        const std::size_t me = t.index();
        const word my_leaf = static_cast<word>(leaf + leaf_of(me));
        const word above = bit(leaf_of(me));
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.store(slot(me, l.i), lap(l.i));
        l.value = 0;
        if (wrong == broken::or_skipped_when_set) {
            MODEL_STEP(t);
            l.value = static_cast<word>(t.load(my_leaf) & bit(me));
        }
        if (wrong == broken::summary_before_leaf) {
            MODEL_STEP(t);
            t.fetch_or(top, 1);
            MODEL_STEP(t);
            t.fetch_or(summary, above);
        }
        if (l.value == 0) {
            MODEL_STEP(t);
            l.value = t.fetch_or(my_leaf, bit(me));
        }
        if (wrong == broken::armed_read_before_top) {
            MODEL_STEP(t);
            l.armed_before = t.load(armed);
        }
        if (wrong != broken::summary_before_leaf && (wrong != broken::leaf_decides || l.value == 0)) {
            MODEL_STEP(t);
            l.value = t.load(summary);
            if ((l.value & above) == 0) {
                MODEL_STEP(t);
                t.fetch_or(summary, above);
            }
            MODEL_STEP(t);
            l.value = t.load(top);
            if (l.value == 0) {
                MODEL_STEP(t);
                t.fetch_or(top, 1);
            }
        }
        ++l.i;
        t.whole().ghost.marked[me] = l.i;
        l.value = 0;
        l.part = 1;
        if (l.i == posts) {
            --l.i;  // the last post has its kick to come
            l.found = 1;
        }
        MODEL_END(t);
    }

    bool kick(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (wrong == broken::armed_read_before_top) {
            l.value = l.armed_before;
        } else {
            MODEL_STEP(t);
            l.value = t.load(armed);
        }
        if (l.value != 0 && wrong != broken::kick_without_exchange) {
            MODEL_STEP(t);
            l.value = t.exchange(armed, 0);
        }
        if (l.value != 0) {
            MODEL_STEP(t);
            t.fetch_add(kicks, 1);
            MODEL_STEP(t);
            t.futex_wake(kicks);
        }
        l.value = 0;
        l.armed_before = 0;
        l.part = 0;
        l.i = static_cast<word>(l.i + l.found);
        l.found = 0;
        MODEL_END(t);
    }

    /// Parts: 0 take the marks, 1 read what is posted, 2 arm, 3 wait for a kick.
    bool serve(context& t) const {
        while (true) {
            const word part = t.locals().part;
            if (!(part == 0 ? take_marks(t) : part == 1 ? read_posts(t) : part == 2 ? arm(t) : await_kick(t))) {
                return false;
            }
        }
    }

    word take_leaf(context& t) const {
        const word which = static_cast<word>(leaf + t.locals().i);
        return wrong == broken::leaf_cleared_last ? t.load(which) : t.exchange(which, 0);
    }

    bool take_marks(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        begin_look(t);
        MODEL_STEP(t);
        l.value = t.load(top);
        if (l.value != 0) {
            if (wrong != broken::top_cleared_last) {
                MODEL_STEP(t);
                t.exchange(top, 0);
            }
            MODEL_STEP(t);
            l.flagged = wrong == broken::summary_cleared_last ? t.load(summary) : t.exchange(summary, 0);
            for (l.i = 0; l.i < ringer_count; ++l.i) {
                if ((l.flagged & bit(l.i)) != 0) {
                    MODEL_STEP(t);
                    l.ready = static_cast<word>(l.ready | take_leaf(t));
                }
            }
            if (wrong == broken::summary_cleared_last || wrong == broken::top_cleared_last) {
                MODEL_STEP(t);
                t.exchange(wrong == broken::top_cleared_last ? top : summary, 0);
            }
        }
        l.value = 0;
        l.part = 1;
        MODEL_END(t);
    }

    bool read_posts(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        for (l.i = 0; l.i < ringer_count; ++l.i) {
            l.value = (l.ready & bit(l.i)) != 0 ? 1 : 0;
            while (l.value != 0 && l.head[l.i] != posts) {
                MODEL_STEP(t);
                l.value = t.load(slot(l.i, l.head[l.i])) == lap(l.head[l.i]) ? 1 : 0;
                if (l.value != 0) {
                    ++l.head[l.i];
                    l.found = 1;
                }
            }
        }
        for (l.i = 0; l.i < ringer_count && wrong == broken::leaf_cleared_last; ++l.i) {
            if ((l.flagged & bit(l.i)) != 0) {
                MODEL_STEP(t);
                t.exchange(static_cast<word>(leaf + l.i), 0);
            }
        }
        end_look(t);
        if (wrong == broken::disarmed_late && l.arms != 0) {
            MODEL_STEP(t);
            t.store(armed, 0);
            l.arms = 0;
        }
        l.ready = 0;
        l.flagged = 0;
        l.value = 0;
        l.i = 0;
        if (l.found == 0) {
            MODEL_STEP(t);
            t.pause("idle: poll again, sleep or become cold?");
            l.i = static_cast<word>(when_idle == idle::polls ? 0 : t.choose(when_idle == idle::either ? 3 : 2));
            l.i = static_cast<word>(when_idle == idle::cools ? l.i * 2 : l.i);
        }
        l.cold = l.i == 2 ? 1 : 0;
        l.part = l.i == 0 ? 0 : 2;
        l.i = 0;
        l.found = 0;
        MODEL_END(t);
    }

    bool arm(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (wrong == broken::armed_after_look) {
            MODEL_STEP(t);
            l.value = t.load(top);
        }
        if (wrong != broken::armed_once || l.arms == 0) {
            MODEL_STEP(t);
            t.store(armed, 1);
            l.arms = wrong == broken::armed_once ? 1 : 0;
        }
        if (wrong != broken::armed_without_fence) {
            MODEL_STEP(t);
            t.fence();
        }
        if (wrong != broken::armed_without_look && wrong != broken::armed_after_look) {
            MODEL_STEP(t);
            l.value = t.load(top);
        }
        if (l.value != 0) {
            l.cold = 0;
            MODEL_STEP(t);
            t.store(armed, 0);
        }
        l.part = l.value != 0 ? 0 : 3;
        l.value = 0;
        MODEL_END(t);
    }

    /// The device sleeps, or this context is cold and somebody waits at the event descriptor.
    bool await_kick(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        l.value = 1;
        while (l.value != 0) {
            l.value = 0;
            if (l.cold != 0 && cold_is_looked_at) {
                MODEL_STEP(t);
                l.value = t.load(top);
                if (l.value == 0) {
                    MODEL_STEP(t);
                    l.value = static_cast<word>(t.load(armed) == 0 ? 1 : 0);
                }
                if (l.value != 0) {
                    break;
                }
                MODEL_STEP(t);
                t.pause("still cold: look again, or see whether there is a kick?");
                l.value = static_cast<word>(t.choose(2));
                if (l.value != 0) {
                    continue;
                }
            } else {
                MODEL_STEP(t);
                t.futex_wait(kicks, 0);
            }
            MODEL_STEP(t);
            t.exchange(kicks, 0);
            if (l.cold != 0) {
                MODEL_STEP(t);
                l.value = wrong == broken::kick_needs_top ? static_cast<word>(t.load(top) == 0 ? 1 : 0) : t.load(armed);
            }
        }
        l.cold = 0;
        l.value = 0;
        if (wrong == broken::disarmed_late) {
            l.arms = 1;
        } else if (wrong != broken::armed_once) {
            MODEL_STEP(t);
            t.store(armed, 0);
        }
        l.part = 0;
        MODEL_END(t);
    }
};

}  // namespace vinic::model::doorbell

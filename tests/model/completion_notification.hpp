// SPDX-License-Identifier: Apache-2.0
//
// completion_notification.hpp -- the protocol: no completion is lost between producers and a completion
// queue that polls some rings directly, finds others by ready bits, and sleeps.  See docs/protocols.md.
//
//     producer p                                        consumer
//       seq[p][i] = i + 1          plain                  polls the rings with notify == 0
//       notify[p] == 0 ? done                             takes summary and leaf, drains what is set
//       leaf |= p, summary |= 1    locked                 promotes, demotes, sleeps
//       armed ? wake_seq += 1, futex_wake
#pragma once

#include "checker.hpp"

namespace vinic::model::completion {

constexpr word producer_count = 2;
constexpr word messages_max = 3;

/// What is left out or done wrongly.
enum class broken {
    nothing,
    demote_without_barrier,
    demote_without_recheck,
    sleep_without_barrier,
    sleep_with_own_fence_only,
    sleep_without_ring_recheck,
    sleep_without_summary_recheck,
    sequence_read_after_recheck,
    sleep_without_demotion,
    summary_before_leaf,
    leaf_taken_before_summary,
    wake_without_sequence,
    ready_ring_read_once,
    never_disarmed_by_consumer,  ///< by the consumer: costs needless wake-ups, loses nothing
};

/// Who clears `armed`, so that one sleep costs one wake-up.
enum class disarm {
    by_exchange,              ///< the producer that wakes
    by_consumer,              ///< only the consumer; every producer that finds it armed wakes
    by_consumer_with_number,  ///< the same, and `armed` is the sleep's number: a producer wakes once per sleep
};

/// What the consumer does after a round that found nothing.
enum class idle { polls, sleeps, either };

struct notification {
    static constexpr std::size_t thread_count = producer_count + 1;
    static constexpr std::size_t consumer = producer_count;
    static constexpr word notify = 0;
    static constexpr word leaf = notify + producer_count;
    static constexpr word summary = leaf + 1;
    static constexpr word armed = summary + 1;
    static constexpr word wake_seq = armed + 1;
    static constexpr word seq = wake_seq + 1;
    static constexpr std::size_t memory_words = seq + producer_count * messages_max;
    static constexpr std::size_t buffer_entries = 6;

    struct locals {
        word i = 0;      // producer: message; consumer: ring
        word value = 0;  // what was just read
        word ready = 0;  // rings that must be read, by bit
        word polled = 0;
        word rechecked = 0;
        word found = 0;
        word sequence = 0;
        word part = 0;    // of the code that runs
        word sleeps = 0;  // consumer: how often it armed; producer: the sleep that it has ended
        std::array<word, producer_count> head{};
    };
    struct ghost {
        word must_find = 0;  ///< this round began with all producers done and something unconsumed
    };
    using state = machine_state<notification>;
    using context = thread_context<notification>;

    word messages = 2;
    broken wrong = broken::nothing;
    disarm clears = disarm::by_exchange;
    idle when_idle = idle::either;
    bool first_polled = true;  ///< the consumer begins with ring 0 polled directly
    bool light_sleep = false;  ///< own fence instead of the heavy barrier when nothing was polled directly
    bool halts = false;        ///< producer 0 may halt at any step
    bool ticks = false;        ///< a sleep ends by time-out after a halt, and then reads every ring

    static std::string thread_name(std::size_t thread) {
        return thread == consumer ? "consumer  " : "producer " + std::to_string(thread);
    }
    static std::string name(word a) {
        if (a >= seq) {
            return "seq[" + std::to_string((a - seq) / messages_max) + "][" + std::to_string((a - seq) % messages_max) +
                   "]";
        }
        const char* fixed[] = {"notify[0]", "notify[1]", "leaf", "summary", "armed", "wake_seq"};
        return fixed[a];
    }
    static word slot(std::size_t ring, word i) { return static_cast<word>(seq + ring * messages_max + i); }
    static word bit(std::size_t ring) { return static_cast<word>(1u << ring); }

    void start(state& s) const {
        for (word p = 0; p < producer_count; ++p) {
            s.memory[notify + p] = 1;
        }
        if (first_polled) {
            s.memory[notify] = 0;
            s.threads[consumer].locals.polled = bit(0);
        }
    }

    // -- properties -----------------------------------------------------------------------------

    [[nodiscard]] bool consumed_all_published(const state& s, bool of_halted_too) const {
        for (word p = 0; p < producer_count; ++p) {
            const word head = s.threads[consumer].locals.head[p];
            const bool halted = s.threads[p].run == run_state::halted;
            if (head < messages && s.memory[slot(p, head)] != 0 && (of_halted_too || !halted)) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] bool producers_over(const state& s) const { return s.over(0) && s.over(1); }
    [[nodiscard]] const char* check(const state&) const { return nullptr; }
    [[nodiscard]] bool good(const state& s) const {
        return producers_over(s) && consumed_all_published(s, ticks || !halts);
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const { return halts && thread == 0; }
    [[nodiscard]] bool may_tick(const state& s, std::size_t thread) const {
        return ticks && thread == consumer && s.threads[0].run == run_state::halted;
    }
    /// Without halts every round must find what was complete before it began.
    void begin_round(context& t) const {
        const state& s = t.whole();
        t.whole().ghost.must_find = !halts && producers_over(s) && !consumed_all_published(s, true) ? 1 : 0;
        t.locals().found = 0;
    }
    void end_round(context& t) const {
        if (t.whole().ghost.must_find != 0 && t.locals().found == 0) {
            t.fail("a poll found nothing although a completion was there before it began");
        }
        t.whole().ghost.must_find = 0;
    }

    // -- code -----------------------------------------------------------------------------------

    bool step(context& t) const { return t.index() == consumer ? consume(t) : produce(t); }

    bool produce(context& t) const {
        auto& l = t.locals();
        const word me = static_cast<word>(t.index());
        const bool summary_first = wrong == broken::summary_before_leaf;
        MODEL_BEGIN(t);
        for (l.i = 0; l.i < messages; ++l.i) {
            MODEL_STEP(t);
            t.store(slot(me, l.i), static_cast<word>(l.i + 1));
            MODEL_STEP(t);
            l.value = t.load(notify + me);
            if (l.value == 0) {
                continue;
            }
            if (!summary_first) {
                MODEL_STEP(t);
                t.fetch_or(leaf, bit(me));
            }
            MODEL_STEP(t);
            l.value = t.load(summary);
            if (l.value == 0) {
                MODEL_STEP(t);
                t.fetch_or(summary, 1);
            }
            if (summary_first) {
                MODEL_STEP(t);
                t.fetch_or(leaf, bit(me));
            }
            MODEL_STEP(t);
            l.value = t.load(armed);
            if (l.value == 0) {
                continue;
            }
            if (clears == disarm::by_consumer_with_number) {
                if (l.value == l.sleeps) {
                    continue;
                }
                l.sleeps = l.value;
            }
            if (clears == disarm::by_exchange) {
                MODEL_STEP(t);
                l.value = t.exchange(armed, 0);
                if (l.value == 0) {
                    continue;
                }
            }
            if (wrong != broken::wake_without_sequence) {
                MODEL_STEP(t);
                t.fetch_add(wake_seq, 1);
            }
            MODEL_STEP(t);
            t.futex_wake(wake_seq);
        }
        MODEL_END(t);
    }

    /// Parts: 0 take the marks, 1 read rings, 2 demote ring i, 3 go to sleep, 4 sleep.
    bool consume(context& t) const {
        while (true) {
            const word part = t.locals().part;
            if (!(part == 0   ? take_marks(t)
                  : part == 1 ? read_rings(t)
                  : part == 2 ? demote(t)
                  : part == 3 ? prepare_sleep(t)
                              : sleep(t))) {
                return false;
            }
        }
    }

    bool take_marks(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        begin_round(t);
        MODEL_STEP(t);
        if (wrong == broken::leaf_taken_before_summary) {
            l.ready = static_cast<word>(l.ready | t.exchange(leaf, 0));
            MODEL_STEP(t);
            t.exchange(summary, 0);
        } else {
            l.value = t.exchange(summary, 0);
            if (l.value != 0) {
                MODEL_STEP(t);
                l.ready = static_cast<word>(l.ready | t.exchange(leaf, 0));
            }
        }
        l.part = 1;
        MODEL_END(t);
    }

    bool read_rings(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        for (l.i = 0; l.i < producer_count; ++l.i) {
            if (((l.ready | l.polled) & bit(l.i)) == 0) {
                continue;
            }
            l.value = 1;
            while (l.value != 0 && l.head[l.i] != messages) {
                MODEL_STEP(t);
                l.value = t.load(slot(l.i, l.head[l.i]));
                if (l.value != 0) {
                    ++l.head[l.i];
                    l.found = 1;
                }
                if (wrong == broken::ready_ring_read_once) {
                    break;
                }
            }
            if ((l.polled & bit(l.i)) == 0) {
                MODEL_STEP(t);
                t.pause("promote?");
                if (t.choose(2) == 1) {
                    MODEL_STEP(t);
                    t.store(static_cast<word>(notify + l.i), 0);
                    l.polled = static_cast<word>(l.polled | bit(l.i));
                }
            }
        }
        l.ready = 0;
        end_round(t);
        l.i = 0;
        if (l.found == 0) {
            MODEL_STEP(t);
            t.pause("idle: poll again, demote 0, demote 1 or sleep?");
            l.i = static_cast<word>(when_idle == idle::sleeps ? 3 : t.choose(when_idle == idle::polls ? 3 : 4));
        }
        l.part = l.i == 0 ? 0 : l.i <= producer_count ? 2 : 3;
        l.value = 0;
        MODEL_END(t);
    }

    bool demote(context& t) const {
        auto& l = t.locals();
        const word ring = static_cast<word>(l.i - 1);
        MODEL_BEGIN(t);
        if ((l.polled & bit(ring)) != 0) {
            MODEL_STEP(t);
            t.store(static_cast<word>(notify + ring), 1);
            l.polled = static_cast<word>(l.polled & ~bit(ring));
            if (wrong != broken::demote_without_barrier) {
                MODEL_STEP(t);
                t.heavy_barrier();
            }
            if (wrong != broken::demote_without_recheck && l.head[ring] != messages) {
                MODEL_STEP(t);
                l.ready = t.load(slot(ring, l.head[ring])) != 0 ? bit(ring) : word{0};
            }
        }
        l.part = 0;
        MODEL_END(t);
    }

    /// One heavy barrier for all: it demotes every ring and arms the wake-up.
    bool prepare_sleep(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        l.rechecked = l.polled;
        for (l.i = 0; l.i < producer_count && wrong != broken::sleep_without_demotion; ++l.i) {
            if ((l.polled & bit(l.i)) != 0) {
                MODEL_STEP(t);
                t.store(static_cast<word>(notify + l.i), 1);
                l.polled = static_cast<word>(l.polled & ~bit(l.i));
            }
        }
        if (wrong != broken::sequence_read_after_recheck) {
            MODEL_STEP(t);
            l.sequence = t.load(wake_seq);
        }
        l.sleeps = clears == disarm::by_consumer_with_number ? static_cast<word>(l.sleeps + 1) : word{1};
        MODEL_STEP(t);
        t.store(armed, l.sleeps);
        if (wrong == broken::sleep_with_own_fence_only || (light_sleep && l.rechecked == 0)) {
            MODEL_STEP(t);
            t.fence();
        } else if (wrong != broken::sleep_without_barrier) {
            MODEL_STEP(t);
            t.heavy_barrier();
        }
        for (l.i = 0; l.i < producer_count && wrong != broken::sleep_without_ring_recheck; ++l.i) {
            if ((l.rechecked & bit(l.i)) != 0 && l.head[l.i] != messages) {
                MODEL_STEP(t);
                l.value = t.load(slot(l.i, l.head[l.i]));
                l.ready = static_cast<word>(l.ready | (l.value != 0 ? bit(l.i) : 0));
            }
        }
        l.rechecked = 0;
        l.part = 4;
        MODEL_END(t);
    }

    bool sleep(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        l.value = 0;
        if (l.ready == 0 && wrong != broken::sleep_without_summary_recheck) {
            MODEL_STEP(t);
            l.value = t.load(summary);
        }
        if (l.ready == 0 && l.value == 0) {
            if (wrong == broken::sequence_read_after_recheck) {
                MODEL_STEP(t);
                l.sequence = t.load(wake_seq);
            }
            MODEL_STEP(t);
            t.futex_wait(wake_seq, l.sequence);
            MODEL_STEP(t);
            t.pause("awake");
            if (ticks) {
                l.ready = static_cast<word>(bit(0) | bit(1));  // the time-out trusts no mark
            }
        }
        if (wrong != broken::never_disarmed_by_consumer) {
            MODEL_STEP(t);
            t.store(armed, 0);
        }
        l.sequence = 0;
        l.value = 0;
        l.part = 0;
        MODEL_END(t);
    }
};

}  // namespace vinic::model::completion

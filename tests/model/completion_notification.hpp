// SPDX-License-Identifier: Apache-2.0
//
// completion_notification.hpp -- the protocol: no completion is lost between producers and a completion
// queue that polls some rings directly, finds others by ready bits, and sleeps.  See docs/protocols.md.
//
//     producer p                                        consumer
//       seq[p][i] = i + 1          plain                  polls the rings with notify == 0
//       notify[p] == 0 ? done                             takes summary and leaf, drains what is set
//       leaf |= p, summary |= 1    locked                 promotes, demotes, sleeps; what it finds when it looks
//       armed ? wakes += 1, futex_wake                    once more it marks itself
//
// The code follows src/tables/link.cc (signal) and src/native/cq.cc (poll_ready, promote, arm_once, wait).
#pragma once

#include "checker.hpp"
#include "completion_words.hpp"

namespace vinic::model::completion {

struct notification {
    static constexpr std::size_t thread_count = producer_count + 1;
    static constexpr std::size_t consumer = producer_count;
    static constexpr std::size_t memory_words = seq + producer_count * messages_max;
    static constexpr std::size_t buffer_entries = 6;

    struct locals {
        word i = 0;          // producer: message; consumer: ring
        word value = 0;      // what was just read
        word ready = 0;      // rings that must be read, by bit
        word polled = 0;     // likewise, those that are polled directly
        word rechecked = 0;  // likewise, those that were until it went to sleep
        word found = 0;
        word sequence = 0;
        part at = part::take_marks;
        part back = part::take_marks;  // where it goes on when it has marked a ring
        word sleeps = 0;               // consumer: how often it armed; producer: the sleep that it has ended
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
    bool first_polled = true;          ///< the consumer begins with ring 0 polled directly
    bool light_sleep = false;          ///< own fence instead of the heavy barrier when nothing was polled directly
    bool halts = false;                ///< producer 0 may halt at any step
    time_out ticks = time_out::never;  ///< if somebody may halt only after that, so that it hides no other mistake
    bool of_halted = false;            ///< what a halted producer published must be consumed, too

    static std::string thread_name(std::size_t thread) {
        return thread == consumer ? "consumer  " : "producer " + std::to_string(thread);
    }
    static std::string name(word a) { return name_of(a); }

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
            if (head < messages && s.memory[slot(p, head)] != 0 && (of_halted_too || !s.is_halted(p))) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] bool producers_over(const state& s) const { return s.over(0) && s.over(1); }
    [[nodiscard]] const char* check(const state&) const { return nullptr; }
    [[nodiscard]] bool good(const state& s) const {
        return producers_over(s) && consumed_all_published(s, of_halted || !halts);
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const { return halts && thread == 0; }
    [[nodiscard]] bool may_tick(const state& s, std::size_t thread) const {
        return ticks != time_out::never && thread == consumer && (!halts || s.is_halted(0));
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
                t.fetch_add(wakes, 1);
            }
            MODEL_STEP(t);
            t.futex_wake(wakes);
        }
        MODEL_END(t);
    }

    bool consume(context& t) const {
        while (run(t)) {
        }
        return false;  // it never ends
    }
    bool run(context& t) const {
        switch (t.locals().at) {
            case part::take_marks:
                return take_marks(t);
            case part::read_rings:
                return read_rings(t);
            case part::demote:
                return demote(t);
            case part::arm:
                return arm(t);
            case part::look_again:
                return look_again(t);
            case part::sleep:
                return sleep(t);
            case part::mark:
                return mark(t);
        }
        return true;
    }

    /// cq_body::poll_ready.
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
        l.at = part::read_rings;
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
        l.at = l.i == 0 ? part::take_marks : l.i <= producer_count ? part::demote : part::arm;
        l.value = 0;
        l.found = 0;
        MODEL_END(t);
    }

    /// cq_body::promote takes the place of a ring that is idle.
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
                l.value = t.load(slot(ring, l.head[ring]));
            }
        }
        l.i = ring;
        l.at = l.value != 0 ? part::mark : part::take_marks;
        l.back = part::take_marks;
        l.value = 0;
        MODEL_END(t);
    }

    /// tables::signal, by the consumer itself, for ring l.i.
    bool mark(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.fetch_or(leaf, bit(l.i));
        MODEL_STEP(t);
        l.value = t.load(summary);
        if (l.value == 0) {
            MODEL_STEP(t);
            t.fetch_or(summary, 1);
        }
        if (clears == disarm::by_exchange) {
            MODEL_STEP(t);
            l.value = t.load(armed);
            if (l.value != 0) {
                MODEL_STEP(t);
                l.value = t.exchange(armed, 0);
            }
            if (l.value != 0) {
                MODEL_STEP(t);
                t.fetch_add(wakes, 1);
                MODEL_STEP(t);
                t.futex_wake(wakes);
            }
        }
        l.value = 0;
        l.i = l.back == part::look_again ? l.i : word{0};
        l.at = l.back;
        MODEL_END(t);
    }

    /// cq_body::arm_once.  One heavy barrier for all: it demotes every ring and arms the wake-up.
    bool arm(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (wrong != broken::sequence_read_after_recheck) {
            MODEL_STEP(t);
            l.sequence = t.load(wakes);
        }
        l.rechecked = l.polled;
        for (l.i = 0; l.i < producer_count && wrong != broken::sleep_without_demotion; ++l.i) {
            if ((l.polled & bit(l.i)) != 0) {
                MODEL_STEP(t);
                t.store(static_cast<word>(notify + l.i), 1);
                l.polled = static_cast<word>(l.polled & ~bit(l.i));
            }
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
        if (wrong != broken::sleep_without_summary_recheck) {
            MODEL_STEP(t);
            l.found = t.load(summary);
        }
        l.i = 0;
        l.back = part::look_again;
        l.at = part::look_again;
        MODEL_END(t);
    }

    /// The rings that were polled directly: what came meanwhile is marked.
    bool look_again(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        for (; l.i < producer_count && wrong != broken::sleep_without_ring_recheck && l.value == 0; ++l.i) {
            if ((l.rechecked & bit(l.i)) != 0 && l.head[l.i] != messages) {
                l.rechecked = static_cast<word>(l.rechecked & ~bit(l.i));
                MODEL_STEP(t);
                l.value = t.load(slot(l.i, l.head[l.i]));
            }
        }
        if (l.value != 0) {
            --l.i;
            l.found = 1;
            l.at = part::mark;
        } else {
            l.i = 0;
            l.rechecked = 0;
            l.at = part::sleep;
        }
        l.value = 0;
        MODEL_END(t);
    }

    /// cq_body::wait.
    bool sleep(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (l.found == 0) {
            if (wrong == broken::sequence_read_after_recheck) {
                MODEL_STEP(t);
                l.sequence = t.load(wakes);
            }
            MODEL_STEP(t);
            t.futex_wait(wakes, l.sequence);
            MODEL_STEP(t);
            t.pause("awake");
        }
        if (wrong != broken::never_disarmed_by_consumer) {
            MODEL_STEP(t);
            t.store(armed, 0);
        }
        if (ticks == time_out::reads_rings) {
            l.ready = static_cast<word>(bit(0) | bit(1));
        }
        l.at = ticks == time_out::buries && l.found == 0 && t.whole().over(0) && t.whole().is_halted(0)
                   ? part::mark
                   : part::take_marks;
        l.back = part::take_marks;
        l.sequence = 0;
        l.found = 0;
        MODEL_END(t);
    }
};

}  // namespace vinic::model::completion

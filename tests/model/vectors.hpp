// SPDX-License-Identifier: Apache-2.0
//
// vectors.hpp -- the protocol: a completion vector may keep a wake-up back, and loses none.  See docs/protocols.md.
//
//     engine                                     consumer
//       completion; ready |= 1     locked          takes ready; nothing: s = wakes; armed = 1; FENCE;
//       armed == 0 ?  done                         ready ? stay awake; wait for wakes != s; armed = 0
//       vector open ?  wake                      timer (an engine that looks now and then)
//       LOCK; open ?  UNLOCK, wake                 next set ?  next = 0; due ?  LOCK; take what waits; UNLOCK;
//       pending = 1; moderated: due, next = 1      wake; due still ?  next = 1
//       count reached: take it; UNLOCK; wake     administrator
//     wake: exchange armed with 0, was 1 ?         LOCK; masked = 1, closed; due = 0; UNLOCK
//       wakes += 1, futex_wake                     LOCK; masked = 0; pending ?  due, next = 1; UNLOCK; as the timer
#pragma once

#include "checker.hpp"

namespace vinic::model::vectors {

/// What is left out or done wrongly.
enum class broken {
    nothing,
    looked_at_before_next_is_cleared,  ///< the timer clears `next` after it has read `due`
    next_before_due,                   ///< the engine says that there is something before there is
    unmask_forgets_pending,
    masked_read_before_lock,  ///< whether the vector may deliver is not looked at again under the lock
    count_forgets_pending,    ///< the count is reached, and only the last completion's queue is woken: it is not armed
    taken_and_not_due,        ///< the administrator closes a vector whose queues were due, and forgets them at unmask
    armed_taken_when_kept,    ///< the engine clears `armed` when it keeps a wake-up back, as it does when it wakes
};

struct vector_protocol {
    static constexpr std::size_t thread_count = 4;
    static constexpr std::size_t engine = 0;
    static constexpr std::size_t timer = 1;
    static constexpr std::size_t administrator = 2;
    static constexpr std::size_t consumer = 3;
    enum : word { completions, ready, armed, wakes, closed, masked, lock, pending, counted, due, next, words };
    static constexpr std::size_t memory_words = words;
    static constexpr std::size_t buffer_entries = 7;

    struct locals {
        word i = 0;
        word value = 0;
        word wake = 0;
        word seen = 0;
        word part = 0;  // of the code that runs
    };
    struct ghost {
        word unused = 0;
    };
    using state = machine_state<vector_protocol>;
    using context = thread_context<vector_protocol>;

    word messages = 2;
    bool moderated = true;
    word count = 0;  ///< completions that end the period; 0: none do
    word masks = 1;  ///< how often the administrator masks and unmasks
    broken wrong = broken::nothing;

    static std::string thread_name(std::size_t thread) {
        const char* names[] = {"engine       ", "timer        ", "administrator", "consumer     "};
        return names[thread];
    }
    static std::string name(word a) {
        const char* names[] = {"completions", "ready",   "armed",   "wakes", "closed", "masked",
                               "lock",        "pending", "counted", "due",   "next"};
        return names[a];
    }
    void start(state& s) const { s.memory[closed] = moderated ? 1 : 0; }
    [[nodiscard]] const char* check(const state&) const { return nullptr; }
    [[nodiscard]] bool good(const state& s) const {
        return s.over(engine) && s.over(administrator) && s.over(consumer);
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t) const { return false; }
    [[nodiscard]] bool may_tick(const state&, std::size_t) const { return false; }

    bool step(context& t) const {
        switch (t.index()) {
            case engine:
                return complete(t);
            case timer:
                return look(t);
            case administrator:
                return administrate(t);
            default:
                return consume(t);
        }
    }

    /// Parts: 0 publish and ask, 1 keep back or not, 2 wake.
    bool complete(context& t) const {
        auto& l = t.locals();
        while (l.i != messages) {
            if (!(l.part == 0 ? publish(t) : l.part == 1 ? keep_back(t) : wake_up(t))) {
                return false;
            }
        }
        return true;
    }

    bool publish(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.store(completions, static_cast<word>(l.i + 1));
        MODEL_STEP(t);
        t.fetch_or(ready, 1);
        MODEL_STEP(t);
        l.value = t.load(armed);
        if (l.value != 0) {
            MODEL_STEP(t);
            l.value = t.load(closed);
            l.part = l.value == 0 ? 2 : 1;
        } else {
            ++l.i;
        }
        MODEL_END(t);
    }

    bool keep_back(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (wrong == broken::masked_read_before_lock) {
            MODEL_STEP(t);
            l.seen = t.load(masked);
        }
        do {
            MODEL_STEP(t);
            l.value = t.compare_swap(lock, 0, 1) ? 1 : 0;
        } while (l.value == 0);
        l.wake = 0;
        if (wrong != broken::masked_read_before_lock) {
            MODEL_STEP(t);
            l.wake = t.load(closed) == 0 ? 1 : 0;
            MODEL_STEP(t);
            l.seen = t.load(masked);
        }
        if (l.wake == 0) {
            MODEL_STEP(t);
            t.store(pending, 1);
            if (wrong == broken::armed_taken_when_kept) {
                MODEL_STEP(t);
                t.exchange(armed, 0);
            }
            MODEL_STEP(t);
            l.value = t.load(counted);
            MODEL_STEP(t);
            t.store(counted, static_cast<word>(l.value + 1));
            l.wake = l.seen == 0 && count != 0 && l.value + 1 >= count ? 1 : 0;
            if (l.wake != 0) {
                if (wrong != broken::count_forgets_pending) {
                    MODEL_STEP(t);
                    t.store(pending, 0);
                }
                MODEL_STEP(t);
                t.store(counted, 0);
                MODEL_STEP(t);
                t.store(due, 0);
                l.wake = wrong == broken::count_forgets_pending ? word{0} : word{1};
            } else if (l.seen == 0) {
                MODEL_STEP(t);
                t.exchange(wrong == broken::next_before_due ? next : due, 1);
                MODEL_STEP(t);
                t.exchange(wrong == broken::next_before_due ? due : next, 1);
            }
        }
        MODEL_STEP(t);
        t.store(lock, 0);
        l.seen = 0;
        l.part = l.wake != 0 ? 2 : 0;
        l.i = static_cast<word>(l.i + (l.part == 0 ? 1 : 0));
        MODEL_END(t);
    }

    bool wake_up(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        l.value = t.exchange(armed, 0);
        if (l.value != 0) {
            MODEL_STEP(t);
            t.fetch_add(wakes, 1);
            MODEL_STEP(t);
            t.futex_wake(wakes);
        }
        l.part = l.wake = 0;
        ++l.i;
        MODEL_END(t);
    }

    bool look(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        while (true) {
            MODEL_STEP(t);
            t.await(next, [](word n) { return n != 0; });
            if (wrong != broken::looked_at_before_next_is_cleared) {
                MODEL_STEP(t);
                t.exchange(next, 0);
            }
            MODEL_STEP(t);
            l.seen = t.load(due);
            if (l.seen != 0) {
                do {
                    MODEL_STEP(t);
                    l.value = t.compare_swap(lock, 0, 1) ? 1 : 0;
                } while (l.value == 0);
                MODEL_STEP(t);
                l.seen = t.load(due);
                l.wake = 0;
                if (l.seen != 0) {
                    MODEL_STEP(t);
                    l.wake = t.load(pending);
                    MODEL_STEP(t);
                    t.store(pending, 0);
                    MODEL_STEP(t);
                    t.store(counted, 0);
                    MODEL_STEP(t);
                    t.store(due, 0);
                }
                MODEL_STEP(t);
                t.store(lock, 0);
                if (l.wake != 0) {
                    MODEL_STEP(t);
                    l.value = t.exchange(armed, 0);
                    if (l.value != 0) {
                        MODEL_STEP(t);
                        t.fetch_add(wakes, 1);
                        MODEL_STEP(t);
                        t.futex_wake(wakes);
                    }
                }
            }
            if (wrong == broken::looked_at_before_next_is_cleared) {
                MODEL_STEP(t);
                t.exchange(next, 0);
            } else {
                MODEL_STEP(t);
                l.seen = t.load(due);
                if (l.seen != 0) {
                    MODEL_STEP(t);
                    t.exchange(next, 1);
                }
            }
            l.seen = l.value = l.wake = 0;
        }
        MODEL_END(t);
    }

    bool administrate(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        for (l.i = 0; l.i < masks; ++l.i) {
            do {
                MODEL_STEP(t);
                l.value = t.compare_swap(lock, 0, 1) ? 1 : 0;
            } while (l.value == 0);
            MODEL_STEP(t);
            t.store(masked, 1);
            MODEL_STEP(t);
            t.store(closed, 1);
            if (wrong == broken::taken_and_not_due) {
                MODEL_STEP(t);
                t.store(pending, 0);
            }
            MODEL_STEP(t);
            t.store(due, 0);
            MODEL_STEP(t);
            t.store(lock, 0);
            do {
                MODEL_STEP(t);
                l.value = t.compare_swap(lock, 0, 1) ? 1 : 0;
            } while (l.value == 0);
            MODEL_STEP(t);
            t.store(masked, 0);
            MODEL_STEP(t);
            t.store(closed, moderated ? 1 : 0);
            MODEL_STEP(t);
            l.wake = t.load(pending);
            if (l.wake != 0 && wrong != broken::unmask_forgets_pending) {
                MODEL_STEP(t);
                t.exchange(due, 1);
                MODEL_STEP(t);
                t.exchange(next, 1);
            }
            MODEL_STEP(t);
            t.store(lock, 0);
        }
        MODEL_END(t);
    }

    bool consume(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        while (l.i != messages) {
            MODEL_STEP(t);
            l.value = t.exchange(ready, 0);
            if (l.value != 0) {
                MODEL_STEP(t);
                l.i = t.load(completions);
                continue;
            }
            MODEL_STEP(t);
            l.seen = t.load(wakes);
            MODEL_STEP(t);
            t.store(armed, 1);
            MODEL_STEP(t);
            t.fence();
            MODEL_STEP(t);
            l.value = t.load(ready);
            if (l.value == 0) {
                MODEL_STEP(t);
                t.futex_wait(wakes, l.seen);
                MODEL_STEP(t);
                t.pause("awake");
            }
            l.seen = 0;
            MODEL_STEP(t);
            t.store(armed, 0);
        }
        MODEL_END(t);
    }
};

}  // namespace vinic::model::vectors

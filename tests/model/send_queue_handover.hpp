// SPDX-License-Identifier: Apache-2.0
//
// send_queue_handover.hpp -- the protocol: a send queue whose next message finds no receive slot is
// handed to the receiver and comes back: every message is executed once, in order, by one executor, and
// none is left behind while a slot is ready.  See docs/protocols.md.
//
//                   sender: no slot                    receiver: takes it
//        own  ---------------------------->  handed  ----------------------> peer_executing
//         ^  <----------------------------    |  ^  <----------------------     |
//         |   sender: slot came meanwhile     '--' sender appends   no slot     |  (sender appends here too)
//         '---------------------------------------------------------------------'
//                                 receiver: nothing pending
#pragma once

#include <algorithm>

#include "checker.hpp"
#include "send_queue_words.hpp"

namespace vinic::model::send_queue {

struct handover {
    static constexpr std::size_t thread_count = 2;
    static constexpr std::size_t memory_words = done + count_max;
    static constexpr std::size_t buffer_entries = 12;

    struct locals {
        word i = 0;      // sender: message; receiver: slot
        word seen = 0;   // exec as last read
        word value = 0;  // what was just read
        word next = 0;   // receiver: next message to execute
        word is_handed = 0;
        word part = 0;     // of the code that runs
        word written = 0;  // the descriptor is in the queue
    };
    struct ghost {
        word executor = 0;  ///< 1 + thread while a message is being executed
        word delivered = 0;
        word flushed = 0;  ///< by bit
    };
    using state = machine_state<handover>;
    using context = thread_context<handover>;

    word messages = 3;
    word slots = 3;
    broken wrong = broken::nothing;
    attention_rule rule = attention_rule::holder_writes;
    ending ends = ending::none;

    static std::string thread_name(std::size_t thread) { return thread == sender ? "sender  " : "receiver"; }
    static std::string name(word a) { return name_of(a); }
    void start(state&) const {}
    [[nodiscard]] const char* check(const state& s) const {
        for (word m = 0; m < messages; ++m) {
            if (flushed(s, m) && s.memory[done + m] != 0) {
                return "a message was completed and flushed";
            }
        }
        return nullptr;
    }
    static bool flushed(const state& s, word message) { return ((s.ghost.flushed >> message) & 1) != 0; }
    [[nodiscard]] bool good(const state& s) const {
        if (!s.over(sender) || !s.over(receiver)) {
            return false;
        }
        if (ends == ending::sender_dies) {
            return true;
        }
        for (word m = 0; m < messages && ends != ending::none; ++m) {
            if (!flushed(s, m) && s.memory[done + m] == 0) {
                return false;
            }
        }
        return ends != ending::none || s.ghost.delivered == std::min(messages, slots);
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const {
        return (ends == ending::receiver_dies && thread == receiver) ||
               (ends == ending::sender_dies && thread == sender);
    }
    [[nodiscard]] bool may_tick(const state&, std::size_t) const { return false; }

    /// Executing a message takes time: two steps, with `execute_begins` in the first.
    void execute_begins(context& t, word message) const {
        auto& g = t.whole().ghost;
        if (g.executor != 0) {
            t.fail("two executors at once");
        }
        if (g.delivered != message) {
            t.fail("a message is executed twice or out of order");
        }
        if (t.whole().memory[slot + message] == 0 && t.index() != receiver) {
            t.fail("a message is executed without a receive slot");
        }
        g.executor = static_cast<word>(1 + t.index());
    }
    void execute_ends(context& t) const {
        t.whole().ghost.executor = 0;
        ++t.whole().ghost.delivered;
    }

    bool step(context& t) const { return t.index() == sender ? send(t) : receive(t); }

    // -- sender -----------------------------------------------------------------------------------

    /// Parts: 0 append to a queue that is handed over, 1 direct path, 2 hand over, 3 execute, 4 take back.
    bool send(context& t) const {
        auto& l = t.locals();
        while (true) {
            if (l.i == messages && l.part != 4) {
                if (ends != ending::receiver_dies && ends != ending::sender_flushes) {
                    return true;
                }
                l.part = 4;
            }
            const bool part_over = l.part == 0   ? append(t)
                                   : l.part == 1 ? try_directly(t)
                                   : l.part == 2 ? hand_over(t)
                                   : l.part == 3 ? execute(t)
                                                 : take_back(t);
            if (!part_over || l.part == 4) {
                return part_over;
            }
        }
    }
    static void next_message(locals& l) {
        ++l.i;
        l.part = 0;
    }

    bool append(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        l.written = 0;
        while (l.is_handed != 0) {
            MODEL_STEP(t);
            l.seen = t.load(exec);
            if (who(l.seen) == own) {  // the receiver has executed everything
                l.is_handed = 0;
                break;
            }
            if (l.written == 0) {
                MODEL_STEP(t);
                t.store(static_cast<word>(descriptor + l.i), 1);
                l.written = 1;
            }
            MODEL_STEP(t);
            if (wrong == broken::append_without_swap) {
                t.store(exec, pack(l.i + 1, who(l.seen)));
                break;
            }
            if (t.compare_swap(exec, l.seen, pack(l.i + 1, who(l.seen)))) {
                break;
            }
        }
        l.seen = 0;
        l.part = 1;
        if (l.is_handed != 0) {
            next_message(l);
        }
        MODEL_END(t);
    }

    bool try_directly(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        l.value = 0;
        if (l.i < slots) {
            MODEL_STEP(t);
            l.value = t.load(static_cast<word>(slot + l.i));
        }
        l.part = l.value != 0 ? 3 : 2;
        MODEL_END(t);
    }

    bool hand_over(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.store(static_cast<word>(descriptor + l.i), 1);
        if (wrong != broken::executed_not_told) {
            MODEL_STEP(t);
            t.store(executed, l.i);
        }
        if (!set_late()) {
            MODEL_STEP(t);
            t.store(attention, 1);
        }
        MODEL_STEP(t);
        t.store(exec, pack(l.i + 1, handed));
        l.is_handed = 1;
        if (set_late()) {
            MODEL_STEP(t);
            t.store(attention, 1);
        }
        if (wrong != broken::hand_over_without_barrier) {
            MODEL_STEP(t);
            t.heavy_barrier();
        }
        if (l.i < slots && wrong != broken::hand_over_without_recheck) {
            MODEL_STEP(t);
            l.value = t.load(static_cast<word>(slot + l.i));
        }
        if (l.value != 0) {  // a slot came meanwhile: whoever swaps first executes
            MODEL_STEP(t);
            if (wrong == broken::reclaim_without_swap) {
                t.store(exec, pack(l.i + 1, own));
                l.is_handed = 0;
            } else if (t.compare_swap(exec, pack(l.i + 1, handed), pack(l.i + 1, own))) {
                l.is_handed = 0;
            }
            if (l.is_handed == 0 && rule != attention_rule::never_cleared && !claims_clear()) {
                MODEL_STEP(t);
                t.store(attention, 0);
            }
        }
        l.part = 3;
        if (l.is_handed != 0) {
            next_message(l);
        }
        MODEL_END(t);
    }

    bool execute(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.pause("begins to execute a message");
        execute_begins(t, l.i);
        MODEL_STEP(t);
        t.store(static_cast<word>(done + l.i), 1);
        execute_ends(t);
        next_message(l);
        MODEL_END(t);
    }

    /// The connection has ended: get the queue back and flush what was not completed.
    bool take_back(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        if (ends == ending::receiver_dies) {
            MODEL_STEP(t);
            t.await(exec, [&](word) { return t.whole().over(receiver); });
        }
        do {
            MODEL_STEP(t);
            l.seen = t.await(exec, [&](word now) {
                return who(now) != peer_executing || wrong == broken::recovery_does_not_wait ||
                       t.whole().over(receiver);
            });
            if (who(l.seen) == own) {
                break;
            }
            MODEL_STEP(t);
            l.value = t.compare_swap(exec, l.seen, pack(produced(l.seen), own)) ? 1 : 0;
        } while (l.value == 0);
        l.next = 0;
        if (wrong == broken::recovery_trusts_executed && l.is_handed != 0) {
            MODEL_STEP(t);
            l.next = t.load(executed);
        }
        for (; l.next < messages; ++l.next) {
            MODEL_STEP(t);
            l.value = t.load(static_cast<word>(done + l.next));
            if (l.value == 0 || (wrong == broken::recovery_trusts_executed && l.is_handed != 0)) {
                t.whole().ghost.flushed = static_cast<word>(t.whole().ghost.flushed | (1u << l.next));
            }
        }
        MODEL_END(t);
    }

    // -- receiver ---------------------------------------------------------------------------------

    /// Parts: 0 post a receive and take the queue, 1 execute what is pending, 2 pass the queue on.
    bool receive(context& t) const {
        auto& l = t.locals();
        while (l.i < slots) {
            if (!(l.part == 0 ? post_receive(t) : l.part == 1 ? execute_pending(t) : pass_on(t))) {
                return false;
            }
        }
        return true;
    }
    static void next_slot(locals& l) {
        const word i = static_cast<word>(l.i + 1);
        l = {};
        l.i = i;
    }

    /// The engine's rule: the receiver clears the flag, then claims by a locked instruction.
    [[nodiscard]] bool claims_clear() const {
        return rule == attention_rule::cleared_before_claim || rule == attention_rule::cleared_without_lock;
    }
    [[nodiscard]] bool set_late() const { return rule == attention_rule::set_after_hand_over || claims_clear(); }

    bool post_receive(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        MODEL_STEP(t);
        t.store(static_cast<word>(slot + l.i), 1);
        MODEL_STEP(t);
        l.value = t.load(attention);
        if (l.value != 0 && claims_clear()) {
            MODEL_STEP(t);
            t.store(attention, 0);
        }
        while (l.value != 0) {
            MODEL_STEP(t);
            l.seen = t.load(exec);
            if (who(l.seen) != handed) {
                if (rule == attention_rule::cleared_before_claim) {
                    MODEL_STEP(t);  // a locked instruction even then: it orders the store above
                    if (!t.compare_swap(exec, l.seen, l.seen)) {
                        continue;
                    }
                }
                l.value = 0;
                break;
            }
            MODEL_STEP(t);
            if (t.compare_swap(exec, l.seen, pack(produced(l.seen), peer_executing))) {
                l.seen = pack(produced(l.seen), peer_executing);
                break;
            }
            if (wrong == broken::take_without_retry) {
                l.value = 0;
            }
        }
        if (l.value == 0 && rule == attention_rule::receiver_clears_own && l.seen != 0 && who(l.seen) == own) {
            MODEL_STEP(t);
            t.store(attention, 0);
        }
        if (l.value == 0) {
            next_slot(l);
        } else {
            MODEL_STEP(t);
            l.next = t.load(executed);
            l.part = 1;
        }
        MODEL_END(t);
    }

    bool execute_pending(context& t) const {
        auto& l = t.locals();
        MODEL_BEGIN(t);
        while (l.next < produced(l.seen) && (l.next <= l.i || wrong == broken::receiver_ignores_missing_slot)) {
            MODEL_STEP(t);
            l.value = t.load(static_cast<word>(descriptor + l.next));
            if (l.value == 0) {
                t.fail("a descriptor is executed before it was written");
            }
            if (l.next > l.i) {
                t.fail("a message is executed without a receive slot");
            }
            execute_begins(t, l.next);
            MODEL_STEP(t);
            t.store(static_cast<word>(done + l.next), 1);
            execute_ends(t);
            ++l.next;
        }
        MODEL_STEP(t);
        t.store(executed, l.next);
        l.part = 2;
        MODEL_END(t);
    }

    bool pass_on(context& t) const {
        auto& l = t.locals();
        const bool clears = rule != attention_rule::never_cleared && rule != attention_rule::receiver_clears_own &&
                            rule != attention_rule::cleared_after_return && !claims_clear();
        MODEL_BEGIN(t);
        if (l.next < produced(l.seen)) {  // no slot: only this thread posts them, so none can come now
            if (claims_clear()) {
                MODEL_STEP(t);
                t.store(attention, 1);
            }
            MODEL_STEP(t);
            l.value = t.compare_swap(exec, l.seen, pack(produced(l.seen), handed)) ? 1 : 0;
        } else {
            if (clears) {
                MODEL_STEP(t);
                t.store(attention, 0);
            }
            MODEL_STEP(t);
            if (wrong == broken::return_without_swap) {
                t.store(exec, pack(produced(l.seen), own));
                l.value = 1;
            } else {
                l.value = t.compare_swap(exec, l.seen, pack(produced(l.seen), own)) ? 1 : 0;
            }
            if (l.value == 0 && clears && rule != attention_rule::not_restored) {
                MODEL_STEP(t);
                t.store(attention, 1);
            }
            if (l.value != 0 && rule == attention_rule::cleared_after_return) {
                MODEL_STEP(t);
                t.store(attention, 0);
            }
        }
        if (l.value != 0) {
            next_slot(l);
        } else {
            MODEL_STEP(t);
            l.seen = t.load(exec);  // the sender has appended
            l.part = 1;
        }
        MODEL_END(t);
    }
};

}  // namespace vinic::model::send_queue

// SPDX-License-Identifier: Apache-2.0
//
// send_queue_sender.hpp -- the thread that posts: src/direct/post.cc, stall.cc, and its half of
// src/direct/hand_over.cc.
#pragma once

#include "send_queue_handover.hpp"

namespace vinic::model::send_queue {

/// connected_vi::execute.
inline bool handover::post(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    l.value = 1;
    if (may_end()) {
        MODEL_STEP(t);
        t.store(posting, ++l.mark);
        MODEL_STEP(t);
        l.value = t.load(sender_state) == connected ? 1 : 0;
    }
    l.at = l.is_handed != 0 ? part::append : part::direct;
    if (l.value == 0) {
        refuse(t);
    }
    MODEL_END(t);
}

/// vi_body::post_unconnected: flushed at once.
inline void handover::refuse(context& t) const {
    set(t.whole().ghost.flushed, t.locals().i);
    t.locals().at = part::posted;
}

/// connected_vi::post_checked to a queue that was handed over, with direct::append.
inline bool handover::append(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    t.store(static_cast<word>(descriptor + l.i), 1);
    MODEL_STEP(t);
    l.seen = t.load(hand_over);
    l.value = 0;
    while (l.value == 0 && abi::holder_of(l.seen) != abi::queue_holder::owner) {
        MODEL_STEP(t);
        if (wrong == broken::append_without_swap) {
            t.store(hand_over, with_produced(l.seen, l.i + 1u));
            l.value = 1;
        } else if (t.compare_exchange(hand_over, l.seen, with_produced(l.seen, l.i + 1u))) {
            l.value = 1;
        }
    }
    if (l.value == 0) {  // the sender's again, and everything is executed; or taken back because the wait was over
        MODEL_STEP(t);
        l.next = static_cast<word>(t.load(send_next));
        if (l.next == l.i && may_end()) {
            MODEL_STEP(t);
            l.next = t.load(sender_state) == connected ? l.i : count_max;
        }
        if (l.next == l.i && with == helper::keeps_house) {
            MODEL_STEP(t);
            t.exchange(limit, 0);
        }
        if (l.next == l.i || wrong == broken::append_does_not_wait) {
            l.is_handed = 0;
            l.at = part::direct;
        } else {
            MODEL_STEP(t);
            t.await(sender_state, [](value now) { return now != connected; });
            refuse(t);
        }
    } else {
        set(t.whole().ghost.deferred, l.i);
        l.at = part::posted;
    }
    l.seen = 0;
    l.value = l.next = 0;
    MODEL_END(t);
}

/// route::run, called by the sender.
inline bool handover::direct(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    l.value = 0;
    if (l.i < slots) {
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(static_cast<word>(slot + l.i)));
    }
    if (l.value == 0) {
        l.at = part::give;
    } else {
        MODEL_STEP(t);
        t.pause("begins to execute a message");
        execute_begins(t, l.i);
        MODEL_STEP(t);
        t.store(static_cast<word>(arrived + l.i), 1);
        execute_ends(t);
        set(t.whole().ghost.sent, l.i);
        l.at = part::posted;
    }
    MODEL_END(t);
}

/// connected_vi::stall and direct::hand_over.
inline bool handover::give(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    t.store(static_cast<word>(descriptor + l.i), 1);
    set(t.whole().ghost.deferred, l.i);
    if (wrong != broken::executed_not_told) {
        MODEL_STEP(t);
        t.store(send_next, l.i);
    }
    if (!set_late()) {
        MODEL_STEP(t);
        t.store(attention, 1);
    }
    MODEL_STEP(t);
    t.store(hand_over, handed_word(l.i + 1u, l.i));
    l.is_handed = 1;
    if (set_late()) {
        MODEL_STEP(t);
        t.store(attention, 1);
    }
    if (wrong != broken::hand_over_without_barrier) {
        MODEL_STEP(t);
        t.heavy_barrier();
    }
    l.value = 0;
    if (l.i < slots && wrong != broken::hand_over_without_recheck) {
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(static_cast<word>(slot + l.i)));
    }
    if (l.value != 0) {  // a slot came meanwhile: whoever swaps first executes
        MODEL_STEP(t);
        l.seen = t.load(hand_over);
        while (l.is_handed != 0 && abi::holder_of(l.seen) == abi::queue_holder::handed) {
            MODEL_STEP(t);
            if (wrong == broken::reclaim_without_swap) {
                t.store(hand_over, abi::make_hand_over(l.i + 1u, abi::queue_holder::owner));
                l.is_handed = 0;
            } else if (t.compare_exchange(hand_over, l.seen,
                                          abi::make_hand_over(abi::produced_of(l.seen), abi::queue_holder::owner))) {
                l.is_handed = 0;
            }
        }
        if (l.is_handed == 0 && rule != attention_rule::never_cleared && !claims_clear()) {
            MODEL_STEP(t);
            t.store(attention, 0);
        }
    }
    l.seen = 0;
    l.value = 0;
    if (l.is_handed != 0 && with == helper::keeps_house) {
        do {
            MODEL_STEP(t);
        } while (!t.compare_swap(stalled, 0, 1));
        MODEL_STEP(t);
        t.exchange(limit, l.i + 1u);
        MODEL_STEP(t);
        t.store(stalled, 0);
    }
    l.at = l.is_handed != 0 ? part::posted : part::drain_own;
    MODEL_END(t);
}

/// direct::drain, called by the sender.
inline bool handover::drain_own(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    l.value = 1;
    if (may_end()) {
        MODEL_STEP(t);
        l.value = t.load(sender_state) == connected ? 1 : 0;
    }
    if (l.value != 0) {
        MODEL_STEP(t);
        t.pause("begins to execute a message");
        execute_begins(t, l.i);
        MODEL_STEP(t);
        t.store(static_cast<word>(arrived + l.i), 1);
        execute_ends(t);
        MODEL_STEP(t);
        t.store(send_next, l.i + 1u);
        MODEL_STEP(t);
        t.store(static_cast<word>(done + l.i), 1);
    }
    l.at = part::posted;
    MODEL_END(t);
}

inline bool handover::posted(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    if (may_end()) {
        MODEL_STEP(t);
        t.store(posting, ++l.mark);
    }
    l.value = 0;
    l.at = part::post;
    if (++l.i == messages) {
        l.i = 0;
        l.is_handed = 0;
        l.mark = 0;
        switch (ends) {
            case ending::sender_disconnects:
                l.at = part::break_ends;
                break;
            case ending::none:
            case ending::sender_dies:
                l.at = part::over;
                break;
            default:
                l.at = with == helper::sender_polls ? part::over : part::await_end;
        }
    }
    MODEL_END(t);
}

}  // namespace vinic::model::send_queue

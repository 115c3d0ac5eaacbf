// SPDX-License-Identifier: Apache-2.0
//
// send_queue_receiver.hpp -- the receiver's process: src/native/vi_receive.cc and direct::drain_for_peer, by the
// thread that posts receives and by the one that connects.
#pragma once

#include "send_queue_handover.hpp"

namespace vinic::model::send_queue {

/// vi_body::enter_receive and receives_posted.
inline bool handover::post_receive(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    t.store(static_cast<word>(slot + l.i), 1);
    MODEL_STEP(t);
    l.value = static_cast<word>(t.load(attention));
    if (l.value != 0) {
        l.at = part::enter;
    } else {
        next_slot(t);
    }
    MODEL_END(t);
}

/// The receiver's posting thread goes on to its next slot, the connecting one looks again.
inline void handover::next_slot(context& t) const {
    auto& l = t.locals();
    const word i = static_cast<word>(l.i + 1);
    const word mark = l.mark;
    l = {};
    if (t.index() == receiver) {
        l.i = i;
        l.mark = mark;
        l.at = i < slots ? part::post_receive : ends == ending::receiver_breaks ? part::break_off : part::over;
    } else if (wrong != broken::connects_without_second_look) {
        l.mark = mark;
        l.at = part::look_again;
    }
}

/// The mark, and what is looked at behind it.
inline bool handover::enter(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    l.value = 1;
    if (may_end() || with == helper::connects) {
        MODEL_STEP(t);
        l.mark = static_cast<word>(t.load(draining));
        if (l.mark % 2 == 0 && wrong == broken::marks_without_lock) {
            MODEL_STEP(t);
            t.store(draining, ++l.mark);
        } else if (l.mark % 2 == 0) {
            MODEL_STEP(t);
            l.mark = static_cast<word>(l.mark + (t.compare_swap(draining, l.mark, l.mark + 1u) ? 1 : 0));
        } else {
            l.mark = 0;  // another thread is inside
        }
        l.value = l.mark % 2;
        l.is_marked = l.value;  // a mark to take away
    }
    if (l.value != 0 && may_end() && wrong != broken::drain_ignores_state) {
        MODEL_STEP(t);
        l.value = t.load(receiver_state) == connected ? 1 : 0;
    }
    if (l.value != 0 && with == helper::connects) {
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(linked));
    }
    l.at = l.value != 0 ? part::claim : part::leave;
    MODEL_END(t);
}

/// direct::drain_for_peer, its first half.
inline bool handover::claim(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    if (claims_clear()) {
        MODEL_STEP(t);
        t.store(attention, 0);
    }
    MODEL_STEP(t);
    l.seen = t.load(hand_over);
    l.value = 1;
    while (l.value == 1) {  // until it is claimed, or cannot be
        if (abi::holder_of(l.seen) != abi::queue_holder::handed) {
            l.value = 0;
            if (rule == attention_rule::cleared_before_claim) {
                MODEL_STEP(t);  // a locked instruction even then: it orders the store above
                l.value = t.compare_exchange(hand_over, l.seen, l.seen) ? 0 : 1;
            }
            continue;
        }
        MODEL_STEP(t);
        l.value = t.compare_exchange(hand_over, l.seen,
                                     abi::make_hand_over(abi::produced_of(l.seen), abi::queue_holder::peer))
                      ? 2
                  : wrong == broken::take_without_retry ? 0
                                                        : 1;
    }
    if (l.value == 0 && rule == attention_rule::receiver_clears_own &&
        abi::holder_of(l.seen) == abi::queue_holder::owner) {
        MODEL_STEP(t);
        t.store(attention, 0);
    }
    if (l.value == 2) {
        l.seen = abi::make_hand_over(abi::produced_of(l.seen), abi::queue_holder::peer);
        MODEL_STEP(t);
        l.next = static_cast<word>(t.load(send_next));
    }
    l.at = l.value == 2 ? part::drain : part::leave;
    MODEL_END(t);
}

/// direct::drain; l.value says how it ended: 0 empty, 1 waits, 2 broken.
inline bool handover::drain(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    l.value = 0;
    while (l.next < abi::produced_of(l.seen)) {
        if (may_end() && wrong != broken::drain_ignores_state) {
            MODEL_STEP(t);
            if (t.load(sender_state) != connected) {
                l.value = 2;
                break;
            }
        }
        if (l.next < slots && wrong != broken::receiver_ignores_missing_slot) {
            MODEL_STEP(t);
            l.value = t.load(static_cast<word>(slot + l.next)) != 0 ? 0 : 1;
        } else {
            l.value = l.next < slots ? 0 : 1;
        }
        if (l.value != 0) {
            break;
        }
        MODEL_STEP(t);
        if (t.load(static_cast<word>(descriptor + l.next)) == 0) {
            t.fail("a descriptor is executed before it was written");
        }
        if (l.next > l.i && t.index() == receiver) {
            t.fail("a message is executed without a receive slot");
        }
        execute_begins(t, l.next);
        MODEL_STEP(t);
        t.store(static_cast<word>(arrived + l.next), 1);
        execute_ends(t);
        MODEL_STEP(t);
        t.store(send_next, ++l.next);
        MODEL_STEP(t);
        t.store(static_cast<word>(done + l.next - 1), 1);
    }
    l.at = part::pass_on;
    MODEL_END(t);
}

/// direct::drain_for_peer, its second half.
inline bool handover::pass_on(context& t) const {
    auto& l = t.locals();
    const bool clears = rule != attention_rule::never_cleared && rule != attention_rule::receiver_clears_own &&
                        rule != attention_rule::cleared_after_return && !claims_clear();
    MODEL_BEGIN(t);
    if (l.value != 0) {  // no slot, or the connection has ended
        if (claims_clear()) {
            MODEL_STEP(t);
            t.store(attention, l.value == 1 ? 1 : 0);
        }
        do {  // once more if the sender appends
            MODEL_STEP(t);
        } while (!t.compare_exchange(hand_over, l.seen, handed_word(abi::produced_of(l.seen), l.next)));
        l.at = part::leave;
    } else {
        if (clears) {
            MODEL_STEP(t);
            t.store(attention, 0);
        }
        MODEL_STEP(t);
        if (wrong == broken::return_without_swap) {
            t.store(hand_over, abi::make_hand_over(abi::produced_of(l.seen), abi::queue_holder::owner));
            l.value = 1;
        } else {
            l.value = t.compare_exchange(hand_over, l.seen,
                                         abi::make_hand_over(abi::produced_of(l.seen), abi::queue_holder::owner))
                          ? 1
                          : 0;
        }
        if (l.value == 0 && clears && rule != attention_rule::not_restored) {
            MODEL_STEP(t);
            t.store(attention, 1);
        }
        if (l.value != 0 && rule == attention_rule::cleared_after_return) {
            MODEL_STEP(t);
            t.store(attention, 0);
        }
        l.at = l.value != 0 ? part::leave : part::drain;  // the sender has appended
    }
    MODEL_END(t);
}

inline bool handover::leave(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    if (l.is_marked != 0) {
        MODEL_STEP(t);
        t.store(draining, ++l.mark);
    }
    next_slot(t);
    MODEL_END(t);
}

/// An error of the receiver's own, as an engine finds it: tables::break_link.
inline bool handover::break_off(context& t) const {
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    t.compare_swap(receiver_state, connected, in_error);
    MODEL_STEP(t);
    t.compare_swap(sender_state, connected, in_error);
    t.locals() = {};
    MODEL_END(t);
}

/// connected_vi::on_connected: the peer may have been quicker, and another thread posts receives.
inline bool handover::connect(context& t) const {
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    t.store(linked, 1);
    t.locals().at = part::look_again;
    MODEL_END(t);
}

/// The loop at its end.
inline bool handover::look_again(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    if (wrong != broken::connects_without_fence) {
        MODEL_STEP(t);
        t.fence();
    }
    MODEL_STEP(t);
    l.value = static_cast<word>(t.load(attention));
    if (l.value != 0 && may_end()) {
        MODEL_STEP(t);
        l.value = t.load(receiver_state) == connected ? 1 : 0;
    }
    if (l.value != 0) {
        if (wrong != broken::connects_without_barrier) {
            MODEL_STEP(t);
            t.heavy_barrier();
        }
        MODEL_STEP(t);
        l.next = static_cast<word>(t.load(send_next));
        l.value = 0;
        if (l.next < slots) {
            MODEL_STEP(t);
            l.value = static_cast<word>(t.load(static_cast<word>(slot + l.next)));
        }
        l.next = 0;
    }
    l.at = l.value != 0 ? part::enter : part::over;
    MODEL_END(t);
}

}  // namespace vinic::model::send_queue

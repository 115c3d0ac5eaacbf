// SPDX-License-Identifier: Apache-2.0
//
// send_queue_ending.hpp -- how a connection ends while messages may be pending: src/direct/vi.cc, the flush of
// vi_poll.cc, and connected_vi::expire_stall.
//
// Nobody takes a handed queue back for that.  Both states break, and whoever flushes waits until no engine is inside.
#pragma once

#include "send_queue_handover.hpp"

namespace vinic::model::send_queue {

/// Whoever polls waits until its VI is in error, the peer is found dead, or nobody is left who could break it.
inline bool handover::await_end(context& t) const {
    auto& l = t.locals();
    const bool buries = ends == ending::sender_dies || ends == ending::receiver_dies;
    const std::size_t breaker = ends == ending::sender_dies || ends == ending::sender_disconnects  ? sender
                                : ends == ending::receiver_dies || ends == ending::receiver_breaks ? receiver
                                                                                                   : third;
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    l.value = t.await(flushes_sends(t) ? sender_state : receiver_state,
                      [&](value now) { return t.whole().over(breaker) || (!buries && now != connected); }) == connected
                  ? 1
                  : 0;
    l.at = buries ? part::break_ends : l.value != 0 ? part::over : part::outside;
    MODEL_END(t);
}

/// break_both_ends of src/direct/vi.cc; tables::break_links when somebody has died.
inline bool handover::break_ends(context& t) const {
    auto& l = t.locals();
    const word own = t.index() == sender ? sender_state : receiver_state;
    MODEL_BEGIN(t);
    do {
        MODEL_STEP(t);
    } while (!t.compare_swap(control, 0, 1));
    MODEL_STEP(t);
    t.compare_swap(own, connected, in_error);
    MODEL_STEP(t);
    t.compare_swap(own == sender_state ? receiver_state : sender_state, connected, in_error);
    MODEL_STEP(t);
    t.store(control, 0);
    l.at = ends == ending::sender_dies || ends == ending::receiver_dies ? part::outside : part::await_engines;
    MODEL_END(t);
}

/// vi_body::disconnect: tables::wait_engine_outside for both ends.
inline bool handover::await_engines(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    if (wrong != broken::flush_without_barrier) {
        MODEL_STEP(t);
        t.heavy_barrier();
    }
    for (l.i = 0; l.i < 2 && wrong != broken::flush_without_wait; ++l.i) {
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(l.i == 0 ? posting : draining));
        if (l.value % 2 != 0) {
            MODEL_STEP(t);
            t.await(l.i == 0 ? posting : draining,
                    [&](value now) { return now != l.value || is_dead(t, l.i == 0 ? sender : receiver); });
        }
    }
    l.i = l.value = 0;
    l.at = t.index() == sender ? part::flush_sends : part::flush_receives;
    MODEL_END(t);
}

/// connected_vi::engines_outside: asked at each poll until it says so.
inline bool handover::outside(context& t) const {
    auto& l = t.locals();
    const bool is_sender = flushes_sends(t);
    const word own = is_sender ? posting : draining;
    const word peers = is_sender ? draining : posting;
    MODEL_BEGIN(t);
    do {
        MODEL_STEP(t);
    } while (!t.compare_swap(control, 0, 1));
    if (wrong != broken::flush_without_break) {
        MODEL_STEP(t);
        t.compare_swap(is_sender ? receiver_state : sender_state, connected, in_error);
    }
    MODEL_STEP(t);
    t.store(control, 0);
    if (wrong != broken::flush_without_barrier) {
        MODEL_STEP(t);
        t.heavy_barrier();
    }
    if (wrong != broken::flush_without_wait) {
        MODEL_STEP(t);
        t.await(peers, [&](value now) { return now % 2 == 0 || is_dead(t, is_sender ? receiver : sender); });
    }
    if (t.index() == third && wrong != broken::flush_forgets_own) {
        MODEL_STEP(t);
        t.await(own, [](value now) { return now % 2 == 0; });
    }
    l.at = is_sender ? part::flush_sends : part::flush_receives;
    MODEL_END(t);
}

/// vi_body::take_flushed: the ring tells what was completed, the rest is flushed.
inline bool handover::flush_sends(context& t) const {
    auto& l = t.locals();
    auto& g = t.whole().ghost;
    MODEL_BEGIN(t);
    l.i = 0;
    if (wrong == broken::flush_trusts_send_next) {
        MODEL_STEP(t);
        l.i = static_cast<word>(t.load(send_next));
    }
    for (; l.i < messages; ++l.i) {
        if (!has(g.deferred, l.i) || has(g.flushed, l.i)) {
            continue;
        }
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(static_cast<word>(done + l.i)));
        if (l.value == 0) {
            set(g.flushed, l.i);
        }
    }
    if (t.index() == third && l.last_time == 0) {  // the sender goes on posting
        MODEL_STEP(t);
        t.await(posting, [&](value) { return t.whole().over(sender); });
        l.last_time = 1;
    } else {
        l.at = part::over;
    }
    l.value = 0;
    MODEL_END(t);
}

inline bool handover::flush_receives(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    for (l.i = 0; l.i < slots; ++l.i) {
        if (has(t.whole().ghost.given_back, l.i)) {
            continue;
        }
        MODEL_STEP(t);
        l.value = static_cast<word>(t.load(static_cast<word>(slot + l.i)));  // is it posted by now?
        if (l.value != 0) {
            MODEL_STEP(t);
            l.value = static_cast<word>(t.load(static_cast<word>(arrived + l.i)));
            if (l.value == 0) {
                set(t.whole().ghost.given_back, l.i);
            }
        }
    }
    if (l.last_time == 0) {  // the receiver goes on posting
        MODEL_STEP(t);
        t.await(slot, [&](value) { return t.whole().over(receiver); });
        l.last_time = 1;
    } else {
        l.at = part::over;
    }
    l.value = 0;
    MODEL_END(t);
}

/// nic_body::tick and connected_vi::expire_stall: has the message at the head waited for long enough?
inline bool handover::keep_house(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    do {
        MODEL_STEP(t);
    } while (!t.compare_swap(stalled, 0, 1));
    MODEL_STEP(t);
    l.head = static_cast<word>(t.load(limit));
    if (l.head != 0) {
        MODEL_STEP(t);
        l.seen = t.load(hand_over);
        if (abi::holder_of(l.seen) != abi::queue_holder::owner) {
            MODEL_STEP(t);
            l.next = static_cast<word>(t.load(send_next));
        }
        if (abi::holder_of(l.seen) == abi::queue_holder::owner) {
            MODEL_STEP(t);
            t.exchange(limit, 0);
        } else if (l.head != l.next + 1) {  // that one has gone: the limit is for the next
            MODEL_STEP(t);
            t.exchange(limit, l.next + 1u);
        } else {
            l.value = 1;
        }
    }
    l.head = 0;
    l.at = l.value != 0 ? part::expire : part::house_kept;
    l.value = 0;
    MODEL_END(t);
}

/// What follows in connected_vi::expire_stall.
inline bool handover::expire(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    l.value = 1;
    if (wrong != broken::limit_without_lock) {
        MODEL_STEP(t);
        l.value = t.compare_swap(control, 0, 1) ? 1 : 0;
    }
    if (l.value != 0) {
        if (wrong == broken::limit_swaps_any) {
            MODEL_STEP(t);
            l.seen = t.load(hand_over);
        }
        l.value = 0;
        if (abi::holder_of(l.seen) == abi::queue_holder::handed) {  // direct::take_back
            MODEL_STEP(t);
            l.value = t.compare_exchange(hand_over, l.seen,
                                         abi::make_hand_over(abi::produced_of(l.seen), abi::queue_holder::owner))
                          ? 1
                          : 0;
        }
        if (l.value != 0) {
            if (t.whole().ghost.delivered != l.next) {
                t.fail("the limit of a message that was delivered ends the connection");
            }
            MODEL_STEP(t);
            t.exchange(limit, 0);
            if (wrong == broken::limit_tells_before_break) {
                MODEL_STEP(t);
                t.store(send_next, l.next + 1u);
            }
            MODEL_STEP(t);
            t.compare_swap(sender_state, connected, in_error);
            MODEL_STEP(t);
            t.compare_swap(receiver_state, connected, in_error);
            MODEL_STEP(t);
            t.store(static_cast<word>(done + l.next), 2);
            MODEL_STEP(t);
            t.store(send_next, l.next + 1u);
        }
        MODEL_STEP(t);
        t.store(control, 0);
    }
    l.at = part::house_kept;
    MODEL_END(t);
}

inline bool handover::house_kept(context& t) const {
    auto& l = t.locals();
    MODEL_BEGIN(t);
    MODEL_STEP(t);
    t.store(stalled, 0);
    l.next = l.value = 0;
    l.seen = 0;
    l.at = ++l.i < visits ? part::keep_house : part::over;
    MODEL_END(t);
}

}  // namespace vinic::model::send_queue

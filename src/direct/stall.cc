// SPDX-License-Identifier: Apache-2.0
//
// stall.cc -- a message that has to wait for its receiver: spinning, handing the queue over, the limit.
//
// docs/protocols.md draws the hand-over; hand_over.hpp has its steps.
#include <algorithm>

#include "direct/provider.hpp"

namespace vinic::direct {

namespace {

/// A receiver that is about to post should not cost a hand-over.
/// It costs about as much, so waiting that long is never more than twice the best choice.
constexpr std::uint64_t stall_spin_us = 10;
constexpr std::uint64_t return_spin_us = 1;
constexpr std::uint64_t return_spin_us_max = 1000;

}  // namespace

/// A receiver that is working through the handed queue gives it back when it is empty.  A sender that
/// keeps posting would never let it come to that, and a handed queue is slower: so it waits, but only
/// while the receiver gets on.
void connected_vi::await_return() noexcept {
    std::uint32_t next = entry->send_next.load_relaxed();
    if (next == handed_next) {
        return;
    }
    const std::uint64_t start = os::ticks();
    const std::uint64_t per_us = os::ticks_per_us();
    std::uint64_t progress = start;
    for (std::uint64_t now = start;
         now - progress < return_spin_us * per_us && now - start < return_spin_us_max * per_us; now = os::ticks()) {
        if (abi::holder_of(entry->hand_over.load_acquire()) == abi::queue_holder::owner ||
            entry->state.load_relaxed() != outgoing.connected) {
            break;
        }
        if (const std::uint32_t seen = entry->send_next.load_relaxed(); seen != next) {
            next = seen;
            progress = now;
        }
        os::spin_pause();
    }
    handed_next = next;
}

/// Spins until the receiver has posted, once for each message and not for long.
bool connected_vi::await_receiver() noexcept {
    if (!outgoing.reliable || attributes.receiver_wait.count() == 0 || waited_for == outgoing.fill ||
        outgoing.chooser.kind != nullptr) {  // room in the ring is not all that it waits for
        return false;
    }
    const std::uint64_t spin_end = os::ticks() + stall_spin_us * os::ticks_per_us();
    do {
        os::spin_pause();
        if (outgoing.look_for_receives()) {
            return true;
        }
    } while (os::ticks() < spin_end && entry->state.load_relaxed() == outgoing.connected);
    waited_for = outgoing.fill;
    return false;
}

errc connected_vi::stall(const rules::message& m, const work_request& w) noexcept {
    if (!outgoing.reliable || attributes.receiver_wait.count() == 0) {
        finish(m.opcode, m.length, w.cookie, w.flags, outgoing.end_unreceived().how());
        return errc::ok;
    }
    const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
    queue.store(at, m);
    push({w.cookie, m.length, m.opcode, status::success, !has(w.flags, send_flag::unsignalled), true});
    entry->counters[abi::tx_handed_over].add_single_writer(1);
    handed_next = at;
    set_handed(hand_over(outgoing, queue, at, at + 1));
    if (handed && attributes.receiver_wait != forever) {
        home.watch(*this);
    }
    return errc::ok;
}

void connected_vi::expire_stall(std::uint64_t now_ns) noexcept {
    const std::uint64_t deadline = stall_deadline_ns.load();
    if (deadline == 0 || now_ns < deadline) {
        return;
    }
    const std::uint64_t word = entry->hand_over.load_acquire();
    if (abi::holder_of(word) == abi::queue_holder::owner) {
        stall_deadline_ns.store(0);
        return;
    }
    const std::uint32_t head = entry->send_next.load_acquire();
    if (head != stall_head) {  // the limit is for the message at the head, and that one has gone
        stall_head = head;
        stall_deadline_ns.store(now_ns + static_cast<std::uint64_t>(attributes.receiver_wait.count()));
        return;
    }
    // Not waiting: its holder may be stopped, and this is called while polling.  One that is dead is looked for
    // elsewhere.
    const tables::control_lock lock(*nic->memory, 0);
    // Only with the word as it was: a receiver that has executed the head since may have passed the queue back.
    if (!lock || !take_back(*entry, word)) {
        return;  // or the receiver is executing it: look again at the next tick
    }
    stall_deadline_ns.store(0);
    // Broken first, for if somebody else has done that, the message is flushed.  No poller of ours comes to it before
    // the lock is free again (engines_outside).
    rules::finish(queue.descriptors[head & queue.mask], head, outgoing.end_unreceived().how());
    // Last: a post at this moment takes the queue for its own once all before it is executed, and must
    // find the connection broken then.  Release: pairs with the acquire in post_checked.
    entry->send_next.store_release(head + 1);
}

void provider::watch(connected_vi& v) noexcept {
    const std::lock_guard hold(mutex_);
    v.stall_head = v.handed_next;
    const auto limit = static_cast<std::uint64_t>(v.attributes.receiver_wait.count());
    if (v.stall_deadline_ns.exchange(os::now_ns() + limit) == 0 && std::ranges::find(stalled_, &v) == stalled_.end()) {
        stalled_.push_back(&v);  // make_vi has made room
    }
    any_stalled_.store(true, std::memory_order_relaxed);
}

void provider::forget(connected_vi& v) noexcept {
    const std::lock_guard hold(mutex_);
    v.stall_deadline_ns.store(0);
    std::erase(stalled_, &v);
}

void provider::look_after(nic_body&, std::uint64_t now_ns) noexcept {
    if (!any_stalled_.load(std::memory_order_relaxed)) {
        return;
    }
    const std::lock_guard hold(mutex_);
    for (connected_vi* v : stalled_) {
        v->expire_stall(now_ns);
    }
    std::erase_if(stalled_, [](const connected_vi* v) { return v->stall_deadline_ns.load() == 0; });
    any_stalled_.store(!stalled_.empty(), std::memory_order_relaxed);
}

}  // namespace vinic::direct

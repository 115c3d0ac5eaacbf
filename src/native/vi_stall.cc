// SPDX-License-Identifier: Apache-2.0
//
// vi_stall.cc -- a message that has to wait for its receiver: spinning, handing the queue over, the limit.
//
// docs/protocols.md draws the hand-over; device/hand_over.hpp has the device's half of it.
#include <algorithm>

#include "native/state.hpp"

namespace vinic::detail {

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
void vi_state::await_return() noexcept {
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
bool vi_state::await_receiver() noexcept {
    if (!outgoing.reliable || attributes.receiver_wait.count() == 0 || waited_for == outgoing.fill) {
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

errc vi_state::stall(const device::operation& op, const work_request& w) noexcept {
    if (!outgoing.reliable || attributes.receiver_wait.count() == 0) {
        finish(op.opcode, op.length, w.cookie, w.flags, outgoing.give_up().how());
        return errc::ok;
    }
    const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
    queue.store(at, op);
    push({w.cookie, op.length, op.opcode, status::success, !has(w.flags, send_flag::unsignalled), true});
    entry->counters[abi::tx_handed_over].add_single_writer(1);
    handed_next = at;
    handed = device::hand_over(outgoing, queue, at, at + 1);
    if (handed && attributes.receiver_wait != forever) {
        const std::lock_guard hold(nic->stalled_mutex);
        stall_head = at;
        if (stall_deadline_ns.exchange(os::now_ns() + static_cast<std::uint64_t>(attributes.receiver_wait.count())) ==
                0 &&
            std::find(nic->stalled.begin(), nic->stalled.end(), this) == nic->stalled.end()) {
            nic->stalled.push_back(this);
        }
        nic->any_stalled.store(true, std::memory_order_relaxed);
    }
    return errc::ok;
}

/// Under nic->stalled_mutex, from whichever thread keeps house.
void vi_state::expire_stall(std::uint64_t now_ns) noexcept {
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
    const device::control_lock lock(*nic->memory, 0);
    // Only with the word as it was: a receiver that has executed the head since may have passed the queue back.
    if (!lock || !device::take_back(*entry, word)) {
        return;  // or the receiver is executing it: look again at the next tick
    }
    stall_deadline_ns.store(0);
    // Broken first, for if somebody else has done that, the message is flushed.  No poller of ours comes to it before
    // the lock is free again (engines_outside).
    rules::finish(queue.descriptors[head & queue.mask], head, outgoing.give_up().how());
    // Last: a post at this moment takes the queue for its own once all before it is executed, and must
    // find the connection broken then.  Release: pairs with the acquire in post_checked.
    entry->send_next.store_release(head + 1);
}

}  // namespace vinic::detail

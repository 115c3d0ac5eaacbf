// SPDX-License-Identifier: Apache-2.0
//
// notify.hpp -- telling a client that something happened on one of its VIs.
#pragma once

#include <atomic>

#include "controller/function.hpp"

namespace vinic::controller {

/// Threads of a client that one wake-up reaches; others look again by themselves.  A client with thousands asleep
/// would keep an engine in the kernel.
inline constexpr int wakes_max = 64;

/// Queues that are woken in one go, so that nobody else waits for long.
inline constexpr std::size_t deliveries_max = 16;

/// Wakes the sleepers on a completion queue, if there are any.
void wake(const window& w, waiting_cq cq) noexcept;

/// Wakes some whose time has come; engines wake the others (engines::call_for_deliveries).  Under control->mutex.
void deliver_due(function& f) noexcept;

/// Marks queue q of v in its completion queue's ready bits and wakes the client if it sleeps, as soon as
/// the queue's vector lets it.  The bits lie where the client says, if that is in its window.
void signal(vi& v, abi::queue_kind q) noexcept;

/// As signal, but only if the client is not looking at the queue's ring itself.
inline void signal_if_wanted(vi& v, abi::queue_kind q) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the completion before notify; pairs with the poller's
    if (v.entry->notify[q].load_relaxed() != 0) {
        signal(v, q);
    }
}

/// Writes a VI's state where its client reads it.
inline void publish_state(vi& v) noexcept {
    v.entry->state.store_release(abi::make_state(v.epoch, v.link.load(std::memory_order_relaxed), v.reason));
}

}  // namespace vinic::controller

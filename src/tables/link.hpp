// SPDX-License-Identifier: Apache-2.0
//
// link.hpp -- telling a VI's owner that something happened, and breaking a connection.
//
//   A thread that signals another process' VI must keep it from being taken apart meanwhile: an engine is marked as
//   executing, everything else holds the control plane's lock.
#pragma once

#include "tables/memory.hpp"

namespace vinic::tables {

/// Marks queue q of VI v in its completion queue's ready bits and wakes the owner if it sleeps.
/// Returns after a full fence.
void signal(const memory& m, abi::vi_entry& v, abi::queue_kind q) noexcept;

/// As signal, but only if the owner is not polling the queue's ring itself.
inline void signal_if_wanted(const memory& m, abi::vi_entry& v, abi::queue_kind q) noexcept {
    m.light_barrier();  // the completion is published before notify is read; pairs with the poller's heavy barrier
    if (v.notify[q].load_relaxed() != 0) {
        signal(m, v, q);
    }
}

/// Takes VI v (state `connected`, a word with epoch) and its peer out of connected.  Late breaks of
/// earlier connections have no effect.  Returns whether this call broke it.
bool break_link(const memory& m, abi::vi_entry& v, std::uint64_t connected, abi::break_reason mine,
                abi::break_reason peers) noexcept;

/// Whether the owner of v may be inside somebody's memory right now (a dead owner is not).
[[nodiscard]] bool engine_inside(const memory& m, const abi::vi_entry& v) noexcept;

/// Whoever is stopped inside keeps others no longer than this.
inline constexpr std::uint64_t engine_patience_ns = 1'000'000'000;

/// Waits until engine_inside has been false once for v, at most timeout_ns.  After a heavy barrier.
[[nodiscard]] bool wait_engine_outside(const memory& m, const abi::vi_entry& v, std::uint64_t timeout_ns) noexcept;

}  // namespace vinic::tables

// SPDX-License-Identifier: Apache-2.0
//
// processes.hpp -- what happens when a process leaves or dies.
//
//   live --(closes, or its byte lock is gone)--> leaving --(no engine can be inside its memory)--> free
//
//   Leaving breaks the connections, frees names and requests, and invalidates keys at once.  The
//   memory goes later: a peer's engine may be copying into it at this moment.
#pragma once

#include "tables/memory.hpp"

namespace vinic::tables {

/// Retires every process entry whose holder has died, and frees what is left of earlier ones where
/// that is safe by now.  Under the lock.  Returns the number found dead.
std::uint32_t bury_the_dead(memory& m) noexcept;

/// As above without waiting for the lock, and at most once in scan_interval_ns per device.
void look_for_dead(memory& m, std::uint64_t now_ns) noexcept;

/// Breaks and frees all that process entry i owns.  Under the lock.
void retire_process(memory& m, std::uint32_t i, abi::break_reason reason) noexcept;

/// Requests to listener `name` fail, and their owners wake.  Under the lock.
void fail_requests_of(memory& m, std::uint32_t name, abi::request_stage as) noexcept;

/// Adds what VI v counted to the device's totals.  Under the lock.
void retire_counters(memory& m, const abi::vi_entry& v) noexcept;

inline constexpr std::uint64_t scan_interval_ns = 20'000'000;

}  // namespace vinic::tables

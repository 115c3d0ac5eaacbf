// SPDX-License-Identifier: Apache-2.0
//
// bench_limits.hpp -- what the bare machine does, measured in the same run and on the same cores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cli/bench_pair.hpp"
#include "cli/bench_statistics.hpp"

namespace vinic::cli::bench {

/// Hands a cache line to the other core and another one back, `rounds` times.  Both sides call it;
/// the initiator gets the round trips in ticks, the target an empty summary.  A sample reaches from
/// one answer to the next, so that nothing escapes the clock: stamps taken anew before each store
/// come out up to a third shorter, because the counter is read late after a pause.
[[nodiscard]] summary hand_off(session& with, std::uint32_t rounds);

/// A plain loop of memcpy over `count` destinations and `source_count` sources in turn, as a stream
/// of messages would use them.  Average bytes per second over about `seconds`, warmed up.
[[nodiscard]] double copy_bytes_per_second(std::span<std::byte> destination, std::span<const std::byte> source,
                                           std::size_t size_bytes, std::size_t stride, double seconds, double tick_ns);

}  // namespace vinic::cli::bench

// SPDX-License-Identifier: Apache-2.0
//
// bench_loops.hpp -- the timed loops over one connected endpoint.
//
// Both sides call each function with the same count; the initiator's call returns the figures.
// Contents are checked before the functions return, outside the timed part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cli/bench_endpoint.hpp"

namespace vinic::cli::bench {

/// Sends and writes are answered by the target: a sample is a round trip.  Reads and atomics
/// are not: a sample is the whole operation.  Fills `samples` (initiator) with ticks.
void run_latency(endpoint& on, std::uint64_t count, std::span<std::uint32_t> samples);

/// True if a sample of run_latency is a round trip, so that half of it is reported.
[[nodiscard]] constexpr bool is_round_trip(operation what) noexcept {
    return what == operation::send || what == operation::write;
}

struct stream_figures {
    std::uint64_t total_ticks = 0;     ///< first post until the target has seen the last message
    std::uint64_t block_messages = 1;  ///< messages per entry of block_ticks
    std::vector<std::uint32_t> block_ticks;
};

/// One direction, as fast as it goes.
[[nodiscard]] stream_figures run_stream(endpoint& on, std::uint64_t count);

}  // namespace vinic::cli::bench

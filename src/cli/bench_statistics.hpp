// SPDX-License-Identifier: Apache-2.0
//
// bench_statistics.hpp -- what a column of samples says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vinic::cli::bench {

/// All in the samples' unit, except count.
struct summary {
    std::size_t count = 0;
    double min = 0;
    double max = 0;
    double average = 0;
    double deviation = 0;  ///< standard deviation of the samples
    double p50 = 0;
    double p99 = 0;
    double p999 = 0;

    /// Every figure times `factor`: ticks to nanoseconds, round trips to one way.
    [[nodiscard]] summary scaled(double factor) const noexcept;
};

/// Sorts `samples`.  A percentile is the smallest sample that at least that share of all samples
/// does not exceed.
[[nodiscard]] summary summarise(std::span<std::uint32_t> samples);

}  // namespace vinic::cli::bench

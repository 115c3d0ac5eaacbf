// SPDX-License-Identifier: Apache-2.0
//
// bench_statistics.cc -- percentiles and moments.
#include "cli/bench_statistics.hpp"

#include <algorithm>
#include <cmath>

namespace vinic::cli::bench {

summary summary::scaled(double factor) const noexcept {
    return {.count = count,
            .min = min * factor,
            .max = max * factor,
            .average = average * factor,
            .deviation = deviation * factor,
            .p50 = p50 * factor,
            .p99 = p99 * factor,
            .p999 = p999 * factor};
}

summary summarise(std::span<std::uint32_t> samples) {
    if (samples.empty()) {
        return {};
    }
    std::ranges::sort(samples);
    const auto count = static_cast<double>(samples.size());
    double sum = 0;
    for (const std::uint32_t sample : samples) {
        sum += static_cast<double>(sample);
    }
    const double average = sum / count;
    double squares = 0;
    for (const std::uint32_t sample : samples) {
        const double distance = static_cast<double>(sample) - average;
        squares += distance * distance;
    }
    const auto percentile = [&](double share) {
        const auto rank = static_cast<std::size_t>(std::ceil(share * count));
        return static_cast<double>(samples[std::clamp<std::size_t>(rank, 1, samples.size()) - 1]);
    };
    return {.count = samples.size(),
            .min = static_cast<double>(samples.front()),
            .max = static_cast<double>(samples.back()),
            .average = average,
            .deviation = std::sqrt(squares / count),
            .p50 = percentile(0.50),
            .p99 = percentile(0.99),
            .p999 = percentile(0.999)};
}

}  // namespace vinic::cli::bench

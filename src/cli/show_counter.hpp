// SPDX-License-Identifier: Apache-2.0
//
// show_counter.hpp -- `vinic counter show`: once, again and again, as rates, or for Prometheus.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/show.hpp"

namespace vinic::cli {

struct counter_options : show_options {
    std::vector<std::uint32_t> vis;  ///< empty: the device's totals only; with details every VI
    bool nonzero = false;            ///< leave out what is zero (with rate: what does not move)
    bool rate = false;               ///< per second since the sample before
    bool openmetrics = false;
    double interval_seconds = 0;  ///< 0: once
    std::uint64_t count = 0;      ///< samples; 0: for ever
};

/// Hands what is to be printed to `print`, piece by piece.  No device named: all that can be read.
[[nodiscard]] result<void> show_counters(const counter_options& o,
                                         const std::function<void(const std::string&)>& print);

}  // namespace vinic::cli

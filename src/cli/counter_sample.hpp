// SPDX-License-Identifier: Apache-2.0
//
// counter_sample.hpp -- a device's counters at one moment.
//
//   device total = what VIs counted that are gone (device_header::retired) + the sum over the VIs
//
//   A VI that goes away at the moment of reading must be in one of the two and not in both.  It moves
//   under the control plane's lock, so a sample is taken again if that was held or `retired` changed.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "cli/tables.hpp"
#include "tables/counters.hpp"

namespace vinic::cli {

struct counter_sample {
    std::uint64_t taken_ns = 0;
    tables::counter_values device{};
    struct of_vi {
        std::uint32_t number = 0;
        std::uint32_t generation = 0;
        std::uint32_t owner = 0;
        tables::counter_values counted{};
    };
    std::vector<of_vi> vis;
};

/// The VIs that `wanted` names, or all if it is empty and `every_vi`.  Until `end_ns` it waits for a moment in which
/// nobody is just moving what a VI counted to the device's totals; after that it takes what there is.
[[nodiscard]] counter_sample take_sample(device_file& f, const std::vector<std::uint32_t>& wanted, bool every_vi,
                                         std::uint64_t end_ns);

}  // namespace vinic::cli

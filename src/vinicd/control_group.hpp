// SPDX-License-Identifier: Apache-2.0
//
// control_group.hpp -- what the kernel lets this process and its neighbours have; the command line asks, too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace vinic::vinicd {

/// The limit of a control group; beyond it the kernel ends a process instead of refusing.
struct memory_limit {
    std::uint64_t bytes = 0;
    std::uint64_t used = 0;
    std::string file;  ///< where it is written
};

/// The least of those that hold for this process: of its group and all that stand above it; nothing if there is none.
/// `cgroups` and `own` are where the kernel tells (cgroup v2 and v1).
[[nodiscard]] std::optional<memory_limit> least_memory_limit(const std::string& cgroups = "/sys/fs/cgroup",
                                                             const std::string& own = "/proc/self/cgroup");

}  // namespace vinic::vinicd

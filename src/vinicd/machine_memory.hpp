// SPDX-License-Identifier: Apache-2.0
//
// machine_memory.hpp -- how much memory there is for the functions of a device.
#pragma once

#include <cstdint>
#include <string>

#include "vinicd/options.hpp"

namespace vinic::vinicd {

/// Three quarters of what this process may use: of the machine's memory, or of the limit of its control group if that
/// is less.  `cgroups` and `own`: see control_group.hpp.
[[nodiscard]] std::uint64_t usable_memory_bytes(const std::string& cgroups = "/sys/fs/cgroup",
                                                const std::string& own = "/proc/self/cgroup");

/// What each of so many functions may hold when nobody has said: an equal part of `usable`, whole MiB, at least 64 MiB
/// and at most a window.
[[nodiscard]] std::uint64_t memory_share(std::uint64_t usable, std::uint32_t functions, std::uint64_t window) noexcept;

/// Bytes that it may hold: its own choice, [function.default]'s, or the share of the machine that each is given.
[[nodiscard]] std::uint64_t memory_of(const options& o, std::uint32_t function);

}  // namespace vinic::vinicd

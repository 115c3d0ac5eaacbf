// SPDX-License-Identifier: Apache-2.0
//
// memory.hpp -- which process this is, and in which namespace.
#pragma once

#include <cstdint>

namespace vinic::os {

/// Field 22 of /proc/PID/stat (clock ticks after boot), 0 when there is no such process.
[[nodiscard]] std::uint64_t process_start_time(std::uint32_t pid) noexcept;
/// Inode of this process' pid namespace; 0: it cannot be told.
[[nodiscard]] std::uint64_t pid_namespace() noexcept;

}  // namespace vinic::os

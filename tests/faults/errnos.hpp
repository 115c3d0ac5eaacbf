// SPDX-License-Identifier: Apache-2.0
//
// errnos.hpp -- which system calls can fail, and how: what their manual pages list and a kernel really does.
#pragma once

#include <cstdint>
#include <span>

#include "faults/trap.hpp"

namespace faults {

struct rule {
    std::uint32_t number;
    std::uint32_t kind;  ///< of the call; `any` for all of them
    std::span<const int> errors;
};

inline constexpr std::uint32_t any = ~0u;

/// Which call this is, from its first arguments.
[[nodiscard]] call describe(std::uint32_t number, std::uint64_t a, std::uint64_t b, std::uint64_t c,
                            std::uint64_t d) noexcept;
/// How it can fail; nullptr if it cannot, or is none that a program has to expect to (getpid, exit, ...).
[[nodiscard]] const rule* rule_of(const call& c) noexcept;
[[nodiscard]] bool can_fail_with(const rule& r, int error) noexcept;
/// Calls of one group fail together when a resource has run out; 0: this error is no lack of a resource.
[[nodiscard]] std::uint32_t group_of(const rule& r, int error) noexcept;
/// close(2) lets go of the descriptor also when it reports an error.
[[nodiscard]] bool happens_all_the_same(const call& c) noexcept;
[[nodiscard]] const char* name_of(const call& c) noexcept;

}  // namespace faults

// SPDX-License-Identifier: Apache-2.0
//
// machine_memory.cc -- three quarters of what machine and cgroup have, divided among the functions.
#include "vinicd/machine_memory.hpp"

#include <unistd.h>

#include <algorithm>

#include "vinicd/control_group.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::uint64_t share_least = 64 * mib;

}  // namespace

std::uint64_t usable_memory_bytes(const std::string& cgroups, const std::string& own) {
    const auto pages = static_cast<std::uint64_t>(std::max(::sysconf(_SC_PHYS_PAGES), 0L));
    const std::uint64_t machine = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const auto limit = least_memory_limit(cgroups, own);
    return std::min(machine, limit ? limit->bytes : machine) / 4 * 3;
}

std::uint64_t memory_of(const options& o, std::uint32_t function) {
    return choice_of(o, function).memory.value_or(o.device.defaults.memory_bytes);
}

std::uint64_t memory_share(std::uint64_t usable, std::uint32_t functions, std::uint64_t window) noexcept {
    return std::min(std::max(usable / functions / mib * mib, share_least), window);
}

}  // namespace vinic::vinicd

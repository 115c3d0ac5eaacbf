// SPDX-License-Identifier: Apache-2.0
#include "vinicd/machine_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "vinicd/units.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::uint64_t share_least = 64 * mib;
constexpr std::uint64_t no_limit = ~std::uint64_t{0};

/// "max" and what cannot be read are no limit.
std::uint64_t limit_in(const std::string& file) {
    std::ifstream in(file);
    std::string word;
    in >> word;
    return parse_number(word).value_or(no_limit);
}

/// The least limit of a group and those above it; `path` begins with a slash.
std::uint64_t limit_of_group(const std::string& root, std::string path, const char* file) {
    std::uint64_t least = no_limit;
    for (;;) {
        least = std::min(least, limit_in(root + path + "/" + file));
        const std::size_t slash = path.rfind('/');
        if (path.empty() || slash == std::string::npos) {
            return least;
        }
        path.resize(slash);
    }
}

std::uint64_t cgroup_limit(const std::string& root, const std::string& own) {
    std::ifstream in(own);
    std::uint64_t least = no_limit;
    for (std::string line; std::getline(in, line);) {  // "0::/path", or "4:memory:/path" of version 1
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string path = line.substr(second + 1);
        if (controllers.empty()) {
            least = std::min(least, limit_of_group(root, path, "memory.max"));
        } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
            least = std::min(least, limit_of_group(root + "/memory", path, "memory.limit_in_bytes"));
        }
    }
    return least;
}

}  // namespace

std::uint64_t usable_memory_bytes(const std::string& cgroups, const std::string& own) {
    const auto pages = static_cast<std::uint64_t>(std::max(::sysconf(_SC_PHYS_PAGES), 0L));
    const std::uint64_t machine = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return std::min(machine, cgroup_limit(cgroups, own)) / 4 * 3;
}

std::uint64_t memory_of(const options& o, std::uint32_t function) {
    return choice_of(o, function).memory.value_or(o.device.defaults.memory_bytes);
}

std::uint64_t memory_share(std::uint64_t usable, std::uint32_t functions, std::uint64_t window) noexcept {
    return std::min(std::max(usable / functions / mib * mib, share_least), window);
}

}  // namespace vinic::vinicd

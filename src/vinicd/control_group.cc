// SPDX-License-Identifier: Apache-2.0
//
// control_group.cc -- reads the memory limits of the cgroup and of those above it.
#include "vinicd/control_group.hpp"

#include <fstream>

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t no_limit = 1ULL << 60;  // version 1 has a number for none, which is beyond this

/// "max" and what cannot be read are none.
std::optional<std::uint64_t> number_in(const std::string& file) {
    std::uint64_t n = 0;
    std::ifstream in(file);
    return in >> n && n < no_limit ? std::optional(n) : std::nullopt;
}

/// Looks at the group `path` below `root`, and at those above it.
void look(const std::string& root, std::string path, const char* limit, const char* usage,
          std::optional<memory_limit>& least) {
    for (;;) {
        while (path.ends_with('/')) {
            path.pop_back();
        }
        const std::string group = root + path + "/";
        if (const auto n = number_in(group + limit); n && (!least || *n < least->bytes)) {
            least = {*n, number_in(group + usage).value_or(0), group + limit};
        }
        const std::size_t slash = path.rfind('/');
        if (slash == std::string::npos) {
            return;
        }
        path.resize(slash);
    }
}

}  // namespace

std::optional<memory_limit> least_memory_limit(const std::string& cgroups, const std::string& own) {
    std::ifstream in(own);
    std::optional<memory_limit> least;
    for (std::string line; std::getline(in, line);) {  // "0::/path", or "4:memory:/path" of version 1
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string path = line.substr(second + 1);
        if (controllers == ",,") {
            look(cgroups, path, "memory.max", "memory.current", least);
        } else if (controllers.contains(",memory,")) {
            look(cgroups + "/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", least);
        }
    }
    return least;
}

}  // namespace vinic::vinicd

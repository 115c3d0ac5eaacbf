// SPDX-License-Identifier: Apache-2.0
#include "multi/fixture.hpp"

#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace multi {

directory::directory() : maker_(::getpid()) {
    const char* const places[] = {"/dev/shm", nullptr};
    for (const char* place : places) {
        struct statfs s{};
        const bool roomy =
            place != nullptr && ::statfs(place, &s) == 0 &&
            static_cast<std::uint64_t>(s.f_bavail) * static_cast<std::uint64_t>(s.f_bsize) > (1ULL << 30);
        if (place != nullptr && !roomy) {
            continue;
        }
        path_ = (place != nullptr ? std::filesystem::path(place) : std::filesystem::temp_directory_path()) /
                "vinic-multi-XXXXXX";
        if (::mkdtemp(path_.data()) != nullptr) {
            return;
        }
    }
    throw std::system_error(errno, std::generic_category(), "making a temporary directory");
}

directory::~directory() {
    if (::getpid() != maker_) {
        return;
    }
    std::error_code ignored_by_design;
    for (const auto& entry : std::filesystem::directory_iterator(path_, ignored_by_design)) {
        if (report_leftovers_) {
            ADD_FAILURE() << "left behind: " << entry.path().string();
        }
    }
    std::filesystem::remove_all(path_, ignored_by_design);
}

bool directory::exists(std::string_view name) const {
    struct stat s{};
    return ::stat(file(name).c_str(), &s) == 0;
}

census count(const directory& d, std::string_view name) { return must(take_census(d.path(), name)); }

testing::AssertionResult matches(std::span<const std::byte> bytes, std::uint64_t seed) {
    const std::size_t i = first_difference(bytes, seed);
    if (i == bytes.size()) {
        return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "byte " << i << " of " << bytes.size() << " is "
                                       << std::to_integer<unsigned>(bytes[i]) << ", not what seed " << seed << " makes";
}

}  // namespace multi

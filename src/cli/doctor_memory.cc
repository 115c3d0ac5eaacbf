// SPDX-License-Identifier: Apache-2.0
//
// doctor_memory.cc -- what may end a device that nothing is wrong with: the memory cgroup's limit, which kills where a
// full file system refuses; and whoever removes files that are in use.
#include <dirent.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <fstream>
#include <memory>
#include <optional>
#include <set>

#include "cli/doctor.hpp"

namespace vinic::cli {

namespace {

struct cgroup_limit {
    std::uint64_t bytes = 0;
    std::uint64_t used = 0;
    std::string where;
};

std::optional<std::uint64_t> number_in(const std::string& path) {
    std::uint64_t n = 0;
    std::ifstream in(path);
    return in >> n ? std::optional(n) : std::nullopt;  // "max" is none
}

/// The narrowest limit from `path` below `root` up to it.
std::optional<cgroup_limit> narrowest(const std::string& root, std::string path, const char* limit, const char* usage) {
    constexpr std::uint64_t no_limit = 1ULL << 60;  // what version 1 says for none
    std::optional<cgroup_limit> least;
    for (;;) {
        const std::string at = root + (path == "/" ? "" : path) + "/";
        if (const auto n = number_in(at + limit); n && *n < no_limit && (!least || *n < least->bytes)) {
            least = {*n, number_in(at + usage).value_or(0), at + limit};
        }
        if (path.size() <= 1) {
            return least;
        }
        path.resize(std::max<std::size_t>(path.rfind('/'), 1));
        if (path.size() > 1 && path.ends_with('/')) {
            path.pop_back();
        }
    }
}

std::optional<cgroup_limit> memory_limit() {
    std::ifstream in("/proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/') {
            continue;
        }
        const std::string kinds = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string path = line.substr(second + 1);
        if (kinds == ",,") {
            if (auto l = narrowest("/sys/fs/cgroup", path, "memory.max", "memory.current"); l) {
                return l;
            }
        } else if (kinds.contains(",memory,")) {
            return narrowest("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes");
        }
    }
    return {};
}

std::string first_line(const std::string& path) {
    std::string line;
    std::ifstream in(path);
    std::getline(in, line);
    return line;
}

/// The names of devices that process `pid` has open in `directory` and whose file is gone.
std::set<std::string> removed_devices(const std::string& pid, const std::string& directory) {
    constexpr std::string_view gone = " (deleted)";
    const std::string prefix = directory + "/vinic-";
    std::set<std::string> names;
    const std::string files = "/proc/" + pid + "/fd";
    const std::unique_ptr<DIR, int (*)(DIR*)> d(::opendir(files.c_str()), ::closedir);
    while (const dirent* e = d != nullptr ? ::readdir(d.get()) : nullptr) {
        std::array<char, PATH_MAX> to{};
        const ssize_t n = ::readlink((files + "/" + e->d_name).c_str(), to.data(), to.size());
        std::string_view target(to.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
        if (target.starts_with(prefix) && target.ends_with(gone)) {
            target.remove_suffix(gone.size());
            names.emplace(target.substr(prefix.size()));
        }
    }
    return names;
}

}  // namespace

void check_memory_limit(const std::string& directory, findings& all) {
    struct statfs f{};
    const auto limit = memory_limit();
    if (!limit) {
        all.push_back({"memory limit", verdict::ok, "no memory cgroup limits this process"});
        return;
    }
    const std::string found = "the memory cgroup ends at " + size_in_words(limit->bytes) + ", " +
                              size_in_words(limit->used) + " are in use (" + printable(limit->where) + ")";
    const bool in_memory = ::statfs(directory.c_str(), &f) == 0 && f.f_type == TMPFS_MAGIC;
    const std::uint64_t left = limit->bytes - std::min(limit->used, limit->bytes);
    if (in_memory && std::uint64_t{f.f_bavail} * static_cast<std::uint64_t>(f.f_bsize) > left) {
        all.push_back({"memory limit", verdict::warn,
                       found + ", less than " + directory +
                           " has free: a device that grows beyond it is no error, the kernel ends a process",
                       "raise the limit, or keep what is allocated below it"});
    } else {
        all.push_back({"memory limit", verdict::ok, found});
    }
}

void check_removed(const std::string& directory, const std::string& only, findings& all) {
    const std::unique_ptr<DIR, int (*)(DIR*)> d(::opendir("/proc"), ::closedir);
    while (const dirent* e = d != nullptr ? ::readdir(d.get()) : nullptr) {
        const std::string pid = e->d_name;
        if (pid.find_first_not_of("0123456789") != std::string::npos) {
            continue;
        }
        for (const std::string& name : removed_devices(pid, directory)) {
            if (only.empty() || only == name) {
                all.push_back({"removed device", verdict::fail,
                               "the file of shm:" + printable(name) + " was removed while process " + pid + " (" +
                                   printable(first_line("/proc/" + pid + "/comm")) +
                                   ") has it open: nobody can find it there",
                               "start it anew, and keep cleaners off: RemoveIPC=no or lingering for systemd-logind, an "
                               "exception for cleaners of temporary directories"});
            }
        }
    }
}

}  // namespace vinic::cli

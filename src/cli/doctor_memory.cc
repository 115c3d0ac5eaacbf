// SPDX-License-Identifier: Apache-2.0
//
// doctor_memory.cc -- what may end a device that nothing is wrong with: the memory cgroup's limit, which kills where a
// full file system refuses; and the removal of files that are in use.
#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <system_error>

#include "cli/doctor.hpp"
#include "vinicd/control_group.hpp"

namespace vinic::cli {

namespace {

std::string first_line(const std::string& path) {
    std::string line;
    std::ifstream in(path);
    std::getline(in, line);
    return line;
}

/// The names of devices that process `pid` has open in `directory`, a path without links, and whose file is gone.
std::set<std::string> removed_devices(const std::string& pid, const std::string& directory) {
    constexpr std::string_view gone = " (deleted)";
    const std::string prefix = directory + "/vinic-";
    std::set<std::string> names;
    const std::string files = "/proc/" + pid + "/fd";
    const std::unique_ptr<DIR, int (*)(DIR*)> d(::opendir(files.c_str()), ::closedir);
    while (const dirent* e = d != nullptr ? ::readdir(d.get()) : nullptr) {
        std::array<char, PATH_MAX> to{};
        const std::string file = files + "/" + e->d_name;
        const ssize_t n = ::readlink(file.c_str(), to.data(), to.size());
        std::string_view target(to.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
        struct stat s{};
        if (target.starts_with(prefix) && target.ends_with(gone) && ::stat(file.c_str(), &s) == 0 && s.st_nlink == 0) {
            target.remove_suffix(gone.size());
            names.emplace(target.substr(prefix.size()));
        }
    }
    return names;
}

}  // namespace

void check_memory_limit(const std::string& directory, findings& all, const std::string& cgroups,
                        const std::string& own) {
    struct statfs f{};
    const auto limit = vinicd::least_memory_limit(cgroups, own);
    if (!limit) {
        all.push_back({"memory limit", verdict::ok, "no memory cgroup limits this process"});
        return;
    }
    const std::string found = "the memory cgroup ends at " + size_in_words(limit->bytes) + ", " +
                              size_in_words(limit->used) + " are in use (" + printable(limit->file) + ")";
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
    // As the kernel writes it: what removes files may have removed their directory with them.
    std::error_code unclear;
    const std::string resolved = std::filesystem::weakly_canonical(directory, unclear).string();
    const std::string& real = unclear ? directory : resolved;
    const std::unique_ptr<DIR, int (*)(DIR*)> d(::opendir("/proc"), ::closedir);
    while (const dirent* e = d != nullptr ? ::readdir(d.get()) : nullptr) {
        const std::string pid = e->d_name;
        if (pid.find_first_not_of("0123456789") != std::string::npos) {
            continue;
        }
        for (const std::string& name : removed_devices(pid, real)) {
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

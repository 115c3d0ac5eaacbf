// SPDX-License-Identifier: Apache-2.0
//
// machine.cc -- see machine.h.
#include "machine.h"

#include <glob.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "failure.h"

namespace demo {

namespace {

// The place of a processor in the machine, so that two threads of one core are told apart from two cores.
std::string core_of(int processor) {
    std::string place;
    for (const char* level : {"physical_package_id", "core_id"}) {
        std::ifstream in("/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/" + level);
        std::string word;
        in >> word;
        place += word + "/";
    }
    return place;
}

std::string default_directory() {
    const char* directory = ::secure_getenv("VINIC_SHM_DIR");
    return directory != nullptr && *directory != '\0' ? directory : "/dev/shm";
}

bool has_room(const std::string& directory, std::uint64_t bytes) {
    struct statvfs room{};
    return statvfs(directory.c_str(), &room) == 0 && room.f_bavail * room.f_frsize >= bytes;
}

}  // namespace

processor_pair choose_processors() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        fail_with_errno("cannot ask which processors this process may use");
    }
    std::vector<int> processors;
    for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(static_cast<std::size_t>(i), &allowed)) {
            processors.push_back(i);
        }
    }
    processor_pair pair{processors.front(), processors.back()};
    for (int candidate : processors) {
        if (core_of(candidate) != core_of(pair.first)) {
            pair.second = candidate;
            break;
        }
    }
    return pair;
}

void run_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(processor), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        fail_with_errno("cannot bind to processor " + std::to_string(processor));
    }
}

std::string processor_name() {
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("model name")) {
            const auto colon = line.find(": ");
            return colon == std::string::npos ? line : line.substr(colon + 2);
        }
    }
    return "unknown processor";
}

std::string choose_file() {
    constexpr std::uint64_t large_enough = 16u << 20;
    constexpr std::array patterns = {
        "/usr/lib/gcc/*/*/cc1plus",   "/usr/libexec/gcc/*/*/cc1plus",
        "/usr/lib/*/libicudata.so.*", "/usr/bin/cmake",
        "/usr/bin/python3*",          "/proc/self/exe",
    };
    std::string best;
    std::uint64_t best_size = 0;
    for (const char* pattern : patterns) {
        glob_t found{};
        if (glob(pattern, 0, nullptr, &found) == 0) {
            for (std::size_t i = 0; i < found.gl_pathc; ++i) {
                struct stat s{};
                if (stat(found.gl_pathv[i], &s) == 0 && S_ISREG(s.st_mode) &&
                    static_cast<std::uint64_t>(s.st_size) > best_size) {
                    best = found.gl_pathv[i];
                    best_size = static_cast<std::uint64_t>(s.st_size);
                }
            }
        }
        globfree(&found);
        if (best_size >= large_enough) {
            break;
        }
    }
    if (best.empty()) {
        throw failure("found no file to send; name one: ./run FILE");
    }
    return best;
}

std::uint64_t file_size(const std::string& path) {
    struct stat s{};
    if (stat(path.c_str(), &s) != 0) {
        fail_with_errno("cannot send " + path);
    }
    if (!S_ISREG(s.st_mode)) {
        throw failure("cannot send " + path + ": it is not a regular file; name one that is");
    }
    if (s.st_size == 0) {
        throw failure("cannot send " + path + ": it is empty; name a file with contents");
    }
    if (access(path.c_str(), R_OK) != 0) {
        fail_with_errno("cannot read " + path);
    }
    return static_cast<std::uint64_t>(s.st_size);
}

std::string choose_device_directory(std::uint64_t bytes) {
    const char* told = ::secure_getenv("VINIC_SHM_DIR");
    if (has_room(default_directory(), bytes) || (told != nullptr && *told != '\0')) {
        return default_directory();
    }
    // A container's /dev/shm often has 64 MiB.  Any directory can hold a device file.
    const char* temporary = ::secure_getenv("TMPDIR");
    for (std::string directory : {temporary != nullptr ? temporary : "", "/tmp", "/var/tmp"}) {
        if (!directory.empty() && has_room(directory, bytes)) {
            return directory;
        }
    }
    throw failure("neither " + default_directory() + " nor /tmp has " + std::to_string(bytes >> 20) +
                  " MiB free; set VINIC_SHM_DIR to a directory that has, or send a smaller file");
}

private_directory::private_directory(const std::string& parent) : path_(parent + "/.vinic-run-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) {
        fail_with_errno("cannot make a directory in " + parent);
    }
}

private_directory::~private_directory() {
    std::error_code left_behind;
    std::filesystem::remove_all(path_, left_behind);
}

bool private_directory::is_empty() const { return std::filesystem::is_empty(path_); }

process_state observe_process(int process_id) {
    std::ifstream in("/proc/" + std::to_string(process_id) + "/stat");
    std::string line;
    std::getline(in, line);
    // The command's name stands in parentheses and may contain anything, so start after the last one.
    const auto end_of_name = line.rfind(')');
    if (end_of_name == std::string::npos) {
        throw failure("process " + std::to_string(process_id) + " is gone");
    }
    std::istringstream fields(line.substr(end_of_name + 2));
    process_state seen;
    fields >> seen.state;
    std::string skipped;
    for (int field = 4; field <= 13; ++field) {
        fields >> skipped;
    }
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    fields >> user >> system;
    seen.ticks = user + system;
    return seen;
}

std::uint64_t bytes_through_kernel() {
    std::ifstream in("/proc/self/io");
    std::uint64_t sum = 0;
    std::string word;
    std::uint64_t value = 0;
    while (in >> word >> value) {
        if (word == "rchar:" || word == "wchar:") {
            sum += value;
        }
    }
    return sum;
}

}  // namespace demo

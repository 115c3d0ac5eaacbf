// SPDX-License-Identifier: Apache-2.0
//
// memory.cc -- reads both from /proc.
#include "os/memory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "os/file.hpp"

namespace vinic::os {

std::uint64_t process_start_time(std::uint32_t pid) noexcept {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
    const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    char text[1024];
    const ssize_t n = fd ? ::read(fd.get(), text, sizeof text - 1) : -1;
    if (n <= 0) {
        return 0;
    }
    text[n] = 0;
    // The command name may hold spaces and brackets: count fields from the last ')'.
    const char* p = std::strrchr(text, ')');
    for (int field = 2; p != nullptr && field < 22; ++field) {
        p = std::strchr(p + 1, ' ');
    }
    std::uint64_t start = 0;
    return p != nullptr && std::sscanf(p, " %" SCNu64, &start) == 1 ? start : 0;
}

std::uint64_t pid_namespace() noexcept {
    struct stat s{};
    return ::stat("/proc/self/ns/pid", &s) == 0 ? static_cast<std::uint64_t>(s.st_ino) : 0;
}

}  // namespace vinic::os

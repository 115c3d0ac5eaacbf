// SPDX-License-Identifier: Apache-2.0
//
// entry.cc -- a process takes its entry of the process table, in a device file or in a window.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tables/memory.hpp"

namespace vinic::tables {

/// Storage for process entry i, which is the first without or has some.
result<void> memory::back_process(std::uint32_t i) {
    if (i == header().processes_backed.load_relaxed()) {
        const auto per_page = static_cast<std::uint32_t>(abi::page_size / sizeof(abi::process_entry));
        if (const int e =
                os::allocate_storage(fd_.get(), abi::processes_offset + i * sizeof(abi::process_entry), abi::page_size);
            e != 0) {
            return std::unexpected(fail_storage(e, "taking storage"));
        }
        header().processes_backed.store_release(i + per_page);
    }
    return {};
}

/// Entry i is locked: from now on it is this process'.
void memory::take_entry(std::uint32_t i) noexcept {
    // A process that died between freeing this entry and unlocking left its lock behind; to everybody
    // it would now look as if we held it.
    std::uint32_t holder = header().lock.load_relaxed();
    if ((holder & ~abi::lock_waiters) == i + 1) {
        recount();
        (void)header().lock.compare_exchange(holder, 0);
        os::futex_wake(&header().lock.raw_);
    }
    abi::process_entry& p = process(i);
    p.generation.add_single_writer(1);
    p.pid.store_relaxed(static_cast<std::uint32_t>(::getpid()));
    p.start_time.store_relaxed(os::process_start_time(static_cast<std::uint32_t>(::getpid())));
    p.pid_namespace.store_relaxed(pid_namespace_);
    p.user.store_relaxed(::geteuid() + 1);
    p.base.store_relaxed(reinterpret_cast<std::uint64_t>(map_.data()));
    p.adopted.store_relaxed(0);
    std::memset(p.command, 0, sizeof p.command);
    if (std::FILE* f = std::fopen("/proc/self/comm", "re"); f != nullptr) {
        (void)std::fgets(p.command, sizeof p.command, f);
        p.command[std::strcspn(p.command, "\n")] = 0;
        std::fclose(f);
    }
    self_ = i;
    p.state.store_release(static_cast<std::uint32_t>(abi::process_state::live));
}

void memory::open_again(int directory, const char* name) noexcept {
    constexpr int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    char through_proc[32];
    std::snprintf(through_proc, sizeof through_proc, "/proc/self/fd/%d", fd_.get());
    mapping_fd_.reset(::open(through_proc, flags));
    if (!mapping_fd_ && name != nullptr) {
        mapping_fd_.reset(os::open_beside(directory, name, flags));
    }
    struct stat first{};
    struct stat second{};
    if (mapping_fd_ && (::fstat(fd_.get(), &first) != 0 || ::fstat(mapping_fd_.get(), &second) != 0 ||
                        first.st_ino != second.st_ino || first.st_dev != second.st_dev)) {
        mapping_fd_.reset();  // another file has that name by now
    }
}

}  // namespace vinic::tables

// SPDX-License-Identifier: Apache-2.0
//
// doctor_machine.cc -- kernel, CPUs, limits, and reaching other processes' memory.
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/doctor.hpp"
#include "os/memory.hpp"
#include "os/process_memory.hpp"

namespace vinic::cli {

namespace {

constexpr unsigned int kernel_major_needed = 5;
constexpr unsigned int kernel_minor_needed = 10;
constexpr std::uint64_t open_files_wanted = 256;
constexpr std::uint64_t mappings_wanted = 65530;

/// The first word of a file of /proc or /sys; empty if there is no such file.
std::string first_word(const std::string& path) {
    std::ifstream file(path);
    std::string word;
    file >> word;
    return word;
}

void check_kernel(findings& all) {
    utsname u{};
    (void)::uname(&u);
    unsigned int major = 0;
    unsigned int minor = 0;
    (void)std::sscanf(u.release, "%u.%u", &major, &minor);
    const bool enough = major > kernel_major_needed || (major == kernel_major_needed && minor >= kernel_minor_needed);
    all.push_back({"kernel", enough ? verdict::ok : verdict::fail, std::string("Linux ") + u.release,
                   enough ? "" : "vinic is made for Linux 5.10 or later"});
}

void check_cpus(findings& all) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const int count = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
    if (count == 1) {
        all.push_back({"cpus", verdict::warn, "this process may use one CPU only: each message costs a task switch",
                       "allow two or more (taskset, cpusets, docker --cpuset-cpus)"});
    } else {
        all.push_back({"cpus", verdict::ok,
                       (count == 0 ? std::string("how many cannot be told") : std::to_string(count) + " may be used")});
    }
    std::map<std::string, int> governors;
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed)) {
            const std::string g =
                first_word("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpufreq/scaling_governor");
            governors[g.empty() ? "none to be seen (a virtual machine?)" : g] += 1;
        }
    }
    std::string found;
    for (const auto& [governor, cpus] : governors) {
        found += (found.empty() ? "" : ", ") + governor;
    }
    const bool slow = governors.contains("powersave") || governors.contains("ondemand") ||
                      governors.contains("conservative") || governors.contains("schedutil");
    all.push_back({"governor", slow ? verdict::warn : verdict::ok, found,
                   slow ? "latencies vary with the clock; to measure: cpupower frequency-set -g performance" : ""});
}

void check_clock(findings& all) {
    std::ifstream cpuinfo("/proc/cpuinfo");
    std::stringstream text;
    text << cpuinfo.rdbuf();
    const bool constant = text.str().find(" constant_tsc") != std::string::npos;
    all.push_back({"clock", constant ? verdict::ok : verdict::warn,
                   constant ? "the CPUs' time stamp counters run at a constant rate"
                            : "the CPUs' time stamp counters may change their rate: spinning lasts longer or shorter",
                   ""});
}

void check_membarrier(findings& all) {
    constexpr long needed = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    const long offered = ::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    if (offered >= 0 && (offered & needed) == needed) {
        all.push_back({"membarrier", verdict::ok, "is to be had: the data path needs no fences"});
    } else {
        all.push_back(
            {"membarrier", verdict::warn,
             "is refused: devices made here use fences instead, and devices made where it works cannot be opened",
             "let the seccomp filter allow membarrier(2)"});
    }
}

void check_userfaultfd(findings& all) {
    const os::unique_fd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    uffdio_api api{};
    api.api = UFFD_API;
    std::uint64_t wanted = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
#if defined(UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
    wanted |= UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
#endif
    if (!fd || ::ioctl(fd.get(), UFFDIO_API, &api) != 0 || (api.features & wanted) != wanted) {
        all.push_back({"userfaultfd", verdict::warn,
                       "is refused or older than Linux 5.19: memory whose adoption is asked for stays foreign",
                       "let the seccomp filter allow userfaultfd(2), or take memory from nic::allocate"});
        return;
    }
    all.push_back({"userfaultfd", verdict::ok, "memory can be adopted, where that is asked for"});
}

/// What a process meets that reads the memory of one that is not its child.  0 or errno.
int try_foreign_read() {
    const std::uint64_t word = 0x76696e6963;
    const pid_t me = ::getpid();
    const pid_t child = ::fork();
    if (child == 0) {
        std::uint64_t seen = 0;
        const int e = os::read_process(static_cast<std::uint32_t>(me), reinterpret_cast<std::uint64_t>(&word), &seen,
                                       sizeof seen);
        ::_exit(e != 0 ? e : seen == word ? 0 : EIO);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return ECHILD;
    }
    return WEXITSTATUS(status);
}

void check_foreign(findings& all) {
    const std::string scope = first_word("/proc/sys/kernel/yama/ptrace_scope");
    const std::string told = scope.empty() ? "" : " (kernel.yama.ptrace_scope is " + scope + ")";
    const int e = try_foreign_read();
    if (e == 0) {
        all.push_back({"foreign memory", verdict::ok, "processes of one user reach each other's memory" + told});
        return;
    }
    const bool yama = e == EPERM && !scope.empty() && scope != "0";
    all.push_back(
        {"foreign memory", verdict::warn,
         "one process may not reach another's memory: " + std::string(std::strerror(e)) + told,
         std::string(yama ? "sysctl kernel.yama.ptrace_scope=0" : "let the seccomp filter allow process_vm_readv(2)") +
             ", give CAP_SYS_PTRACE, or take memory from nic::allocate"});
}

void check_limits(findings& all) {
    rlimit locked{};
    rlimit files{};
    (void)::getrlimit(RLIMIT_MEMLOCK, &locked);
    (void)::getrlimit(RLIMIT_NOFILE, &files);
    all.push_back({"memlock", verdict::ok,
                   "the limit is " + (locked.rlim_cur == RLIM_INFINITY ? "unlimited" : size_in_words(locked.rlim_cur)) +
                       "; nothing is pinned, so any will do"});
    const bool few = files.rlim_cur != RLIM_INFINITY && files.rlim_cur < open_files_wanted;
    all.push_back({"open files", few ? verdict::warn : verdict::ok,
                   "the limit is " + (files.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(files.rlim_cur)),
                   few ? "each nic takes two, each completion queue with a descriptor another: ulimit -n 1024" : ""});
    const std::string mappings = first_word("/proc/sys/vm/max_map_count");
    if (!mappings.empty()) {
        const bool low = std::strtoull(mappings.c_str(), nullptr, 10) < mappings_wanted;
        all.push_back({"mappings", low ? verdict::warn : verdict::ok, mappings + " per process",
                       low ? "each adopted region takes one or two: sysctl vm.max_map_count=65530" : ""});
    }
}

}  // namespace

void check_machine(findings& all) {
    check_kernel(all);
    check_cpus(all);
    check_clock(all);
    check_membarrier(all);
    check_userfaultfd(all);
    check_foreign(all);
    check_limits(all);
}

}  // namespace vinic::cli

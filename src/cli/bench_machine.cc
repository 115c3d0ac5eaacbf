// SPDX-License-Identifier: Apache-2.0
//
// bench_machine.cc -- reads /proc, /sys and the scheduler's affinity; measures the tick.
#include "cli/bench_machine.hpp"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

#include "bench_commit.hpp"  // made by every build, see bench/commit.cmake
#include "cli/bench_clock.hpp"
#include "cli/bench_failure.hpp"
#include "vinic/vinic.hpp"

namespace vinic::cli::bench {
namespace {

/// First line of a small file of the kernel; empty when it cannot be read.
std::string first_line(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string or_unknown(std::string text) { return text.empty() ? "unknown" : text; }

std::string cpu_model() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const auto colon = line.find(':');
        if (line.starts_with("model name") && colon != std::string::npos) {
            return line.substr(std::min(colon + 2, line.size()));
        }
    }
    return "unknown";
}

std::filesystem::path cpu_directory(int core) { return "/sys/devices/system/cpu/cpu" + std::to_string(core); }

std::string governor(int core) {
    const std::string said = first_line(cpu_directory(core) / "cpufreq/scaling_governor");
    return said.empty() ? "not visible (no cpufreq)" : said;
}

std::string compiler() {
#if defined(__clang__)
    return std::string("clang ") + __clang_version__;
#else
    return std::string("g++ ") + __VERSION__;
#endif
}

/// A real-time policy keeps other programs off the two cores.
std::string scheduling() {
    switch (sched_getscheduler(0)) {
        case SCHED_OTHER:
            return "normal";
        case SCHED_FIFO:
            return "first in, first out (real time)";
        case SCHED_RR:
            return "round robin (real time)";
        default:
            return "other";
    }
}

std::string kernel() {
    utsname words{};
    if (uname(&words) != 0) {
        return "unknown";
    }
    return std::string(words.sysname) + " " + words.release + " " + words.machine;
}

std::string now_utc() {
    const std::time_t seconds = std::time(nullptr);
    std::tm parts{};
    std::array<char, 32> text{};
    if (gmtime_r(&seconds, &parts) == nullptr || std::strftime(text.data(), text.size(), "%FT%TZ", &parts) == 0) {
        return "unknown";
    }
    return text.data();
}

double seconds_between(const timespec& from, const timespec& to) {
    return static_cast<double>(to.tv_sec - from.tv_sec) + static_cast<double>(to.tv_nsec - from.tv_nsec) * 1e-9;
}

/// One reading of both clocks, as close together as they come: the tightest of several.
struct both_clocks {
    std::uint64_t tick = 0;
    timespec time{};
};
both_clocks read_both() {
    both_clocks best;
    std::uint64_t best_width = ~std::uint64_t{0};
    for (int attempt = 0; attempt < 32; ++attempt) {
        timespec time{};
        const std::uint64_t before = ticks();
        clock_gettime(CLOCK_MONOTONIC_RAW, &time);
        const std::uint64_t width = ticks() - before;
        if (width < best_width) {
            best_width = width;
            best = {before + width / 2, time};
        }
    }
    return best;
}

}  // namespace

std::vector<int> allowed_cores() {
    // Grown until the kernel's mask fits: machines may have more than the 1024 of cpu_set_t.
    for (int room = CPU_SETSIZE; room <= 1 << 20; room *= 2) {
        cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(room));
        if (set == nullptr) {
            throw failure("no memory for the affinity mask");
        }
        const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(room));
        const int outcome = sched_getaffinity(0, bytes, set);
        const int why = errno;
        std::vector<int> cores;
        for (int core = 0; outcome == 0 && core < room; ++core) {
            if (CPU_ISSET_S(static_cast<std::size_t>(core), bytes, set)) {
                cores.push_back(core);
            }
        }
        CPU_FREE(set);
        if (outcome == 0) {
            return cores;
        }
        if (why != EINVAL) {
            throw failure(std::string("sched_getaffinity: ") + std::strerror(why));
        }
    }
    throw failure("sched_getaffinity: the machine has more cores than this program can count");
}

core_pair choose_cores(const std::vector<int>& wanted) {
    const std::vector<int> allowed = allowed_cores();
    if (wanted.size() == 2) {
        for (const int core : wanted) {
            if (std::ranges::find(allowed, core) == allowed.end()) {
                throw failure("core " + std::to_string(core) + " is not among the cores this process may use");
            }
        }
        return {wanted[0], wanted[1]};
    }
    if (allowed.size() < 2) {
        throw failure(
            "a benchmark of two processes needs two cores and only one is allowed here; "
            "name it twice (--cores 0,0) to run all the same, slowly");
    }
    const auto siblings = [](int core) { return first_line(cpu_directory(core) / "topology/thread_siblings_list"); };
    const std::string first = siblings(allowed[0]);
    for (std::size_t i = 1; i < allowed.size(); ++i) {
        if (first.empty() || siblings(allowed[i]) != first) {
            return {allowed[0], allowed[i]};
        }
    }
    return {allowed[0], allowed[1]};
}

void pin_to(int core) {
    const auto room = static_cast<std::size_t>(std::max(core + 1, CPU_SETSIZE));
    cpu_set_t* set = CPU_ALLOC(room);
    if (set == nullptr) {
        throw failure("no memory for the affinity mask");
    }
    const std::size_t bytes = CPU_ALLOC_SIZE(room);
    CPU_ZERO_S(bytes, set);
    CPU_SET_S(static_cast<std::size_t>(core), bytes, set);
    const int outcome = sched_setaffinity(0, bytes, set);
    const int why = errno;
    CPU_FREE(set);
    if (outcome != 0) {
        throw failure("cannot run on core " + std::to_string(core) + ": " + std::strerror(why));
    }
}

double nanoseconds_per_tick() {
    // Two spans of 30 ms must agree within a thousandth; a virtual machine that was not running
    // for a moment spoils a span, so a few attempts are made and the last two are averaged.
    double before = 0;
    double now = 0;
    for (int attempt = 0; attempt < 10; ++attempt) {
        const both_clocks from = read_both();
        const timespec nap{.tv_sec = 0, .tv_nsec = 30'000'000};
        nanosleep(&nap, nullptr);
        const both_clocks to = read_both();
        before = now;
        now = seconds_between(from.time, to.time) * 1e9 / static_cast<double>(to.tick - from.tick);
        if (before > 0 && std::abs(before - now) < now * 1e-3) {
            break;
        }
    }
    return before > 0 ? (before + now) / 2 : now;
}

std::vector<field> environment(core_pair cores, double tick_ns) {
    const std::string huge = first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    return {
        {"vinic_version", std::string(version())},
        {"commit", VINIC_BENCH_COMMIT},
        {"compiler", compiler()},
        {"cpu", cpu_model()},
        {"cores", std::to_string(cores.initiator) + "," + std::to_string(cores.target)},
        {"cores_online", static_cast<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN))},
        {"governor", governor(cores.initiator)},
        {"scheduling", scheduling()},
        {"tick_mhz", 1e3 / tick_ns},
        {"kernel", kernel()},
        {"shmem_huge_pages", or_unknown(huge)},
        {"load_average", or_unknown(first_line("/proc/loadavg"))},
        {"time_utc", now_utc()},
    };
}

}  // namespace vinic::cli::bench

// SPDX-License-Identifier: Apache-2.0
//
// peer.hpp -- what the small programs that stand in for vinic's rivals have in common: cores,
// clock, percentiles and one JSON line per result.  No vinic in here.
//
//     PROGRAM PATH lat|stream SIZE SECONDS CORE_A CORE_B
//
// lat:    {"one_way_ns_p50": ...}        half of the median round trip
// stream: {"messages_per_second": ...}   one direction, until the receiver has said it has them all
#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace peer {

[[noreturn]] inline void give_up(const std::string& doing) {
    std::fprintf(stderr, "%s: %s\n", doing.c_str(), std::strerror(errno));
    _exit(1);
}

inline void pin_to(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(core), &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        give_up("pinning to a core");
    }
}

inline double now_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct request {
    std::string path;
    bool latency = true;
    std::size_t size_bytes = 8;
    double seconds = 0.3;
    int cores[2] = {0, 1};
};

inline request read_arguments(int count, char** words) {
    if (count != 7) {
        std::fprintf(stderr, "usage: %s PATH lat|stream SIZE SECONDS CORE_A CORE_B\n", words[0]);
        std::exit(2);
    }
    request asked;
    asked.path = words[1];
    asked.latency = std::string(words[2]) == "lat";
    asked.size_bytes = std::strtoull(words[3], nullptr, 0);
    asked.seconds = std::strtod(words[4], nullptr);
    asked.cores[0] = std::atoi(words[5]);
    asked.cores[1] = std::atoi(words[6]);
    if (asked.size_bytes == 0 || asked.seconds <= 0) {
        std::fprintf(stderr, "SIZE and SECONDS must be positive\n");
        std::exit(2);
    }
    return asked;
}

/// Memory that both processes see, for book-keeping only.
struct shared_words {
    alignas(128) std::atomic<std::uint64_t> ready[2]{};
    alignas(128) std::atomic<std::uint64_t> count{0};
    alignas(128) char names[2][256]{};
    alignas(128) std::atomic<std::uint64_t> phase[2]{};

    void meet(int me, std::uint64_t step) {
        phase[me].store(step, std::memory_order_release);
        while (phase[1 - me].load(std::memory_order_acquire) < step) {
            usleep(20);
        }
    }
};

inline shared_words* make_shared_words() {
    void* place = mmap(nullptr, sizeof(shared_words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) {
        give_up("mapping a shared page");
    }
    return new (place) shared_words;
}

/// How many rounds of `tried` that took `took_seconds` fit into the time asked for.
inline std::uint64_t fitting_count(const request& asked, std::uint64_t tried, double took_seconds) {
    const double each = std::max(took_seconds / static_cast<double>(tried), 1e-9);
    return static_cast<std::uint64_t>(std::clamp(asked.seconds / each, 64.0, 2e7));
}

inline void print_latency(std::vector<double>& round_trips_seconds) {
    std::sort(round_trips_seconds.begin(), round_trips_seconds.end());
    const auto at = [&](double share) {
        return round_trips_seconds[static_cast<std::size_t>(share *
                                                            static_cast<double>(round_trips_seconds.size() - 1))];
    };
    std::printf("{\"one_way_ns_p50\": %.1f, \"one_way_ns_p99\": %.1f, \"samples\": %zu}\n", at(0.5) * 0.5e9,
                at(0.99) * 0.5e9, round_trips_seconds.size());
}

inline void print_stream(std::uint64_t count, double seconds) {
    std::printf("{\"messages_per_second\": %.1f, \"samples\": %llu}\n", static_cast<double>(count) / seconds,
                static_cast<unsigned long long>(count));
}

/// The other process: ends with its parent.
template <class Work>
pid_t start_child(Work work) {
    std::fflush(nullptr);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) {
        give_up("fork");
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        work();
        _exit(0);
    }
    return child;
}

inline int wait_for_child(pid_t child) {
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : 1;
}

}  // namespace peer

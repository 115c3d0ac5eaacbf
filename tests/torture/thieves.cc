// SPDX-License-Identifier: Apache-2.0
//
// thieves.cc -- the processes that steal, one for each core.
#include "torture/thieves.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "torture/random.hpp"

namespace torture {

namespace {

using steady = std::chrono::steady_clock;

constexpr std::uint64_t burst_us_max = 120'000;
constexpr std::uint64_t pause_us_max = 800'000;
constexpr auto lifetime = std::chrono::hours(3);  ///< should nobody be left to end it

bool run_before_all_others() noexcept {
    const sched_param first{.sched_priority = 1};
    return ::sched_setscheduler(0, SCHED_FIFO, &first) == 0;
}

void steal_from(int core, random r) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(core), &one);
    multi::require(::sched_setaffinity(0, sizeof one, &one) == 0 && run_before_all_others(), "a thief may steal");
    for (const auto end = steady::now() + lifetime; steady::now() < end;) {
        std::this_thread::sleep_for(std::chrono::microseconds(r.below(pause_us_max)));
        // The least of three: short bursts are what a busy host gives, long ones happen.
        const std::uint64_t burst = std::min({r.below(burst_us_max), r.below(burst_us_max), r.below(burst_us_max)});
        for (const auto until = steady::now() + std::chrono::microseconds(burst); steady::now() < until;) {
        }
    }
}

}  // namespace

std::string why_not_to_steal() {
    multi::process tries(
        [](multi::channel& parent) { parent.say(run_before_all_others() ? "yes" : std::strerror(errno)); });
    const std::string why = tries.hear();
    return why == "yes" ? "" : "a real-time priority is refused (" + why + "): run as root, or raise `ulimit -r`";
}

thieves::thieves(std::uint64_t seed) {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    multi::require(::sched_getaffinity(0, sizeof mine, &mine) == 0, "the cores are known");
    for (int core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(static_cast<std::size_t>(core), &mine)) {
            all_.emplace_back(
                [core, r = random(seed + static_cast<std::uint64_t>(core))](multi::channel&) { steal_from(core, r); });
        }
    }
}

}  // namespace torture

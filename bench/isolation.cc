// SPDX-License-Identifier: Apache-2.0
//
// isolation.cc -- one tenant of the isolation matrix, victim or attacker; bench/isolation drives many of them.
//
//   bench_isolation victim V1 PATH NEAR FAR PROCESS     PATH: the socket of a vinicd, PROCESS: its process id;
//   bench_isolation attacker A1 PATH OWN PEER           the others: numbers of VFs
//
//   Says "ready" when it is set up, then obeys lines of its standard input:
//
//     run MS   victims: runs for that long, and answers one line of JSON
//     go       attackers: attacks until the input ends, then answers one line of JSON
//
//   An attacker keeps the device busy with deep queues, and sleeps when they are full.  Sharing a core is the kernel's
//   business, and the driver's; sharing the device is what is measured.
#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <thread>

#include "bench/isolation_attacks.hpp"
#include "bench/isolation_victims.hpp"
#include "os/sync.hpp"

namespace vinic::bench {
namespace {

constexpr auto attack_pause = std::chrono::microseconds(100);

void say(const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

std::string percentiles(std::vector<std::uint32_t> delays_ns) {
    std::ranges::sort(delays_ns);
    std::string text;
    for (const auto& [name, part] :
         {std::pair("p50", 0.5), std::pair("p90", 0.9), std::pair("p99", 0.99), std::pair("p999", 0.999)}) {
        const auto index = static_cast<std::size_t>(part * static_cast<double>(delays_ns.size()));
        const std::uint32_t value = delays_ns.empty() ? 0 : delays_ns[std::min(index, delays_ns.size() - 1)];
        text += std::string(", \"") + name + "_ns\": " + std::to_string(value);
    }
    return text;
}

std::string json_of(const victim_result& r) {
    std::string text = "{\"seconds\": " + std::to_string(r.seconds) +
                       ", \"device_seconds\": " + std::to_string(r.device_seconds) +
                       ", \"messages\": " + std::to_string(r.messages) + ", \"bytes\": " + std::to_string(r.bytes) +
                       ", \"errors\": " + std::to_string(r.errors) + ", \"corrupt\": " + std::to_string(r.corrupt) +
                       ", \"begun_ns\": " + std::to_string(r.begun_ns);
    if (!r.delays_ns.empty()) {
        text += percentiles(r.delays_ns);
    }
    text += ", \"longest_gap_us\": " + std::to_string(r.longest_gap_ns / 1000);
    if (!r.slots.empty()) {
        text += ", \"slots\": [";
        for (std::size_t i = 0; i < r.slots.size(); ++i) {
            text += (i == 0 ? "" : ", ") + std::to_string(r.slots[i]);
        }
        text += "]";
    }
    return text + "}";
}

int be_victim(const std::string& name, const std::string& path, const std::string& near, const std::string& far,
              const std::string& device_process) {
    const auto v = make_victim(name, "vinicd:" + path + "#vf" + near, "vinicd:" + path + "#vf" + far,
                               std::atoi(device_process.c_str()));
    say("ready");
    for (std::string word; std::cin >> word;) {
        std::uint64_t ms = 0;
        if (word != "run" || !(std::cin >> ms)) {
            std::fprintf(stderr, "bench_isolation: '%s' is no order: run MS is\n", word.c_str());
            return 2;
        }
        say(json_of(v->run(std::chrono::milliseconds(ms))));
    }
    return 0;
}

int be_attacker(const std::string& name, const std::string& path, std::uint32_t own, std::uint32_t peer) {
    const auto a = make_attack(name, path, own + 1, peer + 1);  // function 0 is the PF
    // It waits for its turn on the core, when its sleep is over, instead of interrupting a victim at its work.
    sched_param none{};
    (void)::sched_setscheduler(0, SCHED_BATCH, &none);
    say("ready");
    std::string word;
    if (!(std::cin >> word)) {
        return 0;
    }
    std::atomic<bool> over{false};
    std::thread listening([&] {
        while (std::cin >> word) {
        }
        over.store(true);
    });
    const std::uint64_t begun = os::now_ns();
    std::string trouble;
    try {
        while (!over.load(std::memory_order_relaxed)) {
            if (!a->step()) {
                std::this_thread::sleep_for(attack_pause);
            }
        }
    } catch (const std::exception& e) {
        trouble = e.what();
    }
    listening.join();
    say("{\"begun_ns\": " + std::to_string(begun) + ", \"operations\": " + std::to_string(a->operations()) +
        ", \"trouble\": \"" + trouble + "\"}");
    return 0;
}

}  // namespace
}  // namespace vinic::bench

int main(int argument_count, char** arguments) {
    using namespace vinic::bench;
    const std::vector<std::string> words(arguments + 1, arguments + argument_count);
    const bool victim = !words.empty() && words[0] == "victim";
    if (words.size() != (victim ? 6U : 5U) || (!victim && words[0] != "attacker")) {
        std::fprintf(stderr,
                     "usage: bench_isolation victim V1..V7 SOCKET VF VF PROCESS\n"
                     "       bench_isolation attacker A1..A21 SOCKET VF VF\n");
        return 2;
    }
    ::prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    try {
        if (victim) {
            return be_victim(words[1], words[2], words[3], words[4], words[5]);
        }
        return be_attacker(words[1], words[2], static_cast<std::uint32_t>(std::atoi(words[3].c_str())),
                           static_cast<std::uint32_t>(std::atoi(words[4].c_str())));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "bench_isolation: %s: %s\n", words[1].c_str(), e.what());
        return 1;
    }
}

// SPDX-License-Identifier: Apache-2.0
//
// scheduler.cc -- what a decision of the device's scheduler costs, without a device: nothing is moved, time is a
// counter.
#include "controller/scheduler.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/arguments.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_report.hpp"

namespace vinic::cli::bench {
namespace {

using controller::entitlement;
using controller::policy;
using controller::scheduler;
using controller::scheduler_options;
using controller::vi_name;

constexpr int turns = 21;
constexpr std::uint32_t decisions = 50'000;  // in a turn

/// Which functions have work while decisions are timed.
struct load {
    std::string name;
    policy order = policy::hclock;
    std::uint32_t vis = 1;           // with work, of each function
    bool guarantees = false;         // every second function has one, half of the device together
    bool caps = false;               // every function has one that it never reaches
    std::uint32_t bytes = 64 << 10;  // moved by a grant
};

scheduler filled(const load& l, std::uint32_t functions) {
    scheduler s({.queues = 1024, .order = l.order});
    const std::uint64_t rate = s.options().bytes_per_second;
    for (std::uint32_t f = 0; f < functions; ++f) {
        entitlement quality;
        quality.guarantee = l.guarantees && f % 2 == 0 ? rate / functions : 0;
        quality.cap = l.caps ? rate : 0;
        s.set_entitlement(f, quality, 0);
        for (std::uint32_t vi = 0; vi < l.vis; ++vi) {
            s.ready({f, vi}, 0);
        }
    }
    return s;
}

template <class Work>
double nanoseconds_each(std::uint32_t count, Work&& work) {
    std::vector<double> samples;
    for (int turn = 0; turn < turns; ++turn) {
        const auto begin = std::chrono::steady_clock::now();
        for (std::uint32_t i = 0; i < count; ++i) {
            work();
        }
        const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
        samples.push_back(taken.count() / count);
    }
    return median(samples);
}

/// next() and done() while everybody has more to do.
double time_decisions(const load& l, std::uint32_t functions) {
    scheduler s = filled(l, functions);
    std::uint64_t now = 0;
    const auto decide = [&] {
        const auto g = s.next(now);
        if (!g) {
            throw failure("the scheduler found nobody although all have work");
        }
        const std::uint64_t engine_ns = l.bytes / 8;
        now += engine_ns;
        s.done(*g, {.bytes = l.bytes, .descriptors = 1, .engine_ns = engine_ns, .more = true}, now);
    };
    for (std::uint32_t i = 0; i < decisions; ++i) {
        decide();  // past the beginning, in which all tags are equal
    }
    return nanoseconds_each(decisions, decide);
}

/// ready(), next() and done() of one VI while nobody else has anything: what a ping-pong pays.
double time_lone_vi(std::uint32_t functions) {
    scheduler s = filled({.name = "", .vis = 0}, functions);
    std::uint64_t now = 0;
    return nanoseconds_each(decisions, [&] {
        s.ready({functions - 1, 7}, now);
        const auto g = s.next(now);
        if (!g) {
            throw failure("the scheduler did not find the only VI");
        }
        now += 100;
        s.done(*g, {.bytes = 64, .descriptors = 1, .engine_ns = 20, .more = false}, now);
    });
}

void run_scheduler(const arguments& asked) {
    if (!asked.only.empty() && asked.only != "decisions") {
        throw failure("--only takes decisions");
    }
    reporter out("bench_scheduler", asked.json);
    const core_pair cores = choose_cores(asked.cores);
    pin_to(cores.initiator);
    out.environment(environment(cores, nanoseconds_per_tick()));
    const std::vector<std::uint64_t> counts =
        asked.counts.empty() ? std::vector<std::uint64_t>{1, 8, 64, 256} : asked.counts;
    const std::vector<load> loads = {
        {.name = "64 KiB leases"},
        {.name = "64 B leases", .bytes = 64},
        {.name = "16 VIs each", .vis = 16},
        {.name = "guarantees", .guarantees = true},
        {.name = "guarantees, caps", .guarantees = true, .caps = true},
        {.name = "turns of requests", .order = policy::request_round_robin},
        {.name = "order of arrival", .order = policy::fifo},
    };
    out.begin(
        {.key = "decisions",
         .title = "a decision, next() and done(); ns (lone VI: ready(), next() and done() of the only one with work)",
         .columns = {{"load", "load", 18, 0, true}, {"functions", "functions", 10, 0}, {"decision_ns", "ns", 8, 1}}});
    for (const std::uint64_t count : counts) {
        if (count < 1 || count > controller::functions_max) {
            throw failure("a scheduler has 1 to 257 functions");
        }
        const auto functions = static_cast<std::uint32_t>(count);
        out.add({std::string("lone VI"), static_cast<std::int64_t>(count), time_lone_vi(functions)});
        for (const load& l : loads) {
            out.add({l.name, static_cast<std::int64_t>(count), time_decisions(l, functions)});
        }
    }
    out.finish();
}

}  // namespace
}  // namespace vinic::cli::bench

int main(int count, char** words) {
    using namespace vinic::cli::bench;
    const arguments asked = read_arguments(count, words,
                                           "Cost of a decision of the device's scheduler.  --counts: how many "
                                           "functions, 1 to 257.  Nothing is opened or moved.");
    return guarded(words[0], [&] { run_scheduler(asked); });
}

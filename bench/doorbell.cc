// SPDX-License-Identifier: Apache-2.0
//
// doorbell.cc -- what a doorbell costs the ringer and the device, on one core: ring, idle pass, drain.
//
// The areas lie as in the windows of the isolated placement: at a stride of four pages, one window for each
// function.  For the row "not coloured" they are shifted so that every top word falls into the same set of the
// first-level cache: what the colours are for.
#include <sys/mman.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "bench/arguments.hpp"
#include "cli/bench_clock.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_report.hpp"
#include "controller/doorbells.hpp"

namespace vinic::cli::bench {
namespace {

using controller::doorbells;
using controller::rung;

constexpr int turns = 31;
constexpr std::uint32_t never_cold = ~std::uint32_t{0};

/// Memory with the areas of `functions` x `contexts`, and the device that looks at them.
class site {
public:
    site(std::uint32_t functions, std::uint32_t contexts, std::uint32_t vis, bool coloured = true)
        : functions_(functions), contexts_(contexts), vis_(vis), coloured_(coloured), bells_(never_cold) {
        bytes_ = (std::size_t{functions} * contexts + 1) * abi::context_bytes;
        void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) {
            throw failure("no memory for " + std::to_string(functions * contexts) + " doorbell areas");
        }
        memory_ = static_cast<std::byte*>(at);
        for (std::uint32_t f = 0; f < functions; ++f) {
            for (std::uint32_t c = 0; c < contexts; ++c) {
                bells_.add_context(f, c, area(f, c), vis);
            }
        }
    }
    site(const site&) = delete;
    site& operator=(const site&) = delete;
    ~site() { munmap(memory_, bytes_); }

    [[nodiscard]] std::byte* area(std::uint32_t function, std::uint32_t context) const {
        const std::size_t shift =
            coloured_ ? 0 : abi::page_size - abi::bell_top_offset(abi::doorbell_colour(function, context));
        return memory_ + (std::size_t{function} * contexts_ + context) * abi::context_bytes + shift;
    }
    void ring(std::uint32_t function, std::uint32_t context, std::uint32_t vi) const {
        if (abi::ring(area(function, context), abi::doorbell_colour(function, context), vi) == abi::rang::kick) {
            throw failure("a context that is polled asks for a kick");
        }
    }
    /// Rings for every VI once, so that all memory is there that ever will be.
    void touch() {
        for (std::uint32_t f = 0; f < functions_; ++f) {
            for (std::uint32_t c = 0; c < contexts_; ++c) {
                for (std::uint32_t vi = 0; vi < vis_; ++vi) {
                    ring(f, c, vi);
                }
            }
        }
        drain(std::uint64_t{functions_} * contexts_ * vis_);
    }
    void drain(std::uint64_t count) {
        while (count != 0) {
            const std::size_t found = bells_.poll(out_, static_cast<std::uint32_t>(out_.size()));
            if (found == 0 || found > count) {
                throw failure("the device finds another number of VIs than were rung");
            }
            count -= found;
        }
    }
    void idle_pass() {
        if (bells_.poll(out_, 64) != 0) {
            throw failure("an idle device found something");
        }
    }

private:
    std::uint32_t functions_;
    std::uint32_t contexts_;
    std::uint32_t vis_;
    bool coloured_;
    doorbells bells_;
    std::size_t bytes_ = 0;
    std::byte* memory_ = nullptr;
    std::vector<rung> out_ = std::vector<rung>(4096);
};

/// Median ticks of `work`, called `turns` times, each after `prepare`, divided by `count`.
template <class Prepare, class Work>
double ticks_each(std::uint64_t count, Prepare prepare, Work work) {
    std::vector<double> samples;
    for (int turn = 0; turn < turns; ++turn) {
        prepare();
        const std::uint64_t begin = ticks();
        work();
        samples.push_back(static_cast<double>(ticks() - begin) / static_cast<double>(count));
    }
    return median(samples);
}

// -- tables -------------------------------------------------------------------------------------

void report_ring(reporter& out, double tick_ns) {
    out.begin({.key = "ring",
               .title = "Ring, same core",
               .columns = {{.key = "sets", .heading = "words that it sets", .width = 32, .words = true},
                           {.key = "ring_ns", .heading = "ns"}}});
    constexpr std::uint32_t count = 64;
    site many(1, count, 64);
    many.touch();
    const auto one_each = [&] {
        for (std::uint32_t c = 0; c < count; ++c) {
            many.ring(0, c, 1);
        }
    };
    one_each();
    const double all = ticks_each(count, [&] { many.drain(count); }, one_each);
    many.drain(count);
    out.add({std::string("leaf, summary, top"), all * tick_ns});

    site one(1, 1, 64 * 64);
    one.touch();
    const auto other_leaves = [&] {
        for (std::uint32_t leaf = 1; leaf < 64; ++leaf) {
            one.ring(0, 0, leaf * 64);
        }
    };
    const auto first_leaf = [&] { one.ring(0, 0, 0); };
    first_leaf();
    other_leaves();
    const auto drained = [&] {
        one.drain(64);
        first_leaf();
    };
    out.add({std::string("leaf, summary"), ticks_each(63, drained, other_leaves) * tick_ns});
    one.drain(64);
    const auto one_leaf = [&] {
        for (std::uint32_t vi = 1; vi < 64; ++vi) {
            one.ring(0, 0, vi);
        }
    };
    first_leaf();
    one_leaf();
    out.add({std::string("leaf"), ticks_each(63, drained, one_leaf) * tick_ns});
    out.add({std::string("none: rung already"), ticks_each(63, [] {}, one_leaf) * tick_ns});
}

void report_idle(reporter& out, double tick_ns) {
    out.begin({.key = "idle",
               .title = "Idle pass",
               .columns = {{.key = "contexts", .heading = "hot contexts", .width = 12},
                           {.key = "functions", .heading = "of functions", .width = 14},
                           {.key = "vis", .heading = "VIs", .width = 10},
                           {.key = "coloured", .heading = "coloured", .width = 10, .words = true},
                           {.key = "pass_ns", .heading = "ns"},
                           {.key = "each_ns", .heading = "per context", .width = 12}}});
    constexpr std::uint64_t passes = 2000;
    const auto row = [&](std::uint32_t functions, std::uint32_t contexts, std::uint32_t vis, bool coloured) {
        site on(functions, contexts, std::clamp(vis / (functions * contexts), 1u, abi::vi_count), coloured);
        on.touch();
        const double pass = ticks_each(
            passes, [] {},
            [&] {
                for (std::uint64_t i = 0; i < passes; ++i) {
                    on.idle_pass();
                }
            });
        const std::uint32_t hot = functions * contexts;
        out.add({static_cast<std::int64_t>(hot), static_cast<std::int64_t>(functions),
                 static_cast<std::int64_t>(std::max(vis, hot)), std::string(coloured ? "yes" : "no"), pass * tick_ns,
                 pass * tick_ns / hot});
    };
    for (const std::uint32_t contexts : {1u, 16u, 64u}) {
        for (const std::uint32_t vis : {100u, 10'000u, contexts == 1 ? abi::vi_count : 100'000u}) {
            row(1, contexts, vis, true);
        }
    }
    row(1, 64, 100'000, false);
    row(256, 1, 100'000, true);
    row(256, 1, 100'000, false);
    row(256, 4, 100'000, true);
    row(256, 4, 100'000, false);
}

void report_drain(reporter& out, double tick_ns) {
    out.begin({.key = "drain",
               .title = "Drain: VIs anywhere among 65536 of one context, and among those of 16",
               .columns = {{.key = "active", .heading = "active VIs", .width = 12},
                           {.key = "each_ns", .heading = "ns per VI"},
                           {.key = "each_of_16_ns", .heading = "16 contexts", .width = 12}}});
    const auto cost = [&](std::uint32_t contexts, std::uint32_t active) {
        site on(1, contexts, abi::vi_count / contexts);
        on.touch();
        std::vector<std::uint32_t> vis(abi::vi_count);
        for (std::uint32_t i = 0; i < vis.size(); ++i) {
            vis[i] = i;
        }
        std::mt19937 random(1);
        const auto ring_some = [&] {
            for (std::uint32_t i = 0; i < active; ++i) {
                std::swap(vis[i], vis[i + random() % (vis.size() - i)]);
                on.ring(0, vis[i] % contexts, vis[i] / contexts);
            }
        };
        return ticks_each(active, ring_some, [&] { on.drain(active); }) * tick_ns;
    };
    for (const std::uint32_t active : {1u, 16u, 256u, 4096u}) {
        out.add({static_cast<std::int64_t>(active), cost(1, active), cost(16, active)});
    }
}

void run_doorbell(const arguments& asked) {
    if (!asked.only.empty() && asked.only != "ring" && asked.only != "idle" && asked.only != "drain") {
        throw failure("--only takes ring, idle or drain");
    }
    const auto wanted = [&](const char* key) { return asked.only.empty() || asked.only == key; };
    const core_pair cores = choose_cores(asked.cores);
    pin_to(cores.initiator);
    const double tick_ns = nanoseconds_per_tick();
    reporter out("bench_doorbell", asked.json);
    out.environment(environment(cores, tick_ns));
    if (wanted("ring")) {
        report_ring(out, tick_ns);
    }
    if (wanted("idle")) {
        report_idle(out, tick_ns);
    }
    if (wanted("drain")) {
        report_drain(out, tick_ns);
    }
    out.finish();
}

}  // namespace
}  // namespace vinic::cli::bench

int main(int count, char** words) {
    using namespace vinic::cli::bench;
    const arguments asked = read_arguments(count, words, "Cost of doorbells on one core.  --only ring, idle or drain.");
    return guarded(words[0], [&] { run_doorbell(asked); });
}

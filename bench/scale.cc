// SPDX-License-Identifier: Apache-2.0
//
// scale.cc -- what idle VIs cost the one that is active, and what they cost in memory.
//
// Two processes open two devices.  On the first one a single connected pair of VIs lives: the lone
// VI.  On the second the same, and beside it more and more connected pairs that do nothing but sit
// on the very completion queues of the active one.  Latency is taken from both in turn.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "bench/arguments.hpp"
#include "cli/bench_directory.hpp"
#include "cli/bench_endpoint.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_limits.hpp"
#include "cli/bench_loops.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_report.hpp"
#include "cli/bench_statistics.hpp"

namespace vinic::cli::bench {
namespace {

using namespace std::chrono_literals;

constexpr int turns = 15;
constexpr std::uint64_t round_trips = 20'000;
constexpr std::uint32_t queue_depth = 64;

/// The directory of the device files, so that their blocks can be counted without knowing what the library calls them.
class device_directory : public private_directory {
public:
    using private_directory::private_directory;
    /// Bytes that the files really take, whatever their length.
    [[nodiscard]] std::uint64_t bytes_used() const {
        std::uint64_t sum = 0;
        for (const auto& entry : std::filesystem::directory_iterator(path())) {
            struct stat facts{};
            if (stat(entry.path().c_str(), &facts) == 0) {
                sum += static_cast<std::uint64_t>(facts.st_blocks) * 512;
            }
        }
        return sum;
    }

private:
    std::string path_;
};

/// A figure in kB of a file of /proc/self, in bytes.
std::uint64_t own_kilobytes(const char* file, const std::string& heading) {
    std::ifstream lines(std::string("/proc/self/") + file);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(heading + ":")) {
            return std::stoull(line.substr(heading.size() + 1)) * 1024;
        }
    }
    throw failure(std::string("/proc/self/") + file + " says nothing of " + heading);
}

struct memory_use {
    std::uint64_t device = 0;       ///< blocks of the device files, both processes together
    std::uint64_t private_own = 0;  ///< this process' anonymous pages; not its pages of the device, which the
                                    ///< kernel calls private too as long as nobody else has touched them
    std::uint64_t page_tables = 0;  ///< this process'
};

memory_use measure_memory(const device_directory& directory) {
    return {directory.bytes_used(), own_kilobytes("smaps_rollup", "Anonymous"), own_kilobytes("status", "VmPTE")};
}

row small_sends() {
    row what;
    what.depth = queue_depth;
    return what;
}

/// The connected pairs that do nothing.  Both sides call grow together.
class idle_crowd {
public:
    idle_crowd(session& with, device_side& on, endpoint& active) : with_(with), on_(on), active_(active) {}
    void grow(std::size_t to) {
        vi_attributes attributes;
        attributes.send_cq = &active_.send_cq;
        attributes.receive_cq = &active_.receive_cq;
        attributes.send_depth = queue_depth;
        attributes.receive_depth = queue_depth;
        while (idle_.size() < to) {
            virtual_interface vi = take(on_.domain.create_vi(attributes));
            if (with_.initiator()) {
                (void)take(vi.connect(on_.address, 10s));
            } else {
                connection_request request = take(on_.listener.wait(30s));
                take(request.accept(vi));
            }
            idle_.push_back(std::move(vi));
        }
    }

private:
    session& with_;
    device_side& on_;
    endpoint& active_;
    std::deque<virtual_interface> idle_;
};

double median_ticks(endpoint& on) {
    std::vector<std::uint32_t> samples(on.with.initiator() ? round_trips : 0);
    run_latency(on, round_trips, samples);
    return summarise(samples).p50;
}

table latency_table() {
    return {.key = "latency",
            .title = "send of 8 B, one way, p50 in usec; lone = a device with one VI, in turn with the crowded one",
            .columns = {{"vis_open", "VIs open", 10, 0},
                        {"crowded_us", "crowded", 10, 3},
                        {"lone_us", "lone", 10, 3},
                        {"ratio_to_lone", "ratio", 8, 3},
                        {"handoff_us", "hand-off", 9, 3},
                        {"connect_us", "connect[us]", 12, 1}}};
}

table memory_table() {
    return {.key = "memory",
            .title = "bytes for each VI of one process, queues 64 deep",
            .columns = {{"vis_open", "VIs open", 10, 0},
                        {"bytes_per_vi", "all", 10, 0},
                        {"device_bytes_per_vi", "device", 10, 0},
                        {"private_bytes_per_vi", "private", 10, 0},
                        {"page_table_bytes_per_vi", "page tables", 12, 0}}};
}

struct growth_row {
    std::uint64_t vis = 0;
    memory_use before;
    memory_use after;
};

void measure_latency(endpoint& lone, endpoint& crowded, std::uint64_t vis, double connect_us, double tick_ns,
                     reporter* out) {
    std::vector<double> lone_ticks;
    std::vector<double> crowded_ticks;
    std::vector<double> ratios;
    for (int turn = 0; turn < turns; ++turn) {
        lone_ticks.push_back(median_ticks(lone));
        crowded_ticks.push_back(median_ticks(crowded));
        ratios.push_back(crowded_ticks.back() / lone_ticks.back());
    }
    const summary bare = hand_off(lone.with, 50'000);
    if (out != nullptr) {
        const double one_way_us = 0.5 * tick_ns / 1e3;
        out->add({static_cast<std::int64_t>(vis), median(crowded_ticks) * one_way_us, median(lone_ticks) * one_way_us,
                  median(ratios), bare.p50 * one_way_us, connect_us});
    }
}

void run_scale(const arguments& asked) {
    const std::vector<std::uint64_t> counts =
        asked.counts.empty() ? std::vector<std::uint64_t>{1, 1'000, 10'000} : asked.counts;
    const core_pair cores = choose_cores(asked.cores);
    const double tick_ns = nanoseconds_per_tick();
    const device_directory directory(asked.directory);
    const device_directory lone_directory(asked.directory);
    reporter out("bench_scale", asked.json);
    out.environment(environment(cores, tick_ns));
    out.begin(latency_table());
    std::vector<growth_row> grown;
    run_pair(cores, [&](session& with) {
        reporter* to = with.initiator() ? &out : nullptr;
        device_side lone_device(with, "shm:lone", lone_directory.path(), "scale");
        device_side device(with, "shm:crowded", directory.path(), "scale");
        endpoint lone(with, lone_device, small_sends());
        endpoint active(with, device, small_sends());
        idle_crowd crowd(with, device, active);
        const memory_use before = measure_memory(directory);
        std::uint64_t open = 1;
        for (const std::uint64_t vis : counts) {
            const auto begin = std::chrono::steady_clock::now();
            crowd.grow(vis == 0 ? 0 : vis - 1);
            const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
            with.meet();
            const double each_us = vis > open ? took.count() / static_cast<double>(vis - open) : 0;
            const memory_use after = measure_memory(directory);
            with.meet();
            open = std::max(open, vis);
            measure_latency(lone, active, open, each_us, tick_ns, to);
            grown.push_back({open, before, after});
        }
        with.meet();
    });
    out.begin(memory_table());
    for (const auto& [vis, before, after] : grown) {
        if (vis < 2) {
            continue;
        }
        const auto added = static_cast<double>(vis - 1);
        // The file holds both processes' VIs; what is private to a process holds its own.
        const double device = static_cast<double>(after.device - before.device) / added / 2;
        const double own = (static_cast<double>(after.private_own) - static_cast<double>(before.private_own)) / added;
        const double tables =
            (static_cast<double>(after.page_tables) - static_cast<double>(before.page_tables)) / added;
        out.add({static_cast<std::int64_t>(vis), device + own + tables, device, own, tables});
    }
    out.finish();
}

}  // namespace
}  // namespace vinic::cli::bench

int main(int count, char** words) {
    using namespace vinic::cli::bench;
    const arguments asked =
        read_arguments(count, words,
                       "Latency of one VI among many, and memory of an idle one.  --counts: how many "
                       "VIs are open (default 1,1000,10000).  --directory: where the devices lie.");
    return guarded(words[0], [&] { run_scale(asked); });
}

// SPDX-License-Identifier: Apache-2.0
//
// bench_run.cc -- from options to rows, from rows to a printed table.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/bench_directory.hpp"
#include "cli/bench_endpoint.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_limits.hpp"
#include "cli/bench_loops.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_options.hpp"
#include "cli/bench_pair.hpp"
#include "cli/bench_place.hpp"
#include "cli/bench_report.hpp"

namespace vinic::cli::bench {

namespace {

constexpr std::uint64_t footprint_bytes = 32u << 20;  // of all destinations in turn, by default
constexpr std::uint64_t iterations_max = 100'000'000;
constexpr std::uint32_t hand_off_rounds = 20'000;

row make_row(const options& wanted, operation what, std::uint64_t size_bytes, std::uint32_t repost) {
    const bool latency = wanted.what == measurement::latency;
    row made;
    made.what = what;
    made.size_bytes = static_cast<std::uint32_t>(size_bytes);
    made.depth = wanted.depth != 0 ? wanted.depth : latency ? 64 : 256;
    const std::uint64_t fewest = size_bytes > footprint_bytes ? 1 : 2;
    const auto fitting =
        static_cast<std::uint32_t>(std::clamp<std::uint64_t>(footprint_bytes / size_bytes, fewest, 256));
    made.buffers = wanted.buffers != 0 ? wanted.buffers : latency ? 1 : fitting;
    made.source_buffers = wanted.source_buffers != 0 ? wanted.source_buffers : made.buffers;
    if (!latency && (wanted.depth == 0 || wanted.buffers == 0)) {
        // Two messages in flight do not share a destination, unless both figures were asked for.
        made.depth = std::min(made.depth, made.buffers);
    }
    made.signal_every = wanted.signal_every != 0 ? wanted.signal_every : 64;
    made.signal_every = std::clamp<std::uint32_t>(made.signal_every, 1, std::max<std::uint32_t>(1, made.depth / 2));
    made.post_list = std::min(wanted.post_list, made.depth);
    made.repost = std::clamp<std::uint32_t>(repost, 1, std::max<std::uint32_t>(1, made.depth / 2));
    made.inline_bytes = wanted.inline_bytes;
    made.touch = wanted.touch;
    made.memory = wanted.memory;
    made.reliability = wanted.reliability;
    return made;
}

std::vector<row> make_rows(const options& wanted) {
    std::vector<row> rows;
    for (const operation what : wanted.operations) {
        for (const std::uint64_t size : wanted.sizes_bytes) {
            if (what == operation::atomic && size != 8) {
                continue;
            }
            const bool streams_sends = what == operation::send && wanted.what != measurement::latency;
            if (!streams_sends || wanted.reposts.empty()) {
                rows.push_back(make_row(wanted, what, size, 1));
                continue;
            }
            for (const std::uint32_t repost : wanted.reposts) {
                rows.push_back(make_row(wanted, what, size, repost));
            }
        }
    }
    if (rows.empty()) {
        throw failure("nothing to measure: atomics are 8 bytes long");
    }
    return rows;
}

/// How many operations fit into the wanted time, from a run of `tried` that took `tick_count`.
std::uint64_t fitting_count(const options& wanted, std::uint64_t tried, double tick_count, double tick_ns) {
    if (wanted.iterations) {
        return *wanted.iterations;
    }
    const double each_ns = std::max(1.0, tick_count * tick_ns / static_cast<double>(tried));
    const double fits = wanted.seconds * 1e9 / each_ns;
    return static_cast<std::uint64_t>(std::clamp(fits, 32.0, static_cast<double>(iterations_max)));
}

/// The initiator says how many; both get to know.
std::uint64_t agree(session& with, std::uint64_t count) {
    if (with.initiator()) {
        with.shared().count.value.store(count, std::memory_order_release);
    }
    with.meet();
    return with.shared().count.value.load(std::memory_order_acquire);
}

std::uint64_t warm_up_count(const row& what) {
    return std::clamp<std::uint64_t>((8u << 20) / what.size_bytes, 16, 2000);
}

// -- latency ------------------------------------------------------------------------------------

table latency_table() {
    return {.key = "results",
            .title = "one way = half the round trip for send and write, the whole operation for read and atomic; usec",
            .columns = {{"operation", "op", 6, 0, true},
                        {"size_bytes", "#bytes", 9, 0},
                        {"iterations", "#iterations", 11, 0},
                        {"min_us", "t_min", 9, 3},
                        {"max_us", "t_max", 9, 3},
                        {"typical_us", "t_typical", 9, 3},
                        {"average_us", "t_avg", 9, 3},
                        {"deviation_us", "t_stdev", 9, 3},
                        {"p50_us", "p50", 9, 3},
                        {"p99_us", "p99", 9, 3},
                        {"p999_us", "p99.9", 9, 3},
                        {"handoff_us", "hand-off", 9, 3},
                        {"ratio_to_handoff", "ratio", 8, 2},
                        {"inlined", "", 0, 0},
                        {"backing", "", 0, 0},
                        {"buffers", "", 0, 0},
                        {"touched", "", 0, 0}}};
}

void latency_row(session& with, device_side& on, const options& wanted, const row& what, double tick_ns,
                 reporter* out) {
    endpoint ends(with, on, what);
    // The bare limit before and after, since the machine may have changed in between.
    const summary before = hand_off(with, hand_off_rounds);
    const std::uint64_t tries = warm_up_count(what);
    std::vector<std::uint32_t> samples(with.initiator() ? tries : 0);
    run_latency(ends, tries, samples);
    run_latency(ends, tries, samples);
    const std::uint64_t fits =
        fitting_count(wanted, tries, summarise(samples).p50 * static_cast<double>(tries), tick_ns);
    const std::uint64_t count = agree(with, fits);
    if (with.initiator()) {
        samples.assign(count, 0);
    }
    run_latency(ends, count, samples);
    const summary after = hand_off(with, hand_off_rounds);
    if (with.initiator()) {
        const summary figures = summarise(samples).scaled((is_round_trip(what.what) ? 0.5 : 1.0) * tick_ns / 1e3);
        const double bare = (before.p50 + after.p50) / 2 * 0.5 * tick_ns / 1e3;
        out->add({std::string(name(what.what)), static_cast<std::int64_t>(what.size_bytes),
                  static_cast<std::int64_t>(figures.count), figures.min, figures.max, figures.p50, figures.average,
                  figures.deviation, figures.p50, figures.p99, figures.p999, bare, figures.p50 / bare,
                  std::string(what.inlined() ? "yes" : "no"), std::string(vinic::name(ends.sink_region.backing())),
                  static_cast<std::int64_t>(what.buffers), std::string(what.touch ? "yes" : "no")});
    }
    with.meet();
}

// -- bandwidth and rate -------------------------------------------------------------------------

table stream_table(measurement what) {
    const bool bandwidth = what == measurement::bandwidth;
    return {.key = "results",
            .title = bandwidth ? "one direction; memcpy = the same copies in a plain loop between the same mappings"
                               : "one direction; ns = time per message, percentiles over blocks of the stream",
            .columns = {{"operation", "op", 6, 0, true},
                        {"size_bytes", "#bytes", 9, 0},
                        {"iterations", "#iterations", 11, 0},
                        {"peak_mib_per_second", bandwidth ? "BW peak[MiB/s]" : "", 14, 2},
                        {"average_mib_per_second", bandwidth ? "BW average[MiB/s]" : "", 17, 2},
                        {"message_rate_mpps", "MsgRate[Mpps]", 13, 6},
                        {"message_rate_peak_mpps", bandwidth ? "" : "peak[Mpps]", 10, 3},
                        {"nanoseconds_per_message_p50", "p50[ns]", 9, 1},
                        {"nanoseconds_per_message_p99", "p99[ns]", 9, 1},
                        {"nanoseconds_per_message_p999", "p99.9[ns]", 9, 1},
                        {"memcpy_mib_per_second", bandwidth ? "memcpy[MiB/s]" : "", 13, 2},
                        {"ratio_to_memcpy", bandwidth ? "ratio" : "", 6, 2},
                        {"repost", "repost", 6, 0},
                        {"signal_every", bandwidth ? "" : "signal", 6, 0},
                        {"post_list", bandwidth ? "" : "list", 5, 0},
                        {"handoff_us", "", 0, 3},
                        {"buffers", "", 0, 0},
                        {"source_buffers", "", 0, 0},
                        {"depth", "", 0, 0},
                        {"inlined", "", 0, 0},
                        {"backing", "", 0, 0},
                        {"memcpy_between_same_pages", "", 0, 0}}};
}

/// The bytes that a plain loop copies between: this side's source and the very pages of the target's
/// sink if this process has them mapped, else its own sink.
struct copy_limit {
    std::span<std::byte> destination;
    std::span<const std::byte> source;
    bool same_pages = false;
    std::size_t stride = 0;

    explicit copy_limit(const endpoint& on) : source(on.source.bytes()), stride(on.stride) {
        const auto found = find_mapping(on.peer.sink_place, on.stride * on.what.buffers);
        same_pages = found.has_value();
        destination = same_pages ? *found : on.sink.bytes().first(on.stride * on.what.buffers);
        source = source.first(on.stride * on.what.source_buffers);
    }
    [[nodiscard]] double measure(std::size_t size_bytes, double tick_ns) const {
        return copy_bytes_per_second(destination, source, size_bytes, stride, 0.05, tick_ns);
    }
};

void print_stream(const endpoint& ends, const stream_figures& figures, std::uint64_t count, double copied,
                  double bare_us, bool same_pages, double tick_ns, reporter& out) {
    constexpr double mib = 1024.0 * 1024.0;
    const row& what = ends.what;
    std::vector<std::uint32_t> blocks = figures.block_ticks;
    const double per_message = tick_ns / static_cast<double>(figures.block_messages);
    const summary spread = summarise(blocks).scaled(per_message);
    const double seconds = static_cast<double>(figures.total_ticks) * tick_ns * 1e-9;
    const double rate = static_cast<double>(count) / seconds;
    const double peak = blocks.empty() ? rate : std::max(rate, 1e9 / spread.min);
    const double none = std::numeric_limits<double>::quiet_NaN();
    const auto size = static_cast<double>(what.size_bytes);
    const auto whole = [](std::uint64_t number) { return static_cast<std::int64_t>(number); };
    out.add({std::string(name(what.what)),
             whole(what.size_bytes),
             whole(count),
             peak * size / mib,
             rate * size / mib,
             rate / 1e6,
             peak / 1e6,
             blocks.empty() ? none : spread.p50,
             blocks.empty() ? none : spread.p99,
             blocks.empty() ? none : spread.p999,
             copied / mib,
             rate * size / copied,
             whole(what.repost),
             whole(what.signal_every),
             whole(what.post_list),
             bare_us,
             whole(what.buffers),
             whole(what.source_buffers),
             whole(what.depth),
             std::string(what.inlined() ? "yes" : "no"),
             std::string(vinic::name(ends.sink_region.backing())),
             std::string(same_pages ? "yes" : "no")});
}

void stream_row(session& with, device_side& on, const options& wanted, const row& what, double tick_ns, reporter* out) {
    endpoint ends(with, on, what);
    const summary bare = hand_off(with, hand_off_rounds);
    const std::uint64_t tries = warm_up_count(what);
    (void)run_stream(ends, tries);
    const std::uint64_t tick_count = run_stream(ends, tries).total_ticks;
    const std::uint64_t count = agree(with, fitting_count(wanted, tries, static_cast<double>(tick_count), tick_ns));
    // Bare copies before and after: the mean of both is what the machine gave at that time.  The
    // target sleeps meanwhile.
    const copy_limit limit(ends);
    const double before = with.initiator() ? limit.measure(what.size_bytes, tick_ns) : 0;
    with.meet();
    const stream_figures figures = run_stream(ends, count);
    if (with.initiator()) {
        const double after = limit.measure(what.size_bytes, tick_ns);
        print_stream(ends, figures, count, (before + after) / 2, bare.p50 * 0.5 * tick_ns / 1e3, limit.same_pages,
                     tick_ns, *out);
    }
    with.meet();
}

}  // namespace

void run(const options& wanted) {
    const std::vector<row> rows = make_rows(wanted);
    const core_pair cores = choose_cores(wanted.cores);
    const double tick_ns = nanoseconds_per_tick();
    const std::string unique = "vinic-bench-" + std::to_string(getpid());
    std::optional<private_directory> own;
    if (wanted.device.empty()) {
        own.emplace(wanted.directory);
    }
    const std::string device = own ? "shm:" + unique : wanted.device;
    const std::string directory = own ? own->path() : wanted.directory;
    const bool latency = wanted.what == measurement::latency;

    reporter out(std::string("bench ") + name(wanted.what), wanted.json);
    std::vector<field> block = environment(cores, tick_ns);
    block.push_back({"device", device});
    run_pair(cores, [&](session& with) {
        device_side on(with, device, directory, unique);
        reporter* to = with.initiator() ? &out : nullptr;
        if (to != nullptr) {
            to->environment(block);
            to->begin(latency ? latency_table() : stream_table(wanted.what));
        }
        for (const row& what : rows) {
            if (latency) {
                latency_row(with, on, wanted, what, tick_ns, to);
            } else {
                stream_row(with, on, wanted, what, tick_ns, to);
            }
        }
    });
    out.finish();
}

}  // namespace vinic::cli::bench

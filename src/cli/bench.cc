// SPDX-License-Identifier: Apache-2.0
//
// bench.cc -- the words that one types after `vinic bench`.  The only file of the benchmarks that
// includes CLI11.
#include "cli/bench.hpp"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "cli/bench_options.hpp"

namespace vinic::cli {
namespace {

using bench::measurement;
using bench::memory_kind;
using bench::operation;
using bench::options;

constexpr std::uint64_t size_bytes_max = 1u << 30;
constexpr std::uint64_t all_sizes_bytes_max = 16u << 20;

constexpr operation all_operations[] = {operation::send, operation::write, operation::read, operation::atomic};

/// What was typed, before it becomes bench::options.
struct typed {
    options wanted;
    std::vector<std::string> operations{"send"};
    std::string memory = "native";
    std::string reliability = "delivery";
    bool all_sizes = false;
    std::uint64_t iterations = 0;
};

void add_common(CLI::App& command, typed& words) {
    options& wanted = words.wanted;
    CLI::Option* size =
        command.add_option("-s,--size", wanted.sizes_bytes, "Message sizes: 8, 4K, 1M (comma-separated)")
            ->delimiter(',')
            ->transform(CLI::AsSizeValue(false))
            ->check(CLI::Range(std::uint64_t{1}, size_bytes_max));
    command.add_flag("-a,--all", words.all_sizes, "All powers of two from 1 B to 16 MiB")->excludes(size);
    command.add_option("-o,--operation", words.operations, "Operations (comma-separated), a row each")
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::IsMember({"send", "write", "read", "atomic"}));
    CLI::Option* iterations =
        command.add_option("-n,--iterations", words.iterations, "Iterations of each row, exactly")
            ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{100'000'000}));
    command.add_option("-D,--duration", wanted.seconds, "Seconds for each row, about")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 3600.0))
        ->excludes(iterations);
    command.add_option("--cores", wanted.cores, "Cores A,B of initiator and target (default: chosen)")
        ->delimiter(',')
        ->expected(2)
        ->check(CLI::NonNegativeNumber);
    command.add_option("--device", wanted.device, "shm:NAME, or vinicd:PATH#vf3 (default: shm, made for the run)");
    command.add_option("--directory", wanted.directory, "Directory of the device file (default: as the library)");
    command.add_option("--memory", words.memory, "What the buffers are made of")
        ->capture_default_str()
        ->check(CLI::IsMember({"native", "adopted", "foreign"}));
    command.add_option("--reliability", words.reliability, "Reliability level of the connection")
        ->capture_default_str()
        ->check(CLI::IsMember({"delivery", "reception"}));
    command.add_option("-t,--depth", wanted.depth, "Depth of the queues (default: lat 64, bw and rate 256)")
        ->check(CLI::Range(1, 32768));
    command.add_option("--buffers", wanted.buffers, "Destinations used in turn (default: lat 1, else up to 256)")
        ->check(CLI::Range(1, 65536));
    command.add_option("--source-buffers", wanted.source_buffers, "Sources used in turn (default: as --buffers)")
        ->check(CLI::Range(1, 65536));
    command.add_option("-Q,--signal-every", wanted.signal_every, "A completion for every Nth descriptor")
        ->check(CLI::Range(1, 16384));
    command.add_option("-I,--inline", wanted.inline_bytes, "Inline messages up to this many bytes")
        ->capture_default_str()
        ->check(CLI::Range(0, 1024));
    command.add_flag("--touch", wanted.touch,
                     "The receiver reads every cache line (lat: sends and writes; bw and rate: sends)");
    command.add_flag("-j,--json", wanted.json, "One JSON document instead of text");
}

void add_stream(CLI::App& command, options& wanted) {
    command.add_option("-l,--post-list", wanted.post_list, "Descriptors in one post call")
        ->capture_default_str()
        ->check(CLI::Range(1, 64));
    command
        .add_option("-r,--repost", wanted.reposts, "Receives given back in one post call; several: a row each (1,16)")
        ->delimiter(',')
        ->check(CLI::Range(1, 64));
}

void settle(typed& words, const CLI::App& command) {
    options& wanted = words.wanted;
    wanted.operations.clear();
    for (const std::string& word : words.operations) {
        for (const operation what : all_operations) {
            if (word == bench::name(what)) {
                wanted.operations.push_back(what);
            }
        }
    }
    wanted.memory = words.memory == "native"    ? memory_kind::native
                    : words.memory == "adopted" ? memory_kind::adopted
                                                : memory_kind::foreign;
    wanted.reliability = words.reliability == "reception" ? reliability::reception : reliability::delivery;
    if (command.count("--iterations") != 0) {
        wanted.iterations = words.iterations;
    }
    if (words.all_sizes) {
        wanted.sizes_bytes.clear();
        for (std::uint64_t size = 1; size <= all_sizes_bytes_max; size *= 2) {
            wanted.sizes_bytes.push_back(size);
        }
    } else if (wanted.sizes_bytes.empty()) {
        wanted.sizes_bytes = {wanted.what == measurement::bandwidth ? 65536u : 8u};
    }
    if (wanted.what == measurement::rate && wanted.reposts.empty()) {
        wanted.reposts = {1, 16};
    }
}

void add_command(CLI::App& group, measurement what, const char* sentence, int& exit_code) {
    CLI::App* command = group.add_subcommand(bench::name(what), sentence);
    const auto words = std::make_shared<typed>();
    words->wanted.what = what;
    add_common(*command, *words);
    if (what != measurement::latency) {
        add_stream(*command, words->wanted);
    }
    command->callback([command, words, &exit_code] {
        settle(*words, *command);
        try {
            bench::run(words->wanted);
            exit_code = 0;
        } catch (const std::exception& why) {
            std::fprintf(stderr, "vinic bench %s: %s\n", bench::name(words->wanted.what), why.what());
            exit_code = 1;
        }
    });
}

}  // namespace

void add_bench_commands(CLI::App& app, int& exit_code) {
    CLI::App* group = app.add_subcommand("bench", "Measure between two processes on two cores");
    group->require_subcommand(1);
    add_command(*group, measurement::latency, "Latency: half round trips, percentiles, and the bare hand-off",
                exit_code);
    add_command(*group, measurement::bandwidth, "Bandwidth of one direction, and bare memcpy", exit_code);
    add_command(*group, measurement::rate, "Messages per second of one direction", exit_code);
}

}  // namespace vinic::cli

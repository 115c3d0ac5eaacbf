// SPDX-License-Identifier: Apache-2.0
//
// bench_options.hpp -- what a benchmark run can be asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vinic/vinic.hpp"

namespace vinic::cli::bench {

enum class measurement { latency, bandwidth, rate };
enum class operation { send, write, read, atomic };

/// Which kind of memory the buffers are made of, see region::backing().
enum class memory_kind { native, adopted, foreign };

[[nodiscard]] const char* name(measurement what) noexcept;  ///< as typed: lat, bw, rate
[[nodiscard]] const char* name(operation what) noexcept;

/// Which cores the two processes run on.
struct core_pair {
    int initiator = 0;
    int target = 0;
};

struct options {
    measurement what = measurement::latency;
    std::vector<operation> operations{operation::send};
    std::vector<std::uint64_t> sizes_bytes;
    std::optional<std::uint64_t> iterations;  ///< else as many as fit in `seconds`
    double seconds = 0.2;                     ///< a row
    std::vector<int> cores;                   ///< empty: chosen; else initiator, target
    std::string device;                       ///< empty: one made for this run
    std::string directory;                    ///< empty: the library's default
    memory_kind memory = memory_kind::native;
    vinic::reliability reliability = vinic::reliability::delivery;
    std::uint32_t depth = 0;             ///< of both queues; 0: 64 for latency, 256 for streams
    std::uint32_t buffers = 0;           ///< destinations in turn; 0: 1 for latency, up to 256 (32 MiB) for streams
    std::uint32_t source_buffers = 0;    ///< sources in turn; 0: as `buffers`
    std::uint32_t signal_every = 0;      ///< a completion for every Nth descriptor; 0: half the depth, at most 64
    std::uint32_t post_list = 1;         ///< descriptors handed over in one post call (streams)
    std::vector<std::uint32_t> reposts;  ///< receives given back per post call (streams of sends); empty: 1
    std::uint32_t inline_bytes = 48;     ///< messages up to this length are posted inlined
    bool touch = false;  ///< the receiver reads every cache line that arrives (not of streams of writes)
    bool json = false;
};

/// One row of the result table: what one pair of queues is asked to do.
struct row {
    operation what = operation::send;
    std::uint32_t size_bytes = 8;
    std::uint32_t depth = 64;
    std::uint32_t buffers = 1;
    std::uint32_t source_buffers = 1;
    std::uint32_t signal_every = 32;
    std::uint32_t post_list = 1;
    std::uint32_t repost = 1;
    std::uint32_t inline_bytes = 48;
    bool touch = false;
    memory_kind memory = memory_kind::native;
    vinic::reliability reliability = vinic::reliability::delivery;

    [[nodiscard]] bool inlined() const noexcept {
        return what != operation::read && what != operation::atomic && size_bytes <= inline_bytes;
    }
};

/// Runs and prints.  Throws failure (bench_failure.hpp) when the run cannot be finished.
void run(const options& wanted);

}  // namespace vinic::cli::bench

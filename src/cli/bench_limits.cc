// SPDX-License-Identifier: Apache-2.0
//
// bench_limits.cc -- the two loops that no NIC in software can beat on this machine.
#include "cli/bench_limits.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cli/bench_clock.hpp"

namespace vinic::cli::bench {
namespace {

void wait_for(session& with, const std::atomic<std::uint64_t>& word, std::uint64_t wanted) {
    while (word.load(std::memory_order_acquire) != wanted) {
        relax();
        with.spin();
    }
}

}  // namespace

summary hand_off(session& with, std::uint32_t rounds) {
    std::atomic<std::uint64_t>& there = with.shared().hand[0].value;
    std::atomic<std::uint64_t>& back = with.shared().hand[1].value;
    std::vector<std::uint32_t> trips(rounds, 0);
    const std::uint64_t base = there.load(std::memory_order_acquire);
    with.meet();
    if (!with.initiator()) {
        for (std::uint64_t i = 1; i <= rounds; ++i) {
            wait_for(with, there, base + i);
            back.store(base + i, std::memory_order_release);
        }
        with.meet();
        return {};
    }
    std::uint64_t before = ticks();
    for (std::uint64_t i = 1; i <= rounds; ++i) {
        there.store(base + i, std::memory_order_release);
        wait_for(with, back, base + i);
        const std::uint64_t now = ticks();
        trips[i - 1] = static_cast<std::uint32_t>(now - before);
        before = now;
    }
    with.meet();
    return summarise(trips);
}

double copy_bytes_per_second(std::span<std::byte> destination, std::span<const std::byte> source,
                             std::size_t size_bytes, std::size_t stride, double seconds, double tick_ns) {
    const std::size_t count = std::max<std::size_t>(1, destination.size() / stride);
    const std::size_t source_count = std::max<std::size_t>(1, source.size() / stride);
    const auto copy = [&](std::size_t rounds, std::size_t first) {
        std::size_t to = first % count;
        std::size_t from = first % source_count;
        for (std::size_t i = 0; i < rounds; ++i) {
            std::memcpy(&destination[to * stride], &source[from * stride], size_bytes);
            keep_memory();
            to = to + 1 == count ? 0 : to + 1;
            from = from + 1 == source_count ? 0 : from + 1;
        }
    };
    copy(std::max(count, source_count), 0);
    const auto limit = static_cast<std::uint64_t>(seconds * 1e9 / tick_ns);
    const std::size_t batch = std::clamp<std::size_t>((1u << 20) / size_bytes, 1, 4096);
    std::size_t done = 0;
    const std::uint64_t begin = ticks();
    std::uint64_t end = begin;
    while (end - begin < limit) {
        copy(batch, done);
        done += batch;
        end = ticks();
    }
    return static_cast<double>(done) * static_cast<double>(size_bytes) /
           (static_cast<double>(end - begin) * tick_ns * 1e-9);
}

}  // namespace vinic::cli::bench

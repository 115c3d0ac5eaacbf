// SPDX-License-Identifier: Apache-2.0
//
// limits.cc -- what the bare machine does: the figures that vinic's goals are ratios to.
//
// Hand-off of a cache line, system call, futex wake-up across cores, process_vm_writev, memcpy.
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bench/arguments.hpp"
#include "cli/bench_clock.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_limits.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_pair.hpp"
#include "cli/bench_report.hpp"
#include "cli/bench_statistics.hpp"

namespace vinic::cli::bench {
namespace {

constexpr std::size_t page_bytes = 4096;

/// Private memory that is really there.
struct pages {
    std::span<std::byte> bytes;
    pages(std::size_t size, int sharing) {
        void* place = mmap(nullptr, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED) {
            throw failure(std::string("mmap: ") + std::strerror(errno));
        }
        bytes = {static_cast<std::byte*>(place), size};
    }
    pages(const pages&) = delete;
    pages& operator=(const pages&) = delete;
    ~pages() { munmap(bytes.data(), bytes.size()); }
    void touch() const { std::memset(bytes.data(), 1, bytes.size()); }
};

template <class Call>
summary time_calls(std::size_t count, Call call) {
    std::vector<std::uint32_t> samples(count, 0);
    std::uint64_t before = ticks();
    for (auto& sample : samples) {
        call();
        const std::uint64_t now = ticks();
        sample = static_cast<std::uint32_t>(now - before);
        before = now;
    }
    return summarise(samples);
}

void futex_sleep(std::atomic<std::uint32_t>& word, std::uint32_t while_it_is) {
    syscall(SYS_futex, &word, FUTEX_WAIT, while_it_is, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<std::uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

/// Both sides sleep in turn: a round trip is two wake-ups.
summary futex_round_trips(session& with, std::atomic<std::uint32_t>& word, std::uint32_t count) {
    // Even: the initiator's turn.
    const auto turn = [&](std::uint32_t mine) {
        for (std::uint32_t now = word.load(); now % 2 != mine; now = word.load()) {
            futex_sleep(word, now);
            with.spin();
        }
        word.fetch_add(1);
        futex_wake(word);
    };
    with.meet();
    if (!with.initiator()) {
        for (std::uint32_t i = 0; i < count; ++i) {
            turn(1);
        }
        with.meet();
        return {};
    }
    std::vector<std::uint32_t> samples(count, 0);
    for (auto& sample : samples) {
        const std::uint64_t before = ticks();
        turn(0);
        for (std::uint32_t now = word.load(); now % 2 != 0; now = word.load()) {
            futex_sleep(word, now);
            with.spin();
        }
        sample = static_cast<std::uint32_t>(ticks() - before);
    }
    with.meet();
    return summarise(samples);
}

void one(reporter& out, const char* what, std::size_t size_bytes, const summary& nanoseconds) {
    const double rate = static_cast<double>(size_bytes) / nanoseconds.p50 * 1e9 / 1048576.0;
    out.add({std::string(what), static_cast<std::int64_t>(size_bytes), nanoseconds.p50, nanoseconds.p99,
             nanoseconds.p999, size_bytes >= page_bytes ? value(rate) : value()});
}

/// Calls that the initiator makes alone while the target sleeps.
void measure_alone(session& with, reporter& out, double tick_ns, const pages& foreign) {
    one(out, "system call", 0, time_calls(200'000, [] { syscall(SYS_getppid); }).scaled(tick_ns));
    pages own(foreign.bytes.size(), MAP_SHARED);
    pages other(foreign.bytes.size(), MAP_SHARED);
    own.touch();
    other.touch();
    for (const std::size_t size : {std::size_t{8}, page_bytes, std::size_t{65536}, std::size_t{1} << 20}) {
        const iovec from{own.bytes.data(), size};
        const iovec to{foreign.bytes.data(), size};
        const auto call = [&] {
            const ssize_t done = process_vm_writev(with.other_process(), &from, 1, &to, 1, 0);
            if (done != static_cast<ssize_t>(size)) {
                throw failure(std::string("process_vm_writev: ") + std::strerror(done < 0 ? errno : EIO));
            }
        };
        one(out, "process_vm_writev", size, time_calls(size > 65536 ? 2'000 : 50'000, call).scaled(tick_ns));
    }
    for (const std::size_t size : {page_bytes, std::size_t{65536}, std::size_t{1} << 20}) {
        // Destinations in turn, as a stream of messages goes through its buffers.
        const std::size_t pieces = own.bytes.size() / size;
        std::size_t next = 0;
        const auto copy = [&] {
            std::memcpy(&other.bytes[next * size], &own.bytes[next * size], size);
            keep_memory();
            next = (next + 1) % pieces;
        };
        one(out, "memcpy, rotating", size, time_calls(size > 65536 ? 4'000 : 100'000, copy).scaled(tick_ns));
    }
}

table limits_table() {
    return {.key = "limits",
            .title = "times of one call or one way; ns",
            .columns = {{"what", "what", 20, 0, true},
                        {"size_bytes", "#bytes", 9, 0},
                        {"p50_ns", "p50", 11, 1},
                        {"p99_ns", "p99", 11, 1},
                        {"p999_ns", "p99.9", 11, 1},
                        {"mib_per_second", "MiB/s", 10, 0}}};
}

void run_limits(const arguments& asked) {
    const core_pair cores = choose_cores(asked.cores);
    const double tick_ns = nanoseconds_per_tick();
    // Mapped before the fork: both processes have private pages at this very address.
    const pages foreign(16u << 20, MAP_PRIVATE);
    pages word_page(page_bytes, MAP_SHARED);
    auto& word = *new (word_page.bytes.data()) std::atomic<std::uint32_t>(0);
    reporter out("bench_limits", asked.json);
    out.environment(environment(cores, tick_ns));
    out.begin(limits_table());
    run_pair(cores, [&](session& with) {
        const summary bare = hand_off(with, 500'000);
        const summary sleeping = futex_round_trips(with, word, 3'000);
        if (with.initiator()) {
            one(out, "cache-line hand-off", 0, bare.scaled(0.5 * tick_ns));
            one(out, "futex wake-up", 0, sleeping.scaled(0.5 * tick_ns));
        } else {
            foreign.touch();
        }
        with.meet();
        if (with.initiator()) {
            measure_alone(with, out, tick_ns, foreign);
        }
        with.meet();
    });
    out.finish();
}

}  // namespace
}  // namespace vinic::cli::bench

int main(int count, char** words) {
    using namespace vinic::cli::bench;
    const arguments asked =
        read_arguments(count, words, "What the bare machine does: the limits of every NIC in software.");
    return guarded(words[0], [&] { run_limits(asked); });
}

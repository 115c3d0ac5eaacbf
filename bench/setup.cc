// SPDX-License-Identifier: Apache-2.0
//
// setup.cc -- what is paid once: open, register, connect; and what foreign memory costs each time.
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "bench/arguments.hpp"
#include "cli/bench_clock.hpp"
#include "cli/bench_directory.hpp"
#include "cli/bench_endpoint.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_machine.hpp"
#include "cli/bench_report.hpp"
#include "cli/bench_statistics.hpp"

namespace vinic::cli::bench {
namespace {

using namespace std::chrono_literals;

constexpr int control_rounds = 200;

class stopwatch {
public:
    [[nodiscard]] double microseconds() const {
        return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin_).count();
    }

private:
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// -- objects ------------------------------------------------------------------------------------

/// Samples in microseconds of the steps of a life.
struct control_samples {
    std::vector<double> open_first, close_last, open_second, close_second, domain, cq, vi, connect, disconnect,
        vi_close;
};

void time_opening(session& with, const arguments& asked, const std::string& name, control_samples& into) {
    const open_options options{.directory = asked.directory, .group = {}};
    if (with.initiator()) {
        for (int i = 0; i < control_rounds; ++i) {
            stopwatch opening;
            std::optional<nic> first = take(nic::open("shm:" + name + "-alone", options));
            into.open_first.push_back(opening.microseconds());
            stopwatch closing;
            first.reset();
            into.close_last.push_back(closing.microseconds());
        }
    }
    with.meet();
}

/// The other process keeps the device open meanwhile.
void time_second_opening(const arguments& asked, const std::string& name, control_samples& into) {
    for (int i = 0; i < control_rounds; ++i) {
        stopwatch opening;
        std::optional<nic> second = take(nic::open("shm:" + name, {.directory = asked.directory, .group = {}}));
        into.open_second.push_back(opening.microseconds());
        stopwatch closing;
        second.reset();
        into.close_second.push_back(closing.microseconds());
    }
}

void time_objects(session& with, device_side& on, control_samples& into) {
    for (int i = 0; i < control_rounds; ++i) {
        with.meet();
        stopwatch domain_watch;
        vinic::domain domain = take(on.device.create_domain());
        into.domain.push_back(domain_watch.microseconds());
        stopwatch cq_watch;
        completion_queue cq = take(on.device.create_completion_queue());
        into.cq.push_back(cq_watch.microseconds());
        vi_attributes attributes;
        attributes.send_cq = &cq;
        attributes.receive_cq = &cq;
        stopwatch vi_watch;
        virtual_interface vi = take(domain.create_vi(attributes));
        into.vi.push_back(vi_watch.microseconds());
        with.meet();
        if (with.initiator()) {
            // The target waits for requests already: what is timed is asking, being accepted, and the
            // wake-up of both sides.
            stopwatch connect_watch;
            (void)take(vi.connect(on.address, 10s));
            into.connect.push_back(connect_watch.microseconds());
            stopwatch disconnect_watch;
            take(vi.disconnect());
            into.disconnect.push_back(disconnect_watch.microseconds());
        } else {
            connection_request request = take(on.listener.wait(10s));
            take(request.accept(vi));
        }
        with.meet();
        stopwatch close_watch;
        take(vi.close());
        into.vi_close.push_back(close_watch.microseconds());
    }
}

void report_control(session& with, device_side& on, const arguments& asked, const std::string& name, reporter* out) {
    control_samples samples;
    time_opening(with, asked, name, samples);
    if (with.initiator()) {
        time_second_opening(asked, name, samples);
    }
    time_objects(with, on, samples);
    if (out == nullptr) {
        return;
    }
    out->begin({.key = "control",
                .title = "objects, " + std::to_string(control_rounds) + " times each; usec",
                .columns = {{"what", "what", 44, 0, true}, {"p50_us", "p50", 10, 1}, {"max_us", "max", 10, 1}}});
    const auto line = [&](const char* what, const std::vector<double>& taken) {
        out->add({std::string(what), median(taken), *std::ranges::max_element(taken)});
    };
    line("open a device that nobody has (makes it)", samples.open_first);
    line("close it (removes it)", samples.close_last);
    line("open a device that is there", samples.open_second);
    line("close it", samples.close_second);
    line("create a domain", samples.domain);
    line("create a completion queue", samples.cq);
    line("create a VI, queues 64 deep", samples.vi);
    line("connect to a waiting listener", samples.connect);
    line("disconnect", samples.disconnect);
    line("close a VI", samples.vi_close);
}

// -- registration -------------------------------------------------------------------------------

struct registration {
    double obtain_us = 0;  ///< allocate() for native; mmap and first touch otherwise
    double register_us = 0;
    double deregister_us = 0;
    vinic::backing backing = vinic::backing::native;
};

registration time_registration(device_side& on, memory_kind kind, std::size_t bytes) {
    registration taken;
    stopwatch obtaining;
    const work_memory memory(on.device, kind, bytes);
    taken.obtain_us = obtaining.microseconds();
    // Written to, so that adopting has real pages to move.
    std::memset(memory.bytes().data(), 0x5a, memory.bytes().size());
    stopwatch registering;
    region made =
        take(on.domain.register_memory(memory.bytes(), access::local_write | access::remote_write | access::remote_read,
                                       {kind == memory_kind::adopted ? vinic::adopt::safe : vinic::adopt::no}));
    taken.register_us = registering.microseconds();
    taken.backing = made.backing();
    stopwatch deregistering;
    take(made.close());
    taken.deregister_us = deregistering.microseconds();
    for (std::size_t at = 0; at < bytes; at += 4096) {
        if (memory.bytes()[at] != std::byte{0x5a}) {
            throw failure("registering and deregistering did not keep the contents");
        }
    }
    return taken;
}

void report_registration(device_side& on, const arguments& asked, reporter& out) {
    const std::vector<std::uint64_t> sizes =
        asked.counts.empty() ? std::vector<std::uint64_t>{4096, 64u << 20, 1u << 30} : asked.counts;
    out.begin({.key = "registration",
               .title = "registration; usec (native: obtained by nic::allocate, the rest by mmap and a first touch)",
               .columns = {{"backing", "backing", 8, 0, true},
                           {"size_bytes", "#bytes", 11, 0},
                           {"obtain_us", "obtain", 12, 1},
                           {"register_us", "register", 12, 1},
                           {"deregister_us", "deregister", 12, 1},
                           {"register_mib_per_second", "register[MiB/s]", 15, 0}}});
    for (const memory_kind kind : {memory_kind::native, memory_kind::adopted, memory_kind::foreign}) {
        for (const std::uint64_t bytes : sizes) {
            const int rounds = bytes > (256u << 20) ? 3 : bytes > (1u << 20) ? 5 : 201;
            std::vector<double> obtain, enter, leave;
            vinic::backing seen = backing::native;
            for (int i = 0; i < rounds; ++i) {
                const registration taken = time_registration(on, kind, bytes);
                obtain.push_back(taken.obtain_us);
                enter.push_back(taken.register_us);
                leave.push_back(taken.deregister_us);
                seen = taken.backing;
            }
            const double register_us = median(enter);
            out.add({std::string(vinic::name(seen)), static_cast<std::int64_t>(bytes), median(obtain), register_us,
                     median(leave), static_cast<double>(bytes) / 1048576.0 / (register_us * 1e-6)});
        }
    }
}

/// What a region costs when there are many already: each step times the last of so many.
void report_many(device_side& on, reporter& out) {
    out.begin({.key = "many",
               .title = "4 KiB regions one after the other, the last tenth of so many; usec each",
               .columns = {{"backing", "backing", 8, 0, true},
                           {"regions", "#regions", 9, 0},
                           {"obtain_us", "obtain", 10, 2},
                           {"register_us", "register", 10, 2},
                           {"deregister_us", "deregister", 10, 2}}});
    constexpr std::size_t page = 4096;
    for (const memory_kind kind : {memory_kind::native, memory_kind::foreign}) {
        for (const std::size_t count : {100u, 1'000u, 10'000u, 100'000u}) {
            const std::size_t tenth = count / 10;
            std::vector<buffer> buffers;
            std::vector<region> regions;
            const work_memory memory(on.device, memory_kind::foreign, count * page);
            double obtain_us = 0;
            double register_us = 0;
            for (std::size_t i = 0; i < count; ++i) {
                const bool counts = i >= count - tenth;
                stopwatch obtaining;
                if (kind == memory_kind::native) {
                    buffers.push_back(take(on.device.allocate(page)));
                }
                obtain_us += counts ? obtaining.microseconds() : 0;
                const auto bytes =
                    kind == memory_kind::native ? buffers.back().bytes() : memory.bytes().subspan(i * page, page);
                stopwatch registering;
                regions.push_back(take(on.domain.register_memory(bytes, access::local_write)));
                register_us += counts ? registering.microseconds() : 0;
            }
            stopwatch deregistering;
            for (std::size_t i = 0; i < tenth; ++i) {
                take(regions[i].close());
            }
            const double each = static_cast<double>(tenth);
            out.add({std::string(vinic::name(regions.back().backing())), static_cast<std::int64_t>(count),
                     obtain_us / each, register_us / each, deregistering.microseconds() / each});
        }
    }
}

// -- foreign memory -----------------------------------------------------------------------------

double ticks_of_vinic(endpoint& on, bool writes, std::size_t count) {
    std::vector<std::uint32_t> samples(count, 0);
    std::uint64_t before = ticks();
    for (auto& sample : samples) {
        const send_flag flags = on.next_flags(true);
        expect_ok("posting", writes
                                 ? on.vi.post_write(on.source_segment(0), on.peer_sink(0), on.window.cookie(), flags)
                                 : on.vi.post_read(on.sink_segment(0), on.peer_source(0), on.window.cookie(), flags));
        on.retire_all();
        const std::uint64_t now = ticks();
        sample = static_cast<std::uint32_t>(now - before);
        before = now;
    }
    return summarise(samples).p50;
}

double ticks_of_kernel(const endpoint& on, bool writes, std::size_t count) {
    std::vector<std::uint32_t> samples(count, 0);
    const std::size_t bytes = on.what.size_bytes;
    const std::uint64_t there = writes ? on.peer_sink(0).address : on.peer_source(0).address;
    const iovec own{writes ? on.source_piece(0).data() : on.sink_piece(0).data(), bytes};
    const iovec other{reinterpret_cast<void*>(there), bytes};
    const int process = on.with.other_process();
    std::uint64_t before = ticks();
    for (auto& sample : samples) {
        const ssize_t done = writes ? process_vm_writev(process, &own, 1, &other, 1, 0)
                                    : process_vm_readv(process, &own, 1, &other, 1, 0);
        if (done != static_cast<ssize_t>(bytes)) {
            throw failure(std::string("process_vm_writev or readv: ") + std::strerror(done < 0 ? errno : EIO));
        }
        const std::uint64_t now = ticks();
        sample = static_cast<std::uint32_t>(now - before);
        before = now;
    }
    return summarise(samples).p50;
}

void report_foreign(session& with, device_side& on, double tick_ns, reporter* out) {
    if (out != nullptr) {
        out->begin(
            {.key = "foreign",
             .title = "foreign memory: vinic (post until completion) and the bare system call in turn, p50; usec",
             .columns = {{"operation", "op", 6, 0, true},
                         {"size_bytes", "#bytes", 9, 0},
                         {"vinic_us", "vinic", 10, 3},
                         {"bare_us", "bare call", 10, 3},
                         {"ratio", "ratio", 8, 3}}});
    }
    for (const bool writes : {true, false}) {
        for (const std::uint32_t bytes : {8u, 4096u, 65536u, 1u << 20}) {
            row what;
            what.what = writes ? operation::write : operation::read;
            what.size_bytes = bytes;
            what.memory = memory_kind::foreign;
            endpoint ends(with, on, what);
            if (out != nullptr) {
                const std::size_t count = bytes > 65536 ? 200 : 5'000;
                std::vector<double> ours, bare, ratios;
                for (int turn = 0; turn < 11; ++turn) {
                    ours.push_back(ticks_of_vinic(ends, writes, count));
                    bare.push_back(ticks_of_kernel(ends, writes, count));
                    ratios.push_back(ours.back() / bare.back());
                }
                out->add({std::string(name(what.what)), static_cast<std::int64_t>(bytes), median(ours) * tick_ns / 1e3,
                          median(bare) * tick_ns / 1e3, median(ratios)});
            }
            with.meet();
            if (with.initiator() != writes) {
                ends.check_contents(1, false);
            }
            with.meet();
        }
    }
}

void run_setup(const arguments& given) {
    if (!given.only.empty() && given.only != "control" && given.only != "registration" && given.only != "many" &&
        given.only != "foreign") {
        throw failure("--only takes control, registration, many or foreign");
    }
    const auto wanted = [&](const char* key) { return given.only.empty() || given.only == key; };
    const core_pair cores = choose_cores(given.cores);
    const double tick_ns = nanoseconds_per_tick();
    const std::string name = "setup";
    const private_directory place(given.directory);
    arguments asked = given;
    asked.directory = place.path();
    reporter out("bench_setup", given.json);
    out.environment(environment(cores, tick_ns));
    run_pair(cores, [&](session& with) {
        reporter* to = with.initiator() ? &out : nullptr;
        device_side on(with, "shm:" + name, asked.directory, name);
        if (wanted("control")) {
            report_control(with, on, asked, name, to);
        }
        with.meet();
        if (wanted("registration") && to != nullptr) {
            report_registration(on, asked, *to);
        }
        with.meet();
        if (wanted("many") && to != nullptr) {
            report_many(on, *to);
        }
        with.meet();
        if (wanted("foreign")) {
            report_foreign(with, on, tick_ns, to);
        }
        with.meet();
    });
    out.finish();
}

}  // namespace
}  // namespace vinic::cli::bench

int main(int count, char** words) {
    using namespace vinic::cli::bench;
    const arguments asked = read_arguments(count, words,
                                           "Cost of objects, of registration and of foreign memory.  --only control, "
                                           "registration, many or foreign.  --counts: sizes to register, in bytes.");
    return guarded(words[0], [&] { run_setup(asked); });
}

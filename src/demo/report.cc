// SPDX-License-Identifier: Apache-2.0
//
// report.cc -- see report.h.
#include "report.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "bypass.h"

namespace demo {

namespace {

std::string duration(std::chrono::nanoseconds time) {
    const auto ns = static_cast<double>(time.count());
    if (ns < 1e6) {
        return fmt::format("{:.2f} us", ns / 1e3);
    }
    return ns < 1e9 ? fmt::format("{:.2f} ms", ns / 1e6) : fmt::format("{:.2f} s", ns / 1e9);
}

std::string rate(std::uint64_t bytes, std::chrono::nanoseconds time) {
    return fmt::format("{:.2f} GB/s", static_cast<double>(bytes) / static_cast<double>(time.count()));
}

std::chrono::nanoseconds median(const std::vector<transfer>& transfers) {
    std::vector<std::chrono::nanoseconds> times;
    std::ranges::transform(transfers, std::back_inserter(times), &transfer::time);
    std::ranges::sort(times);
    return times[times.size() / 2];
}

std::string calls(const std::optional<syscall_counts>& counts) {
    return counts ? std::to_string(total(*counts)) : std::string("not counted");
}

std::string verified(const column& c) {
    std::size_t good = c.sender_calls && c.traced.verified ? 1 : 0;
    good += static_cast<std::size_t>(std::ranges::count(c.transfers, true, &transfer::verified));
    const std::size_t all = c.transfers.size() + (c.sender_calls ? 1 : 0);
    return fmt::format("{} of {}", good, all);
}

std::string or_none(const std::string& words) { return words.empty() ? "none" : words; }

void row(const figures& f, const char* name, const std::function<std::string(const column&)>& cell) {
    fmt::print("  {:<34}", name);
    for (const auto& c : f.columns) {
        fmt::print("{:>16}", cell(c));
    }
    fmt::print("\n");
}

void print_head(const figures& f) {
    fmt::print("vinic: one file, two processes, one device\n\n");
    fmt::print("  file       {} ({} bytes)\n", f.file, f.file_bytes);
    fmt::print("  SHA-256    {}\n", f.sha256);
    fmt::print("  sender     process {} on processor {}, {} buffer\n", f.sender, f.processors.second, f.sender_backing);
    fmt::print("  receiver   process {} on processor {}, {} buffer\n", f.receiver, f.processors.first,
               f.receiver_backing);
    fmt::print("  device     {} in {}\n", f.device, f.directory);
    fmt::print("  machine    {}\n\n", processor_name());
}

void print_table(const figures& f) {
    row(f, "", [](const column& c) { return c.title; });
    row(f, "time, first transfer", [](const column& c) { return duration(c.transfers.front().time); });
    row(f, "time, median", [](const column& c) { return duration(median(c.transfers)); });
    row(f, "throughput, median", [&](const column& c) { return rate(f.file_bytes, median(c.transfers)); });
    row(f, "copies made of each byte",
        [](const column& c) { return fmt::format("{:.2f}", c.transfers.back().copies); });
    row(f, "system calls, sender", [](const column& c) { return calls(c.sender_calls); });
    row(f, "system calls, receiver", [](const column& c) { return calls(c.receiver_calls); });
    row(f, "8 B one way, polling, p50", [](const column& c) { return c.polling ? duration(c.polling->p50) : "-"; });
    row(f, "8 B one way, polling, p99", [](const column& c) { return c.polling ? duration(c.polling->p99) : "-"; });
    row(f, "8 B one way, sleeping, p50", [](const column& c) { return duration(c.sleeping.p50); });
    row(f, "8 B one way, sleeping, p99", [](const column& c) { return duration(c.sleeping.p99); });
    row(f, "transfers verified by SHA-256", verified);
}

void print_bypass(const figures& f) {
    fmt::print(
        "\n  Application bypass: the receiver was stopped (SIGSTOP); state {} before and {} after, {} ticks of\n"
        "  processor time used in between. Meanwhile, in {}, a write and a read of 1 MiB, a fetch-add,\n"
        "  a compare-swap and {} sends completed at the sender. Continued, the receiver found all of it in place.\n",
        f.bypass.before.state, f.bypass.after.state, f.bypass.after.ticks - f.bypass.before.ticks,
        duration(f.bypass.time), bypass_sends);
}

void print_method(const figures& f) {
    fmt::print(
        "\n  How: time runs from the sender's first call to the last byte in the receiver's buffer, by one clock;\n"
        "  the buffer is cleared before each transfer. Copies: bytes of the engine's completions plus bytes of\n"
        "  read and write calls (/proc/self/io), both processes, by the file's size. One way is half a round trip.\n");
    if (f.count_refusal.empty()) {
        const auto& vinic = f.columns.front();
        fmt::print(
            "  System calls were counted with ptrace during one more transfer. Vinic's: sender {}, receiver {}.\n",
            or_none(in_words(*vinic.sender_calls)), or_none(in_words(*vinic.receiver_calls)));
    } else {
        fmt::print("  System calls could not be counted here ({}).\n", f.count_refusal);
    }
    if (!f.processors.distinct()) {
        fmt::print("  There is one processor only: the programs take turns on it and nothing can be polled.\n");
    }
    fmt::print("\nAll verified; both processes have ended and the device is gone.\n");
}

}  // namespace

void print(const figures& f) {
    print_head(f);
    print_table(f);
    print_bypass(f);
    print_method(f);
}

}  // namespace demo

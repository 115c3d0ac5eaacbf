// SPDX-License-Identifier: Apache-2.0
//
// show.cc -- see show.h.
#include "show.h"

#include <unistd.h>

#include <algorithm>

#include "bypass.h"
#include "failure.h"
#include "program.h"
#include "sha256.h"
#include "vinic/vinic.hpp"

namespace demo {

namespace {

constexpr std::uint64_t bytes_per_kind = 256u << 20;  // repeats small files more often than huge ones
constexpr std::uint64_t transfers_min = 3;
constexpr std::uint64_t transfers_max = 7;
constexpr std::uint64_t device_overhead_bytes = 32u << 20;  // room for the device's tables and scratch buffers

std::uint64_t number(const std::string& word) { return std::stoull(word); }

std::chrono::nanoseconds nanoseconds_of(const std::string& word) { return std::chrono::nanoseconds(std::stoll(word)); }

class director {
public:
    director(program& sender, program& receiver, const figures& known)
        : sender_(sender), receiver_(receiver), known_(known) {}

    void fill(column& c) {
        if (c.kind != "vinic") {
            const auto where = receiver_.ask("listen " + c.kind, "at").at(0);
            sender_.ask("connect " + c.kind + " " + where, "connected");
            receiver_.expect("connected");
        }
        const auto count = std::clamp(bytes_per_kind / known_.file_bytes, transfers_min, transfers_max);
        for (std::uint64_t i = 0; i < count; ++i) {
            c.transfers.push_back(transfer_once(c.kind));
        }
        if (known_.processors.distinct()) {
            c.polling = measure_latency(c.kind, "polling", 50'000);
        }
        c.sleeping = measure_latency(c.kind, "sleeping", 10'000);
    }

    /// Counts the system calls of one more transfer.  A reason when the system does not let us.
    std::string count_calls(column& c) {
        syscall_counter counter({sender_.process_id(), receiver_.process_id()});
        if (!counter.refusal().empty()) {
            return counter.refusal();
        }
        c.traced = transfer_once(c.kind);
        const auto calls = counter.finish();
        c.sender_calls = calls.at(0);
        c.receiver_calls = calls.at(1);
        return {};
    }

    bypass_figures bypass() {
        bypass_figures seen;
        receiver_.ask("prepare_bypass", "ready");
        receiver_.stop();
        seen.before = observe_process(receiver_.process_id());
        seen.time = nanoseconds_of(sender_.ask("run_bypass", "done").at(0));
        seen.after = observe_process(receiver_.process_id());
        receiver_.go_on();
        if (seen.before.state != 'T' || seen.after.state != 'T' || seen.before.ticks != seen.after.ticks) {
            throw failure("the receiver was not stopped all the time");
        }
        receiver_.ask("confirm_bypass", "done");
        return seen;
    }

private:
    transfer transfer_once(const std::string& kind) {
        transfer t;
        receiver_.ask("file " + kind, "ready");
        const auto sent = sender_.ask("file " + kind, "sent");
        const auto received = receiver_.expect("received");
        t.time = nanoseconds_of(received.at(0)) - nanoseconds_of(sent.at(0));
        const auto copied = number(received.at(1)) + number(sent.at(1)) + number(sent.at(2));
        t.copies = static_cast<double>(copied) / static_cast<double>(known_.file_bytes);
        t.verified = receiver_.ask("hash", "hash").at(0) == known_.sha256;
        if (!t.verified) {
            throw failure("the file that came over " + kind + " has another SHA-256 than " + known_.file);
        }
        return t;
    }

    latency measure_latency(const std::string& kind, const std::string& how, int count) {
        const std::string what = kind + " " + how + " " + std::to_string(count);
        receiver_.ask("echo " + what, "ready");
        const auto measured = sender_.ask("ping " + what, "one_way");
        receiver_.expect("done");
        return {nanoseconds_of(measured.at(0)), nanoseconds_of(measured.at(1))};
    }

    program& sender_;
    program& receiver_;
    const figures& known_;
};

}  // namespace

figures show(const std::string& file) {
    figures f;
    f.file = file;
    f.file_bytes = file_size(file);
    f.sha256 = sha256_of_file(file);
    f.processors = choose_processors();
    const private_directory place(choose_device_directory(2 * f.file_bytes + device_overhead_bytes));
    f.directory = place.path();
    f.device = "shm:run";

    role_options options{.role = "receiver",
                         .device = f.device,
                         .directory = f.directory,
                         .file = file,
                         .file_bytes = f.file_bytes,
                         .processor = f.processors.first,
                         .polling = f.processors.distinct()};
    program receiver(options);
    f.receiver = receiver.process_id();
    f.receiver_backing = receiver.expect("listening").at(0);
    options.role = "sender";
    options.processor = f.processors.second;
    program sender(options);
    f.sender = sender.process_id();
    f.sender_backing = sender.expect("connected").at(0);
    receiver.expect("connected");

    f.columns = {{.kind = "vinic", .title = "vinic"},
                 {.kind = "unix", .title = "Unix socket"},
                 {.kind = "tcp", .title = "TCP loopback"}};
    director direct(sender, receiver, f);
    for (auto& column : f.columns) {
        direct.fill(column);
    }
    for (auto& column : f.columns) {
        f.count_refusal = direct.count_calls(column);
        if (!f.count_refusal.empty()) {
            break;
        }
    }
    f.bypass = direct.bypass();
    sender.finish();
    receiver.finish();
    f.device_removed = place.is_empty();
    if (!f.device_removed) {
        throw failure("the device's file is still there although both programs have ended");
    }
    return f;
}

}  // namespace demo

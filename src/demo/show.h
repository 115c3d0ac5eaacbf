// SPDX-License-Identifier: Apache-2.0
//
// show.h -- the demonstration itself: what is run, in which order, and the figures that come of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine.h"
#include "syscall_counter.h"

namespace demo {

/// One transfer of the whole file.
struct transfer {
    std::chrono::nanoseconds time{};  ///< from the sender's start to the last byte in the receiver's buffer
    double copies = 0;                ///< bytes that the engine and the kernel copied, per byte of the file
    bool verified = false;            ///< the receiver's buffer has the file's SHA-256
};

struct latency {
    std::chrono::nanoseconds p50{};
    std::chrono::nanoseconds p99{};
};

/// Everything measured on one kind of path.
struct column {
    std::string kind;   ///< as the programs' commands call it
    std::string title;  ///< as the table calls it
    std::vector<transfer> transfers{};
    transfer traced{};  ///< one more transfer, while system calls are counted
    std::optional<syscall_counts> sender_calls{};
    std::optional<syscall_counts> receiver_calls{};
    std::optional<latency> polling{};  ///< needs two processors
    latency sleeping{};
};

struct bypass_figures {
    std::chrono::nanoseconds time{};
    process_state before;  ///< of the stopped receiver
    process_state after;
};

struct figures {
    std::string file;
    std::uint64_t file_bytes = 0;
    std::string sha256;
    std::string device;
    std::string directory;
    processor_pair processors;
    int sender = 0;
    int receiver = 0;
    std::string sender_backing;
    std::string receiver_backing;
    std::vector<column> columns;
    std::string count_refusal;  ///< why system calls could not be counted
    bypass_figures bypass;
    bool device_removed = false;
};

/// Runs everything.  Fails on whatever is not as it must be, but for figures, which are only told.
figures show(const std::string& file);

}  // namespace demo

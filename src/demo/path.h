// SPDX-License-Identifier: Apache-2.0
//
// path.h -- one way for bytes between the demonstration's two programs, and what is measured on it.
//
// vinic, a Unix socket and TCP loopback each implement this; so the same file, the same buffers,
// the same clocks and the same loops are behind every column of the table.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace demo {

using clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC: one clock for all processes of a machine

/// Nobody waits longer than this for a single step; the demonstration fails instead.
inline constexpr std::chrono::seconds patience{60};

/// The two programs start within this time.
inline constexpr std::chrono::seconds meeting_patience{15};

class path {
public:
    path() = default;
    path(const path&) = delete;
    path& operator=(const path&) = delete;
    virtual ~path() = default;

    /// Receiver, before the sender is told to start.
    virtual void expect_file() = 0;
    /// Receiver: returns when the whole file is in its buffer.
    virtual void receive_file() = 0;
    /// Sender: returns when its buffer may be reused.
    virtual void send_file() = 0;
    /// Bytes that the user-level engine copied for the last send_file, besides what the kernel did.
    [[nodiscard]] virtual std::uint64_t bytes_by_engine() const = 0;

    /// 8 bytes there and back, `count` times.  The sender's side returns each round trip.
    virtual std::vector<std::chrono::nanoseconds> ping(std::size_t count) = 0;
    virtual void echo(std::size_t count) = 0;
};

}  // namespace demo

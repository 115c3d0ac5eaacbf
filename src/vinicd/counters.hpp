// SPDX-License-Identifier: Apache-2.0
//
// counters.hpp -- a function's counters by name: what `vinic function show`, `vinic top` and Prometheus are told.
#pragma once

#include <cstdint>
#include <span>

#include "controller/device.hpp"

namespace vinic::vinicd {

struct counter {
    const char* name;  ///< direction, detail, unit
    const char* help;  ///< one sentence without its point
    std::uint64_t (*read)(const controller::function_counters&);
};

[[nodiscard]] std::span<const counter> counters();

/// What the program counts besides the device.
struct house_counters {
    std::uint64_t connections = 0;          ///< now
    std::uint64_t clients = 0;              ///< now, that entered a context
    std::uint64_t monitors = 0;             ///< now
    std::uint64_t accepted = 0;             ///< connections, ever
    std::uint64_t malformed_packets = 0;    ///< answered by closing the connection
    std::uint64_t refused_attachments = 0;  ///< no right, no such function, other version, switched off
    std::uint64_t limits_reached = 0;       ///< connections refused because there were too many
    std::uint64_t displaced = 0;            ///< connections that gave their place to a newer one
    std::uint64_t requests = 0;             ///< of the administration
    std::uint64_t refused_requests = 0;     ///< of these: answered with an error
    std::uint64_t lost_events = 0;          ///< never told to a monitor, which was too slow
};

}  // namespace vinic::vinicd

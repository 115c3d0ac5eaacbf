// SPDX-License-Identifier: Apache-2.0
//
// isolation_victims.hpp -- the seven who mind their own business.  Honest programs: they know vinic.hpp alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace vinic::bench {

/// What a victim got in one stretch of time.
struct victim_result {
    double seconds = 0;
    double device_seconds = 0;  ///< of these, so many the device ran: the kernel gave it a core
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    std::uint64_t errors = 0;              ///< completions that are not a success
    std::uint64_t corrupt = 0;             ///< bytes that are not the victim's own
    std::vector<std::uint32_t> delays_ns;  ///< V1: post to polled at the other end
    std::uint64_t longest_gap_ns = 0;      ///< between looks that found something finished
    std::uint64_t begun_ns = 0;            ///< CLOCK_MONOTONIC
    std::vector<std::uint32_t> slots;      ///< the others: messages in each 500 us since
};

class victim {
public:
    victim() = default;
    victim(const victim&) = delete;
    victim& operator=(const victim&) = delete;
    virtual ~victim() = default;
    virtual victim_result run(std::chrono::nanoseconds time) = 0;
};

/// `name`: "V1" to "V7"; both ends live in this process, on two devices (addresses as for nic::open) of the vinicd
/// with that process id.  Throws.
[[nodiscard]] std::unique_ptr<victim> make_victim(const std::string& name, const std::string& near,
                                                  const std::string& far, int device_process);

}  // namespace vinic::bench

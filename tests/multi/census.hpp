// SPDX-License-Identifier: Apache-2.0
//
// census.hpp -- what a device holds, as an inspector sees it: who owns how many entries of which table.
//
// Leaks show here: after a death everything that the dead process owned must be gone, whatever it was doing.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vinic/vinic.hpp>

#include "tables/memory.hpp"

namespace multi {

struct census {
    std::uint32_t processes = 0;
    std::uint32_t domains = 0;
    std::uint32_t regions = 0;
    std::uint32_t cqs = 0;
    std::uint32_t vis = 0;
    std::uint32_t names = 0;
    std::uint32_t requests = 0;
    std::uint32_t chunks = 0;
    std::uint32_t miscounted = 0;    ///< tables whose own count of used entries is wrong
    std::uint32_t lock = 0;          ///< the control plane's lock word
    std::uint32_t lock_breaks = 0;   ///< how often a dead holder's lock was broken
    std::uint64_t deaths = 0;        ///< processes that were found dead
    std::uint64_t blocks = 0;        ///< of 512 bytes, as stat(2) counts
    std::uint64_t stray_blocks = 0;  ///< storage inside chunks that nobody owns
    census& operator+=(const census& o);
    [[nodiscard]] bool same_entries(const census& o) const;
};
std::ostream& operator<<(std::ostream& out, const census& c);

/// The memory of the device at this address, to be looked at.
[[nodiscard]] vinic::result<std::unique_ptr<vinic::tables::memory>> inspect(const std::string& address,
                                                                            const vinic::open_options& options = {});
/// Counts what is in it.
[[nodiscard]] vinic::result<census> take_census_at(const std::string& address, const vinic::open_options& options = {});
/// Likewise in the device `shm:NAME` of this directory.
[[nodiscard]] vinic::result<census> take_census(const std::string& directory, std::string_view name);

}  // namespace multi

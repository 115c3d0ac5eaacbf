// SPDX-License-Identifier: Apache-2.0
//
// thieves.hpp -- a host that takes the cores away: one process per core that runs before all others, at random.
//
//     everybody else   ########|.....|###|..........|#######|..|####
//     thief                     spins     spins              spins
//
// What goes wrong when a thread is put aside between two loads hardly ever goes wrong on a quiet machine.
#pragma once

#include <string>
#include <vector>

#include "multi/process.hpp"

namespace torture {

/// Why this process may not have thieves: they need a real-time priority.  Empty if it may.
[[nodiscard]] std::string why_not_to_steal();

/// Steals from construction to destruction: bursts of up to 120 ms, most of them short, after pauses of up to 800 ms.
class thieves {
public:
    explicit thieves(std::uint64_t seed);

private:
    std::vector<multi::process> all_;  ///< killed by their destructors
};

}  // namespace torture

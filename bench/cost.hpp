// SPDX-License-Identifier: Apache-2.0
//
// cost.hpp -- what the parts of bench_cost share.
//
//   prepared, whatever N is  -->  vinic_cost_counted { the loop, N times }  -->  looked at, taken down
//                                 only this is counted: bench/cost gives valgrind its name
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vinic/vinic.hpp>

namespace vinic::cli::bench {

constexpr std::uint32_t depth = 32'768;         ///< of every queue
constexpr std::uint32_t messages_max = 16'384;  ///< most that are posted ahead, and the largest N

/// Runs a loop; the only symbol that bench/cost knows.
extern "C" void vinic_cost_counted(const std::function<void()>& loop);

// -- cost_lease.cc --------------------------------------------------------------------------------

/// Messages of one VI, executed by an engine of the isolated placement.
struct lease_loop {
    std::string_view name;
    opcode what;
    std::uint32_t bytes;
};

constexpr lease_loop lease_loops[] = {
    {"lease_8", opcode::send, 8},
    {"lease_4096", opcode::send, 4096},
    {"lease_write_4096", opcode::write, 4096},
};

/// Throws failure.
void run_lease_loop(const lease_loop& chosen, std::uint32_t count);

}  // namespace vinic::cli::bench

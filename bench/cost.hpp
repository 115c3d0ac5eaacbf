// SPDX-License-Identifier: Apache-2.0
//
// cost.hpp -- what the parts of bench_cost share.
//
//   prepared, whatever N is  -->  vinic_cost_counted { the loop, N times }  -->  looked at, taken down
//                                 only this is counted: bench/cost gives valgrind its name
#pragma once

#include <cstdint>
#include <functional>

namespace vinic::cli::bench {

constexpr std::uint32_t depth = 32'768;         ///< of every queue
constexpr std::uint32_t messages_max = 16'384;  ///< most that are posted ahead, and the largest N

/// Runs a loop; the only symbol that bench/cost knows.
extern "C" void vinic_cost_counted(const std::function<void()>& loop);

}  // namespace vinic::cli::bench

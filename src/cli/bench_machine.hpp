// SPDX-License-Identifier: Apache-2.0
//
// bench_machine.hpp -- which machine a figure comes from: cores, clock, environment block.
#pragma once

#include <string>
#include <vector>

#include "cli/bench_options.hpp"
#include "cli/bench_report.hpp"

namespace vinic::cli::bench {

/// Cores that this process may run on, as sched_getaffinity says.
[[nodiscard]] std::vector<int> allowed_cores();

/// `wanted` (two numbers) when given; else the first two allowed cores that are not threads of one
/// physical core, if there are such.  Throws failure when fewer than two cores are allowed.
[[nodiscard]] core_pair choose_cores(const std::vector<int>& wanted);

/// Binds the calling thread.  Throws failure.
void pin_to(int core);

/// Length of a tick of bench_clock.hpp, measured against the kernel's clock.
[[nodiscard]] double nanoseconds_per_tick();

/// CPU, cores, governor, kernel, compiler, commit, clock: what a reader needs to judge a figure.
[[nodiscard]] std::vector<field> environment(core_pair cores, double tick_ns);

}  // namespace vinic::cli::bench

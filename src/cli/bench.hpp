// SPDX-License-Identifier: Apache-2.0
//
// bench.hpp -- the door to `vinic bench lat|bw|rate`.
//
// The measuring code behind it, in reading order: bench_options.hpp (what can be asked),
// bench_run.cc (one table a run), bench_pair.hpp (the two processes), bench_endpoint.hpp (their
// NIC), bench_latency.cc and bench_stream.cc (the timed loops), bench_limits.hpp (what the bare
// machine does in the same run).
#pragma once

namespace CLI {
class App;
}

namespace vinic::cli {

/// Adds `bench` with its commands to `app`.  A command that ran leaves 0 or 1 in `exit_code`.
void add_bench_commands(CLI::App& app, int& exit_code);

}  // namespace vinic::cli

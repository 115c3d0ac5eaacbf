// SPDX-License-Identifier: Apache-2.0
//
// arguments.hpp -- options that the measuring programs of this directory share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/bench_options.hpp"

namespace vinic::cli::bench {

struct arguments {
    std::vector<int> cores;             ///< --cores A,B
    std::string directory;              ///< --directory DIR, for the device file
    std::vector<std::uint64_t> counts;  ///< --counts 1,1000: what is counted is the program's matter
    std::string only;                   ///< --only TABLE
    bool json = false;                  ///< --json, -j
};

/// Reads the command line.  Ends the program with 2 on a usage error and with 0 after --help.
[[nodiscard]] arguments read_arguments(int count, char** words, const std::string& about);

/// Runs `work`; a failure is printed and becomes exit code 1.
[[nodiscard]] int guarded(const char* program, const std::function<void()>& work);

/// The middle value of the samples (of an even number, the upper one of the two).
[[nodiscard]] double median(std::vector<double> samples);

}  // namespace vinic::cli::bench

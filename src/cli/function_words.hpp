// SPDX-License-Identifier: Apache-2.0
//
// function_words.hpp -- the door to `vinic function show|set|reset`, `vinic top` and `vinic monitor`.
#pragma once

#include "cli/function_show.hpp"

namespace CLI {
class App;
}

namespace vinic::cli {

/// Adds them to `app`.  A command that ran leaves 0, 1 or 2 in `exit_code`; `complain` says why on standard error.
void add_function_commands(CLI::App& app, int& exit_code, printer print,
                           std::function<int(const std::string&, int)> complain);

}  // namespace vinic::cli

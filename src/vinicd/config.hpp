// SPDX-License-Identifier: Apache-2.0
//
// config.hpp -- the configuration file and the command line of vinicd.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vinicd/options.hpp"

namespace vinic::vinicd {

/// Puts what a file says into `o`.  Problems come as "FILE:LINE: what is wrong, and what to write instead", all of
/// them; `o` is whole only without any.  Whether the values fit together is contradictions()'s to say.
[[nodiscard]] std::vector<std::string> read_config(const std::string& path, options& o);
/// The same for text that is already here; `name` stands for the file.
[[nodiscard]] std::vector<std::string> read_config(std::string_view text, const std::string& name, options& o);

/// What main does with the words of the command line.
struct command_line {
    options wanted;
    std::string config;         ///< path, may be empty
    bool check_config = false;  ///< only say whether all is well
    /// What was typed, in the order of settings(), to be put over a file that is read again.
    std::vector<std::pair<const setting*, std::string>> typed;
};

/// Words that end the program: help, the version, or what was not understood.
struct last_words {
    int exit_code = 0;
    std::string text;
};

/// Reads the command line and the file that it names.
[[nodiscard]] std::expected<command_line, last_words> read_command_line(int argc, const char* const* argv);

/// The file again with the command line over it; problems as read_config.
[[nodiscard]] std::vector<std::string> read_again(const command_line& line, options& o);

}  // namespace vinic::vinicd

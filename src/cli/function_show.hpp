// SPDX-License-Identifier: Apache-2.0
//
// function_show.hpp -- `vinic function`, `vinic top` and `vinic monitor`: what they do, without the words.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/function_client.hpp"
#include "cli/show.hpp"

namespace vinic::cli {

struct function_options {
    std::string device = vinicd_address_default;  ///< vinicd:PATH
    std::string function;                         ///< "vf3", or empty: all
    bool json = false;
    bool details = false;
};

struct function_set_options : function_options {
    std::vector<std::pair<std::string, std::string>> settings;  ///< key of the request and what was typed
};

/// What is written to a function's configuration space.
struct register_write {
    std::uint32_t offset = 0;
    std::uint32_t width = 4;
    std::uint32_t value = 0;
};
/// "0x4.w=0x6": OFFSET[.b|.w|.l]=VALUE, as setpci has it; nothing if it is none.
[[nodiscard]] std::optional<register_write> parse_register_write(std::string_view typed);

struct function_config_options : function_options {
    std::vector<register_write> writes;
};

struct watch_options : function_options {
    bool batch = false;       ///< lines instead of a screen
    std::uint64_t count = 0;  ///< stop after so many; 0: never
    double interval_seconds = 1;
};

using printer = std::function<void(const std::string&)>;

[[nodiscard]] answer<std::string> show_functions(const function_options& o);
/// Sets, and shows what is in force then.
[[nodiscard]] answer<std::string> set_function(const function_set_options& o);
[[nodiscard]] answer<std::string> reset_function(const function_options& o);
/// Writes, and shows the configuration space after that.
[[nodiscard]] answer<std::string> configure_function(const function_config_options& o);
/// VFs come and go one at a time.
[[nodiscard]] answer<std::string> add_vf(const function_options& o);
[[nodiscard]] answer<std::string> remove_vf(const function_options& o);
/// Functions and what they move per second, until `count`, a key or a signal.
[[nodiscard]] answer<void> watch_functions(const watch_options& o, const printer& print);
/// Events as they come.
[[nodiscard]] answer<void> monitor_functions(const watch_options& o, const printer& print);

/// `vinic device show vinicd:PATH`.
[[nodiscard]] result<std::string> show_vinicd(const show_options& o);

}  // namespace vinic::cli

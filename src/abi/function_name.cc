// SPDX-License-Identifier: Apache-2.0
//
// function_name.cc -- functions' names to numbers, and back.
#include "abi/function_name.hpp"

#include <charconv>

#include "abi/window.hpp"

namespace vinic::abi {

std::string function_name(std::uint32_t number) { return number == 0 ? "pf" : "vf" + std::to_string(number - 1); }

std::optional<std::uint32_t> function_number(std::string_view name) noexcept {
    if (name == "pf") {
        return 0;
    }
    std::uint32_t n = 0;
    if (!name.starts_with("vf") || name.size() < 3 || (name.size() > 3 && name[2] == '0')) {
        return std::nullopt;
    }
    const auto [end, e] = std::from_chars(name.data() + 2, name.data() + name.size(), n);
    if (e != std::errc() || end != name.data() + name.size() || n >= function_count_max - 1) {
        return std::nullopt;
    }
    return n + 1;
}

}  // namespace vinic::abi

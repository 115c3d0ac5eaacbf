// SPDX-License-Identifier: Apache-2.0
//
// function_name.hpp -- what functions are called: "pf", and "vf0" for function 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vinic::abi {

[[nodiscard]] std::string function_name(std::uint32_t number);
/// Nothing if no function can have that name.
[[nodiscard]] std::optional<std::uint32_t> function_number(std::string_view name) noexcept;

}  // namespace vinic::abi

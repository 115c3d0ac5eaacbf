// SPDX-License-Identifier: Apache-2.0
//
// value.hpp -- what a command has found out, before it becomes text or JSON.
//
//     object   {"key": value, ...}    in the order in which it was filled
//     table    columns and rows       text: aligned lines; JSON: a list of objects
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "abi/printable.hpp"

namespace vinic::cli {

struct value;
using list = std::vector<value>;
using object = std::vector<std::pair<std::string, value>>;

/// monostate: not known, or does not apply ("-" in text, null in JSON).
/// Copied and moved out of line: inlined, g++ 12 takes the variant for uninitialised.
struct value {
    value() noexcept;
    value(const value&);
    value(value&&) noexcept;
    value& operator=(const value&);
    value& operator=(value&&) noexcept;
    ~value();
    value(bool b) : is(b) {}
    template <std::integral T>
        requires(!std::same_as<T, bool>)
    value(T n) : is(static_cast<std::uint64_t>(n)) {}
    value(double d) : is(d) {}
    value(const char* s) : is(std::string(s)) {}
    value(std::string s) : is(std::move(s)) {}
    value(std::string_view s) : is(std::string(s)) {}
    value(list l) : is(std::move(l)) {}
    value(object o) : is(std::move(o)) {}

    std::variant<std::monostate, bool, std::uint64_t, double, std::string, list, object> is;
};

enum class column_form : std::uint8_t {
    plain,  ///< numbers to the right, words to the left
    hex,    ///< text: 0x...; JSON: a number
};

struct column {
    std::string key;        ///< JSON: snake_case, unit last
    std::string heading{};  ///< text; empty: shown with --details only, as "key value"
    column_form form = column_form::plain;
};

struct table {
    std::vector<column> columns;
    std::vector<std::vector<value>> rows{};  ///< one value per column
};

using abi::printable;

/// Two hexadecimal digits per byte.
[[nodiscard]] std::string hex_digits(std::string_view bytes);

/// Aligned lines under their headings; with `details` the columns without heading follow each row.
[[nodiscard]] std::string to_text(const table& t, bool details);

/// One value as text.
[[nodiscard]] std::string to_text(const value& v, column_form form = column_form::plain);

[[nodiscard]] list to_list(const table& t);

/// One JSON document, on one line (`compact`) or indented; without a newline at the end.
[[nodiscard]] std::string to_json(const object& document, bool compact = false);

/// What somebody else wrote: one JSON object, or nothing.  Numbers below zero become double, words are printable.
[[nodiscard]] std::optional<object> parse_json(std::string_view text);

}  // namespace vinic::cli

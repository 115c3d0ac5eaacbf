// SPDX-License-Identifier: Apache-2.0
//
// json.cc -- values as JSON: the only file besides the benchmarks' report that includes nlohmann/json.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cli/value.hpp"

namespace vinic::cli {

namespace {

// Ordered, so that a reader finds the keys as the command filled them.
using json = nlohmann::ordered_json;

json json_of(const value& v);

struct converter {
    json operator()(std::monostate) const { return nullptr; }
    json operator()(bool b) const { return b; }
    json operator()(std::uint64_t n) const { return n; }
    json operator()(double d) const { return std::isfinite(d) ? json(d) : json(nullptr); }
    json operator()(const std::string& s) const { return s; }
    json operator()(const list& l) const {
        json all = json::array();
        for (const value& each : l) {
            all.push_back(json_of(each));
        }
        return all;
    }
    json operator()(const object& o) const {
        json all = json::object();
        for (const auto& [key, content] : o) {
            all[key] = json_of(content);
        }
        return all;
    }
};

json json_of(const value& v) { return std::visit(converter{}, v.is); }

/// What nests more deeply than anything that vinicd says is not looked into.
constexpr int nesting_max = 16;

value value_of(const json& j, int depth = 0) {
    if (depth > nesting_max) {
        return {};
    }
    if (j.is_object()) {
        object all;
        for (const auto& [key, content] : j.items()) {
            all.emplace_back(printable(key), value_of(content, depth + 1));
        }
        return all;
    }
    if (j.is_array()) {
        list all;
        for (const json& each : j) {
            all.push_back(value_of(each, depth + 1));
        }
        return all;
    }
    if (j.is_string()) {
        const auto text = j.get<std::string>();
        const std::size_t words =
            std::min(text.find_first_not_of('\t'), text.size());  // what indents a line does no harm
        return text.substr(0, words) + printable(std::string_view(text).substr(words));
    }
    if (j.is_boolean()) {
        return j.get<bool>();
    }
    if (j.is_number_unsigned()) {
        return j.get<std::uint64_t>();
    }
    return j.is_number() ? value(j.get<double>()) : value();
}

}  // namespace

std::string to_json(const object& document, bool compact) {
    return converter{}(document).dump(compact ? -1 : 2, ' ', false, json::error_handler_t::replace);
}

std::optional<object> parse_json(std::string_view text) {
    const json parsed = json::parse(text, nullptr, false);
    return parsed.is_object() ? std::optional(std::get<object>(value_of(parsed).is)) : std::nullopt;
}

}  // namespace vinic::cli

// SPDX-License-Identifier: Apache-2.0
//
// json.cc -- values as JSON: the only file besides the benchmarks' report that includes nlohmann/json.
#include <cmath>
#include <nlohmann/json.hpp>

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

}  // namespace

std::string to_json(const object& document, bool compact) {
    return converter{}(document).dump(compact ? -1 : 2, ' ', false, json::error_handler_t::replace);
}

}  // namespace vinic::cli

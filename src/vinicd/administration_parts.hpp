// SPDX-License-Identifier: Apache-2.0
//
// administration_parts.hpp -- what the files of the administration share, and the only place that includes
// nlohmann/json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "vinicd/administration.hpp"

namespace vinic::vinicd {

// Ordered, so that a reader finds the keys as they were filled in.
using json = nlohmann::ordered_json;

inline constexpr std::uint32_t schema = 1;

[[nodiscard]] inline json failure(errc code, const std::string& message) {
    return {{"schema", schema}, {"error", {{"code", name(code)}, {"message", message}}}};
}

struct administration::request {
    json document;
    std::string command;
};

struct administration::reply {
    json document;
};

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// changes.hpp -- from what a function is to what the options say, and what that is called in events and the log.
#pragma once

#include <string>

#include "controller/device.hpp"
#include "vinicd/options.hpp"

namespace vinic::vinicd {

/// What of a function that is there is not as `next` says, each with a comma behind it: "memory = 1GiB, owner = 4711,
/// ". The device knows its service and its memory limit; its rights are those of `was`.
[[nodiscard]] std::string changes_of(const controller::function_status& now, const options& was, const options& next);

/// Brings a VF back as the options say.
[[nodiscard]] result<void> add_as_said(controller::device& d, std::uint32_t function, const options& o,
                                       const std::string& by);

}  // namespace vinic::vinicd

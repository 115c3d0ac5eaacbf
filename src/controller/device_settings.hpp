// SPDX-License-Identifier: Apache-2.0
//
// device_settings.hpp -- what a device may be, and what a function may be given.
#pragma once

#include <string>

#include "controller/device.hpp"

namespace vinic::controller {

/// errc::invalid_argument: outside its limits, as a sentence about the function called `name`.
[[nodiscard]] result<void> check(const function_options& o, const std::string& name);
/// Likewise for a device, and for what every function of it begins with.
[[nodiscard]] result<void> check(const device_options& options);

}  // namespace vinic::controller

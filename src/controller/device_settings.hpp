// SPDX-License-Identifier: Apache-2.0
//
// device_settings.hpp -- what a function may be given.
#pragma once

#include <string>

#include "controller/device.hpp"

namespace vinic::controller {

/// errc::invalid_argument: outside its limits, as a sentence about the function called `name`.
[[nodiscard]] result<void> check(const function_options& o, const std::string& name);

}  // namespace vinic::controller

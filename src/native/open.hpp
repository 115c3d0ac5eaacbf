// SPDX-License-Identifier: Apache-2.0
//
// open.hpp -- from a device's address to its placement.
#pragma once

#include "placement/provider.hpp"

namespace vinic::detail {

[[nodiscard]] result<opened> open_device(std::string_view address, const open_options& options);

}  // namespace vinic::detail

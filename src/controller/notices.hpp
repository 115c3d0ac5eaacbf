// SPDX-License-Identifier: Apache-2.0
//
// notices.hpp -- telling everybody who uses a function what happens to it: abi/notices.hpp has how.
#pragma once

#include "controller/function.hpp"

namespace vinic::controller {

/// All under control->mutex; a function without a window has nobody to be told.
void tell_users(function& f, abi::notice what) noexcept;
/// What it gets is written down; with `news` its users are told.
void publish_service(function& f, bool news) noexcept;

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// notices.hpp -- telling everybody who uses a function what happens to it: abi/notices.hpp has how.
#pragma once

#include "controller/function.hpp"

namespace vinic::controller {

/// All under control->mutex, for a function that has a window.
void tell_users(function& f, abi::notice what) noexcept;
/// What it gets is written down; with `news` its users are told.
void publish_service(function& f, bool news) noexcept;

}  // namespace vinic::controller

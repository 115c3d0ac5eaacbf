// SPDX-License-Identifier: Apache-2.0
//
// kinds.cc -- the kinds of receivers that there are, beside connected and datagram VIs.  By itself, so that a test can
// be linked with a list of its own.
#include "rules/receivers.hpp"

namespace vinic::rules {

std::span<const receiver_kind* const> known_kinds() noexcept { return {}; }

}  // namespace vinic::rules

// SPDX-License-Identifier: Apache-2.0
//
// kinds.cc -- instead of src/rules/kinds.cc: the kind of these tests, for their program and for their vinicd.
#include "kinds/tagged.hpp"

namespace vinic::rules {

std::span<const receiver_kind* const> known_kinds() noexcept {
    static constexpr const receiver_kind* all[] = {&tagged::kind};
    return all;
}

}  // namespace vinic::rules

// SPDX-License-Identifier: Apache-2.0
//
// printable.hpp -- words that another process wrote, fit for a terminal, a log and an error.
//
//   A name, an event, a refusal: its writer may have put an escape sequence into it.  Whatever comes from elsewhere and
//   is shown to somebody passes here.
#pragma once

#include <string>
#include <string_view>

namespace vinic::abi {

/// Valid UTF-8 stays; control characters, those that change the direction of writing or end a line, and whatever is not
/// UTF-8, become \xNN.  So does a backslash that would look like one of these (\x5c): each text has one that it came
/// from.  Others stay, as in DOMAIN\user.  Nothing passes here twice.
[[nodiscard]] std::string printable(std::string_view bytes);

}  // namespace vinic::abi

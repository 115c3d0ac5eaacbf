// SPDX-License-Identifier: Apache-2.0
//
// addresses.hpp -- words of all kinds where vinic wants an address, a directory, a group or a name.
#pragma once

#include <span>
#include <string>

#include "input.hpp"

namespace fuzz {

/// One trial; device files lie in `directory`, which must be empty and is left so.  Throws `violation`.
void try_addresses(const std::string& directory, std::span<const std::uint8_t> bytes);

}  // namespace fuzz

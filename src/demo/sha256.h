// SPDX-License-Identifier: Apache-2.0
//
// sha256.h -- SHA-256 of memory and of a file, in hexadecimal.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace demo {

std::string sha256(std::span<const std::byte> bytes);

/// Reads the file by itself, apart from whatever is transferred.
std::string sha256_of_file(const std::string& path);

}  // namespace demo

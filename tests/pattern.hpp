// SPDX-License-Identifier: Apache-2.0
//
// pattern.hpp -- bytes that tell whether they arrived.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tests {

/// Fills with a pattern that differs for every seed and is not periodic in 256 bytes, pages or 64 KiB: shifted,
/// swapped, repeated or stale pages are all seen.
void fill(std::span<std::byte> bytes, std::uint64_t seed);
/// Index of the first byte that is not what fill() made of this seed; bytes.size() if all are.
[[nodiscard]] std::size_t first_difference(std::span<const std::byte> bytes, std::uint64_t seed);
/// Index of the first byte that has not this value; bytes.size() if all have.
[[nodiscard]] std::size_t first_other(std::span<const std::byte> bytes, std::byte value);

}  // namespace tests

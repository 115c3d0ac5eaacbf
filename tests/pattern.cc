// SPDX-License-Identifier: Apache-2.0
//
// pattern.cc -- loops over every byte: optimised in every build.
#include "pattern.hpp"

namespace tests {

namespace {

std::byte pattern_byte(std::size_t index, std::uint64_t seed) {
    // Odd strides within pages, others between them; seeds that are equal in eight bits differ in the stride.
    const std::uint64_t place = index * 7 + (index >> 8) * 13 + (index >> 16) * 29;
    return static_cast<std::byte>((place + seed * 131 + (seed >> 8) * (2 * index + 1) + 1) & 0xff);
}

}  // namespace

void fill(std::span<std::byte> bytes, std::uint64_t seed) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = pattern_byte(i, seed);
    }
}

std::size_t first_difference(std::span<const std::byte> bytes, std::uint64_t seed) {
    std::size_t i = 0;
    while (i < bytes.size() && bytes[i] == pattern_byte(i, seed)) {
        ++i;
    }
    return i;
}

std::size_t first_other(std::span<const std::byte> bytes, std::byte value) {
    std::size_t i = 0;
    while (i < bytes.size() && bytes[i] == value) {
        ++i;
    }
    return i;
}

}  // namespace tests

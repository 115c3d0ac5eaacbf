// SPDX-License-Identifier: Apache-2.0
#include "abi/printable.hpp"

#include <algorithm>
#include <cstdint>

namespace vinic::abi {

namespace {

/// Bytes of the UTF-8 character at the start of `s`, 0 if there is none.
std::size_t character_bytes(std::string_view s) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    const unsigned char first = byte(0);
    const std::size_t bytes = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0x20 || first == 0x7f || (first >= 0x80 && first < 0xc2) || first > 0xf4 || s.size() < bytes) {
        return 0;
    }
    std::uint32_t code = bytes == 1 ? first : first & (0x7fu >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (byte(i) & 0x3f);
    }
    const bool too_long = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    const bool no_character = (code >= 0xd800 && code < 0xe000) || code > 0x10ffff;
    const bool control = code >= 0x80 && code < 0xa0;
    return too_long || no_character || control ? 0 : bytes;
}

}  // namespace

std::string printable(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    while (!bytes.empty()) {
        const std::size_t n = character_bytes(bytes);
        if (n == 0) {
            const auto byte = static_cast<unsigned char>(bytes.front());
            text += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        } else {
            text += bytes.substr(0, n);
        }
        bytes.remove_prefix(std::max<std::size_t>(n, 1));
    }
    return text;
}

}  // namespace vinic::abi

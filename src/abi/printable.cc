// SPDX-License-Identifier: Apache-2.0
//
// printable.cc -- which characters act on the text around them, and how they are escaped.
#include "abi/printable.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace vinic::abi {

namespace {

struct range {
    std::uint32_t first;
    std::uint32_t last;
};

/// Characters that do something to the text around them, and what that is.
constexpr std::array acting = {
    range{0x80, 0x9f},      // control
    range{0x061c, 0x061c},  // mark a direction
    range{0x200e, 0x200f},  // likewise
    range{0x2028, 0x2029},  // end a line or a paragraph
    range{0x202a, 0x202e},  // write the other way round
    range{0x2066, 0x2069},  // likewise
};

/// Bytes of the UTF-8 character at the start of `s`, 0 if there is none, or one that acts on others.
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
    const bool acts = std::ranges::any_of(acting, [&](const range& r) { return code >= r.first && code <= r.last; });
    return too_long || no_character || acts ? 0 : bytes;
}

/// Whether `s` begins as an escape does that is made here: written as it is, it would be taken for one.
bool looks_escaped(std::string_view s) {
    const auto is_digit = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    return s.size() >= 4 && s.starts_with("\\x") && is_digit(s[2]) && is_digit(s[3]);
}

}  // namespace

std::string printable(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    while (!bytes.empty()) {
        const std::size_t n = looks_escaped(bytes) ? 0 : character_bytes(bytes);
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

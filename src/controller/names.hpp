// SPDX-License-Identifier: Apache-2.0
//
// names.hpp -- an address as the directory knows it, and how a listener hears of something.
#pragma once

#include <string>

#include "abi/window.hpp"
#include "controller/notify.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

/// Looked up or settled at a time while others wait: some tens of microseconds.
inline constexpr std::uint32_t names_of_a_slice = 16;
inline constexpr std::uint32_t requests_of_a_slice = 16;

/// An address as one string, empty if it is none: name, 0, discriminator, and how long the name is, for a client may
/// put any bytes into both.
inline std::string key_of(const abi::address_key& a) {
    if (a.name_bytes == 0 || a.name_bytes > abi::name_bytes_max ||
        a.discriminator_bytes > abi::discriminator_bytes_max) {
        return {};
    }
    std::string key(a.name, a.name_bytes);
    key.push_back('\0');
    key.append(reinterpret_cast<const char*>(a.discriminator), a.discriminator_bytes);
    static_assert(abi::name_bytes_max <= 0xff);
    key.push_back(static_cast<char>(a.name_bytes));
    return key;
}

inline abi::address_key address_of(const std::string& key) noexcept {
    abi::address_key a{};
    const std::size_t end = static_cast<unsigned char>(key.back());
    a.name_bytes = static_cast<std::uint16_t>(end);
    a.discriminator_bytes = static_cast<std::uint16_t>(key.size() - end - 2);
    std::memcpy(a.name, key.data(), end);
    std::memcpy(a.discriminator, key.data() + end + 1, a.discriminator_bytes);
    return a;
}

inline void bump(abi::word32& word) noexcept {
    word.fetch_add(1);
    os::futex_wake(&word.raw_, wakes_max);
}

}  // namespace vinic::controller

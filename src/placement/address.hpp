// SPDX-License-Identifier: Apache-2.0
//
// address.hpp -- addresses in the interface's form and in the device's.
#pragma once

#include <cstring>
#include <vinic/vinic.hpp>

#include "tables/memory.hpp"

namespace vinic::detail {

[[nodiscard]] inline result<abi::address_key> to_key(const address& a) {
    abi::address_key key{};
    if (a.name.empty() || a.name.size() > abi::name_bytes_max ||
        a.discriminator.size() > abi::discriminator_bytes_max) {
        return std::unexpected(error{errc::invalid_argument, 0,
                                     "address '" + a.name + "': a name has 1 to 63 bytes, a discriminator at most 64"});
    }
    key.name_bytes = static_cast<std::uint16_t>(a.name.size());
    key.discriminator_bytes = static_cast<std::uint16_t>(a.discriminator.size());
    std::memcpy(key.name, a.name.data(), a.name.size());
    if (!a.discriminator.empty()) {
        std::memcpy(key.discriminator, a.discriminator.data(), a.discriminator.size());
    }
    return key;
}

[[nodiscard]] inline address to_address(const abi::address_key& key) {
    const std::size_t name_bytes = std::min<std::size_t>(key.name_bytes, abi::name_bytes_max);
    const std::size_t bytes = std::min<std::size_t>(key.discriminator_bytes, abi::discriminator_bytes_max);
    return {std::string_view(key.name, name_bytes), std::as_bytes(std::span(key.discriminator, bytes))};
}

[[nodiscard]] inline bool same(const abi::address_key& a, const abi::address_key& b) noexcept {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

/// Index of the name's entry, or none32.  Under the lock.
[[nodiscard]] inline std::uint32_t find_name(const tables::memory& m, const abi::address_key& key) noexcept {
    for (std::uint32_t i = 0; i < m.backed(abi::names); ++i) {
        if (m.name(i).owner.load_relaxed() != 0 && same(m.name(i).at, key)) {
            return i;
        }
    }
    return abi::none32;
}

/// An entry for a name; its index.  Under the lock.
[[nodiscard]] inline result<std::uint32_t> take_name(tables::memory& m, const abi::address_key& key,
                                                     abi::name_kind kind, std::uint64_t target) {
    auto i = m.take(abi::names);
    if (i) {
        abi::name_entry& n = m.name(*i);
        n.generation.add_single_writer(1);
        n.kind.store_relaxed(static_cast<std::uint32_t>(kind));
        n.target.store_relaxed(target);
        n.at = key;
    }
    return i;
}

}  // namespace vinic::detail

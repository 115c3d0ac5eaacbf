// SPDX-License-Identifier: Apache-2.0
//
// units.hpp -- sizes, rates and times as people write them: "64KiB", "2GB/s", "50us".
//
//   Decimal units (kB, MB, GB, TB) count in thousands, binary ones (KiB, MiB, GiB, TiB) in 1024s.  A number alone is
//   bytes, bytes per second or nanoseconds' natural unit of the option (microseconds for a time).
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace vinic::vinicd {

inline constexpr std::uint64_t ns_per_second = 1'000'000'000;

/// A value, or what is wrong with the text and what may be written instead.
template <class T>
using understood = std::expected<T, std::string>;

/// "8", "0"; decimal digits only.
[[nodiscard]] understood<std::uint64_t> parse_number(std::string_view text);
/// Bytes: "65536", "64KiB", "1.5GiB", "2GB".
[[nodiscard]] understood<std::uint64_t> parse_size(std::string_view text);
/// Bytes per second: "2GB/s", "500MB/s", "8Gbit/s", "0" or "none" for no such rate.
[[nodiscard]] understood<std::uint64_t> parse_rate(std::string_view text);
/// Nanoseconds: "50us", "1ms", "5s", "800ns"; a number alone is microseconds.
[[nodiscard]] understood<std::uint64_t> parse_time(std::string_view text);

/// The shortest of the forms above that parses to the same value.
[[nodiscard]] std::string size_text(std::uint64_t bytes);
[[nodiscard]] std::string rate_text(std::uint64_t bytes_per_second);
[[nodiscard]] std::string time_text(std::uint64_t ns);

/// The one of `known` that was probably meant by `typed`; empty if none is near.
template <class Names>
[[nodiscard]] std::string nearest(std::string_view typed, const Names& known);

/// How many letters differ between two words: inserted, left out or replaced.
[[nodiscard]] std::size_t letters_apart(std::string_view a, std::string_view b);

template <class Names>
std::string nearest(std::string_view typed, const Names& known) {
    std::string best;
    std::size_t least = typed.size() / 3 + 1;
    for (const auto& each : known) {
        const std::size_t apart = letters_apart(typed, each);
        if (apart <= least && (best.empty() || apart < least)) {
            best = each;
            least = apart;
        }
    }
    return best;
}

}  // namespace vinic::vinicd

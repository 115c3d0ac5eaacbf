// SPDX-License-Identifier: Apache-2.0
//
// counters.hpp -- the one table of what is counted: names and meanings.
//
//   direction_detail_unit:   tx_send_bytes   rx_no_descriptor_drops   tx_remote_length_errors
//
//   The order is that of abi::counter, then the drops that peers count, as device_header::retired
//   keeps them.  Every drop and every error has its own name, by cause.
#pragma once

#include <array>
#include <cstdint>

#include "abi/vi.hpp"

namespace vinic::tables {

struct counter_words {
    const char* name;     ///< nullptr: a number that is kept free
    const char* meaning;  ///< one sentence without a full stop
};

/// For one VI: its own counters and the drops.
inline constexpr std::uint32_t counters_max = std::uint32_t{abi::counter_count} + abi::drop_count;
static_assert(counters_max <= sizeof(abi::device_header::retired) / sizeof(abi::word64));

/// The number of a drop in that table.
[[nodiscard]] constexpr std::uint32_t number_of(enum abi::drop d) noexcept {
    return std::uint32_t{abi::counter_count} + d;
}

using counter_values = std::array<std::uint64_t, counters_max>;

[[nodiscard]] const std::array<counter_words, counters_max>& counters() noexcept;

/// What VI v has counted up to now.
[[nodiscard]] counter_values counted_by(const abi::vi_entry& v) noexcept;

/// What VIs counted that are gone.
[[nodiscard]] counter_values counted_before(const abi::device_header& h) noexcept;

}  // namespace vinic::tables

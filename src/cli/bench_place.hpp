// SPDX-License-Identifier: Apache-2.0
//
// bench_place.hpp -- where memory lies in a shared file, as the kernel reports it.
//
// The bare memcpy limit must copy between the very pages that the NIC copies between.  The public
// interface never hands out a peer's pages, so the benchmark finds them by itself: the target tells
// which bytes of which file its buffer is, and the initiator looks where it has the same bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "cli/bench_pair.hpp"

namespace vinic::cli::bench {

/// The file behind `bytes` if one shared mapping covers them all; else file 0.
[[nodiscard]] file_place place_of(std::span<const std::byte> bytes);

/// This process' own mapping of `size_bytes` at `place`, if it has one that may be written.
[[nodiscard]] std::optional<std::span<std::byte>> find_mapping(const file_place& place, std::size_t size_bytes);

}  // namespace vinic::cli::bench

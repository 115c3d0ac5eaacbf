// SPDX-License-Identifier: Apache-2.0
//
// span.hpp -- the addresses that a device may grow into: 16G in words, whole chunks in the header.
#pragma once

#include <cstdint>
#include <string>
#include <vinic/words.hpp>

namespace vinic::tables {

/// What the options, VINIC_SHM_SPAN or the file system of `fd` say.  errc::invalid_argument.
[[nodiscard]] result<std::uint64_t> wanted_span(const open_options& options, int fd);

/// Whether a header may say so.
[[nodiscard]] bool is_span(std::uint64_t bytes) noexcept;

/// "64 GiB".
[[nodiscard]] std::string words_of_span(std::uint64_t bytes);

}  // namespace vinic::tables

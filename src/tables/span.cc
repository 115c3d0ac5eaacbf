// SPDX-License-Identifier: Apache-2.0
//
// span.cc -- parses a span, and decides which one counts: option, environment, or what the file system holds.
#include "tables/span.hpp"

#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "abi/layout.hpp"

namespace vinic::tables {

namespace {

/// "16G", "16GiB", "512M" and plain bytes.
std::optional<std::uint64_t> bytes_of(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    if (failed != std::errc{}) {
        return {};
    }
    if (unit.size() == 3 && unit.ends_with("iB")) {
        unit.remove_suffix(2);
    }
    constexpr std::string_view units = "KMGT";
    const std::size_t power = unit.size() == 1 ? units.find(unit.front()) : units.npos;
    if (unit.empty()) {
        return number;
    }
    const int shift = 10 * (static_cast<int>(power) + 1);
    return power == units.npos || number > (~std::uint64_t{0} >> shift) ? std::nullopt : std::optional(number << shift);
}

}  // namespace

bool is_span(std::uint64_t bytes) noexcept {
    return bytes % abi::chunk_size == 0 && bytes >= abi::span_least && bytes <= abi::file_size;
}

result<std::uint64_t> wanted_span(const open_options& options, int fd) {
    std::uint64_t span = options.span_bytes;
    if (span == 0) {
        const char* said = ::secure_getenv("VINIC_SHM_SPAN");
        if (said == nullptr || *said == 0) {
            struct statvfs s{};
            const bool known = ::fstatvfs(fd, &s) == 0;
            const std::uint64_t holds = known ? std::uint64_t{s.f_blocks} * s.f_frsize : 0;
            return std::clamp(abi::align_up(std::min(holds, abi::file_size), abi::chunk_size), abi::span_usual,
                              abi::file_size);
        }
        span = bytes_of(said).value_or(1);
    }
    if (span < abi::span_least || span > abi::file_size) {
        return std::unexpected(error{errc::invalid_argument, 0,
                                     options.span_bytes != 0
                                         ? "open_options::span_bytes has to be from 512 MiB to 256 GiB"
                                         : "VINIC_SHM_SPAN has to be from 512M to 256G"});
    }
    return abi::align_up(span, abi::chunk_size);
}

std::string words_of_span(std::uint64_t bytes) {
    return bytes % (1ULL << 30) == 0 ? std::to_string(bytes >> 30) + " GiB" : std::to_string(bytes >> 20) + " MiB";
}

}  // namespace vinic::tables

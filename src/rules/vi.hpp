// SPDX-License-Identifier: Apache-2.0
//
// vi.hpp -- what a virtual interface may be, what two of them have to agree on, and what becomes of what is left of
// one.
#pragma once

#include <vinic/words.hpp>

#include "abi/vi.hpp"

namespace vinic::rules {

inline constexpr std::uint32_t depth_max = 32768;
inline constexpr std::uint32_t segments_limit = 256;
inline constexpr std::uint32_t inline_limit = 1024;

/// What is asked of a VI.
struct vi_shape {
    std::uint32_t send_depth = 0;
    std::uint32_t receive_depth = 0;
    std::uint32_t segments_max = 0;
    std::uint32_t inline_bytes_max = 0;
    reliability level = reliability::delivery;
    service kind = service::connected;
};

/// What is wrong with it, or nullptr.
[[nodiscard]] constexpr const char* wrong_with(const vi_shape& s) noexcept {
    if (s.send_depth == 0 || s.send_depth > depth_max || s.receive_depth == 0 || s.receive_depth > depth_max) {
        return "send_depth and receive_depth are 1 to 32768";
    }
    if (s.segments_max == 0 || s.segments_max > segments_limit) {
        return "segments_max is 1 to 256";
    }
    if (s.inline_bytes_max > inline_limit) {
        return "inline_bytes_max is at most 1024";
    }
    if (s.level > reliability::reception || s.kind > service::datagram) {
        return "unknown reliability or service";
    }
    if (s.kind == service::datagram && s.level != reliability::unreliable) {
        return "datagram VIs are unreliable";
    }
    return nullptr;
}

/// What two VIs have to agree on to be connected.
struct vi_terms {
    std::uint32_t level = 0;
    std::uint32_t transfer_bytes_max = 0;
    friend constexpr bool operator==(const vi_terms&, const vi_terms&) = default;
};

/// Bytes of a message that travel in its completion, at most.
[[nodiscard]] constexpr std::uint32_t payload_max(reliability level, service kind) noexcept {
    if (kind == service::datagram) {
        return abi::payload_in_completion - static_cast<std::uint32_t>(sizeof(std::uint64_t));  // the sender's address
    }
    // At reliable reception a completed send lies in the receiver's memory, not in its ring.
    return level == reliability::reception ? 0 : abi::payload_in_completion;
}

/// How a descriptor ends that a broken or closed connection has left behind.
[[nodiscard]] constexpr status flushed_by(abi::break_reason why) noexcept {
    return why == abi::break_reason::peer_died ? status::connection_lost : status::flushed;
}

}  // namespace vinic::rules

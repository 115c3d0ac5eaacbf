// SPDX-License-Identifier: Apache-2.0
//
// message.hpp -- one operation of a VI: what may be posted, and how it is packed into a send descriptor and read back.
//
//   A descriptor holds what fits its line: two segments, or 32 bytes of the payload instead.  What is left lies in the
//   extra area of its slot (abi::send_extra_bytes).
#pragma once

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vinic/words.hpp>

#include "rules/copy.hpp"
#include "rules/vi.hpp"

namespace vinic::rules {

struct message {
    enum opcode opcode = opcode::send;
    bool has_immediate = false;
    std::uint16_t segment_count = 0;
    std::uint32_t immediate = 0;
    std::uint32_t length = 0;  ///< sum of the segments, or of inline_data
    const abi::segment* segments = nullptr;
    const std::byte* inline_data = nullptr;  ///< instead of segments
    std::uint64_t remote_address = 0;        ///< datagrams: the destination
    std::uint32_t remote_key = 0;
    std::uint64_t operand = 0;
    std::uint64_t compare = 0;
};

/// Where the parts of a message that was read back lie.  Big: never zeroed.
struct message_room {
    abi::segment segments[segments_limit];
    alignas(16) std::byte inline_data[inline_limit];
};

[[nodiscard]] constexpr bool is_atomic(opcode o) noexcept {
    return o == opcode::fetch_add || o == opcode::compare_swap;
}

// -- what may be posted ---------------------------------------------------------------------------

struct posting_limits {
    std::uint32_t segments_max = 0;
    std::uint32_t transfer_bytes_max = 0;
    std::uint32_t inline_bytes_max = 0;
    reliability level = reliability::delivery;
    service kind = service::connected;
};

struct posting {
    enum opcode opcode = opcode::send;
    bool has_immediate = false;
    bool is_inline = false;
    std::size_t segments = 0;
    std::uint64_t bytes = 0;
};

[[nodiscard]] constexpr errc may_post(const posting_limits& vi, const posting& p) noexcept {
    if (p.segments > vi.segments_max) {
        return errc::too_many_segments;
    }
    if (p.bytes > vi.transfer_bytes_max) {
        return errc::message_too_large;
    }
    switch (p.opcode) {
        case opcode::send:
            break;
        case opcode::write:
            if (vi.kind == service::datagram) {
                return errc::not_supported;
            }
            break;
        case opcode::fetch_add:
        case opcode::compare_swap:
            if (p.segments != 1 || p.bytes != 8) {
                return errc::invalid_argument;
            }
            [[fallthrough]];
        case opcode::read:
            if (vi.level == reliability::unreliable || vi.kind == service::datagram) {
                return errc::not_supported;  // VIA 1.0, table 2-1: no answer can be promised
            }
            if (p.has_immediate || p.is_inline) {
                return errc::invalid_argument;
            }
            break;
        default:
            return errc::invalid_argument;
    }
    return p.is_inline && p.bytes > vi.inline_bytes_max ? errc::message_too_large : errc::ok;
}

// -- the descriptor -------------------------------------------------------------------------------

/// Writes `m`, which fits the VI's limits, into a descriptor; `extra()` is the extra area of its slot, asked for only
/// where it is needed.  `done` and `lap` stay.
template <class Extra>
void pack(abi::send_descriptor& d, const message& m, Extra extra) noexcept {
    const bool is_inline = m.inline_data != nullptr;
    d.opcode = static_cast<std::uint8_t>(m.opcode);
    d.flags =
        static_cast<std::uint8_t>((m.has_immediate ? abi::has_immediate : 0) | (is_inline ? abi::payload_inside : 0));
    d.status = 0;
    d.immediate = m.immediate;
    d.segment_count = m.segment_count;
    d.inline_bytes = is_inline ? static_cast<std::uint16_t>(m.length) : std::uint16_t{0};
    d.remote_address = m.remote_address;
    d.remote_key = m.remote_key;
    d.length = m.length;
    constexpr std::size_t in_line = sizeof d.segments;
    const auto* from = is_inline ? m.inline_data : reinterpret_cast<const std::byte*>(m.segments);
    const std::size_t bytes = is_inline ? m.length : m.segment_count * sizeof(abi::segment);
    if (is_inline) {
        copy_small(reinterpret_cast<std::byte*>(d.segments), from, std::min(bytes, in_line));
    } else {
        for (std::size_t i = 0; i < std::min<std::size_t>(m.segment_count, std::size(d.segments)); ++i) {
            d.segments[i] = m.segments[i];
        }
    }
    if (bytes > in_line) {
        std::memcpy(extra(), from + in_line, bytes - in_line);
    }
    if (is_atomic(m.opcode)) {
        d.segments[1] = {m.operand, static_cast<std::uint32_t>(m.compare), static_cast<std::uint32_t>(m.compare >> 32)};
    }
}

/// Reads a descriptor back into `m`, whose parts lie in `room` then.  `extra(bytes)` is what lies in the extra area of
/// its slot, or nullptr.  False: it does not fit the limits, or names bytes that are not there; `m` is not whole.
template <class Extra>
[[nodiscard]] bool unpack(const abi::send_descriptor& d, std::uint32_t segments_max, std::uint32_t inline_bytes_max,
                          Extra extra, message& m, message_room& room) noexcept {
    const bool is_inline = (d.flags & abi::payload_inside) != 0;
    m.opcode = static_cast<opcode>(d.opcode);
    m.has_immediate = (d.flags & abi::has_immediate) != 0;
    m.segment_count = is_inline ? std::uint16_t{0} : d.segment_count;
    m.immediate = d.immediate;
    m.length = is_inline ? d.inline_bytes : d.length;
    m.segments = room.segments;
    m.inline_data = is_inline ? room.inline_data : nullptr;
    m.remote_address = d.remote_address;
    m.remote_key = d.remote_key;
    if (m.segment_count > segments_max || (is_inline && m.length > inline_bytes_max)) {
        return false;
    }
    constexpr std::size_t in_line = sizeof d.segments;
    auto* to = is_inline ? room.inline_data : reinterpret_cast<std::byte*>(room.segments);
    const std::size_t bytes = is_inline ? m.length : m.segment_count * sizeof(abi::segment);
    std::memcpy(to, d.segments, in_line);  // all of it: no call
    if (bytes > in_line) {
        const std::byte* more = extra(bytes - in_line);
        if (more == nullptr) {
            return false;
        }
        std::memcpy(to + in_line, more, bytes - in_line);
    }
    if (is_atomic(m.opcode)) {
        m.operand = d.segments[1].address;
        m.compare = std::uint64_t{d.segments[1].key} << 32 | d.segments[1].length;
    }
    return true;
}

}  // namespace vinic::rules

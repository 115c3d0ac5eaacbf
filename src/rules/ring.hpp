// SPDX-License-Identifier: Apache-2.0
//
// ring.hpp -- the entries of a VI's two rings: when one is posted, and what is written into it when it is finished.
//
//   An entry of index i is posted, or finished, when its last word says i + 1; each has one writer, and that word comes
//   last, with release.
#pragma once

#include <cstring>
#include <vinic/words.hpp>

#include "abi/vi.hpp"

namespace vinic::rules {

/// Acquire: what its owner wrote before is there.
[[nodiscard, gnu::always_inline]] inline bool is_posted(const abi::receive_descriptor& d,
                                                        std::uint32_t index) noexcept {
    return d.sequence.load_acquire() == index + 1;
}
[[nodiscard, gnu::always_inline]] inline bool has_arrived(const abi::receive_completion& c,
                                                          std::uint32_t index) noexcept {
    return c.sequence.load_acquire() == index + 1;
}
[[nodiscard, gnu::always_inline]] inline bool is_done(const abi::send_descriptor& d, std::uint32_t index) noexcept {
    return d.done.load_acquire() == index + 1;
}

/// Flags of a receive completion: with immediate data or not, and what else there is to say.
[[nodiscard]] constexpr std::uint8_t receive_flags(bool has_immediate, unsigned more = 0) noexcept {
    return static_cast<std::uint8_t>(more | (has_immediate ? unsigned{abi::has_immediate} : 0u));
}

/// How a receive descriptor ended.
struct receipt {
    enum status status = status::success;
    std::uint8_t flags = 0;
    std::uint32_t bytes = 0;
    std::uint32_t immediate = 0;
};

/// Tells the receiver.  A payload that travels in the completion is there already; `source` is told of datagrams alone.
[[gnu::always_inline]] inline void publish(abi::receive_completion& c, std::uint32_t index, const receipt& r,
                                           bool is_datagram, std::uint64_t source) noexcept {
    c.length = r.bytes;
    c.immediate = r.immediate;
    c.status = static_cast<std::uint8_t>(r.status);
    c.flags = r.flags;
    if (is_datagram) [[unlikely]] {
        std::memcpy(c.payload, &source, sizeof source);
    }
    // Release: pairs with the poller's acquire; the payload is there no later than the sequence.
    c.sequence.store_release(index + 1);
}

/// Tells the sender.
[[gnu::always_inline]] inline void finish(abi::send_descriptor& d, std::uint32_t index, enum status how) noexcept {
    d.status = static_cast<std::uint8_t>(how);
    d.done.store_release(index + 1);
}

}  // namespace vinic::rules

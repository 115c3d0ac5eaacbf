// SPDX-License-Identifier: Apache-2.0
//
// descriptor.cc -- descriptors of both kinds are copied once, then checked.
#include <algorithm>

#include "controller/lease.hpp"

namespace vinic::controller {

namespace {

/// A line of the window as it was at one moment, as far as words go.
template <class T>
T copy_once(const T& from) noexcept {
    static_assert(sizeof(T) % 8 == 0);
    T out;
    const auto* words = reinterpret_cast<const abi::word64*>(&from);
    for (std::size_t i = 0; i < sizeof(T) / 8; ++i) {
        const std::uint64_t word = words[i].load_relaxed();
        std::memcpy(reinterpret_cast<std::byte*>(&out) + i * 8, &word, 8);
    }
    return out;
}

/// The library packs a payload into the line of its own accord.
std::uint32_t inline_most(const vi& v) noexcept {
    return std::max<std::uint32_t>(v.d.inline_bytes_max, sizeof(abi::send_descriptor::segments));
}

}  // namespace

/// Whether the descriptor is one that the interface lets through; the client's library refuses the others.
bool lease_runner::fits(const vi& v, const transfer& t) const noexcept {
    std::uint64_t sum = t.inline_data != nullptr ? t.length : 0;
    for (std::uint32_t i = 0; i < t.segment_count; ++i) {
        sum += t.segments[i].length;
    }
    const rules::posting_limits limits{v.d.segments_max, v.d.transfer_bytes_max, inline_most(v),
                                       static_cast<reliability>(v.d.reliability),
                                       v.is_datagram() ? vinic::service::datagram : vinic::service::connected};
    return sum == t.length && rules::may_post(limits, {t.opcode, t.has_immediate, t.inline_data != nullptr,
                                                       t.segment_count, sum}) == errc::ok;
}

/// Copies the descriptor at the head.  False: it is malformed.
bool lease_runner::fetch(const vi& v, transfer& t) const noexcept {
    const abi::send_descriptor d = copy_once(v.sends[v.send_next & v.send_mask]);
    const auto extra = [&](std::size_t bytes) -> const std::byte* {
        const std::uint64_t area = v.entry->send_extra.load_acquire();
        const std::uint64_t offset = area + std::uint64_t{v.send_next & v.send_mask} * v.send_extra_bytes;
        const window& w = v.owner->window;
        const bool is_there = bytes <= v.send_extra_bytes && area != 0 && w.holds(area, 0) && w.holds(offset, bytes);
        return is_there ? w.at<std::byte>(offset) : nullptr;
    };
    t.begin();
    t.claim.reset();
    return rules::unpack(d, v.d.segments_max, inline_most(v), extra, t, t.room) && fits(v, t);
}

/// Copies the receiver's next descriptor, which is posted.  False: it is malformed.
bool lease_runner::take_receive(const vi& to, transfer& t) noexcept {
    const std::uint32_t slot = to.receive_next & to.receive_mask;
    const abi::receive_descriptor& d = to.receives[slot].descriptor;
    const auto segments = static_cast<std::uint16_t>(std::atomic_ref(d.segment_count).load(std::memory_order_relaxed));
    const std::uint32_t beyond = abi::receive_extra_segments(segments);
    std::memcpy(t.receive_segments, d.segments,
                std::min<std::size_t>(segments, abi::receive_segments_in_line) * sizeof(abi::segment));
    t.receive_count = segments;
    if (beyond == 0) {
        return true;
    }
    const window& w = to.owner->window;
    const std::uint64_t extra = to.entry->receive_extra.load_acquire();
    const std::uint64_t offset = extra + std::uint64_t{slot} * to.receive_extra_per_slot * sizeof(abi::segment);
    if (segments > to.d.segments_max || extra == 0 || !w.holds(extra, 0) ||
        !w.holds(offset, beyond * sizeof(abi::segment))) {
        count(to.owner->counters.malformed_descriptors);
        return false;
    }
    std::memcpy(t.receive_segments + abi::receive_segments_in_line, w.at<std::byte>(offset),
                beyond * sizeof(abi::segment));
    return true;
}

}  // namespace vinic::controller

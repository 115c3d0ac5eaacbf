// SPDX-License-Identifier: Apache-2.0
//
// vi_receive.cc -- posting receive descriptors, and executing what waited for them.
#include <algorithm>
#include <cstring>

#include "native/state.hpp"

namespace vinic::detail {

bool vi_state::post_receive(std::span<const segment> segments, std::uint64_t cookie) noexcept {
    const std::uint32_t at = receive_posted.load(std::memory_order_relaxed);
    if (at - receive_reported.load(std::memory_order_acquire) > receives.mask) {
        return false;
    }
    abi::receive_descriptor& d = receives.slots[at & receives.mask].descriptor;
    d.segment_count = static_cast<std::uint16_t>(segments.size());
    d.cookie = cookie;
    const std::size_t in_line = std::min<std::size_t>(segments.size(), abi::receive_segments_in_line);
    std::uint64_t room = 0;
    for (const segment& s : segments) {
        room += s.length;
    }
    if (room < receive_room || at == receive_reported.load(std::memory_order_relaxed)) {
        receive_room = static_cast<std::uint32_t>(std::min<std::uint64_t>(room, ~std::uint32_t{0}));
    }
    for (std::size_t i = 0; i < in_line; ++i) {
        d.segments[i] = {segments[i].address, segments[i].length, segments[i].key};
    }
    if (segments.size() > in_line) [[unlikely]] {
        std::memcpy(receives.extra(at), segments.data() + in_line, (segments.size() - in_line) * sizeof(segment));
    }
    // Release: pairs with the sender's acquire of the sequence.
    d.sequence.store_release(at + 1);
    receive_posted.store(at + 1, std::memory_order_release);
    return true;
}

errc vi_state::receives_posted() noexcept {
    device::memory& m = *nic->memory;
    m.light_barrier();  // posted before looking at attention and state; pairs with the heavy barriers
    const std::uint64_t state = entry->state.load_relaxed();
    if (entry->receive_attention.load_relaxed() != 0) [[unlikely]] {
        const engine_mark mark(m, *entry, abi::draining);
        if (mark.ok() && entry->state.load_acquire() == outgoing.connected) {
            device::drain_for_peer(incoming, peer_queue);
        }
    }
    if (abi::link_of(state) == abi::link::error) [[unlikely]] {
        device::signal(m, *entry, abi::receive_queue);  // the poller flushes it
    } else if (abi::link_of(state) == abi::link::none) [[unlikely]] {
        return nic->forked() ? errc::forked : errc::invalid_handle;
    }
    return errc::ok;
}

}  // namespace vinic::detail

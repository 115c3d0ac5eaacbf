// SPDX-License-Identifier: Apache-2.0
//
// vi_receive.cc -- posting receive descriptors.
#include <algorithm>
#include <cstring>

#include "placement/vi.hpp"

namespace vinic::detail {

/// Segments of a descriptor that has not exactly one; their bytes together.
std::uint64_t vi_body::store_pieces(abi::receive_descriptor& d, std::span<const segment> segments,
                                    std::uint32_t at) noexcept {
    std::uint64_t room = 0;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        const segment& s = segments[i];
        room += s.length;
        (i < abi::receive_segments_in_line ? d.segments[i] : receives.extra(at)[i - abi::receive_segments_in_line]) = {
            s.address, s.length, s.key};
    }
    return room;
}

/// Enters a descriptor into the ring.  False: it is full.
inline bool vi_body::enter_receive(std::span<const segment> segments, std::uint64_t cookie) noexcept {
    const std::uint32_t at = receive_posted.load(std::memory_order_relaxed);
    const std::uint32_t reported = receive_reported.load(std::memory_order_acquire);
    if (at - reported > receives.mask) {
        return false;
    }
    abi::receive_descriptor& d = receives.slots[at & receives.mask].descriptor;
    d.segment_count = static_cast<std::uint16_t>(segments.size());
    d.cookie = cookie;
    std::uint64_t room = 0;
    if (segments.size() == 1) [[likely]] {
        room = segments[0].length;
        d.segments[0] = {segments[0].address, segments[0].length, segments[0].key};
    } else {
        room = std::min<std::uint64_t>(store_pieces(d, segments, at), ~std::uint32_t{0});
    }
    if (room < receive_room || at == reported) {
        receive_room = static_cast<std::uint32_t>(room);
    }
    // Release: pairs with the sender's acquire of the sequence.
    d.sequence.store_release(at + 1);
    receive_posted.store(at + 1, std::memory_order_release);
    return true;
}

/// After `count` descriptors were entered.
inline errc vi_body::tell_receives(std::size_t count) noexcept {
    // Release: pairs with the acquire in route::look_for_receives.
    entry->receives.store_release(abi::make_receives(receive_posted.load(std::memory_order_relaxed), receive_room));
    entry->counters[abi::rx_posted].add_single_writer(count);
    return receives_posted();
}

errc vi_body::post_receive(const segment& s, std::uint64_t cookie) noexcept {
    const optional_lock hold(receive_mutex, attributes.thread_safe);
    return enter_receive({&s, 1}, cookie) ? tell_receives(1) : errc::queue_full;
}

posted vi_body::post_receives(std::span<const receive_request> requests) noexcept {
    posted p;
    const optional_lock hold(receive_mutex, attributes.thread_safe);
    for (; p.count < requests.size(); ++p.count) {
        const receive_request& r = requests[p.count];
        if (r.segments.size() > attributes.segments_max) {
            p.code = errc::too_many_segments;
            break;
        }
        if (p.code = make_room(r.segments); p.code != errc::ok) [[unlikely]] {
            break;
        }
        if (!enter_receive(r.segments, r.cookie)) {
            p.code = errc::queue_full;
            break;
        }
    }
    if (p.count != 0) {
        if (const errc e = tell_receives(p.count); e != errc::ok) [[unlikely]] {
            return {0, e};
        }
    }
    return p;
}

errc vi_body::receives_posted() noexcept {
    tables::memory& m = *nic->memory;
    m.light_barrier();  // posted before looking at attention and state; pairs with the heavy barriers
    const std::uint64_t state = entry->state.load_relaxed();
    if (entry->receive_attention.load_relaxed() != 0) [[unlikely]] {
        serve_waiting_sender();
    }
    if (abi::link_of(state) == abi::link::error) [[unlikely]] {
        tables::signal(m, *entry, abi::receive_queue);  // the poller flushes it
    } else if (abi::link_of(state) == abi::link::none) [[unlikely]] {
        // Where the NIC no longer knows this VI, the descriptor is in the ring, and is flushed with the others.
        return nic->forked() ? errc::forked : nic->provider->facts.may_be_gone ? errc::ok : errc::invalid_handle;
    }
    return errc::ok;
}

}  // namespace vinic::detail

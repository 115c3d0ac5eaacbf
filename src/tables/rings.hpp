// SPDX-License-Identifier: Apache-2.0
//
// rings.hpp -- the rings of a VI by pointers of this process, and what their owner counts.
#pragma once

#include "rules/message.hpp"
#include "rules/ring.hpp"
#include "tables/memory.hpp"

namespace vinic::tables {

/// The receiving half of a VI, by pointers of this process.
struct receive_side {
    abi::receive_slot* slots = nullptr;
    const memory* device = nullptr;
    const abi::vi_entry* vi = nullptr;
    std::uint32_t mask = 0;
    std::uint32_t extra_per_slot = 0;

    void look_at(const memory& m, const abi::vi_entry& v) noexcept {
        slots = m.at<abi::receive_slot>(v.receive_ring.load_relaxed());
        device = &m;
        vi = &v;
        mask = v.receive_depth.load_relaxed() - 1;
        const std::uint32_t most = v.segments_max.load_relaxed();
        extra_per_slot = abi::receive_extra_segments(most);
    }
    /// Segment i of descriptor d, which has this index.
    [[nodiscard]] const abi::segment& segment_of(const abi::receive_descriptor& d, std::uint32_t index,
                                                 std::uint32_t i) const noexcept {
        return i < abi::receive_segments_in_line ? d.segments[i] : extra(index)[i - abi::receive_segments_in_line];
    }
    /// What descriptor `index` has beyond its line.  The owner makes room before it posts the first such
    /// descriptor, so the place is looked up each time.
    [[nodiscard]] abi::segment* extra(std::uint32_t index) const noexcept {
        return device->at<abi::segment>(vi->receive_extra.load_acquire()) + std::size_t{index & mask} * extra_per_slot;
    }
};

/// The shared ring of a send queue, by pointers of this process.
struct send_side {
    abi::send_descriptor* descriptors = nullptr;
    const memory* device = nullptr;
    const abi::vi_entry* vi = nullptr;
    std::uint32_t mask = 0;
    std::uint32_t extra_bytes = 0;  ///< per descriptor

    void look_at(const memory& m, const abi::vi_entry& v) noexcept;
    /// What descriptor `index` has beyond its line; the owner made room before the first that needs it.
    [[nodiscard]] std::byte* extra(std::uint32_t index) const noexcept {
        return device->at<std::byte>(vi->send_extra.load_acquire()) + std::size_t{index & mask} * extra_bytes;
    }
    /// Writes descriptor `index`; m fits the VI's limits.
    void store(std::uint32_t index, const rules::message& m) noexcept;
};

/// Counts an operation of VI v that succeeded.  For the holder of v's send queue: these words have one writer at a
/// time.
inline void count_sent(abi::vi_entry& v, enum opcode what, std::uint32_t length) noexcept {
    std::uint32_t first = abi::tx_send_messages;
    switch (what) {
        case opcode::write:
            first = abi::tx_write_messages;
            break;
        case opcode::read:
            first = abi::tx_read_messages;
            break;
        case opcode::fetch_add:
        case opcode::compare_swap:
            v.counters[abi::tx_atomic_messages].add_single_writer(1);
            return;
        default:
            break;
    }
    v.counters[first].add_single_writer(1);
    v.counters[first + 1].add_single_writer(length);
}

}  // namespace vinic::tables

// SPDX-License-Identifier: Apache-2.0
//
// operation_queues.hpp -- M operation queues, and the VIs that are bound to them while they have work.
//
//   VI:      unbound --bind--> queued --take--> granted --give_back(more)--> queued, at the end of its lane
//               ^                 '--forget--.     '------give_back--------.
//               '----------------------------'-----------------------------'
//
//   queue:   owned by one function or by nobody.  A function may take a free queue if it owns fewer than are
//            reserved for it, or if more are free than are still reserved for others.  If it may not, the VI joins a
//            lane that the function has already; if it has none, the function is a guest in somebody's queue, with a
//            lane of its own: sharing a queue means sharing a number, not waiting behind others' VIs.
//
// A VI is in at most one lane, under at most one grant, and a lane is first in, first out.  Lane q is that of the owner
// of queue q, lane M + f that of function f as a guest, so no lane has to be found or allocated.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "controller/byte_round_robin.hpp"
#include "controller/scheduler.hpp"

namespace vinic::controller {

enum class standing : std::uint8_t { unbound, queued, granted };

/// A VI as the scheduler knows it.
struct queued_vi {
    std::uint64_t ready_ns = 0;
    std::uint16_t next = 0;  // in its lane
    std::uint16_t previous = 0;
    std::uint16_t lane = 0;
    controller::standing standing = standing::unbound;
    bool again = false;  // became ready while under grant
};

class operation_queues {
public:
    /// quantum_bytes: what a VI may move in a turn of its function.
    operation_queues(std::uint32_t queues, std::uint64_t quantum_bytes);

    /// A function comes, or its reservation changes.
    void reserve(std::uint32_t function, std::uint32_t queues);
    /// All its queued VIs are unbound, its reservation ends.  Returns how many there were.
    std::uint32_t close(std::uint32_t function);

    /// Allocates when the function uses this range of VIs for the first time.
    [[nodiscard]] queued_vi& entry(vi_name vi) {
        auto& page = members_[vi.function].pages[vi.vi / page_vis];
        if (page == nullptr) [[unlikely]] {
            page = std::make_unique<vi_page>();
        }
        return (*page)[vi.vi % page_vis];
    }
    [[nodiscard]] queued_vi* find(vi_name vi) noexcept {
        auto& page = members_[vi.function].pages[vi.vi / page_vis];
        return page == nullptr ? nullptr : &(*page)[vi.vi % page_vis];
    }

    /// Unbound to queued.  False: no queue was free for it.
    bool bind(vi_name vi, queued_vi& e, std::uint64_t now_ns);
    /// Queued to granted, in the function's turn.
    struct taken {
        std::uint32_t vi;
        queued_vi* entry;  // stays where it is while the VI is under grant
    };
    taken take(std::uint32_t function);
    /// Queued to granted, out of turn.
    void take(vi_name vi, queued_vi& e);
    /// Granted to queued or unbound; `cost` is what its lane pays.
    void give_back(vi_name vi, queued_vi& e, std::uint64_t cost, bool more, std::uint64_t now_ns);
    /// Queued to unbound.
    void forget(vi_name vi, queued_vi& e);

    [[nodiscard]] std::uint32_t queued(std::uint32_t function) const noexcept { return members_[function].queued; }
    /// Nothing waits and nothing is under grant.
    [[nodiscard]] bool idle(std::uint32_t function) const noexcept {
        return members_[function].queued + members_[function].granted == 0;
    }
    [[nodiscard]] std::uint32_t queue_of(const queued_vi& e) const noexcept { return lanes_[e.lane].queue; }
    /// Queues that the function owns right now.
    [[nodiscard]] std::uint32_t owned(std::uint32_t function) const noexcept { return members_[function].owned; }

    static constexpr std::uint32_t vis_max = 65536;

private:
    static constexpr std::uint32_t page_vis = 256;
    using vi_page = std::array<queued_vi, page_vis>;

    struct member {
        byte_round_robin round;
        std::uint32_t queued = 0;
        std::uint32_t granted = 0;
        std::uint32_t held = 0;   // lanes
        std::uint32_t owned = 0;  // queues
        std::uint32_t reserved = 0;
        std::uint16_t any_held = 0;  // the lane that a VI without a queue joins; they take turns
        std::vector<std::unique_ptr<vi_page>> pages;
    };

    [[nodiscard]] bool may_own(const member& m) const noexcept {
        return !free_.empty() && (m.owned < m.reserved || free_.size() > owed_);
    }
    std::uint16_t hold_lane(std::uint32_t function, member& m);
    void release_lane(member& m, std::uint16_t held);
    void append(member& m, std::uint16_t to, vi_name vi, queued_vi& e, std::uint64_t now_ns);
    void unlink(member& m, vi_name vi, queued_vi& e);
    void unbind(member& m, queued_vi& e);

    std::uint32_t queues_;
    std::int64_t quantum_;
    std::uint64_t owed_ = 0;           // queues that are reserved and not yet owned
    std::vector<std::uint16_t> free_;  // the last one is taken first
    std::vector<lane> lanes_;
    std::vector<member> members_;
};

}  // namespace vinic::controller

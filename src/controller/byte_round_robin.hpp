// SPDX-License-Identifier: Apache-2.0
//
// byte_round_robin.hpp -- whose turn it is among the lanes of one function: deficit round robin in bytes.
//
//   A lane is what one function has in one operation queue: VIs, first in, first out.
//
//        front                                back
//     .-> lane -> lane (credit 40 KiB) -> lane -.      a turn is worth one quantum for each VI of the lane, so
//     '-----------------------------------------'      a VI gets the same whether it shares its queue or not
//
// What a grant costs is known only afterwards.  So a lane is served while its credit is above 0, pays when the grant
// is over, and its turn ends when what is left would not pay for as much again.  What is left, or owed, counts in its
// next turn; debts beyond debt_quanta_max are forgiven, as an engine that was held up would otherwise mute a lane for
// long.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace vinic::controller {

struct lane {
    std::int64_t credit = 0;
    std::uint32_t queued = 0;  // VIs that wait; they form the list first .. last
    std::uint32_t bound = 0;   // these and the ones under grant
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    std::uint16_t next = 0;  // in the round
    std::uint16_t previous = 0;
    std::uint16_t next_held = 0;  // among all lanes of the function
    std::uint16_t previous_held = 0;
    std::uint16_t queue = 0;
    bool owns_queue = false;
    bool in_round = false;
};

class byte_round_robin {
public:
    static constexpr std::int64_t debt_quanta_max = 4;

    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] std::uint16_t front() const noexcept { return front_; }
    [[nodiscard]] std::uint16_t back(std::span<const lane> lanes) const noexcept { return lanes[front_].previous; }

    /// A lane in which nothing waited until now.
    void join(std::span<lane> lanes, std::uint16_t joined) noexcept { link(lanes, joined); }

    /// The lane that is served now.
    std::uint16_t turn(std::span<lane> lanes, std::int64_t quantum) noexcept {
        while (lanes[front_].credit <= 0) {
            end_turn(lanes, quantum);
        }
        return front_;
    }

    void leave(std::span<lane> lanes, std::uint16_t left) noexcept {
        lane& l = lanes[left];
        lanes[l.previous].next = l.next;
        lanes[l.next].previous = l.previous;
        if (front_ == left) {
            front_ = l.next;
        }
        l.in_round = false;
        --count_;
    }

    /// A grant of the lane is over; it has VIs waiting or will have (`waiting`), and may be out of the round.
    void pay(std::span<lane> lanes, std::uint16_t paying, std::uint64_t bytes, bool waiting,
             std::int64_t quantum) noexcept {
        lane& l = lanes[paying];
        const auto cost = static_cast<std::int64_t>(std::min<std::uint64_t>(bytes, 1ULL << 62));
        const bool over = l.credit - cost < cost;
        l.credit = std::max(l.credit - cost, -debt_quanta_max * quantum);
        if (l.in_round) {
            if (over && front_ == paying) {
                end_turn(lanes, quantum);
            }
        } else if (waiting) {
            if (over) {
                earn(l, quantum);
            }
            link(lanes, paying);
            if (!over) {
                front_ = paying;
            }
        }
    }

private:
    static void earn(lane& l, std::int64_t quantum) noexcept {
        const std::int64_t turn = quantum * l.bound;
        l.credit = std::min(l.credit + turn, 2 * turn);
    }
    void end_turn(std::span<lane> lanes, std::int64_t quantum) noexcept {
        earn(lanes[front_], quantum);
        front_ = lanes[front_].next;
    }
    /// At the back.
    void link(std::span<lane> lanes, std::uint16_t linked) noexcept {
        lane& l = lanes[linked];
        if (count_ == 0) {
            front_ = l.next = l.previous = linked;
        } else {
            l.next = front_;
            l.previous = lanes[front_].previous;
            lanes[l.previous].next = linked;
            lanes[front_].previous = linked;
        }
        l.in_round = true;
        ++count_;
    }

    std::uint16_t front_ = 0;
    std::uint16_t count_ = 0;
};

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// operation_queues.cc -- binding VIs to queues by lease, and the lists that they form there.
#include "controller/operation_queues.hpp"

namespace vinic::controller {

operation_queues::operation_queues(std::uint32_t queues, std::uint64_t quantum_bytes)
    : queues_(queues), quantum_(static_cast<std::int64_t>(quantum_bytes)), lanes_(queues) {
    free_.reserve(queues);
    for (std::uint32_t queue = queues; queue-- > 0;) {
        free_.push_back(static_cast<std::uint16_t>(queue));
        lanes_[queue].queue = static_cast<std::uint16_t>(queue);
        lanes_[queue].owns_queue = true;
    }
}

void operation_queues::reserve(std::uint32_t function, std::uint32_t queues) {
    while (members_.size() <= function) {
        lane guest;
        guest.queue = static_cast<std::uint16_t>(members_.size() % queues_);
        lanes_.push_back(guest);
        members_.emplace_back();
    }
    member& m = members_[function];
    if (m.pages.empty()) {
        m.pages.resize(vis_max / page_vis);
    }
    owed_ -= m.reserved > m.owned ? m.reserved - m.owned : 0;
    m.reserved = queues;
    owed_ += m.reserved > m.owned ? m.reserved - m.owned : 0;
}

std::uint32_t operation_queues::close(std::uint32_t function) {
    member& m = members_[function];
    std::uint32_t forgotten = 0;
    while (!m.round.empty()) {
        const vi_name vi{function, lanes_[m.round.front()].first};
        forget(vi, entry(vi));
        ++forgotten;
    }
    for (const auto& page : m.pages) {
        if (page != nullptr) {
            for (queued_vi& e : *page) {
                e.again = false;
            }
        }
    }
    if (m.granted == 0) {
        for (auto& page : m.pages) {
            page.reset();
        }
    }
    reserve(function, 0);
    return forgotten;
}

/// A lane for one more VI: a new one if a queue is free for it, else one that the function has.
std::uint16_t operation_queues::hold_lane(std::uint32_t function, member& m) {
    std::uint16_t held = 0;
    if (may_own(m)) {
        held = free_.back();
        free_.pop_back();
        owed_ -= m.owned < m.reserved ? 1 : 0;
        ++m.owned;
    } else if (m.held > 0) {
        m.any_held = lanes_[m.any_held].next_held;
        return m.any_held;
    } else {
        held = static_cast<std::uint16_t>(queues_ + function);
    }
    lane& l = lanes_[held];
    if (m.held++ == 0) {
        m.any_held = l.next_held = l.previous_held = held;
    } else {
        l.next_held = m.any_held;
        l.previous_held = lanes_[m.any_held].previous_held;
        lanes_[l.previous_held].next_held = held;
        lanes_[m.any_held].previous_held = held;
    }
    l.credit = quantum_;
    return held;
}

void operation_queues::release_lane(member& m, std::uint16_t held) {
    lane& l = lanes_[held];
    lanes_[l.previous_held].next_held = l.next_held;
    lanes_[l.next_held].previous_held = l.previous_held;
    m.any_held = l.next_held;
    --m.held;
    if (l.owns_queue) {
        --m.owned;
        owed_ += m.owned < m.reserved ? 1 : 0;
        free_.push_back(held);
    }
}

/// At the end of the lane's list; the lane itself enters the round elsewhere.
void operation_queues::append(member& m, std::uint16_t to, vi_name vi, queued_vi& e, std::uint64_t now_ns) {
    lane& l = lanes_[to];
    const auto index = static_cast<std::uint16_t>(vi.vi);
    if (l.queued++ == 0) {
        l.first = index;
    } else {
        e.previous = l.last;
        entry({vi.function, l.last}).next = index;
    }
    l.last = index;
    e.standing = standing::queued;
    e.ready_ns = now_ns;
    ++m.queued;
}

void operation_queues::unlink(member& m, vi_name vi, queued_vi& e) {
    lane& l = lanes_[e.lane];
    --m.queued;
    if (--l.queued == 0) {
        m.round.leave(lanes_, e.lane);
    } else if (l.first == vi.vi) {
        l.first = e.next;
    } else if (l.last == vi.vi) {
        l.last = e.previous;
    } else {
        entry({vi.function, e.previous}).next = e.next;
        entry({vi.function, e.next}).previous = e.previous;
    }
}

void operation_queues::unbind(member& m, queued_vi& e) {
    e.standing = standing::unbound;
    e.again = false;
    if (--lanes_[e.lane].bound == 0) {
        release_lane(m, e.lane);
    }
}

bool operation_queues::bind(vi_name vi, queued_vi& e, std::uint64_t now_ns) {
    member& m = members_[vi.function];
    const std::uint32_t owned = m.owned;
    e.lane = hold_lane(vi.function, m);
    lane& l = lanes_[e.lane];
    ++l.bound;
    append(m, e.lane, vi, e, now_ns);
    if (!l.in_round) {
        m.round.join(lanes_, e.lane);
    }
    return m.owned != owned;
}

operation_queues::taken operation_queues::take(std::uint32_t function) {
    member& m = members_[function];
    std::uint16_t turn = m.round.front();
    if (m.held == 1) {
        lanes_[turn].credit = std::max(lanes_[turn].credit, quantum_);  // alone it owes nobody
    } else {
        turn = m.round.turn(lanes_, quantum_);
    }
    const vi_name vi{function, lanes_[turn].first};
    queued_vi& e = entry(vi);
    take(vi, e);
    return {vi.vi, &e};
}

void operation_queues::take(vi_name vi, queued_vi& e) {
    member& m = members_[vi.function];
    unlink(m, vi, e);
    e.standing = standing::granted;
    ++m.granted;
}

void operation_queues::give_back(vi_name vi, queued_vi& e, std::uint64_t cost, bool more, std::uint64_t now_ns) {
    member& m = members_[vi.function];
    --m.granted;
    e.again = false;
    if (more) {
        append(m, e.lane, vi, e, now_ns);
    }
    m.round.pay(lanes_, e.lane, cost, more, quantum_);
    if (!more) {
        unbind(m, e);
    }
}

void operation_queues::forget(vi_name vi, queued_vi& e) {
    member& m = members_[vi.function];
    unlink(m, vi, e);
    unbind(m, e);
}

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// engine_sleep.cc -- when an engine without work sleeps, and which engine looks at the doorbells meanwhile.
//
//   all asleep         every doorbell is armed: a ring kicks
//   one or more awake  nothing is armed; one of them looks, or is inside a lease that has just begun
//   a lease gets long  if nobody else looks, the engine inside calls one that sleeps; it stays while there are leases
#include <algorithm>

#include "controller/engines.hpp"

namespace vinic::controller {

/// Doorbells are not armed while an engine is awake, and one that is inside a lease does not look at them.  So while
/// there are leases, one engine stays awake to look.  Under the board.
bool engines::is_needed_to_look(std::uint32_t number, std::uint64_t now_ns) const noexcept {
    bool busy = now_ns - latest_lease_ns_ < options_.idle_spin_ns;
    for (std::uint32_t i = 0; i < leases_.size(); ++i) {
        if (i != number && is_idle_[i]) {
            return false;
        }
        busy = busy || (leases_[i].count.load(std::memory_order_relaxed) & 1) != 0;
    }
    return busy;
}

/// In the middle of a lease that turns out to be long: an engine that fell asleep before it is to look meanwhile.
void engines::call_a_looker() noexcept {
    if (sleepers_.load(std::memory_order_relaxed) != 0 && looking_.load(std::memory_order_relaxed) == 0) {
        kicks_.wake();
    }
}

bool engines::prepare_sleep(std::uint32_t number, std::uint64_t now_ns, std::uint64_t& until_ns) {
    board.lock_as_engine();
    if (is_one_of_many() && is_needed_to_look(number, now_ns)) {
        board.unlock();
        return false;
    }
    collect(now_ns);
    for (std::size_t steps = 1; !watched_.empty(); ++steps) {
        unwatch(watched_.size() - 1, now_ns);
        if (steps % looks_between_clocks == 0 && clock_ns() - now_ns > collect_ns_max) {
            break;
        }
    }
    bool may = watched_.empty() && rings_at_ == rings_count_ && doorbells.arm_all() && !scheduler.can_serve();
    until_ns = std::min(now_ns + options_.sleep_ns, std::max(deliveries_.next(), now_ns + 1000));
    if (const std::uint64_t t = scheduler.next_time(); t != 0) {
        may = may && t > now_ns;
        until_ns = std::min(until_ns, t);
    }
    if (!limited_waits_.empty()) {
        until_ns = std::min(until_ns, std::max(limited_waits_.begin()->first, now_ns + 1000));
    }
    if (may) {
        is_idle_[number] = false;
        sleepers_.fetch_add(1, std::memory_order_relaxed);
        looks(-1);
    }
    board.unlock();
    return may;
}

void engines::sleep(std::uint64_t until_ns) {
    const std::uint64_t now = clock_ns();
    const kicks::written kicked = kicks_.wait(until_ns > now ? until_ns - now : 0);
    looks(1);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    if (!kicked.empty()) {
        board.lock_as_engine();
        for (const std::uint32_t f : kicked) {
            (void)doorbells.kicked(f);
        }
        board.unlock();
    }
}

}  // namespace vinic::controller

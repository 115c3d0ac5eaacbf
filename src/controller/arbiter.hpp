// SPDX-License-Identifier: Apache-2.0
//
// arbiter.hpp -- which function is served next: strict class, then guarantee, cap and weight after hClock's rules.
//
//   tag           unit                   advances                        an idle function that becomes busy
//   reservation   ns, real time          when served by reservation      max(tag, now)
//   limit         ns, real time          always                          a bucket, cap_burst_ns deep
//   proportional  bytes / weight         always                          max(tag, virtual time of its class)
//
//   choose: of the highest class that has somebody below its cap: the smallest reservation tag if it is due,
//   else the smallest proportional tag.
//
// Tags are set to now only from idle to busy: a tag that was set at every service would forget how late the service
// was, and a guarantee would lose that much each time.  What bounds the memory instead: a reservation older
// than history_ns is forgiven, and a proportional tag stays within history_ns of the device's work of the virtual time,
// so that what somebody got long ago is not held against it when a guarantee ends.
//
// Entries of the heaps are corrected when they come to the top, so charging touches no heap.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "controller/scheduler.hpp"
#include "controller/tag_heap.hpp"

namespace vinic::controller {

__extension__ using wide = unsigned __int128;

constexpr std::uint64_t history_ns = 10'000'000;
constexpr std::uint64_t cap_burst_ns = 200'000;

/// A point in real time, exact to 2^-32 ns: at 8 GB/s a byte is an eighth of a nanosecond.
struct real_tag {
    std::uint64_t ns = 0;
    std::uint32_t fraction = 0;

    /// What a byte costs at this rate, in 2^-32 ns; 0 bytes per second: nothing.
    static constexpr std::uint64_t per_byte(std::uint64_t bytes_per_second) noexcept {
        constexpr std::uint64_t second = 1'000'000'000ULL << 32;
        return bytes_per_second == 0 ? 0 : std::max<std::uint64_t>(1, second / bytes_per_second);
    }
    void at_least(std::uint64_t time_ns) noexcept {
        if (ns < time_ns) {
            *this = {time_ns, 0};
        }
    }
    void advance(std::uint64_t bytes, std::uint64_t per_byte_cost) noexcept {
        constexpr std::uint64_t most = 1ULL << 60;
        const wide sum = static_cast<wide>(bytes) * per_byte_cost + fraction;
        fraction = static_cast<std::uint32_t>(sum);
        ns = std::min(ns + static_cast<std::uint64_t>(std::min<wide>(sum >> 32, most)), 2 * most);
    }
};

/// What the product does.  The tests have rules that are wrong on purpose, to see that they notice.
struct hclock_rules {
    static constexpr bool reservation_advances_share = true;
    static constexpr bool forgets_at_every_service = false;
};

template <class Rules>
class basic_arbiter {
public:
    struct choice {
        std::uint32_t function;
        bool by_reservation;
    };

    basic_arbiter(std::uint64_t bytes_per_second, std::uint64_t lease_bytes)
        : history_bytes_(static_cast<std::uint64_t>(static_cast<wide>(bytes_per_second) * history_ns / 1'000'000'000)),
          lease_bytes_(lease_bytes) {}

    /// A function comes or its entitlement changes.  What it still owes to its cap stays owed, in bytes.
    void set(std::uint32_t function, const entitlement& s, std::uint64_t now_ns);
    /// Returns what capped_ns() was.
    std::uint64_t remove(std::uint32_t function, std::uint64_t now_ns);

    /// From idle to busy: before it, nothing of the function waited or was under way.
    void wake(std::uint32_t function, std::uint64_t now_ns) {
        account& a = accounts_[function];
        a.reservation.at_least(now_ns);
        a.proportional = std::max(a.proportional, levels_[a.priority].virtual_time);
    }
    /// It has something that may be granted, or no longer.
    void offer(std::uint32_t function) {
        account& a = accounts_[function];
        open_ += a.offered ? 0 : 1;
        a.offered = true;
        if (!a.in_shares || a.in_reservations != (a.per_byte_reservation != 0)) {
            enter(function, a);
        }
    }
    void withdraw(std::uint32_t function, std::uint64_t now_ns) {
        account& a = accounts_[function];
        if (a.held) {
            held_.remove(function);
            end_hold(a, now_ns);
        }
        open_ -= a.offered ? 1 : 0;
        a.offered = false;
    }

    [[nodiscard]] std::optional<choice> choose(std::uint64_t now_ns);

    /// What a grant cost, when it is over.
    void charge(std::uint32_t function, std::uint64_t bytes, bool by_reservation, std::uint64_t now_ns);
    /// Counts towards the weighted share, never towards guarantee and cap, and costs one turn at most: it
    /// was not the receiver that asked for it.
    void charge_receiver(std::uint32_t function, std::uint64_t bytes) {
        account& a = accounts_[function];
        const std::uint64_t most = levels_[a.priority].virtual_time + share(a, lease_bytes_);
        a.proportional = std::max(a.proportional, std::min(a.proportional + share(a, bytes), most));
    }

    /// Whether a function is offered that no cap is known to hold back.
    [[nodiscard]] bool any_open() const noexcept { return open_ > 0; }
    /// When the first of those that a cap holds back goes on; 0: a cap holds nobody back.  Exact once choose()
    /// has found nobody.
    [[nodiscard]] std::uint64_t next_time() const noexcept { return held_.empty() ? 0 : held_.top().tag; }
    [[nodiscard]] std::uint64_t capped_ns(std::uint32_t function) const noexcept {
        return accounts_[function].capped_ns;
    }

private:
    static constexpr std::uint32_t classes = 8;
    static constexpr unsigned share_bits = 20;  // a proportional tag counts 2^-20 bytes at weight 1
    static constexpr std::uint64_t rebase_above = 1ULL << 62;

    struct account {
        std::uint64_t proportional = 0;
        std::uint64_t per_byte_share = 0;  // 2^-40 bytes
        std::uint64_t history = 0;         // how far its proportional tag may be from the virtual time
        real_tag reservation;
        real_tag limit;
        std::uint64_t per_byte_reservation = 0;  // 0: no guarantee
        std::uint64_t per_byte_limit = 0;        // 0: no cap
        std::uint32_t priority = 0;
        bool present = false;
        bool offered = false;
        bool held = false;  // by its cap: it is in held_, and in no other heap that counts
        bool in_reservations = false;
        bool in_shares = false;
        std::uint64_t held_since_ns = 0;
        std::uint64_t capped_ns = 0;
        entitlement granted;
    };
    struct level {
        tag_heap reservations;
        tag_heap shares;
        std::uint64_t virtual_time = 0;
    };

    static std::uint64_t share(const account& a, std::uint64_t bytes) noexcept {
        constexpr wide most = 1ULL << 60;
        return static_cast<std::uint64_t>(
            std::min((static_cast<wide>(bytes) * a.per_byte_share) >> (40 - share_bits), most));
    }
    static std::uint64_t before(std::uint64_t time, std::uint64_t span) noexcept {
        return time > span ? time - span : 0;
    }
    static bool over_cap(const account& a, std::uint64_t now_ns) noexcept {
        return a.per_byte_limit != 0 && a.limit.ns > now_ns;
    }

    void enter(std::uint32_t function, account& a);
    void leave(std::uint32_t function, account& a, std::uint64_t now_ns);
    void hold(std::uint32_t function, account& a, std::uint64_t now_ns) {
        a.held = true;
        --open_;
        a.held_since_ns = now_ns;
        held_.push(a.limit.ns, function);
    }
    void end_hold(account& a, std::uint64_t now_ns) noexcept {
        a.held = false;
        ++open_;
        a.capped_ns += std::max(now_ns, a.held_since_ns) - a.held_since_ns;
    }
    void release_held(std::uint64_t now_ns);
    bool settle_reservations(level& l, std::uint64_t now_ns);
    bool settle_shares(level& l, std::uint64_t now_ns);
    void rebase(std::uint32_t priority);

    std::uint64_t history_bytes_;
    std::uint64_t lease_bytes_;
    std::uint32_t open_ = 0;          // functions that are offered and not held
    std::uint32_t classes_used_ = 0;  // a bit for each class whose heap of shares may hold somebody
    std::vector<account> accounts_;
    std::array<level, classes> levels_;
    tag_heap held_;
};

template <class Rules>
void basic_arbiter<Rules>::set(std::uint32_t function, const entitlement& s, std::uint64_t now_ns) {
    if (function >= accounts_.size()) {
        accounts_.resize(function + 1);
        held_.reserve(accounts_.size());
        for (level& l : levels_) {
            l.reservations.reserve(accounts_.size());
            l.shares.reserve(accounts_.size());
        }
    }
    account& a = accounts_[function];
    if (a.present && a.granted == s) {
        return;
    }
    const auto ahead = [now_ns](real_tag tag, std::uint64_t before_rate, std::uint64_t rate) {
        if (before_rate == 0 || rate == 0 || tag.ns <= now_ns) {
            return real_tag{now_ns, 0};
        }
        const wide left = static_cast<wide>(tag.ns - now_ns) * before_rate / rate;
        return real_tag{now_ns + static_cast<std::uint64_t>(std::min<wide>(left, 1ULL << 60)), 0};
    };
    const bool offered = a.offered;
    leave(function, a, now_ns);
    const auto guaranteed = [](const entitlement& of) {
        return of.cap == 0 ? of.guarantee : std::min(of.guarantee, of.cap);
    };
    const std::uint64_t guarantee = guaranteed(s);
    a.limit = ahead(a.limit, a.granted.cap, s.cap);
    a.reservation = ahead(a.reservation, guaranteed(a.granted), guarantee);
    a.granted = s;
    a.per_byte_reservation = real_tag::per_byte(guarantee);
    a.per_byte_limit = real_tag::per_byte(s.cap);
    a.per_byte_share = (1ULL << 40) / std::clamp<std::uint32_t>(s.weight, 1, 10'000);
    a.history = share(a, history_bytes_);
    a.priority = std::min(s.priority, classes - 1);
    a.proportional = levels_[a.priority].virtual_time;
    a.present = true;
    if (offered) {
        offer(function);
    }
}

template <class Rules>
std::uint64_t basic_arbiter<Rules>::remove(std::uint32_t function, std::uint64_t now_ns) {
    account& a = accounts_[function];
    leave(function, a, now_ns);
    const std::uint64_t capped = a.capped_ns;
    a = {};
    return capped;
}

template <class Rules>
void basic_arbiter<Rules>::enter(std::uint32_t function, account& a) {
    level& l = levels_[a.priority];
    a.proportional = std::max(a.proportional, before(l.virtual_time, a.history));
    if (!a.in_shares) {
        a.in_shares = true;
        l.shares.push(a.proportional, function);
    }
    if (a.per_byte_reservation != 0 && !a.in_reservations) {
        a.in_reservations = true;
        l.reservations.push(a.reservation.ns, function);
    }
    classes_used_ |= 1U << a.priority;
}

/// Out of every heap.
template <class Rules>
void basic_arbiter<Rules>::leave(std::uint32_t function, account& a, std::uint64_t now_ns) {
    if (a.present) {
        withdraw(function, now_ns);
        levels_[a.priority].shares.remove(function);
        levels_[a.priority].reservations.remove(function);
        a.in_shares = a.in_reservations = false;
    }
}

template <class Rules>
void basic_arbiter<Rules>::release_held(std::uint64_t now_ns) {
    while (!held_.empty() && held_.top().tag <= now_ns) {
        const std::uint32_t function = held_.top().function;
        held_.pop();
        account& a = accounts_[function];
        end_hold(a, a.limit.ns);
        enter(function, a);
    }
}

/// Brings the function that is due first to the top.  False: no reservation is due.
template <class Rules>
bool basic_arbiter<Rules>::settle_reservations(level& l, std::uint64_t now_ns) {
    while (!l.reservations.empty() && l.reservations.top().tag <= now_ns) {
        const auto [tag, function] = l.reservations.top();
        account& a = accounts_[function];
        if (a.offered && !a.held && !over_cap(a, now_ns)) {
            if (tag == a.reservation.ns) {
                return true;
            }
            l.reservations.raise_top(a.reservation.ns);
            continue;
        }
        if (a.offered && !a.held) {
            hold(function, a, now_ns);
        }
        a.in_reservations = false;
        l.reservations.pop();
    }
    return false;
}

/// Brings the smallest proportional tag of those that may be served to the top.  False: there is none.
template <class Rules>
bool basic_arbiter<Rules>::settle_shares(level& l, std::uint64_t now_ns) {
    while (!l.shares.empty()) {
        const auto [tag, function] = l.shares.top();
        account& a = accounts_[function];
        if (a.offered && !a.held && !over_cap(a, now_ns)) {
            if (tag == a.proportional) {
                return true;
            }
            l.shares.raise_top(a.proportional);
            continue;
        }
        if (a.offered && !a.held) {
            hold(function, a, now_ns);
        }
        a.in_shares = false;
        l.shares.pop();
    }
    return false;
}

template <class Rules>
auto basic_arbiter<Rules>::choose(std::uint64_t now_ns) -> std::optional<choice> {
    release_held(now_ns);
    while (classes_used_ != 0) {
        const auto highest = static_cast<std::uint32_t>(std::bit_width(classes_used_)) - 1;
        level& l = levels_[highest];
        const bool due = settle_reservations(l, now_ns);
        if (settle_shares(l, now_ns)) {
            l.virtual_time = std::max(l.virtual_time, l.shares.top().tag);
            const std::uint32_t chosen = due ? l.reservations.top().function : l.shares.top().function;
            if constexpr (Rules::forgets_at_every_service) {
                wake(chosen, now_ns);
            }
            return choice{chosen, due};
        }
        classes_used_ &= ~(1U << highest);
    }
    return std::nullopt;
}

template <class Rules>
void basic_arbiter<Rules>::charge(std::uint32_t function, std::uint64_t bytes, bool by_reservation,
                                  std::uint64_t now_ns) {
    account& a = accounts_[function];
    const std::uint64_t virtual_time = levels_[a.priority].virtual_time;
    if (!by_reservation || Rules::reservation_advances_share) {
        const std::uint64_t step = share(a, bytes);
        const std::uint64_t most = virtual_time + a.history + step;
        a.proportional = std::max(a.proportional, std::min(a.proportional + step, most));
    }
    if (by_reservation) {
        a.reservation.at_least(before(now_ns, history_ns));
        a.reservation.advance(bytes, a.per_byte_reservation);
    }
    if (a.per_byte_limit != 0) {
        a.limit.at_least(before(now_ns, cap_burst_ns));
        a.limit.advance(bytes, a.per_byte_limit);
        if (a.held) {  // by what another engine did for it
            held_.remove(function);
            held_.push(a.limit.ns, function);
        }
    }
    if (a.proportional > rebase_above) {
        rebase(a.priority);
    }
}

/// Proportional tags are only compared with each other: all of a class go back by its virtual time.
template <class Rules>
void basic_arbiter<Rules>::rebase(std::uint32_t priority) {
    level& l = levels_[priority];
    for (account& a : accounts_) {
        if (a.priority == priority) {
            a.proportional -= std::min(a.proportional, l.virtual_time);
        }
    }
    l.shares.subtract(l.virtual_time);
    l.virtual_time = 0;
}

using arbiter = basic_arbiter<hclock_rules>;
extern template class basic_arbiter<hclock_rules>;

}  // namespace vinic::controller

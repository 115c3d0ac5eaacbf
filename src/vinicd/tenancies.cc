// SPDX-License-Identifier: Apache-2.0
//
// tenancies.cc -- remembers who was given which window, and finds those whose right is over.
#include "vinicd/tenancies.hpp"

#include <algorithm>

namespace vinic::vinicd {

tenancies::rights tenancies::of(std::uint32_t function) const {
    return {access_.owner(function), access_.group(function), access_.is_enabled(function)};
}

void tenancies::hand_out(std::uint32_t function, std::uint32_t epoch, const peer& p) {
    tenancy& t = all_[function];
    if (t.epoch != epoch) {
        t = {.epoch = epoch, .under = of(function), .holders = {}, .too_many = false};
    }
    const bool known = std::ranges::any_of(t.holders, [&](const peer& other) {
        return other.who.user == p.who.user && other.who.group == p.who.group && other.groups == p.groups;
    });
    if (known) {
        return;
    }
    if (t.holders.size() == holders_most) {
        t.too_many = true;
        return;
    }
    peer holder;
    holder.who = p.who;
    holder.groups = p.groups;
    t.holders.push_back(std::move(holder));
}

/// A new owner begins with new memory, even if only administrators had the old one, who may use everything.
bool tenancies::is_over(std::uint32_t function, const tenancy& t) const {
    const rights now = of(function);
    return !now.enabled || now.owner != t.under.owner || t.too_many ||
           !std::ranges::all_of(t.holders, [&](const peer& p) { return access_.may_use(function, p); });
}

std::vector<std::uint32_t> tenancies::end_those_without_right() {
    std::vector<std::uint32_t> reset;
    for (auto it = all_.begin(); it != all_.end();) {
        auto& [function, t] = *it;
        if (of(function) == t.under) {
            ++it;
            continue;
        }
        if (!is_over(function, t)) {
            t.under = of(function);
            ++it;
            continue;
        }
        if (device_.end_tenancy(
                function,
                "not everybody who has its memory may use it any more")) {  // else it was removed, and nobody is in it
            reset.push_back(function);
        }
        it = all_.erase(it);
    }
    return reset;
}

}  // namespace vinic::vinicd

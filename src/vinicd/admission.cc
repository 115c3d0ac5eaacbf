// SPDX-License-Identifier: Apache-2.0
//
// admission.cc -- the accounts' figures, places given and taken, and work charged.
#include "vinicd/admission.hpp"

#include <algorithm>
#include <tuple>

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t at_once_ns = 200'000'000;
constexpr std::uint32_t per_mille = 1000;

std::uint32_t share_of(account a) noexcept {
    switch (a.of) {
        case account::kind::administrators:
            return 500;
        case account::kind::group:
            return 200;
        case account::kind::owner:
        case account::kind::function:
            return 100;
        case account::kind::strangers:
            break;
    }
    return 50;
}

}  // namespace

void work_budget::charge(std::uint64_t now_ns, std::uint64_t used_ns, std::uint32_t share_per_mille) noexcept {
    const std::uint64_t paid_at_ns = std::max(paid_at_ns_, now_ns) + used_ns * per_mille / share_per_mille;
    paid_at_ns_ = std::min(paid_at_ns, now_ns + debt_max_ns);
}

std::uint64_t work_budget::free_at_ns() const noexcept {
    return paid_at_ns_ > at_once_ns ? paid_at_ns_ - at_once_ns : 0;
}

// -- places -----------------------------------------------------------------------------------------

admission::verdict admission::make_room(account place, uid_t newcomer) const {
    const auto found = taken_.find(place);
    const std::uint32_t most = place.of == account::kind::strangers  ? places_of_strangers
                               : place.of == account::kind::function ? function_places_
                                                                     : places;
    if (found == taken_.end() || found->second.size() < most) {
        return {.admitted = true, .leaves = {}};
    }
    std::map<uid_t, std::uint32_t> held{{newcomer, 1}};
    for (const number n : found->second) {
        held[all_.at(n).user] += 1;
    }
    const auto rank = [&](number n) {
        const guest& g = all_.at(n);
        return std::tuple(held.at(g.user), ~g.heard_ns);
    };
    std::optional<number> leaves;
    for (const number n : found->second) {
        if (all_.at(n).at != stage::entered && (!leaves || rank(n) > rank(*leaves))) {
            leaves = n;
        }
    }
    return {.admitted = leaves.has_value(), .leaves = leaves};
}

admission::verdict admission::arrive(number n, account of, uid_t user, std::uint64_t now_ns) {
    const verdict v = make_room(of, user);
    if (v.admitted) {
        all_[n] = {.of = of, .place = of, .user = user, .at = stage::silent, .heard_ns = now_ns};
        taken_[of].insert(n);
    }
    return v;
}

admission::verdict admission::attach(number n, std::uint32_t function, std::uint64_t now_ns) {
    guest& g = all_.at(n);
    const account wanted{.of = account::kind::function, .id = function};
    const verdict v = make_room(wanted, g.user);
    if (v.admitted) {
        taken_[g.place].erase(n);
        taken_[wanted].insert(n);
        g.place = wanted;
        g.at = stage::attached;
        g.heard_ns = now_ns;
    }
    return v;
}

void admission::enter(number n) noexcept { all_.at(n).at = stage::entered; }

void admission::ask(number n, std::uint64_t now_ns) noexcept {
    guest& g = all_.at(n);
    g.at = stage::asking;
    g.heard_ns = now_ns;
}

void admission::monitor(number n) noexcept { all_.at(n).at = stage::monitoring; }

void admission::leave(number n) noexcept {
    const auto found = all_.find(n);
    if (found == all_.end()) {
        return;
    }
    const auto places_there = taken_.find(found->second.place);
    places_there->second.erase(n);
    if (places_there->second.empty()) {
        taken_.erase(places_there);
    }
    all_.erase(found);
}

std::vector<admission::number> admission::late(std::uint64_t now_ns) {
    std::erase_if(budgets_, [&](const auto& each) { return each.second.is_full(now_ns); });
    std::erase_if(members_, [&](const auto& each) { return each.second.is_full(now_ns); });
    std::vector<number> all;
    for (const auto& [n, g] : all_) {
        const bool stays = g.at == stage::monitoring || g.at == stage::entered;
        const bool patient = g.at == stage::asking && g.of.of != account::kind::strangers;
        if (!stays && now_ns > g.heard_ns && now_ns - g.heard_ns > (patient ? idle_max_ns : patience_ns)) {
            all.push_back(n);
        }
    }
    return all;
}

std::optional<admission::number> admission::weakest(account of, number but) const {
    std::map<std::pair<account, uid_t>, std::uint32_t> held;
    for (const auto& [n, g] : all_) {
        held[{g.of, g.user}] += 1;
    }
    const auto rank = [&](const guest& g) { return std::tuple(g.of.of, ~held.at({g.of, g.user}), g.heard_ns); };
    std::optional<number> least;
    for (const auto& [n, g] : all_) {
        if (n != but && g.at != stage::entered && g.of.of <= of.of && (!least || rank(g) < rank(all_.at(*least)))) {
            least = n;
        }
    }
    return least;
}

// -- work -------------------------------------------------------------------------------------------

void admission::charge(account of, uid_t user, std::uint64_t now_ns, std::uint64_t used_ns) {
    if (of.of == account::kind::group) {
        work_budget& alone = members_[{of, user}];
        const bool beyond_his_half = alone.free_at_ns() > now_ns;
        alone.charge(now_ns, used_ns, share_of(of) / 2);
        if (beyond_his_half) {
            return;
        }
    }
    budgets_[of].charge(now_ns, used_ns, share_of(of));
}

std::uint64_t admission::free_at_ns(account of, uid_t user) const {
    const auto together = budgets_.find(of);
    const auto alone = members_.find({of, user});
    return std::max(together == budgets_.end() ? 0 : together->second.free_at_ns(),
                    alone == members_.end() ? 0 : alone->second.free_at_ns());
}

}  // namespace vinic::vinicd

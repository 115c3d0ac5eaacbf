// SPDX-License-Identifier: Apache-2.0
//
// name_verbs.cc -- the directory: listeners, and datagram VIs that are bound to a name; and which names are whose.
#include <algorithm>

#include "controller/control.hpp"
#include "controller/names.hpp"

namespace vinic::controller {

namespace {

// Each function's own, so that none can take the others'.
constexpr std::uint32_t names_max = abi::name_count / 4;

}  // namespace

control::names::iterator control::find_listener(const call& c, std::uint64_t entry) {
    if (entry >= abi::name_count) {
        return names_.end();
    }
    const auto at = listeners_.find({c.f.number, c.context, static_cast<std::uint32_t>(entry)});
    return at == listeners_.end() ? names_.end() : at->second;
}

/// Names that nobody was given are anybody's.
bool control::may_have(const function& f, std::string_view key) const {
    if (given_.empty()) {
        return true;
    }
    for (std::size_t bytes = static_cast<unsigned char>(key.back()); bytes != 0; --bytes) {
        if (const auto at = given_.find(key.substr(0, bytes)); at != given_.end()) {
            return at->second.contains(f.number);
        }
    }
    return true;
}

void control::give_names(std::uint32_t function, std::span<const std::string> prefixes) {
    given_names next = given_;
    for (auto& [prefix, whose] : next) {
        whose.erase(function);
    }
    std::erase_if(next, [](const auto& each) { return each.second.empty(); });
    for (const std::string& each : prefixes) {
        next[each].insert(function);
    }
    given_.swap(next);
    for (const auto* changed : {&given_, &next}) {
        for (const auto& [prefix, whose] : *changed) {
            take_away(prefix);
        }
    }
}

/// Names and wishes that begin so, of functions that may not have them.
void control::take_away(const std::string& prefix) {
    for (auto at = names_.lower_bound(prefix); at != names_.end() && at->first.starts_with(prefix);) {
        const auto here = at++;
        const name n = here->second;
        if (may_have(*n.owner, here->first)) {
            continue;
        }
        if (n.target == nullptr) {
            while (!decide_some(here, abi::request_stage::closed)) {
            }
            close_name(here);
            continue;
        }
        const auto [first, last] = bound_.equal_range(n.target);
        bound_.erase(std::find_if(first, last, [&](const auto& each) { return each.second == here; }));
        names_.erase(here);
        --n.owner->names_used;
    }
    for (auto at = wishes_.lower_bound(std::tuple(prefix, std::string(), std::uint64_t{0}));
         at != wishes_.end() && std::get<0>(*at).starts_with(prefix);) {
        const auto& [from, to, ticket] = *at++;
        const auto wish = requests_.find(ticket);
        if (!may_have(*wish->second.from->owner, from)) {
            decide(wish, abi::request_stage::closed, nullptr, {});
        }
    }
}

errc control::enter_name(const std::string& key, const name& n) {
    if (!may_have(*n.owner, key)) {
        return errc::permission_denied;
    }
    const auto [at, is_new] = names_.try_emplace(key, n);
    if (!is_new) {
        return errc::name_in_use;
    }
    try {
        if (n.target == nullptr) {
            listeners_.emplace(listeners::key_type(n.owner->number, n.context, n.entry), at);
        } else {
            bound_.emplace(n.target, at);
        }
    } catch (const std::bad_alloc&) {
        names_.erase(at);
        throw;
    }
    ++n.owner->names_used;
    return errc::ok;
}

errc control::listen(call& c) {
    const std::string key = key_of(c.as<abi::address_key>());
    if (key.empty() || c.v[0] >= abi::name_count) {
        return errc::invalid_argument;
    }
    if (c.f.names_used == names_max) {
        return errc::limit_reached;
    }
    if (find_listener(c, c.v[0]) != names_.end()) {
        return errc::busy;
    }
    return enter_name(key, {&c.f, c.context, static_cast<std::uint32_t>(c.v[0]), nullptr});
}

errc control::bind(call& c) {
    vi* v = c.own_vi(c.v[0]);
    const std::string key = key_of(c.as<abi::address_key>());
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    if (key.empty() || !v->is_datagram()) {
        return errc::invalid_argument;
    }
    if (c.f.names_used == names_max) {
        return errc::limit_reached;
    }
    return enter_name(key, {&c.f, c.context, 0, v});
}

bool control::decide_some(names::iterator at, abi::request_stage how) {
    at->second.closing = true;
    std::uint32_t settled = 0;
    for (auto it = first_wish({}, at->first); is_wish(it, {}, at->first); ++settled) {
        if (settled == requests_of_a_slice) {
            return false;
        }
        const std::uint64_t ticket = std::get<2>(*it++);
        decide(requests_.find(ticket), how, nullptr, {});
    }
    return true;
}

/// Its requests are settled.
void control::close_name(names::iterator at) {
    const name gone = at->second;
    listeners_.erase({gone.owner->number, gone.context, gone.entry});
    names_.erase(at);
    --gone.owner->names_used;
    bump(gone.owner->window.at<abi::name_entry>(abi::names_offset)[gone.entry].arrivals);
}

control::listeners::iterator control::first_listener(const function& f, std::uint32_t context) {
    const auto at = listeners_.lower_bound({f.number, context, 0});
    const bool is_its =
        at != listeners_.end() && at->second->second.owner == &f && at->second->second.context == context;
    return is_its ? at : listeners_.end();
}

errc control::unlisten(call& c) {
    const auto at = find_listener(c, c.v[0]);
    if (at == names_.end()) {
        return errc::invalid_handle;
    }
    close_name(at);
    return errc::ok;
}

bool control::forget_names_of(const vi& v, std::uint32_t most) {
    auto at = v.is_datagram() ? bound_.find(&v) : bound_.end();
    for (; at != bound_.end() && at->first == &v && most != 0; --most) {
        names_.erase(at->second);
        --v.owner->names_used;
        at = bound_.erase(at);
    }
    return at == bound_.end() || at->first != &v;
}

errc control::resolve(call& c) {
    const auto at = names_.find(key_of(c.as<abi::address_key>()));
    if (at == names_.end() || at->second.target == nullptr) {
        return errc::no_listener;
    }
    c.r[0] = at->second.target->address();
    return errc::ok;
}

errc control::list_names(call& c) {
    constexpr std::size_t most = abi::mail_payload_bytes / sizeof(abi::address_key);
    std::size_t n = 0;
    auto at = c.payload_bytes == 0 ? names_.begin() : names_.upper_bound(key_of(c.as<abi::address_key>()));
    for (; at != names_.end() && n < most; ++at, ++n) {
        const abi::address_key a = address_of(at->first);
        std::memcpy(c.answer + n * sizeof a, &a, sizeof a);
    }
    c.answer_bytes = static_cast<std::uint32_t>(n * sizeof(abi::address_key));
    c.r[0] = at == names_.end() ? 0 : 1;
    c.r[1] = n;
    return errc::ok;
}

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// connect_verbs.cc -- requests, and the two ways to connect.
//
//   requester                         device                               listener
//   connect --> VI connecting, request pending --- arrivals + 1 --------> take_request -> ticket
//   request entry: accepted   <-- both VIs connected <------------------- accept(ticket, VI)
#include <algorithm>

#include "controller/control.hpp"
#include "controller/names.hpp"
#include "controller/notify.hpp"
#include "os/sync.hpp"
#include "rules/vi.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint32_t requests_max =
    abi::request_count / 4;  ///< each function's own, so that none can take the others'

abi::answer_mail clipped(std::uint32_t bytes, const std::uint8_t* data) noexcept {
    abi::answer_mail out{};
    out.data_bytes = std::min<std::uint32_t>(bytes, abi::private_data_bytes_max);
    std::memcpy(out.data, data, out.data_bytes);
    return out;
}

rules::vi_terms terms_of(const vi& v) noexcept { return {v.d.reliability, v.d.transfer_bytes_max}; }

abi::peer_description describe(const vi& v) noexcept {
    abi::peer_description p{};
    p.vi = v.index;
    p.process_id = static_cast<std::uint32_t>(v.owner->contexts[v.context].who.process);
    p.user = v.owner->contexts[v.context].who.user;
    p.flags = v.d.flags;
    p.reliability = v.d.reliability;
    p.receiver_wait_ns = v.d.receiver_wait_ns;
    p.transfer_bytes_max = v.d.transfer_bytes_max;
    p.send_depth = v.d.send_depth;
    p.receive_depth = v.d.receive_depth;
    p.segments_max = v.d.segments_max;
    p.inline_bytes_max = v.d.inline_bytes_max;
    p.function = v.owner->number;
    return p;
}

}  // namespace

// -- requests -----------------------------------------------------------------------------------

control::wishes::iterator control::first_wish(std::string_view from, std::string_view to) {
    return wishes_.lower_bound(std::tuple(from, to, std::uint64_t{0}));
}

bool control::is_wish(wishes::iterator at, std::string_view from, std::string_view to) const {
    return at != wishes_.end() && std::get<0>(*at) == from && std::get<1>(*at) == to;
}

void control::forget_request(requests::iterator at) {
    const request& r = at->second;
    wishes_.erase(r.wish);
    --r.from->owner->requests_used;
    r.from->request = 0;
    requests_.erase(at);
}

void control::link(vi& a, vi& b) {
    const std::lock_guard lock(engines_.board);
    vi* ends[2] = {&a, &b};
    for (int i = 0; i < 2; ++i) {
        vi& v = *ends[i];
        v.peer = ends[1 - i];
        v.send_next = static_cast<std::uint32_t>(v.base >> 32);
        v.receive_next = static_cast<std::uint32_t>(v.base);
        v.pending.reset();
        v.waits = false;
        v.unpublished_break = false;
        v.request = 0;
        v.entry->receive_attention.store_relaxed(0);
        ++v.epoch;
        v.reason = abi::break_reason::none;
        set_link(v, abi::link::connected);
    }
    publish_state(a);
    publish_state(b);
}

void control::decide(requests::iterator at, abi::request_stage how, const vi* peer, const abi::answer_mail& answer) {
    vi& v = *at->second.from;
    const std::uint32_t entry = at->second.entry;
    forget_request(at);
    if (how != abi::request_stage::accepted) {
        const std::lock_guard lock(engines_.board);
        become(v, abi::link::idle);
    }
    abi::request_entry& e = v.owner->window.at<abi::request_entry>(abi::requests_offset)[entry];
    std::memcpy(e.answer, answer.data, sizeof e.answer);
    e.answer_bytes = static_cast<std::uint16_t>(answer.data_bytes);
    e.peer_vi = peer != nullptr ? peer->index : abi::none32;
    if (peer != nullptr) {
        e.peer = describe(*peer);
    }
    e.state.store_release(static_cast<std::uint32_t>(how));
    os::futex_wake(&e.state.raw_, wakes_max);
}

errc control::enter_request(vi& v, std::uint64_t base, std::uint64_t entry, request&& r) {
    if (v.is_datagram()) {
        return errc::not_supported;
    }
    if (entry >= abi::request_count) {
        return errc::invalid_argument;
    }
    if (v.link.load() != abi::link::idle) {
        return errc::invalid_state;
    }
    if (v.owner->requests_used == requests_max) {
        return errc::limit_reached;
    }
    const std::lock_guard lock(engines_.board);
    r.from = &v;
    r.entry = static_cast<std::uint32_t>(entry);
    const auto entered = wishes_.emplace(r.local, r.to.empty() ? r.remote : r.to, last_ticket_ + 1).first;
    r.wish = entered;
    try {
        requests_.emplace(last_ticket_ + 1, std::move(r));
    } catch (const std::bad_alloc&) {
        wishes_.erase(entered);
        throw;
    }
    v.base = base;
    v.request = ++last_ticket_;
    ++v.owner->requests_used;
    become(v, abi::link::connecting);
    return errc::ok;
}

errc control::connect(call& c) {
    vi* v = c.own_vi(c.v[0]);
    const auto mail = c.as<abi::connect_mail>();
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    const auto to = names_.find(key_of(mail.at));
    if (to == names_.end() || to->second.target != nullptr || to->second.closing) {
        return errc::no_listener;
    }
    request r{};
    r.to = to->first;
    r.data = clipped(mail.data_bytes, mail.data);
    if (const errc e = enter_request(*v, c.v[1], c.v[2], std::move(r)); e != errc::ok) {
        return e;
    }
    const name& n = to->second;
    bump(n.owner->window.at<abi::name_entry>(abi::names_offset)[n.entry].arrivals);
    return errc::ok;
}

errc control::connect_peer(call& c) {
    vi* v = c.own_vi(c.v[0]);
    const auto mail = c.as<abi::peer_mail>();
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    request r{};
    r.local = key_of(mail.local);
    r.remote = key_of(mail.remote);
    r.data = clipped(mail.data_bytes, mail.data);
    if (r.local.empty() || r.remote.empty()) {
        return errc::invalid_argument;
    }
    if (!may_have(*v->owner, r.local)) {
        return errc::permission_denied;
    }
    // Oldest first: tickets count up.
    const auto other = first_wish(r.remote, r.local);
    const std::uint64_t other_ticket = is_wish(other, r.remote, r.local) ? std::get<2>(*other) : 0;
    if (const errc e = enter_request(*v, c.v[1], c.v[2], std::move(r)); e != errc::ok) {
        return e;
    }
    if (other_ticket == 0) {
        return errc::ok;
    }
    const auto mine = requests_.find(v->request);
    const auto theirs = requests_.find(other_ticket);
    vi& peer = *theirs->second.from;
    const abi::answer_mail my_data = mine->second.data;
    const abi::answer_mail their_data = theirs->second.data;
    const bool fits = terms_of(*v) == terms_of(peer);
    if (fits) {
        link(*v, peer);
    }
    const auto how = fits ? abi::request_stage::accepted : abi::request_stage::mismatch;
    decide(mine, how, &peer, their_data);
    decide(theirs, how, v, my_data);
    return errc::ok;
}

errc control::give_up(call& c) {
    vi* v = c.own_vi(c.v[0]);
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    if (v->request == 0) {
        return errc::invalid_state;
    }
    forget_request(requests_.find(v->request));
    const std::lock_guard lock(engines_.board);
    become(*v, abi::link::idle);
    return errc::ok;
}

errc control::take_request(call& c) {
    const auto n = find_listener(c, c.v[0]);
    if (n == names_.end()) {
        return errc::invalid_handle;
    }
    auto at = requests_.end();
    for (auto it = first_wish({}, n->first); at == requests_.end() && is_wish(it, {}, n->first); ++it) {
        at = requests_.find(std::get<2>(*it));
        at = at->second.taken ? requests_.end() : at;
    }
    if (at == requests_.end()) {
        return errc::not_done;
    }
    at->second.taken = true;
    abi::taken_mail mail{};
    mail.peer = describe(*at->second.from);
    mail.data_bytes = at->second.data.data_bytes;
    std::memcpy(mail.data, at->second.data.data, sizeof mail.data);
    c.r[0] = at->first;
    c.reply(mail);
    return errc::ok;
}

control::requests::iterator control::find_taken(const call& c, std::uint64_t ticket) {
    const auto at = requests_.find(ticket);
    if (at == requests_.end() || !at->second.taken) {
        return requests_.end();
    }
    const auto n = names_.find(at->second.to);
    const bool is_mine = n != names_.end() && n->second.owner == &c.f && n->second.context == c.context;
    return is_mine ? at : requests_.end();
}

errc control::accept(call& c) {
    const auto at = find_taken(c, c.v[0]);
    vi* v = c.own_vi(c.v[1]);
    const auto mail = c.as<abi::answer_mail>();
    if (at == requests_.end()) {
        return errc::peer_gone;
    }
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    if (v->is_datagram() || v->link.load() != abi::link::idle) {
        return errc::invalid_state;
    }
    if (terms_of(*at->second.from) != terms_of(*v)) {
        return errc::attribute_mismatch;
    }
    v->base = c.v[2];
    link(*at->second.from, *v);
    decide(at, abi::request_stage::accepted, v, clipped(mail.data_bytes, mail.data));
    return errc::ok;
}

errc control::reject(call& c) {
    const auto at = find_taken(c, c.v[0]);
    const auto mail = c.as<abi::answer_mail>();
    if (at == requests_.end()) {
        return errc::peer_gone;
    }
    decide(at, abi::request_stage::rejected, nullptr, clipped(mail.data_bytes, mail.data));
    return errc::ok;
}

}  // namespace vinic::controller

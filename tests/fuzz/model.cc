// SPDX-License-Identifier: Apache-2.0
//
// model.cc -- posting, connecting and reporting; model_engine.cc executes.
#include "model.hpp"

#include <algorithm>
#include <array>

#include "input.hpp"

namespace fuzz {

using vinic::errc;
using vinic::opcode;
using vinic::send_flag;
using vinic::status;

std::uint64_t request::bytes() const {
    std::uint64_t sum = 0;
    for (const vinic::segment& s : segments) sum += s.length;
    return sum;
}

received* vi_model::next_waiting() {
    const auto r = std::find_if(receives.begin(), receives.end(), [](const received& x) { return !x.done; });
    return r == receives.end() ? nullptr : &*r;
}

std::size_t vi_model::sends_least() const {
    // A silent send need not be kept until it is polled, unless the receiver was to execute it.
    const auto kept = [](const sent& s) { return !s.silent() || s.deferred; };
    const auto first = std::find_if(sends.begin(), sends.end(), [](const sent& s) { return !s.silent(); });
    return static_cast<std::size_t>(std::count_if(first, sends.end(), kept));
}

bool vi_model::send_ready() const {
    const auto first = std::find_if(sends.begin(), sends.end(), [](const sent& s) { return !s.silent(); });
    return first != sends.end() && first->done;
}

vi_model* model::find(std::uint64_t context) {
    const auto v = std::find_if(vis.begin(), vis.end(), [&](const auto& x) { return x->context == context; });
    return v == vis.end() ? nullptr : v->get();
}

codes model::refusals(const vi_model& v, const request& r) const {
    codes why;
    const std::uint64_t sum = r.bytes();
    const bool atomic = r.work.opcode == opcode::fetch_add || r.work.opcode == opcode::compare_swap;
    const bool answered = atomic || r.work.opcode == opcode::read;
    if (r.work.opcode > opcode::compare_swap)
        why.insert(errc::invalid_argument);
    if (r.segments.size() > v.attributes.segments_max)
        why.insert(errc::too_many_segments);
    if (sum > v.attributes.transfer_bytes_max)
        why.insert(errc::message_too_large);
    if (vinic::has(r.work.flags, send_flag::inlined) && sum > v.attributes.inline_bytes_max)
        why.insert(errc::message_too_large);
    if ((v.is_datagram() && r.work.opcode != opcode::send) || (!v.reliable() && answered) ||
        (!v.is_datagram() && r.by_send_to))
        why.insert(errc::not_supported);
    if ((atomic && (r.segments.size() != 1 || sum != 8)) ||
        (answered && vinic::has(r.work.flags, send_flag::immediate | send_flag::inlined)) ||
        (v.is_datagram() && r.work.destination.value == 0))
        why.insert(errc::invalid_argument);
    const bool posts = v.is_datagram() || v.state == vinic::vi_state::error ||
                       (v.state == vinic::vi_state::connected && v.established);
    if (!posts)
        why.insert(errc::invalid_state);
    if (v.sends_least() >= v.attributes.send_depth)
        why.insert(errc::queue_full);
    return why;
}

codes model::refusals(const vi_model& v, std::span<const vinic::segment> segments) const {
    codes why;
    if (segments.size() > v.attributes.segments_max)
        why.insert(errc::too_many_segments);
    if (v.receives.size() >= v.attributes.receive_depth)
        why.insert(errc::queue_full);
    return why;
}

void model::post(vi_model& v, const request& r) {
    sent s;
    s.what = r;
    if (vinic::has(r.work.flags, send_flag::inlined)) {
        for (const vinic::segment& piece : r.segments) bytes.read(piece.address, piece.length, s.inline_payload);
    }
    const bool behind = !v.sends.empty() && !v.sends.back().done;
    v.sends.push_back(std::move(s));
    sent& kept = v.sends.back();
    if (v.state == vinic::vi_state::error) {
        kept.done = true;
        kept.status = status::flushed;
    } else if (behind) {
        kept.deferred = true;
    } else if (!execute(v, kept)) {
        if (!v.reliable()) {
            kept.done = true;  // dropped, as an unreliable VI may
        } else if (v.attributes.receiver_wait.count() == 0) {
            fail(v, kept, status::receiver_not_ready);
        } else {
            kept.deferred = true;
        }
    }
}

void model::post_receive(vi_model& v, std::span<const vinic::segment> segments, std::uint64_t cookie) {
    received r;
    r.segments.assign(segments.begin(), segments.end());
    r.cookie = cookie;
    if (v.state == vinic::vi_state::error && !v.is_datagram()) {
        r.done = true;
        r.status = status::flushed;
    }
    v.receives.push_back(std::move(r));
    if (v.established)
        drain(v);
}

/// The receiver executes what waits for it.
void model::drain(vi_model& receiver) {
    vi_model* from = receiver.peer;
    if (receiver.state != vinic::vi_state::connected || from == nullptr || from->link != receiver.link)
        return;
    for (sent& s : from->sends) {
        if (!s.done && !execute(*from, s))
            return;
    }
}

void model::connect(vi_model& a, vi_model& b) {
    ++links_;
    for (vi_model* v : {&a, &b}) {
        v->state = vinic::vi_state::connected;
        v->established = false;
        v->link = links_;
    }
    a.peer = &b;
    b.peer = &a;
}

void model::establish(vi_model& v) {
    v.established = true;
    drain(v);
}

void model::flush(vi_model& v, bool receives) {
    for (sent& s : v.sends) {
        if (!s.done) {
            s.done = true;
            s.status = status::flushed;
        }
    }
    for (received& r : v.receives) {
        if (receives && !r.done) {
            r.done = true;
            r.status = status::flushed;
        }
    }
}

void model::break_connection(vi_model& v) {
    if (v.state != vinic::vi_state::connected || v.is_datagram())
        return;
    vi_model* peer = v.peer;
    v.state = vinic::vi_state::error;
    flush(v, true);
    if (peer != nullptr && peer->link == v.link && peer->state == vinic::vi_state::connected) {
        peer->state = vinic::vi_state::error;
        flush(*peer, true);
    }
}

void model::disconnect(vi_model& v) {
    if (!v.is_datagram()) {
        break_connection(v);
        v.state = vinic::vi_state::idle;
        v.established = false;
        v.peer = nullptr;
        v.link = 0;
        v.asking.reset();
    }
    flush(v, true);
}

void model::expire(vi_model& v) {
    const auto head = std::find_if(v.sends.begin(), v.sends.end(), [](const sent& s) { return !s.done; });
    if (head != v.sends.end())
        fail(v, *head, status::receiver_not_ready);
}

bool model::available(int cq) const {
    return std::any_of(vis.begin(), vis.end(), [&](const auto& v) {
        return v->open && ((v->send_cq == cq && v->send_ready()) || (v->receive_cq == cq && v->receive_ready()));
    });
}

void model::report(int cq, const vinic::completion& c) {
    vi_model* v = find(c.vi_context);
    require(v != nullptr && v->open, "a completion is of a VI that exists");
    require(c.vi == v->number, "a completion names its VI's number");
    if (c.opcode == opcode::receive || c.opcode == opcode::receive_write) {
        require(v->receive_cq == cq, "a receive is reported to the receive_cq");
        report_receive(*v, c);
    } else {
        require(v->send_cq == cq, "a send is reported to the send_cq");
        report_send(*v, c);
    }
}

void model::report_send(vi_model& v, const vinic::completion& c) {
    while (!v.sends.empty() && v.sends.front().silent()) v.sends.pop_front();
    require(v.send_ready(), "a send that was not executed is not reported");
    const sent s = v.sends.front();
    v.sends.pop_front();
    require(c.cookie == s.what.work.cookie, "sends are reported in order, each once");
    require(c.opcode == s.what.work.opcode, "a completion tells the operation");
    if (c.status != s.status)
        throw violation(std::string(vinic::name(c.opcode)) + " ends with " + vinic::name(s.status) + " and not with " +
                        vinic::name(c.status));
    if (s.status == status::success)
        require(c.length == s.what.bytes(), "a completion tells how much was transferred");
}

void model::report_receive(vi_model& v, const vinic::completion& c) {
    require(v.receive_ready(), "a receive that nothing arrived for is not reported");
    received r = std::move(v.receives.front());
    v.receives.pop_front();
    if (r.to_place && scatter(v, r.segments, r.payload) != scattered::all) {
        r.status = status::local_protection;
        if (v.reliable() && v.link == r.link && !v.is_datagram())
            break_connection(v);
    }
    require(c.cookie == r.cookie, "receives are reported in order, each once");
    if (c.status != r.status)
        throw violation(std::string("a receive ends with ") + vinic::name(r.status) + " and not with " +
                        vinic::name(c.status));
    if (r.status != status::success)
        return;
    require(c.opcode == r.opcode, "a completion tells whether a write consumed the receive");
    require(c.length == r.length, "a completion tells how much arrived");
    require(c.has_immediate == r.has_immediate, "immediate data arrives where it was sent");
    require(!r.has_immediate || c.immediate == r.immediate, "immediate data arrives as it was sent");
    require(c.source.value == r.source, "a datagram names its sender");
}

}  // namespace fuzz

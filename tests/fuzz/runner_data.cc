// SPDX-License-Identifier: Apache-2.0
//
// runner_data.cc -- posting and polling.
//
//   A descriptor that nobody refuses is executed, so what it may not do it must not be able to do: addresses lie in
//   an area of the script or where nothing is ever mapped, and a key of the whole address space meets only those.
#include <poll.h>

#include <algorithm>
#include <thread>

#include "runner.hpp"

namespace fuzz {

using vinic::errc;
using vinic::opcode;
using vinic::send_flag;

namespace {

constexpr auto short_wait = std::chrono::milliseconds(1);

}  // namespace

std::uint32_t runner::random_length() {
    const std::uint32_t b = in_.byte();
    if (b < 16)
        return 0;
    if (b < 144)
        return b % 66;
    return b < 240 ? (b - 143) * 8 : (b - 239) * 520;
}

std::uint32_t runner::random_key(std::uint32_t good) {
    switch (in_.below(16)) {
        case 12:
            return 0;
        case 13:
            return ~0u;
        case 14:
            return stale_keys_.empty() ? 0 : stale_keys_[in_.byte() % stale_keys_.size()];
        case 15:
            return good ^ (1u << in_.below(32) | 0x8000'0000);
        default:
            return good;
    }
}

/// Bytes that do not exist must not come to exist through a key of everything, now or later.
void runner::make_harmless(std::uint64_t& address, std::uint64_t length, std::uint32_t key, int device) {
    if (model_.bytes.exists(address, length))
        return;
    const region_model* r = model_.find_region(device, key);
    if (key != 0 && key != ~0u && (key & 0x8000'0000) == 0 && (r == nullptr || r->whole_space))
        address = never_mapped + address % 4096;
}

runner::region_slot& runner::some_region_of(int domain) {
    const std::uint8_t b = in_.byte();
    const auto fits = [&](const region_slot& slot) {
        const region_model* r = slot.handle ? model_.find_region(slot.device, slot.handle.key()) : nullptr;
        return r != nullptr && r->domain == domain;
    };
    std::size_t i = b % regions_.size();
    for (std::size_t tries = 0; b < 250 && !fits(regions_[i]) && tries < regions_.size(); ++tries)
        i = (i + 1) % regions_.size();
    return regions_[i];
}

vinic::segment runner::random_segment(const vi_model& v, bool sink, std::uint32_t length_max) {
    const vinic::region& handle = some_region_of(v.domain).handle;
    const std::uint8_t form = in_.byte();
    area* a = handle ? model_.bytes.find(handle.address(), handle.length()) : nullptr;
    if (a == nullptr)
        a = &model_.bytes[form % model_.bytes.size()];
    std::uint64_t begin = a->address() + (sink ? a->half() : 0);
    std::uint64_t end = begin + a->half();
    if (form < 246 && handle && model_.bytes.find(handle.address(), handle.length()) != nullptr) {
        const std::uint64_t from = std::max(begin, handle.address());
        const std::uint64_t to = std::min(end, handle.address() + handle.length());
        if (from < to) {
            begin = from;
            end = to;
        }
    }
    vinic::segment s;
    s.address = begin + in_.below(static_cast<std::uint32_t>(std::min<std::uint64_t>(end - begin, 4096)));
    s.length = static_cast<std::uint32_t>(std::min<std::uint64_t>({random_length(), length_max, end - s.address}));
    s.key = form < 250 ? handle.key() : random_key(handle.key());
    if (form == 249)
        s.address = never_mapped + s.address % 4096;
    else if (form == 248)
        s.address = ~std::uint64_t{0} - s.length / 2;
    else if (form == 247)
        s.length = ~0u - s.length;
    make_harmless(s.address, s.length, s.key, v.device);
    return s;
}

vinic::remote_address runner::random_remote(const vi_model& v, bool sink, std::uint64_t length) {
    const vinic::segment s = random_segment(v, sink, 8);
    vinic::remote_address at{s.address, s.key};
    if (area* a = model_.bytes.find(at.address, 1); a != nullptr) {
        const std::uint64_t begin = a->address() + (sink ? a->half() : 0);
        const std::uint64_t end = begin + a->half();
        if (length <= a->half())
            at.address = std::clamp(at.address, begin, end - length);
    }
    const region_model* r = model_.find_region(v.device, at.key);
    if (r != nullptr && r->whole_space && !model_.bytes.exists(at.address, length))
        at.address = never_mapped;
    return at;
}

request runner::random_request(const vi_model& v) {
    constexpr opcode kinds[] = {opcode::send,  opcode::send,  opcode::send, opcode::send,      opcode::write,
                                opcode::write, opcode::write, opcode::read, opcode::fetch_add, opcode::compare_swap};
    request r;
    vinic::work_request& w = r.work;
    const std::uint8_t kind = in_.byte();
    w.opcode = kind == 255 ? opcode::receive : kinds[kind % std::size(kinds)];
    const std::uint8_t flags = in_.byte();
    w.flags = flags < 128 ? send_flag::none : static_cast<send_flag>(flags & 15);
    w.cookie = next_cookie_++;
    const bool atomic = w.opcode == opcode::fetch_add || w.opcode == opcode::compare_swap;
    const bool answered = atomic || w.opcode == opcode::read;
    if (answered && in_.byte() < 240)
        w.flags = static_cast<send_flag>(static_cast<unsigned>(w.flags) & 10u);
    const std::uint8_t pieces = in_.byte();
    const std::uint32_t count = atomic ? 1 + pieces / 255u : pieces < 160 ? 1 : pieces < 250 ? pieces % 4u : 9;
    for (std::uint32_t i = 0; i < count; ++i) r.segments.push_back(random_segment(v, answered, ~0u >> 1));
    if (atomic && in_.byte() < 248)
        r.segments[0].length = 8;
    w.immediate = in_.below(65536) * 65537;  // must not arrive unless the flag is set
    if (w.opcode != opcode::send)
        w.remote = random_remote(v.peer != nullptr ? *v.peer : v, w.opcode != opcode::read, atomic ? 8 : r.bytes());
    if (atomic) {
        w.operand = in_.below(4);
        w.compare = in_.below(4);
        if (in_.byte() < 240)
            w.remote.address &= ~std::uint64_t{7};
    }
    for (vinic::segment& s : r.segments) {
        make_harmless(s.address, s.length, s.key, v.device);
        if (!model_.bytes.exists(s.address, s.length))
            w.flags = static_cast<send_flag>(static_cast<unsigned>(w.flags) & ~4u);  // it is read by the post itself
    }
    if (v.is_datagram() || in_.byte() == 255) {
        r.by_send_to = w.opcode == opcode::send && in_.byte() < 200;
        const vi_slot& to = some_vi();
        w.destination = to.handle ? to.handle.local_address() : vinic::datagram_address{in_.word()};
        if (in_.byte() == 255)
            w.destination.value ^= std::uint64_t{1} << in_.below(64);
    }
    return r;
}

/// One of the ways to post; several requests at once can only go one way.
vinic::posted runner::call_post(vi_slot& slot, std::vector<request>& requests) {
    std::vector<vinic::work_request> all;
    for (request& r : requests) {
        r.work.segments = r.segments;
        all.push_back(r.work);
    }
    const request& r = requests.front();
    const vinic::work_request& w = r.work;
    vinic::virtual_interface& v = slot.handle;
    const bool one = r.segments.size() == 1;
    errc e = errc::ok;
    if (r.by_send_to && requests.size() == 1) {
        e = v.send_to(w.destination, w.segments, w.cookie, w.flags, w.immediate);
    } else if (requests.size() > 1 || in_.one_in(4) || w.opcode == opcode::receive || w.destination.value != 0) {
        for (request& x : requests) x.by_send_to = false;
        return v.post(all);
    } else if (w.opcode == opcode::send) {
        e = one ? v.post_send(r.segments[0], w.cookie, w.flags, w.immediate)
                : v.post_send(w.segments, w.cookie, w.flags, w.immediate);
    } else if (w.opcode == opcode::write) {
        e = one ? v.post_write(r.segments[0], w.remote, w.cookie, w.flags, w.immediate)
                : v.post_write(w.segments, w.remote, w.cookie, w.flags, w.immediate);
    } else if (w.opcode == opcode::read) {
        e = one ? v.post_read(r.segments[0], w.remote, w.cookie, w.flags)
                : v.post_read(w.segments, w.remote, w.cookie, w.flags);
    } else if (one && w.opcode == opcode::fetch_add) {
        e = v.post_fetch_add(r.segments[0], w.remote, w.operand, w.cookie, w.flags);
    } else if (one) {
        e = v.post_compare_swap(r.segments[0], w.remote, w.compare, w.operand, w.cookie, w.flags);
    } else {
        return v.post(all);
    }
    return {e == errc::ok ? 1u : 0u, e};
}

void runner::post_sends() {
    vi_slot& slot = some_vi();
    if (!slot.handle)
        return;
    vi_model& v = *slot.is;
    const bool in_time = v.attributes.receiver_wait != short_wait;
    const auto is_own = [&](const nic_slot& n) { return n.handle && n.id == v.nic; };
    if (!in_time && std::none_of(nics_.begin(), nics_.end(), is_own))
        return;  // nothing is left to let time pass with
    const std::uint32_t count = in_time && in_.one_in(8) ? 2 + in_.below(3) : 1;
    std::vector<request> requests;
    for (std::uint32_t i = 0; i < count; ++i) {
        request r = random_request(v);
        const bool atomic = r.work.opcode == opcode::fetch_add || r.work.opcode == opcode::compare_swap;
        if (atomic && (!model_.atomic_is_certain(v.device, r.work.remote.key, r.work.remote.address) ||
                       !model_.atomic_is_certain(v.device, r.segments[0].key, r.segments[0].address)))
            continue;
        requests.push_back(std::move(r));
    }
    if (requests.empty())
        return;
    const vinic::posted p = call_post(slot, requests);
    require(p.count <= requests.size() && (p.count == requests.size()) == (p.code == errc::ok),
            "a batch tells how far it came and why no further");
    for (std::size_t i = 0; i <= p.count && i < requests.size(); ++i) {
        const request& r = requests[i];
        note(std::string("post ") + vinic::name(r.work.opcode) + " on VI " + std::to_string(v.context) + ", " +
             std::to_string(r.bytes()) + " bytes in " + std::to_string(r.segments.size()) + ", flags " +
             std::to_string(static_cast<unsigned>(r.work.flags)) + ", cookie " + std::to_string(r.work.cookie));
        codes refusals = model_.refusals(v, r);
        const errc answer = i < p.count ? errc::ok : p.code;
        if (answer == errc::queue_full && v.sends_most() >= v.attributes.send_depth)
            refusals.insert(errc::queue_full);
        expect(answer, refusals, "post");
        if (answer == errc::ok) {
            model_.post(v, r);
            if (!v.sends.back().done)
                note("    waits");
            else
                note(std::string("    ends with ") + vinic::name(v.sends.back().status));
        }
    }
    expire_if_due(v);
}

/// A wait of a millisecond is over when it is over: the script stands still until then.
void runner::expire_if_due(vi_model& v) {
    if (v.attributes.receiver_wait != short_wait || v.sends.empty() || v.sends.back().done)
        return;
    vi_slot& slot = *std::find_if(vis_.begin(), vis_.end(), [&](const vi_slot& s) { return s.is == &v; });
    const auto own = std::find_if(nics_.begin(), nics_.end(), [&](const nic_slot& n) { return n.id == v.nic; });
    const auto end = std::chrono::steady_clock::now() + patience;
    while (slot.handle.state() == vinic::vi_state::connected) {
        require(std::chrono::steady_clock::now() < end, "receiver_wait is a limit");
        std::this_thread::sleep_for(short_wait / 4);
        vinic::completion none[1];
        for (int i = 0; i < 16; ++i) require(own->housekeeping.poll(none) == 0, "a queue without VIs is empty");
    }
    model_.expire(v);
}

/// An empty handle answers every call.
void runner::expect_invalid_handles() {
    note("use an empty handle");
    vinic::virtual_interface v;
    const vinic::segment s;
    const codes invalid{errc::invalid_handle};
    expect(v.post_send(s, 1), invalid, "post_send");
    expect(v.post_read(s, {}, 1), invalid, "post_read");
    expect(v.post_write(s, {}, 1), invalid, "post_write");
    expect(v.post_fetch_add(s, {}, 1, 1), invalid, "post_fetch_add");
    expect(v.post_compare_swap(s, {}, 1, 1, 1), invalid, "post_compare_swap");
    expect(v.send_to({}, {}, 1), invalid, "send_to");
    expect(v.post({}).code, invalid, "post");
    expect(v.post_receive(s, 1), invalid, "post_receive");
    expect(v.post_receives({}).code, invalid, "post_receives");
    require(v.attributes().send_cq == nullptr && v.rejection_data().empty() && v.local_address().value == 0,
            "an empty handle tells nothing");
    vinic::completion_queue q;
    vinic::completion out[1];
    require(q.poll(out) == 0 && q.queues_max() == 0 && q.queues_attached() == 0, "an empty queue has nothing");
    vinic::connection_request asked;
    expect(outcome(asked.accept(v)), invalid, "accept");
    expect(outcome(asked.reject()), invalid, "reject");
    require(asked.peer().private_data.empty(), "an empty request tells nothing");
    vinic::nic none;
    expect(outcome(none.allocate(1)), invalid, "allocate");
    require(none.device_address().empty(), "an empty nic has no address");
}

void runner::post_receives() {
    vi_slot& slot = some_vi();
    if (!slot.handle)
        return;
    const std::uint32_t count = in_.one_in(4) ? in_.below(8) : 1;
    std::vector<std::vector<vinic::segment>> pieces(count);
    std::vector<vinic::receive_request> all(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint8_t b = in_.byte();
        const std::uint32_t n = b < 160 ? 1 : b < 250 ? b % 4u : 9;
        for (std::uint32_t k = 0; k < n; ++k) pieces[i].push_back(random_segment(*slot.is, true, ~0u));
        all[i] = {pieces[i], next_cookie_++};
    }
    vinic::posted p;
    if (count != 1)
        p = slot.handle.post_receives(all);
    else
        p.code = pieces[0].size() == 1 ? slot.handle.post_receive(pieces[0][0], all[0].cookie)
                                       : slot.handle.post_receive(pieces[0], all[0].cookie);
    if (count == 1)
        p.count = p.code == errc::ok ? 1 : 0;
    for (std::size_t i = 0; i < count && i <= p.count; ++i) {
        note("post receive on VI " + std::to_string(slot.is->context) + ", " + std::to_string(pieces[i].size()) +
             " pieces, cookie " + std::to_string(all[i].cookie));
        const errc answer = i < p.count ? errc::ok : p.code;
        expect(answer, model_.refusals(*slot.is, pieces[i]), "post_receive");
        if (answer == errc::ok)
            model_.post_receive(*slot.is, pieces[i], all[i].cookie);
    }
}

void runner::poll(cq_slot& slot, bool wait) {
    vinic::completion out[20];
    const std::span<vinic::completion> room(out, in_.below(12) == 11 ? 0 : 1 + in_.below(20));
    const bool due = model_.available(slot.id) && slot.handle;
    std::size_t n = 0;
    note(std::string(wait ? "wait for " : "poll ") + std::to_string(slot.id));
    if (wait) {
        const vinic::nanoseconds times[] = {vinic::nanoseconds(0), std::chrono::microseconds(50),
                                            vinic::nanoseconds(-1), std::chrono::milliseconds(1)};
        codes refusals;
        if (!slot.handle)
            refusals.insert(errc::invalid_handle);
        else if (room.empty())
            refusals.insert(errc::invalid_argument);
        const auto waited = slot.handle.wait(room, due && in_.one_in(2) ? vinic::forever : times[in_.below(4)]);
        expect(outcome(waited), refusals, "wait");
        n = waited.value_or(0);
    } else {
        n = slot.handle.poll(room);
    }
    slot.armed = false;
    require(n <= room.size(), "not more completions than there is room for");
    require(n != 0 || room.empty() || !due, "a completion that is due is reported");
    for (const vinic::completion& c : room.first(n)) {
        note(std::string("    ") + vinic::name(c.opcode) + " of VI " + std::to_string(c.vi_context) + ", cookie " +
             std::to_string(c.cookie) + ": " + vinic::name(c.status));
        model_.report(slot.id, c);
    }
}

void runner::use_event(cq_slot& slot) {
    if (!slot.handle) {
        expect(outcome(slot.handle.fd()), {errc::invalid_handle}, "fd");
        expect(outcome(slot.handle.arm()), {errc::invalid_handle}, "arm");
        return;
    }
    const bool due = model_.available(slot.id);
    note("event of completion queue " + std::to_string(slot.id) + (slot.armed ? " (armed)" : ""));
    if (slot.armed && due) {
        auto fd = slot.handle.fd();
        expect(outcome(fd), {}, "fd");
        pollfd wanted{*fd, POLLIN, 0};
        require(::poll(&wanted, 1, 20'000) == 1, "an armed completion queue's descriptor becomes readable");
    }
    auto armed = slot.handle.arm();
    expect(outcome(armed), {}, "arm");
    require(!*armed || !due, "arm() tells that completions are waiting");
    slot.armed = *armed;
}

void runner::drain_all() {
    for (cq_slot& slot : cqs_) {
        vinic::completion out[7];
        while (slot.handle) {
            const std::size_t n = slot.handle.poll(out);
            require(n != 0 || !model_.available(slot.id), "a completion that is due is reported");
            if (n == 0)
                break;
            for (const vinic::completion& c : std::span(out).first(n)) model_.report(slot.id, c);
        }
    }
}

}  // namespace fuzz

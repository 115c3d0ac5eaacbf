// SPDX-License-Identifier: Apache-2.0
//
// model_engine.cc -- how one descriptor ends, and what it does to memory: the table "Outcomes" of docs/design.md.
#include <algorithm>

#include "input.hpp"
#include "model.hpp"

namespace fuzz {

using vinic::access;
using vinic::opcode;
using vinic::send_flag;
using vinic::status;

namespace {

/// Messages up to here may travel in the completion; what that means for errors is documented.
constexpr std::size_t small_bytes = 48;
constexpr std::size_t small_datagram_bytes = 40;

}  // namespace

const region_model* model::find_region(int device, std::uint32_t key) const {
    const auto r = std::find_if(regions.begin(), regions.end(),
                                [&](const region_model& x) { return x.device == device && x.key == key; });
    return r == regions.end() ? nullptr : &*r;
}

const region_model* model::allowed(int device, int domain, std::uint32_t key, std::uint64_t address,
                                   std::uint64_t length, access rights) const {
    const region_model* r = find_region(device, key);
    if (r == nullptr || r->domain != domain || !vinic::has(r->rights, rights))
        return nullptr;
    if (r->whole_space)
        return address + length < address ? nullptr : r;
    return address >= r->address && length <= r->length && address - r->address <= r->length - length ? r : nullptr;
}

bool model::allowed_all(const vi_model& v, std::span<const vinic::segment> segments, access rights) const {
    return std::all_of(segments.begin(), segments.end(), [&](const vinic::segment& s) {
        return s.length == 0 || allowed(v.device, v.domain, s.key, s.address, s.length, rights) != nullptr;
    });
}

void model::fail(vi_model& v, sent& s, status why) {
    s.done = true;
    s.status = why;
    if (v.reliable())
        break_connection(v);
}

void model::arrive(const vi_model& v, const sent& s, received& r, status how) {
    r.done = true;
    r.status = how;
    r.opcode = s.what.work.opcode == opcode::write ? opcode::receive_write : opcode::receive;
    r.has_immediate = vinic::has(s.what.work.flags, send_flag::immediate);
    r.immediate = s.what.work.immediate;
    r.length = static_cast<std::uint32_t>(s.what.bytes());
    r.source = v.datagram;
    r.link = v.link;
}

/// Bytes that are moved onto themselves: in which order is nobody's promise, so what lies there then is unknown.
static bool overlap(std::span<const vinic::segment> segments, std::uint64_t address, std::uint64_t length) {
    return std::any_of(segments.begin(), segments.end(), [&](const vinic::segment& x) {
        return x.address < address + length && address < x.address + x.length;
    });
}

bool model::gather(const sent& s, cells& to) {
    if (vinic::has(s.what.work.flags, send_flag::inlined)) {
        to = s.inline_payload;
        return true;
    }
    for (const vinic::segment& piece : s.what.segments) {
        if (!bytes.exists(piece.address, piece.length))
            return false;
        bytes.read(piece.address, piece.length, to);
    }
    return true;
}

/// Puts a payload into a receiver's segments.  After a refusal the earlier segments hold nobody knows what.
model::scattered model::scatter(const vi_model& v, std::span<const vinic::segment> segments,
                                std::span<const cell> payload) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < segments.size() && at < payload.size(); ++i) {
        const vinic::segment& s = segments[i];
        if (s.length == 0)
            continue;
        const std::size_t n = std::min<std::size_t>(s.length, payload.size() - at);  // of what is not used nobody asks
        if (allowed(v.device, v.domain, s.key, s.address, n, access::local_write) == nullptr ||
            !bytes.exists(s.address, n)) {
            for (std::size_t before = 0; before < i; ++before)
                bytes.forget(segments[before].address, segments[before].length);
            return scattered::refused;
        }
        bytes.write(s.address, payload.subspan(at, n));
        at += n;
    }
    return scattered::all;
}

bool model::execute(vi_model& v, sent& s) {
    const bool is_inline = vinic::has(s.what.work.flags, send_flag::inlined);
    const bool fills = s.what.work.opcode >= opcode::read;
    vi_model* to = v.peer;
    if (v.is_datagram()) {
        const auto found = std::find_if(vis.begin(), vis.end(), [&](const auto& x) {
            return x->open && x->device == v.device && x->is_datagram() && x->datagram == s.what.work.destination.value;
        });
        if (found == vis.end()) {
            s.done = true;  // a datagram to nobody is lost
            return true;
        }
        to = found->get();
    }
    if (!is_inline && !allowed_all(v, s.what.segments, fills ? access::local_write : access::none)) {
        fail(v, s, status::local_protection);
        return true;
    }
    switch (s.what.work.opcode) {
        case opcode::send:
            return execute_send(v, *to, s);
        case opcode::write:
            return execute_write(v, *to, s);
        case opcode::read:
            execute_read(v, *to, s);
            return true;
        default:
            execute_atomic(v, *to, s);
            return true;
    }
}

bool model::refused_first(const vi_model& v, const received& r, std::uint64_t left, std::uint64_t existing) {
    std::uint64_t at = 0;
    for (const vinic::segment& s : r.segments) {
        if (s.length == 0 || at == left)
            continue;
        const std::uint64_t n = std::min<std::uint64_t>(s.length, left - at);
        if (allowed(v.device, v.domain, s.key, s.address, n, access::local_write) == nullptr)
            return true;
        if (!bytes.exists(s.address, n))
            return at < existing;  // what is read comes before what is written
        at += n;
        if (at > existing)
            return false;
    }
    return false;
}

bool model::execute_send(vi_model& v, vi_model& to, sent& s) {
    received* r = to.next_waiting();
    if (r == nullptr) {
        if (!v.is_datagram())
            return false;
        s.done = true;
        return true;
    }
    s.done = true;
    std::uint64_t room = 0;
    for (const vinic::segment& piece : r->segments) room += piece.length;
    if (s.what.bytes() > room) {
        arrive(v, s, *r, status::local_length);
        if (v.reliable())
            fail(v, s, status::remote_length);
        return true;
    }
    const std::size_t small = v.is_datagram()                                             ? small_datagram_bytes
                              : v.attributes.reliability == vinic::reliability::reception ? 0
                                                                                          : small_bytes;
    cells payload;
    if (!gather(s, payload)) {
        for (const vinic::segment& piece : r->segments) {
            if (allowed(to.device, to.domain, piece.key, piece.address, piece.length, access::local_write) != nullptr)
                bytes.forget(piece.address, piece.length);
        }
        if (s.what.bytes() > small && refused_first(to, *r, s.what.bytes(), payload.size())) {
            arrive(v, s, *r, status::local_protection);
            if (v.reliable())
                fail(v, s, status::remote_descriptor);
        } else {
            fail(v, s, status::local_protection);  // the receiver's descriptor stays
        }
        return true;
    }
    if (payload.size() <= small) {
        arrive(v, s, *r, status::success);
        r->to_place = true;
        r->payload = std::move(payload);
    } else if (scatter(to, r->segments, payload) == scattered::all) {
        for (const vinic::segment& piece : r->segments) {
            if (!vinic::has(s.what.work.flags, send_flag::inlined) &&
                overlap(s.what.segments, piece.address, piece.length))
                bytes.forget(piece.address, piece.length);
        }
        arrive(v, s, *r, status::success);
    } else {
        arrive(v, s, *r, status::local_protection);
        if (v.reliable())
            fail(v, s, status::remote_descriptor);
    }
    return true;
}

bool model::execute_write(vi_model& v, vi_model& to, sent& s) {
    const bool immediate = vinic::has(s.what.work.flags, send_flag::immediate);
    received* r = immediate ? to.next_waiting() : nullptr;
    if (immediate && r == nullptr)
        return false;
    s.done = true;
    const std::uint64_t length = s.what.bytes();
    const vinic::remote_address at = s.what.work.remote;
    if (!to.attributes.rdma_write ||
        (length != 0 && allowed(to.device, to.domain, at.key, at.address, length, access::remote_write) == nullptr)) {
        if (r != nullptr)
            arrive(v, s, *r, status::remote_protection);
        if (v.reliable())
            fail(v, s, status::remote_protection);
        return true;
    }
    cells payload;
    const bool from_exists = gather(s, payload);
    const bool to_exists = bytes.exists(at.address, length);
    if (!from_exists || !to_exists) {
        bytes.forget(at.address, length);
        fail(v, s, payload.empty() || to_exists ? status::local_protection : status::remote_protection);
        return true;
    }
    bytes.write(at.address, payload);
    if (!vinic::has(s.what.work.flags, send_flag::inlined) && overlap(s.what.segments, at.address, length))
        bytes.forget(at.address, length);
    if (r != nullptr)
        arrive(v, s, *r, status::success);
    return true;
}

void model::execute_read(vi_model& v, vi_model& to, sent& s) {
    s.done = true;
    const std::uint64_t length = s.what.bytes();
    const vinic::remote_address at = s.what.work.remote;
    if (!to.attributes.rdma_read ||
        (length != 0 && allowed(to.device, to.domain, at.key, at.address, length, access::remote_read) == nullptr)) {
        fail(v, s, status::remote_protection);
        return;
    }
    const bool from_exists = bytes.exists(at.address, length);
    const bool to_exists = std::all_of(s.what.segments.begin(), s.what.segments.end(),
                                       [&](const vinic::segment& x) { return bytes.exists(x.address, x.length); });
    if (!from_exists || !to_exists) {
        for (const vinic::segment& x : s.what.segments) bytes.forget(x.address, x.length);
        fail(v, s, from_exists ? status::local_protection : status::remote_protection);
        return;
    }
    cells payload;
    bytes.read(at.address, length, payload);
    std::size_t done = 0;
    for (const vinic::segment& x : s.what.segments) {
        bytes.write(x.address, std::span(payload).subspan(done, x.length));
        done += x.length;
    }
    if (overlap(s.what.segments, at.address, length)) {
        for (const vinic::segment& x : s.what.segments) bytes.forget(x.address, x.length);
    }
}

bool model::reachable_by_atomics(int executor, int owner, const region_model& r, std::uint64_t address) {
    if (executor == owner && !r.whole_space)
        return true;
    area* a = bytes.find(address, 8);
    if (a == nullptr)
        return false;
    if (a->kind() == area_kind::device)
        return a->nic() == owner;
    return !r.whole_space && (r.backing == vinic::backing::native || r.backing == vinic::backing::adopted);
}

bool model::atomic_is_certain(int device, std::uint32_t key, std::uint64_t address) {
    const region_model* r = find_region(device, key);
    area* a = bytes.find(address, 8);
    return r == nullptr || a == nullptr || a->kind() != area_kind::anonymous ||
           (!r->whole_space && r->backing == vinic::backing::adopted);
}

void model::execute_atomic(vi_model& v, vi_model& to, sent& s) {
    s.done = true;
    const vinic::remote_address at = s.what.work.remote;
    const vinic::segment& result = s.what.segments.front();
    const region_model* word = allowed(to.device, to.domain, at.key, at.address, 8, access::remote_atomic);
    if (!to.attributes.rdma_atomic || word == nullptr)
        return fail(v, s, status::remote_protection);
    if (at.address % 8 != 0)
        return fail(v, s, status::bad_alignment);
    const region_model* sink =
        allowed(v.device, v.domain, result.key, result.address, result.length, access::local_write);
    const int executor = s.deferred ? to.nic : v.nic;
    if (!reachable_by_atomics(executor, to.nic, *word, at.address))
        return fail(v, s, status::unreachable_memory);
    if (sink->whole_space && bytes.find(result.address, 8) == nullptr)
        return fail(v, s, status::local_protection);
    cells old;
    bytes.read(at.address, 8, old);
    if (std::find(old.begin(), old.end(), unknown) != old.end()) {
        bytes.forget(at.address, 8);
        bytes.forget(result.address, 8);
        return;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 8; i-- > 0;) value = value << 8 | old[i];
    const vinic::work_request& w = s.what.work;
    const std::uint64_t made = w.opcode == opcode::fetch_add ? value + w.operand
                               : value == w.compare          ? w.operand
                                                             : value;
    cells now(8);
    for (std::size_t i = 0; i < 8; ++i) now[i] = static_cast<cell>(made >> (8 * i) & 0xff);
    bytes.write(at.address, now);
    bytes.write(result.address, old);
}

}  // namespace fuzz

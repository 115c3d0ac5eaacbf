// SPDX-License-Identifier: Apache-2.0
//
// engine.cc -- the operations that are not a small send: long sends, writes, reads, atomics, and how each fails.
#include "device/engine.hpp"

#include <algorithm>

namespace vinic::device {

namespace {

constexpr std::uint32_t no_rights = 0;
constexpr auto local_write_right = static_cast<std::uint32_t>(access::local_write);

/// Inline data as a place: it lies in the executing process or (handed over) in the device file.
}  // namespace

/// A connection that is broken already ended first: with a peer that dies its keys go, and their refusal is not the
/// cause.
outcome route::end(rules::fault f) noexcept {
    const rules::ending& e = rules::ending_of(f);
    if (!reliable) {
        if (e.drop != rules::no_drop) {
            to->drops[e.drop].fetch_add(1);
        }
        return e.unreliable;
    }
    return break_link(*device, *from, connected, e.mine, e.peers) ? outcome(e.sender) : overtaken();
}

outcome route::end_receive(rules::fault f, bool has_immediate, std::uint32_t immediate, std::uint32_t bytes) noexcept {
    const rules::ending& e = rules::ending_of(f);
    complete({*e.receiver, rules::receive_flags(has_immediate, e.receive_flags), bytes, immediate});
    return end(f);
}

outcome route::overtaken() const noexcept { return rules::flushed_by(abi::reason_of(from->state.load_acquire())); }

outcome route::give_up() noexcept {
    if (reliable) {
        if (from->state.load_acquire() != connected) {
            return overtaken();
        }
        to->drops[abi::rx_no_descriptor].fetch_add(1);  // before the connection breaks, as below
    }
    return end(rules::fault::no_descriptor);
}

outcome route::refuse_access(enum opcode what) noexcept {
    to->drops[rules::refusal_of(what)].fetch_add(1);  // first: a program that sees the connection broken sees why
    return end(rules::fault::access);
}

bool route::check_local(const operation& op, std::uint32_t rights) const noexcept {
    place p;
    for (std::uint32_t i = 0; i < op.segment_count; ++i) {
        const abi::segment& s = op.segments[i];
        if (s.length != 0 && !check(*device, from_domain, s.key, s.address, s.length, rights, p)) {
            return false;
        }
    }
    return true;
}

bool route::check_remote(const operation& op, std::uint64_t bytes, access rights, std::uint32_t flag,
                         place& out) const noexcept {
    if ((to->flags.load_relaxed() & flag) == 0) {
        return false;
    }
    return bytes == 0 ||
           check(*device, to_domain, op.remote_key, op.remote_address, bytes, static_cast<std::uint32_t>(rights), out);
}

bool route::local_place(const operation& op, std::uint32_t segment, place& out) const noexcept {
    const abi::segment& s = op.segments[segment];
    out = {};
    return s.length == 0 || check(*device, from_domain, s.key, s.address, s.length, no_rights, out);
}

bool route::local_source(const operation& op, std::uint32_t segment, place& out) const noexcept {
    if (op.inline_data != nullptr) {
        out = own_bytes(*device, op.inline_data, op.length);
        return true;
    }
    return local_place(op, segment, out);
}

outcome route::stopped(moved how, bool outward) noexcept {
    return how == moved::broken ? overtaken() : end(rules::fault_of(how, outward));
}

outcome route::run(const operation& op) noexcept {
    switch (op.opcode) {
        case opcode::send:
            return send(op);
        case opcode::write:
            return write(op);
        case opcode::read:
            return read(op);
        case opcode::fetch_add:
        case opcode::compare_swap:
            return atomic(op);
        default:
            return end(rules::fault::own_memory);
    }
}

/// Moves the gather list of `op` into the scatter list of `d`; both were measured already.
moved route::scatter(const operation& op, const abi::receive_descriptor& d, bool& receiver_refused) noexcept {
    std::uint32_t segment = 0;
    place source;
    rules::word_copy words;
    std::uint64_t left = op.length;
    for (std::uint32_t i = 0; i < d.segment_count && left != 0; ++i) {
        const abi::segment& s = target.segment_of(d, fill, i);
        if (s.length == 0) {
            continue;
        }
        place target_place;
        if (!check(*device, to_domain, s.key, s.address, std::min<std::uint64_t>(s.length, left), local_write_right,
                   target_place)) {
            receiver_refused = true;
            return moved::unmapped_to;
        }
        while (target_place.length != 0) {
            while (source.length == 0) {
                if (!local_source(op, segment++, source)) {
                    return moved::unmapped_from;
                }
            }
            const std::uint64_t n = std::min(target_place.length, source.length);
            if (const moved how = move(*device, target_place, source, words, from->state, connected, foreign_copies);
                how != moved::all) {
                return how;
            }
            for (place* p : {&target_place, &source}) {
                p->advance(n);
            }
            left -= n;
        }
    }
    return moved::all;
}

outcome route::send(const operation& op) noexcept {
    if (op.inline_data == nullptr && !check_local(op, no_rights)) {
        return end(rules::fault::own_memory);
    }
    abi::receive_descriptor& d = target.slots[fill & target.mask].descriptor;
    if (!rules::is_posted(d, fill)) {
        return outcome::waiting();
    }
    if (op.length > capacity(d)) {
        return end_receive(rules::fault::too_long, op.has_immediate, op.immediate, op.length);
    }
    std::uint8_t flags = op.has_immediate ? abi::has_immediate : 0;
    if (op.length <= payload_max) {
        // Into the completion itself; the poller places it.
        abi::receive_completion& c = target.slots[fill & target.mask].completion;
        auto* to_payload = reinterpret_cast<std::byte*>(c.payload) + (datagram ? 8 : 0);
        place sink = own_bytes(*device, to_payload, op.length);
        rules::word_copy words;
        for (std::uint32_t i = 0; i < sources_of(op); ++i) {
            place source;
            if (!local_source(op, i, source)) {
                return end(rules::fault::own_memory);
            }
            if (const moved how = move(*device, sink, source, words, from->state, connected, foreign_copies);
                how != moved::all) {
                return stopped(how, true);
            }
            sink.address += source.length;
            sink.length -= source.length;
        }
        flags |= abi::payload_inside;
    } else {
        bool receiver_refused = false;
        const moved how = scatter(op, d, receiver_refused);
        if (receiver_refused || how == moved::unmapped_to) {
            return end_receive(rules::fault::receive_memory, op.has_immediate, op.immediate, 0);
        }
        if (how != moved::all) {
            return stopped(how, true);
        }
    }
    complete({status::success, flags, op.length, op.immediate});
    return {};
}

outcome route::write(const operation& op) noexcept {
    if (op.inline_data == nullptr && !check_local(op, no_rights)) {
        return end(rules::fault::own_memory);
    }
    // The descriptor for the immediate data first: a message that waits has not happened at all.
    if (op.has_immediate && !receiver_ready()) {
        return outcome::waiting();
    }
    place sink;
    if (!check_remote(op, op.length, access::remote_write, abi::allow_write, sink)) {
        if (op.has_immediate) {
            // VIA reports a refused write with immediate data in the receive descriptor.
            return end_receive(rules::fault::access_told, true, op.immediate, 0);
        }
        return refuse_access(op.opcode);
    }
    rules::word_copy words;
    for (std::uint32_t i = 0; op.length != 0 && i < sources_of(op); ++i) {
        place source;
        if (!local_source(op, i, source)) {
            return end(rules::fault::own_memory);
        }
        if (const moved how = move(*device, sink, source, words, from->state, connected, foreign_copies);
            how != moved::all) {
            return stopped(how, true);
        }
        sink.advance(source.length);
    }
    if (op.has_immediate) {
        complete({status::success, rules::receive_flags(true, abi::from_write), op.length, op.immediate});
    }
    return {};
}

outcome route::run_one_piece(const std::byte* data, std::uint32_t bytes, bool has_immediate,
                             std::uint32_t immediate) noexcept {
    const abi::receive_descriptor& d = target.slots[fill & target.mask].descriptor;
    place p;
    if (!rules::is_posted(d, fill) || d.segment_count != 1 || d.segments[0].length < bytes ||
        !check(*device, to_domain, d.segments[0].key, d.segments[0].address, bytes, local_write_right, p) ||
        p.offset == abi::none64) [[unlikely]] {
        return outcome::waiting();
    }
    // What the next message needs comes while this one is copied.
    __builtin_prefetch(&target.slots[(fill + 1) & target.mask].descriptor);
    rules::copy_ascending(device->at<std::byte>(p.offset), data, bytes);
    complete({status::success, rules::receive_flags(has_immediate), bytes, immediate});
    return {};
}

outcome route::write_in_pieces(const place& to_place, const std::byte* data, std::uint32_t bytes) noexcept {
    rules::word_copy words;
    const moved how =
        move(*device, to_place, own_bytes(*device, data, bytes), words, from->state, connected, foreign_copies);
    return how == moved::all ? outcome() : stopped(how, true);
}

outcome route::read(const operation& op) noexcept {
    if (!check_local(op, local_write_right)) {
        return end(rules::fault::own_memory);
    }
    place source;
    if (!check_remote(op, op.length, access::remote_read, abi::allow_read, source)) {
        return refuse_access(op.opcode);
    }
    rules::word_copy words;
    for (std::uint32_t i = 0; i < op.segment_count; ++i) {
        place sink;
        if (!local_place(op, i, sink)) {
            return end(rules::fault::own_memory);
        }
        if (const moved how = move(*device, sink, source, words, from->state, connected, foreign_copies);
            how != moved::all) {
            return stopped(how, false);
        }
        source.advance(sink.length);
    }
    return {};
}

/// The result of an atomic in memory of the initiator that is foreign to this process.
moved route::place_result(const place& sink, std::uint64_t value) noexcept {
    rules::word_copy words;
    return move(*device, sink, own_bytes(*device, reinterpret_cast<std::byte*>(&value), sizeof value), words,
                from->state, connected, foreign_copies);
}

/// Whether it can be placed: what lies there now is.
moved route::try_result(const place& sink) noexcept {
    std::uint64_t value = 0;
    rules::word_copy words;
    const moved how = move(*device, own_bytes(*device, reinterpret_cast<std::byte*>(&value), sizeof value), sink, words,
                           from->state, connected, foreign_copies);
    // Both ways it is the initiator's memory that is unmapped, or gone.
    return how == moved::unmapped_from ? moved::unmapped_to
           : how == moved::gone_from   ? moved::gone_to
           : how != moved::all         ? how
                                       : place_result(sink, value);
}

outcome route::atomic(const operation& op) noexcept {
    if (!check_local(op, local_write_right)) {
        return end(rules::fault::own_memory);
    }
    place word;
    if (!check_remote(op, 8, access::remote_atomic, abi::allow_atomic, word)) {
        return refuse_access(op.opcode);
    }
    if (op.remote_address % 8 != 0) {
        return end(rules::fault::misaligned);
    }
    const piece p = take_piece(*device, word, 8);
    if (p.direct == nullptr || p.bytes != 8) {
        return end(rules::fault::unreachable);  // no CPU instruction reaches foreign memory
    }
    // Where the result goes is decided first: an atomic that has happened cannot be run again.
    place sink;
    if (!local_place(op, 0, sink)) {
        return end(rules::fault::own_memory);
    }
    place looked_at = sink;
    const piece result = take_piece(*device, looked_at, 8);
    const bool is_direct = result.direct != nullptr && result.bytes == 8;
    if (const moved how = is_direct ? moved::all : try_result(sink); how != moved::all) {
        return stopped(how, false);
    }
    std::uint64_t old = op.compare;
    auto& shared = *reinterpret_cast<abi::word64*>(p.direct);
    if (op.opcode == opcode::fetch_add) {
        old = shared.fetch_add(op.operand);
    } else {
        (void)shared.compare_exchange(old, op.operand);
    }
    if (is_direct) [[likely]] {
        rules::copy_ascending(result.direct, reinterpret_cast<const std::byte*>(&old), sizeof old);
        return {};
    }
    const moved how = place_result(sink, old);
    return how == moved::all ? outcome() : stopped(how, false);
}

}  // namespace vinic::device

// SPDX-License-Identifier: Apache-2.0
//
// engine.cc -- what the operations of rules/ ask of an engine that reads shared tables as they are, and how a message
// fails here.
#include "direct/engine.hpp"

#include <utility>

namespace vinic::direct {

/// A connection that is broken already ended first: with a peer that dies its keys go, and their refusal is not the
/// cause.
outcome route::end(rules::fault f) noexcept {
    const rules::ending& e = rules::ending_of(f);
    if (e.drop != rules::no_drop && (!reliable || e.always_counted)) {
        to->drops[e.drop].fetch_add(1);  // first: a program that sees the connection broken sees why
    }
    if (!reliable) {
        return e.unreliable;
    }
    return tables::break_link(*device, *from, connected, e.mine, e.peers) ? outcome(e.sender) : overtaken();
}

outcome route::end_receive(rules::fault f, bool has_immediate, std::uint32_t immediate, std::uint32_t bytes) noexcept {
    const rules::ending& e = rules::ending_of(f);
    complete({*e.receiver, rules::receive_flags(has_immediate, e.receive_flags), bytes, immediate});
    return end(f);
}

outcome route::overtaken() const noexcept { return rules::flushed_by(abi::reason_of(from->state.load_acquire())); }

outcome route::end_unreceived() noexcept {
    if (reliable && from->state.load_acquire() != connected) {
        return overtaken();  // and nothing is counted
    }
    return end(rules::fault::no_descriptor);
}

outcome route::refuse_access(enum opcode what) noexcept {
    to->drops[rules::refusal_of(what)].fetch_add(1);  // before the connection breaks, likewise
    return end(rules::fault::access);
}

/// The caller is marked as executing: what it has looked up stays true until it is not any more.
struct route::engine {
    route& r;

    [[nodiscard]] bool find_own(std::uint32_t key, std::uint64_t address, std::uint64_t bytes, std::uint32_t rights,
                                place& out) const noexcept {
        return tables::check(*r.device, r.from_domain, key, address, bytes, rights, out);
    }
    [[nodiscard]] bool find_target(std::uint32_t key, std::uint64_t address, std::uint64_t bytes, std::uint32_t rights,
                                   place& out) const noexcept {
        return tables::check(*r.device, r.to_domain, key, address, bytes, rights, out);
    }
    /// Inline data lies in the executing process or, handed over, in the device file.
    [[nodiscard]] place own_bytes(const std::byte* data, std::uint64_t bytes) const noexcept {
        return tables::own_bytes(*r.device, data, bytes);
    }
    [[nodiscard]] bool offers(std::uint32_t flag) const noexcept { return (r.to->flags.load_relaxed() & flag) != 0; }

    [[nodiscard]] abi::receive_slot& slot() const noexcept { return r.target.slots[r.fill & r.target.mask]; }
    [[nodiscard]] bool receive_ready() const noexcept { return r.receiver_ready(); }
    [[nodiscard]] rules::choice choose(const rules::message&) const noexcept {
        return receive_ready() ? rules::choice::place : rules::choice::wait;
    }
    [[nodiscard]] std::uint32_t receive_count() const noexcept { return slot().descriptor.segment_count; }
    [[nodiscard]] const abi::segment& receive_segment(std::uint32_t i) const noexcept {
        return r.target.segment_of(slot().descriptor, r.fill, i);
    }
    [[nodiscard]] std::uint32_t payload_max() const noexcept { return r.payload_max; }
    [[nodiscard]] std::byte* payload() const noexcept {
        return reinterpret_cast<std::byte*>(slot().completion.payload) + (r.tells ? 8 : 0);
    }
    [[nodiscard]] place payload_place(std::uint32_t bytes) const noexcept { return own_bytes(payload(), bytes); }
    void put_payload(const std::byte* data, std::uint32_t bytes) const noexcept {
        rules::copy_small(payload(), data, bytes);
    }

    [[nodiscard]] static constexpr std::uint64_t room() noexcept { return abi::none64; }
    [[nodiscard]] tables::moved move(const place& sink, const place& source, std::uint64_t n,
                                     rules::word_copy& words) const noexcept {
        std::byte* const d = tables::together(*r.device, sink);
        const std::byte* const s = tables::together(*r.device, source);
        if (d != nullptr && s != nullptr && n <= tables::move_bytes_max) [[likely]] {
            words.put(d, s, n, n == sink.length);
            return tables::moved::all;
        }
        return tables::move(*r.device, sink, source, words, r.from->state, r.connected, r.foreign_copies);
    }
    [[nodiscard]] std::byte* direct_bytes(place p) const noexcept {
        const tables::piece first = tables::take_piece(*r.device, p, 8);
        return first.bytes == 8 ? first.direct : nullptr;
    }

    [[nodiscard]] outcome end(rules::fault f) const noexcept { return r.end(f); }
    [[nodiscard]] outcome end_receive(rules::fault f, const rules::message& m, std::uint32_t bytes) const noexcept {
        return r.end_receive(f, m.has_immediate, m.immediate, bytes);
    }
    [[nodiscard]] outcome refuse_access(enum opcode what) const noexcept { return r.refuse_access(what); }
    [[nodiscard]] outcome overtaken() const noexcept { return r.overtaken(); }
    void complete(const rules::receipt& how) const noexcept { r.complete(how); }
};

struct route::choosing_engine : engine {
    rules::landing where;
    bool claimed = false;

    [[nodiscard]] rules::choice choose(const rules::message& m) noexcept {
        if (!receive_ready()) {
            return rules::choice::wait;
        }
        const rules::choice c = r.chooser.kind->choose(r.chooser.table, rules::arrival_of(m), where);
        claimed = c == rules::choice::place;
        return c;
    }
    [[nodiscard]] std::uint32_t receive_count() const noexcept {
        return std::min(where.count, rules::landing::segments_max);
    }
    [[nodiscard]] const abi::segment& receive_segment(std::uint32_t i) const noexcept { return where.segments[i]; }
    [[nodiscard]] static constexpr std::uint32_t payload_max() noexcept { return 0; }

    /// What is told is the poller's to give back.
    void tell() noexcept {
        r.telling = rules::no_telling;
        if (std::exchange(claimed, false)) {
            r.telling = where.telling;
            r.chooser.kind->tell(r.chooser.table, where.telling);
        }
    }
    void complete(const rules::receipt& how) noexcept {
        tell();
        engine::complete(how);
    }
    [[nodiscard]] outcome end_receive(rules::fault f, const rules::message& m, std::uint32_t bytes) noexcept {
        tell();
        return engine::end_receive(f, m, bytes);
    }
    void release() noexcept {
        if (std::exchange(claimed, false)) {
            r.chooser.kind->release(r.chooser.table, where.telling);
        }
    }
    [[nodiscard]] outcome end(rules::fault f) noexcept {
        release();
        return engine::end(f);
    }
    [[nodiscard]] outcome overtaken() noexcept {
        release();
        return engine::overtaken();
    }
};

outcome route::run_chosen(const rules::message& m) noexcept {
    choosing_engine e{{*this}, {}, false};
    rules::progress<place> at;
    return rules::run(e, m, at);
}

outcome route::run(const rules::message& m) noexcept {
    if (chooser.kind != nullptr) [[unlikely]] {
        return run_chosen(m);
    }
    engine e{*this};
    rules::progress<place> at;
    return rules::run(e, m, at);
}

outcome route::run_one_piece(const std::byte* data, std::uint32_t bytes, bool has_immediate,
                             std::uint32_t immediate) noexcept {
    const abi::receive_descriptor& d = target.slots[fill & target.mask].descriptor;
    place p;
    if (!rules::is_posted(d, fill) || d.segment_count != 1 || d.segments[0].length < bytes ||
        !tables::check(*device, to_domain, d.segments[0].key, d.segments[0].address, bytes,
                       static_cast<std::uint32_t>(access::local_write), p) ||
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
    const tables::moved how = tables::move(*device, to_place, tables::own_bytes(*device, data, bytes), words,
                                           from->state, connected, foreign_copies);
    if (how == tables::moved::all) {
        return {};
    }
    return how == tables::moved::broken ? overtaken() : end(rules::fault_of(how, true));
}

}  // namespace vinic::direct

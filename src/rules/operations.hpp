// SPDX-License-Identifier: Apache-2.0
//
// operations.hpp -- one message from the initiator's list to the target's memory: in which order things are asked, and
// the walk through the two lists.
//
//   An engine is asked for what only it knows:
//
//     place                      a range (region.hpp), and whose memory it is
//     find_own(), find_target()  key, address, length, rights -> place; false: the key does not open that
//     own_bytes()                bytes that no key has to open, as a place
//     offers(flag)               whether the target VI lets others do that
//
//     receive_ready()            whether a receive descriptor is posted
//     choose(message)            where the message goes, for receive_segment(i), receive_count(); or that it waits
//     payload_max(), payload_place(), put_payload()   for what travels in the completion
//
//     room()                     bytes that may be moved before it is somebody else's turn; 0: none, or a broken link
//     move(to, from, n, words)   moves the first n bytes at most, and says how many in n
//     direct_bytes(place)        where its 8 bytes lie together, or nullptr
//
//     end(fault), end_receive(fault, message, bytes), refuse_access(opcode), complete(receipt), overtaken()
//
//   A message that takes several turns goes on where its progress says: all that it leads to is looked up again, with
//   the rights it takes, for regions close and change their rights in between.
#pragma once

#include "rules/copy.hpp"
#include "rules/message.hpp"
#include "rules/outcomes.hpp"
#include "rules/receivers.hpp"
#include "rules/ring.hpp"

namespace vinic::rules {

/// How far a message has come in the two lists.
template <class Place>
struct progress {
    bool started = false;  ///< the checks of the first turn are done, and the receive descriptor is taken
    std::uint32_t done = 0;
    std::uint32_t segment = 0;  ///< of the initiator's list
    std::uint32_t segment_at = 0;
    std::uint32_t receive_segment = 0;
    std::uint32_t receive_at = 0;
    word_copy words;  ///< a word that `done` is in the middle of
    Place mine;       ///< what is left of `segment`, if that has been looked up

    /// For another message; cheaper than a new one.
    void begin() noexcept {
        started = false;
        done = segment = segment_at = receive_segment = receive_at = 0;
        words = {};
        look_again();
    }
    /// What was looked up may be true no longer.
    void look_again() noexcept { mine.length = 0; }
};

namespace detail {

inline constexpr std::uint32_t no_rights = 0;
inline constexpr auto may_fill = static_cast<std::uint32_t>(access::local_write);

/// Whether the initiator's list is its own.
template <class Engine, class Progress>
[[nodiscard]] bool check_own(Engine& e, const message& m, Progress& at, std::uint32_t rights) noexcept {
    for (std::uint32_t i = 0; i < m.segment_count; ++i) {
        const abi::segment& s = m.segments[i];
        if (s.length != 0 && !e.find_own(s.key, s.address, s.length, rights, at.mine)) {
            return false;
        }
    }
    if (m.segment_count != 1) {
        at.look_again();
    }
    return true;
}

/// Looks up the next bytes of the initiator.  Inline data counts as one segment.
template <class Engine, class Progress>
[[nodiscard]] bool next_own(Engine& e, const message& m, Progress& at, std::uint32_t rights) noexcept {
    if (m.inline_data != nullptr) {
        at.mine = e.own_bytes(m.inline_data + at.done, m.length - at.done);
        return true;
    }
    while (at.segment < m.segment_count && at.segment_at == m.segments[at.segment].length) {
        ++at.segment;
        at.segment_at = 0;
    }
    if (at.segment == m.segment_count) {
        return false;
    }
    const abi::segment& s = m.segments[at.segment];
    return e.find_own(s.key, s.address + at.segment_at, s.length - at.segment_at, rights, at.mine);
}

/// Moves between the initiator's list and all of `there`; or says how the message ended before that.  On an unreliable
/// VI that may be success, though it was dropped.
template <class Engine, class Place>
[[nodiscard]] std::optional<outcome> stream(Engine& e, const message& m, progress<Place>& at, Place there, bool outward,
                                            bool into_receive = false) noexcept {
    while (there.length != 0) {
        const std::uint64_t room = e.room();
        if (room == 0) {
            return outcome::unfinished();
        }
        if (at.mine.length == 0 && !next_own(e, m, at, outward ? no_rights : may_fill)) {
            return e.end(fault::own_memory);
        }
        std::uint64_t n = std::min({there.length, at.mine.length, room});
        const moved how = outward ? e.move(there, at.mine, n, at.words) : e.move(at.mine, there, n, at.words);
        if (how != moved::all) [[unlikely]] {
            if (how == moved::broken) {
                return e.overtaken();
            }
            const fault f = fault_of(how, outward);
            return into_receive && f == fault::target_memory ? e.end_receive(fault::receive_memory, m, 0) : e.end(f);
        }
        there.advance(n);
        at.mine.advance(n);
        at.segment_at += static_cast<std::uint32_t>(n);
        at.done += static_cast<std::uint32_t>(n);
    }
    return std::nullopt;
}

template <class Engine, class Place>
[[nodiscard]] outcome send(Engine& e, const message& m, progress<Place>& at) noexcept {
    if (!at.started) {
        if (m.inline_data == nullptr && !check_own(e, m, at, no_rights)) {
            return e.end(fault::own_memory);
        }
        const choice c = e.choose(m);
        if (c != choice::place) {
            return c == choice::wait ? outcome::waiting() : e.end_receive(fault::malformed_receive, m, 0);
        }
        std::uint64_t capacity = 0;
        for (std::uint32_t i = 0; i < e.receive_count(); ++i) {
            capacity += e.receive_segment(i).length;
        }
        if (m.length > capacity) {
            return e.end_receive(fault::too_long, m, m.length);
        }
        at.started = true;
    }
    if (m.length <= e.payload_max()) {
        if (m.inline_data != nullptr) {
            e.put_payload(m.inline_data, m.length);
        } else {
            Place sink = e.payload_place(m.length);
            sink.advance(at.done);
            if (const auto ended = stream(e, m, at, sink, true)) {
                return *ended;
            }
        }
        e.complete({status::success, receive_flags(m.has_immediate, abi::payload_inside), m.length, m.immediate});
        return {};
    }
    while (at.done != m.length) {
        if (at.receive_segment == e.receive_count()) {
            return e.end_receive(fault::receive_memory, m, 0);  // its owner has changed the list meanwhile
        }
        const abi::segment& s = e.receive_segment(at.receive_segment);
        if (at.receive_at == s.length) {
            ++at.receive_segment;
            at.receive_at = 0;
            continue;
        }
        // The bytes that the message uses are checked, no others.
        const std::uint32_t used = std::min(s.length - at.receive_at, m.length - at.done);
        Place there;
        if (!e.find_target(s.key, s.address + at.receive_at, used, may_fill, there)) {
            return e.end_receive(fault::receive_memory, m, 0);
        }
        const std::uint32_t before = at.done;
        const auto ended = stream(e, m, at, there, true, true);
        at.receive_at += at.done - before;
        if (ended) {
            return *ended;
        }
    }
    e.complete({status::success, receive_flags(m.has_immediate), m.length, m.immediate});
    return {};
}

/// Memory of the target that `m` names.
template <class Engine, class Place>
[[nodiscard]] bool find_remote(Engine& e, const message& m, std::uint32_t flag, access right, Place& out) noexcept {
    return e.offers(flag) && (m.length == 0 || e.find_target(m.remote_key, m.remote_address, m.length,
                                                             static_cast<std::uint32_t>(right), out));
}

template <class Engine, class Place>
[[nodiscard]] outcome write(Engine& e, const message& m, progress<Place>& at) noexcept {
    if (!at.started && m.inline_data == nullptr && !check_own(e, m, at, no_rights)) {
        return e.end(fault::own_memory);
    }
    // The descriptor for the immediate data first: a message that waits has not happened at all.
    if (m.has_immediate && !e.receive_ready()) {
        return outcome::waiting();
    }
    Place sink;
    if (!find_remote(e, m, abi::allow_write, access::remote_write, sink)) {
        // VIA reports a refused write with immediate data in the receive descriptor.
        return m.has_immediate ? e.end_receive(fault::access_told, m, 0) : e.refuse_access(m.opcode);
    }
    at.started = true;
    sink.advance(at.done);
    if (const auto ended = stream(e, m, at, sink, true)) {
        return *ended;
    }
    if (m.has_immediate) {
        e.complete({status::success, receive_flags(true, abi::from_write), m.length, m.immediate});
    }
    return {};
}

template <class Engine, class Place>
[[nodiscard]] outcome read(Engine& e, const message& m, progress<Place>& at) noexcept {
    if (!at.started && !check_own(e, m, at, may_fill)) {
        return e.end(fault::own_memory);
    }
    Place source;
    if (!find_remote(e, m, abi::allow_read, access::remote_read, source)) {
        return e.refuse_access(m.opcode);
    }
    at.started = true;
    source.advance(at.done);
    return stream(e, m, at, source, false).value_or(outcome());
}

/// The 8 bytes at `here` to `there`, which is memory of the initiator, or what lies there to `here`.
template <class Engine, class Place>
[[nodiscard]] moved carry(Engine& e, Place there, std::byte* here, bool outward) noexcept {
    Place near = e.own_bytes(here, there.length);
    word_copy words;
    while (there.length != 0) {
        std::uint64_t n = there.length;
        if (const moved how = outward ? e.move(there, near, n, words) : e.move(near, there, n, words);
            how != moved::all) {
            return how;
        }
        there.advance(n);
        near.advance(n);
    }
    return moved::all;
}

template <class Engine, class Place>
[[nodiscard]] outcome atomic(Engine& e, const message& m, progress<Place>& at) noexcept {
    if (!check_own(e, m, at, may_fill) || (at.mine.length == 0 && !next_own(e, m, at, may_fill))) {
        return e.end(fault::own_memory);
    }
    Place target;
    if (!find_remote(e, m, abi::allow_atomic, access::remote_atomic, target)) {
        return e.refuse_access(m.opcode);
    }
    if (m.remote_address % 8 != 0) {
        return e.end(fault::misaligned);
    }
    // Where a place lies in device memory may be what its owner says: words are shared only where they are words.
    std::byte* const word = e.direct_bytes(target);
    if (word == nullptr || reinterpret_cast<std::uintptr_t>(word) % 8 != 0) {
        return e.end(fault::unreachable);  // no CPU instruction reaches foreign memory
    }
    // Where the result goes is settled first: an atomic that has happened cannot be run again.
    std::byte* const result = e.direct_bytes(at.mine);
    std::uint64_t old = 0;
    auto* const here = reinterpret_cast<std::byte*>(&old);
    if (result == nullptr) {
        moved how = carry(e, at.mine, here, false);
        fault f = fault_of(how, true);
        if (how == moved::all) {
            how = carry(e, at.mine, here, true);
            f = fault_of(how, false);
        }
        if (how != moved::all) {
            return how == moved::broken ? e.overtaken() : e.end(f);
        }
    }
    auto& shared = *reinterpret_cast<abi::word64*>(word);
    old = m.compare;
    if (m.opcode == opcode::fetch_add) {
        old = shared.fetch_add(m.operand);
    } else {
        (void)shared.compare_exchange(old, m.operand);
    }
    if (result != nullptr) [[likely]] {
        copy_ascending(result, here, sizeof old);
        return {};
    }
    const moved how = carry(e, at.mine, here, true);
    return how == moved::all ? outcome() : how == moved::broken ? e.overtaken() : e.end(fault_of(how, false));
}

}  // namespace detail

/// Runs `m`, or goes on with it.
template <class Engine, class Place>
[[nodiscard]] outcome run(Engine& e, const message& m, progress<Place>& at) noexcept {
    switch (m.opcode) {
        case opcode::send:
            return detail::send(e, m, at);
        case opcode::write:
            return detail::write(e, m, at);
        case opcode::read:
            return detail::read(e, m, at);
        case opcode::fetch_add:
        case opcode::compare_swap:
            return detail::atomic(e, m, at);
        default:
            return e.end(fault::malformed);
    }
}

}  // namespace vinic::rules

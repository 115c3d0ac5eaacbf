// SPDX-License-Identifier: Apache-2.0
//
// outcomes.hpp -- what becomes of a message that fails: the table "Outcomes" of docs/design.md, which is made from it.
#pragma once

#include <array>
#include <optional>

#include "rules/pieces.hpp"
#include "rules/vi.hpp"

namespace vinic::rules {

/// How an operation went.  One word: a structure of several bytes comes back through memory, and reading it as a whole
/// waits until every store before it has left the CPU, the payload among them.
class outcome {
public:
    constexpr outcome() noexcept = default;
    /// It has ended so.  A reliable connection breaks by anything but success.
    constexpr outcome(enum status s) noexcept : word_(static_cast<std::uint32_t>(s)) {}
    /// The receiver has no descriptor (or it is not a case for this path); nothing was done.
    [[nodiscard]] static constexpr outcome waiting() noexcept { return from(waits_word); }
    /// It goes on when it is its turn again.
    [[nodiscard]] static constexpr outcome unfinished() noexcept { return from(unfinished_word); }
    [[nodiscard]] constexpr bool waits() const noexcept { return word_ == waits_word; }
    [[nodiscard]] constexpr bool is_unfinished() const noexcept { return word_ == unfinished_word; }
    [[nodiscard]] constexpr bool succeeded() const noexcept { return word_ == 0; }
    [[nodiscard]] constexpr enum status how() const noexcept { return static_cast<enum status>(word_ & 0xff); }

private:
    static constexpr std::uint32_t waits_word = 0x100;  // how() is success
    static constexpr std::uint32_t unfinished_word = 0x200;
    [[nodiscard]] static constexpr outcome from(std::uint32_t word) noexcept {
        outcome o;
        o.word_ = word;
        return o;
    }
    std::uint32_t word_ = 0;
};
static_assert(static_cast<int>(status::success) == 0);

/// Why a message does not end with success.
enum class fault : std::uint8_t {
    no_descriptor,   ///< the receiver has posted none, and the message does not wait, or not any longer
    too_long,        ///< for the receive descriptor
    receive_memory,  ///< the receive descriptor names memory that may not be written, or is gone
    access,          ///< a remote key, its bounds, rights or domain, or what the target VI offers
    access_told,     ///< likewise of a write with immediate data, which the receive descriptor reports
    own_memory,      ///< a key of the initiator, its bounds, rights or domain
    malformed,       ///< a descriptor that the interface lets nobody post
    malformed_receive,
    target_memory,   ///< remote memory that passed the check is no longer mapped
    misaligned,      ///< an atomic
    unreachable,     ///< memory that this engine cannot reach, or for which the device has no room
    target_gone,     ///< the process whose memory it is has died, and nobody has seen that yet
    initiator_gone,  ///< likewise that of the message
    count,
};

/// Whose memory was refused.
enum class side : std::uint8_t { none, initiator, target };

inline constexpr std::uint32_t no_drop = abi::drop_count;

/// What a fault does.  A reliable connection breaks by each of them.
struct ending {
    fault what = fault::count;
    const char* words = "";                    ///< as in the table
    enum status sender = status::success;      ///< of the message, if its connection is reliable
    enum status unreliable = status::success;  ///< if it is not: it stays as it is
    std::optional<enum status> receiver = {};  ///< a receive descriptor is used, and ends so
    std::uint8_t receive_flags = 0;
    std::uint32_t drop = no_drop;  ///< counted at the target's VI if the connection is unreliable
    bool always_counted = false;   ///< also if it is reliable
    side refused = side::none;
    abi::break_reason mine = abi::break_reason::local_error;
    abi::break_reason peers = abi::break_reason::remote_error;
};

inline constexpr std::array<ending, static_cast<std::size_t>(fault::count)> endings{{
    // "Virtual Interface Architecture 1.0", 2.4: on an unreliable VI only the descriptor concerned fails.
    {.what = fault::no_descriptor,
     .words = "no receive descriptor, in time",
     .sender = status::receiver_not_ready,
     .drop = abi::rx_no_descriptor,
     .always_counted = true},
    {.what = fault::too_long,
     .words = "receive too small",
     .sender = status::remote_length,
     .receiver = status::local_length,
     .drop = abi::rx_too_long},
    {.what = fault::receive_memory,
     .words = "message reaches invalid memory of the receive (*)",
     .sender = status::remote_descriptor,
     .receiver = status::local_protection,
     .drop = abi::rx_protection,
     .refused = side::target},
    {.what = fault::access,
     .words = "remote key, bounds, rights or domain wrong",
     .sender = status::remote_protection,
     .drop = abi::rx_protection,
     .refused = side::target},
    {.what = fault::access_told,
     .words = "likewise, write with immediate data",
     .sender = status::remote_protection,
     .receiver = status::remote_protection,
     .receive_flags = abi::from_write,
     .drop = abi::rx_protection,
     .refused = side::target},
    {.what = fault::own_memory,
     .words = "own key, bounds or rights wrong",
     .sender = status::local_protection,
     .unreliable = status::local_protection,
     .refused = side::initiator},
    {.what = fault::malformed,
     .words = "descriptor that nobody can post",
     .sender = status::local_protection,
     .unreliable = status::local_protection},
    {.what = fault::malformed_receive,
     .words = "receive descriptor that nobody can post",
     .sender = status::remote_descriptor,
     .receiver = status::local_protection,
     .drop = abi::rx_protection},
    {.what = fault::target_memory,
     .words = "remote memory that is no longer mapped",
     .sender = status::remote_protection,
     .unreliable = status::remote_protection,
     .refused = side::target},
    {.what = fault::misaligned,
     .words = "atomic not aligned to 8",
     .sender = status::bad_alignment,
     .unreliable = status::bad_alignment},
    {.what = fault::unreachable,
     .words = "atomic on, or transfer to, memory that cannot be reached",
     .sender = status::unreachable_memory,
     .unreliable = status::unreachable_memory},
    {.what = fault::target_gone,
     .words = "process whose memory it is has gone, not buried yet",
     .sender = status::connection_lost,
     .unreliable = status::connection_lost,
     .mine = abi::break_reason::peer_died},
    {.what = fault::initiator_gone,
     .words = "process that posted it has gone, not buried yet",
     .sender = status::connection_lost,
     .unreliable = status::connection_lost,
     .peers = abi::break_reason::peer_died},
}};

[[nodiscard]] constexpr const ending& ending_of(fault f) noexcept { return endings[static_cast<std::size_t>(f)]; }

static_assert([] {
    for (std::size_t i = 0; i < endings.size(); ++i) {
        if (endings[i].what != static_cast<fault>(i)) {
            return false;
        }
    }
    return true;
}());

/// Why a move failed, unless a break ended it: `outward` from the initiator, or to it.
[[nodiscard]] constexpr fault fault_of(moved how, bool outward) noexcept {
    switch (how) {
        case moved::unmapped_to:
            return outward ? fault::target_memory : fault::own_memory;
        case moved::unmapped_from:
            return outward ? fault::own_memory : fault::target_memory;
        case moved::gone_to:
            return outward ? fault::target_gone : fault::initiator_gone;
        case moved::gone_from:
            return outward ? fault::initiator_gone : fault::target_gone;
        default:
            return fault::unreachable;
    }
}

/// A refused access that no receive descriptor reports is counted besides, whether the connection is reliable or not.
[[nodiscard]] constexpr std::uint32_t refusal_of(opcode o) noexcept {
    return o == opcode::write  ? abi::rx_refused_writes
           : o == opcode::read ? abi::rx_refused_reads
                               : abi::rx_refused_atomics;
}

}  // namespace vinic::rules

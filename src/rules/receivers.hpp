// SPDX-License-Identifier: Apache-2.0
//
// receivers.hpp -- kinds of receivers: what chooses where an arriving message goes.
//
//   The receive ring of every VI is where arrivals are told.  Of a connected and of a datagram VI it is also where the
//   buffers are: a message goes to what the next descriptor names.  A VI of any other kind has its buffers in a table
//   of its own, of which the kind chooses one; a descriptor of the ring, without segments, is then room to tell of one.
//
//   choose, has_place, release and tell run in whichever engine has the message: of the sender or of the receiver in
//   direct placement, of vinicd in isolated placement, where the table is not to be believed.  docs/kinds.md says what
//   follows from that, and has an example.  They make no system call, take no lock and allocate nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "rules/message.hpp"

namespace vinic::rules {

/// Buffers, and what the kind needs beside; in memory of the receiver.
using receiver_table = std::span<std::byte>;

/// What a message says of itself.
struct arrival {
    std::uint64_t tag = 0;  ///< remote_address of a send, which sends do not use otherwise
    std::uint32_t length = 0;
    std::uint32_t immediate = 0;
    bool has_immediate = false;
};
[[nodiscard]] constexpr arrival arrival_of(const message& m) noexcept {
    return {m.remote_address, m.length, m.immediate, m.has_immediate};
}

/// Told of what took no buffer: a write's immediate data, a message that was refused.
inline constexpr std::uint64_t no_telling = ~std::uint64_t{0};

/// Where a message goes.  Copied from the table, and checked by the engine like any other list of segments.
struct landing {
    static constexpr std::uint32_t segments_max = 4;
    abi::segment segments[segments_max];
    std::uint32_t count = 0;
    std::uint64_t telling = 0;  ///< the kind's own word for told(): which buffer, say
};

enum class choice : std::uint8_t {
    place,   ///< it goes to the landing; its buffer is claimed
    wait,    ///< there is none for it yet.  An unreliable message is dropped
    refuse,  ///< there is none that makes sense: it ends as a malformed receive descriptor does
};

/// What an engine looks at under a lock that others wait for.
inline constexpr std::uint32_t table_bytes_max = 4096;

struct receiver_kind {
    std::uint32_t number;       ///< abi::vi_entry::kind; 0 are the kinds whose buffers lie in the ring
    std::uint32_t table_bytes;  ///< a multiple of 64, at most table_bytes_max
    /// A message has come, and there is room to tell of it.
    choice (*choose)(receiver_table, const arrival&, landing&) noexcept;
    /// Whether choose would say anything but `wait`.  Claims nothing.
    bool (*has_place)(receiver_table, const arrival&) noexcept;
    /// The claim is off: as if it had never been chosen.
    void (*release)(receiver_table, std::uint64_t telling) noexcept;
    /// The claim becomes a completion, which nobody has polled yet.
    void (*tell)(receiver_table, std::uint64_t telling) noexcept;
    /// The owner's poller reports it: the buffer is the program's again.  Its cookie.
    std::uint64_t (*told)(receiver_table, std::uint64_t telling) noexcept;
    /// The owner's connection is over, and every engine outside: claims that were not told are off.
    void (*reset)(receiver_table) noexcept;
};

/// All that there are; kinds.cc is the list.
[[nodiscard]] std::span<const receiver_kind* const> known_kinds() noexcept;
/// nullptr: number 0.  What is not known, or has a table of another size, is a kind into which nothing comes.
[[nodiscard]] const receiver_kind* find_kind(std::uint32_t number, std::uint64_t table_bytes) noexcept;
/// Whether find_kind() finds that one; also of number 0.
[[nodiscard]] bool is_known(std::uint32_t number, std::uint64_t table_bytes) noexcept;

/// The receiver of a message, of a kind with a table; kind nullptr: its buffers lie in the ring.
struct chooser {
    const receiver_kind* kind = nullptr;
    receiver_table table;
};

}  // namespace vinic::rules

// SPDX-License-Identifier: Apache-2.0
//
// hand_over.hpp -- a send queue whose head has to wait for the receiver.
//
//     owner ----(no receive descriptor)----> handed ----(receiver posts one)----> peer
//       ^  ^------(descriptor came meanwhile)---'  ^------(descriptors used up)-----'|
//       '--------------------------(queue is empty)---------------------------------'
//
//   The word vi_entry::hand_over holds who may execute and how many descriptors were produced, so
//   that "the queue is empty" and "one more" cannot miss each other.  docs/protocols.md draws it;
//   tests/model interleaves it exhaustively.
#pragma once

#include "direct/engine.hpp"

namespace vinic::direct {

/// Whether the receiver has what the message at the head waits for.
[[nodiscard]] bool is_ready_for_head(const route& r, const tables::send_side& queue) noexcept;

enum class drained : std::uint8_t { empty, waits, broken };

/// Executes descriptors of r.from's queue from send_next up to `produced`.
[[nodiscard]] drained drain(route& r, tables::send_side& queue, std::uint32_t produced) noexcept;

/// Sender: gives the queue, whose last descriptor is `produced - 1`, to the receiver.  True if it
/// stays there; false if a receive descriptor came meanwhile and the sender has executed all itself.
[[nodiscard]] bool hand_over(route& r, tables::send_side& queue, std::uint32_t first, std::uint32_t produced) noexcept;

/// Sender: appends descriptor `produced - 1` to a queue that was handed over.  False: it is the
/// sender's again, and empty; r.fill is up to date.
[[nodiscard]] bool append(route& r, std::uint32_t produced) noexcept;

/// Sender: takes a handed queue back.  False: the receiver is executing it, or it came back itself.
[[nodiscard]] bool take_back(abi::vi_entry& from) noexcept;

/// Likewise, but only if nothing was executed or appended since its word was read as `seen`.
[[nodiscard]] bool take_back(abi::vi_entry& from, std::uint64_t seen) noexcept;

/// Receiver: executes what was handed over, after posting receive descriptors.
void drain_for_peer(route& r, tables::send_side& queue) noexcept;

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// foreign_memory.hpp -- moves of which one side or both are memory that only the kernel reaches.
//
//   Into such memory the kernel stores as it likes.  Out of it, into memory that a program may watch, bytes come by way
//   of a buffer, from which they are stored as copy.hpp promises; of a long move only the last part, and the kernel
//   stores itself what lies before that.
//
//   Outward moves (write_process) are made where they are called: see os/process_memory.hpp.
#pragma once

#include "rules/copy.hpp"

namespace vinic::os {

/// Moves `bytes` from process `pid`; `words` and `ends` as for rules::word_copy::put().  0 or errno.
[[nodiscard]] int read_foreign(std::uint32_t pid, std::uint64_t from, std::byte* to, std::uint64_t bytes,
                               rules::word_copy& words, bool ends) noexcept;

/// Writes what is held back, into the bytes before `to` of process `pid`.  0 or errno.
[[nodiscard]] int write_held(std::uint32_t pid, std::uint64_t to, rules::word_copy& words) noexcept;

/// How a move between two other processes ended: errno of the one or the other.
struct foreign_errors {
    int from = 0;
    int to = 0;
};
[[nodiscard]] foreign_errors move_foreign_both(std::uint32_t to_pid, std::uint64_t to, std::uint32_t from_pid,
                                               std::uint64_t from, std::uint64_t bytes) noexcept;

}  // namespace vinic::os

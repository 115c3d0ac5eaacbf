// SPDX-License-Identifier: Apache-2.0
//
// foreign_memory.hpp -- moves of which one side or both are memory that only the kernel reaches.
//
//   Into such memory the kernel stores as it likes.  Out of it, into memory that a program may watch, bytes come by way
//   of a buffer, from which they are stored as copy.hpp promises; of a long move only the last part, and the kernel
//   stores itself what lies before that, if its pages do not end within a word.
//
//   Outward moves (write_process) are made where they are called: see os/process_memory.hpp.
#pragma once

#include "os/process_memory.hpp"
#include "rules/copy.hpp"
#include "rules/pieces.hpp"

namespace vinic::os {

/// Moves `bytes` from process `pid`; `words` and `ends` as for word_copy::put().  0 or errno.
[[nodiscard]] int read_foreign(std::uint32_t pid, std::uint64_t from, std::byte* to, std::uint64_t bytes,
                               rules::word_copy& words, bool ends) noexcept;

/// Writes what is held back, into the bytes before `to` of process `pid`.  0 or errno.
[[nodiscard]] int write_held(std::uint32_t pid, std::uint64_t to, rules::word_copy& words) noexcept;

/// Moves between two other processes.
[[nodiscard]] rules::moved move_foreign_both(std::uint32_t to_pid, std::uint64_t to, std::uint32_t from_pid,
                                             std::uint64_t from, std::uint64_t bytes) noexcept;

/// Moves `bytes` between pieces of at least that length, of which one or both are foreign; a pid counts only for a
/// foreign side.  Stands where it is used: see process_memory.hpp.
[[nodiscard, gnu::always_inline]] inline rules::moved move_foreign(std::uint32_t to_pid, const rules::piece& to,
                                                                   std::uint32_t from_pid, const rules::piece& from,
                                                                   std::uint64_t bytes, rules::word_copy& words,
                                                                   bool ends) noexcept {
    if (to.direct != nullptr) {
        return rules::moved_of(read_foreign(from_pid, from.address, to.direct, bytes, words, ends), false);
    }
    if (words.held() != 0) [[unlikely]] {
        if (const int e = write_held(to_pid, to.address, words); e != 0) {
            return rules::moved_of(e, true);
        }
    }
    if (from.direct != nullptr) {
        return rules::moved_of(write_process(to_pid, to.address, from.direct, bytes), true);
    }
    return move_foreign_both(to_pid, to.address, from_pid, from.address, bytes);
}

}  // namespace vinic::os

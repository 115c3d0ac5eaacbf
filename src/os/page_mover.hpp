// SPDX-License-Identifier: Apache-2.0
//
// page_mover.hpp -- pages of this process change their place while the program runs, and no write is lost.
//
//     prepare     what will lie there is mapped somewhere else: all that may fail for want of memory or mappings
//     park        userfaultfd: threads that write to the range wait from now on
//     copy        the bytes, into what was prepared
//     put         mremap replaces the range by it in one step
//     let go      writers go on, and find the new pages
//
//   From park to let go the moving thread runs nothing but what is written here: its signals wait, for a handler
//   that writes to the range would wait for the thread that it interrupts; and it touches only its own stack, takes no
//   lock and no memory, for the threads that hold those may be parked.
//
//   Every step that fails is undone: contents are where they were.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/kept_fd.hpp"

namespace vinic::os {

/// Not thread-safe.  Moving needs no descriptor beyond those of open().
class page_mover {
public:
    page_mover() = default;
    page_mover(const page_mover&) = delete;
    page_mover& operator=(const page_mover&) = delete;

    /// 0 or errno.  Once is enough, but for a program that has closed what was opened: that is opened again.
    [[nodiscard]] int open() noexcept;
    void close() noexcept;
    /// Whether what was moved into the file could be moved out again: writers are held in a memory file only.
    [[nodiscard]] static bool can_move_out(int fd) noexcept;

    /// [address, address + bytes), private anonymous memory, becomes a shared mapping of `fd` at `offset`, contents
    /// kept; forked children do not get it but if `in_children`.  `pagemap`: self_view's.  0 or errno.
    [[nodiscard]] int move_in(std::uint64_t address, std::uint64_t bytes, int pagemap, int fd, std::uint64_t offset,
                              bool in_children) noexcept;
    /// The way back.  0 or errno.
    [[nodiscard]] int move_out(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept;

private:
    [[nodiscard]] int park(std::uint64_t address, std::uint64_t bytes, bool missing_too) noexcept;
    void let_go(std::uint64_t address, std::uint64_t bytes) noexcept;

    kept_fd faults_;  ///< looked at in park(): what comes after it is about the same moment
};

/// Private anonymous memory with what `fd` holds at `offset`, which is mapped at `from`; pages that were never written
/// stay untouched.  nullptr when memory is short.
[[nodiscard]] std::byte* copy_aside(const std::byte* from, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept;
/// Forked children do not get the range, or do again.
void keep_from_children(std::uint64_t address, std::uint64_t bytes, bool kept) noexcept;
void drop_copy(std::byte* copy, std::uint64_t bytes) noexcept;
/// In a forked child: the copy goes to `address`, or, without one, nothing that could be mistaken for it.  Nothing
/// happens if something lies there.
void fill_hole(std::byte* copy, std::uint64_t address, std::uint64_t bytes) noexcept;
/// In a forked child that shares the range with its parent: the same, in place of what is there.  Or the end of the
/// child.
void replace_shared(std::byte* copy, std::uint64_t address, std::uint64_t bytes) noexcept;

}  // namespace vinic::os

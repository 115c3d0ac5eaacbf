// SPDX-License-Identifier: Apache-2.0
//
// memory.hpp -- what lies at an address of this process, and moving pages in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vinic::os {

/// One line of /proc/self/maps.
struct memory_area {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool readable = false;
    bool writable = false;
    bool private_anonymous = false;  ///< private, no file behind it, not a stack or special area
    std::uint64_t inode = 0;
    std::uint64_t device = 0;  ///< major << 32 | minor
    std::uint64_t offset = 0;
};

/// The areas that intersect [begin, end), in order.
[[nodiscard]] std::vector<memory_area> areas(std::uint64_t begin, std::uint64_t end);

/// Replaces [address, address + bytes) -- private anonymous memory -- by a shared mapping of `fd` at
/// `offset`, contents kept, without losing a write of any thread of this process: a userfaultfd
/// parks writers while pages are copied to `copy`, which is the same piece of the file in another
/// mapping.  0 or errno; on failure nothing has changed.
[[nodiscard]] int move_into_file(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset,
                                 std::byte* copy) noexcept;

/// The way back: [address, address + bytes), a shared mapping of `fd` at `offset`, becomes private
/// anonymous memory with the same contents.  0 or errno.
[[nodiscard]] int move_out_of_file(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept;

/// Private anonymous memory with a copy of [address, address + bytes), which maps `fd` at `offset`; pages
/// that were never written stay untouched.  To be put in place by
/// place_copy (in a forked child) or freed by drop_copy.  nullptr when memory is short.
[[nodiscard]] std::byte* copy_aside(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept;
void place_copy(std::byte* copy, std::uint64_t address, std::uint64_t bytes) noexcept;
void drop_copy(std::byte* copy, std::uint64_t bytes) noexcept;

/// Makes the page of a private file mapping this process' own, contents kept, by a write that changes
/// nothing and loses nobody else's.
void own_private_page(std::uint64_t address) noexcept;

/// Field 22 of /proc/PID/stat (clock ticks after boot), 0 when there is no such process.
[[nodiscard]] std::uint64_t process_start_time(std::uint32_t pid) noexcept;
/// Inode of this process' pid namespace.
[[nodiscard]] std::uint64_t pid_namespace() noexcept;

}  // namespace vinic::os

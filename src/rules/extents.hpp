// SPDX-License-Identifier: Apache-2.0
//
// extents.hpp -- which addresses of a process lie in its device file: looked up by engines, at an address of a region
// that does not lie there in one piece.
//
//   native      a process maps the whole file at process_entry::base, so its buffers lie at base + offset; one bit for
//               each page tells whether it is a buffer's (native_pages). The bits of a chunk are its owner's to write.
//   adopted     pages elsewhere that were moved into the file: a sorted table, of which there are two. The owner
//               writes the one that is not published, and publishes it by one store, so a reader never waits for an
//               owner that is stopped, and looks again only if two tables came meanwhile.
//
//   What a region covers does not change while it is open: no page of it moves. So nothing here has to say that pages
//   are moving.
#pragma once

#include <bit>

#include "abi/vi.hpp"

namespace vinic::rules {

/// Where the address looked up lies.
struct found_extent {
    bool inside = false;
    std::uint64_t offset = 0;                 ///< file offset of the address, if inside
    std::uint64_t until = ~std::uint64_t{0};  ///< virtual address where this answer ends
};

/// process_entry::adopted, taken apart.
struct adopted_table {
    static constexpr std::uint32_t extents_max = 1024;
    static constexpr std::uint64_t bytes = extents_max * sizeof(abi::extent);
    std::uint64_t offset = 0;
    std::uint32_t count = 0;

    [[nodiscard]] static constexpr adopted_table of(std::uint64_t word) noexcept {
        return {(word >> count_bits & ((1ULL << offset_bits) - 1)) * alignment,
                static_cast<std::uint32_t>(word & ((1ULL << count_bits) - 1))};
    }
    /// `generation` makes two words of one place and length differ.
    [[nodiscard]] constexpr std::uint64_t word(std::uint64_t generation) const noexcept {
        return generation << (count_bits + offset_bits) | offset / alignment << count_bits | count;
    }

private:
    static constexpr std::uint64_t alignment = 128;
    static constexpr unsigned count_bits = 11;
    static constexpr unsigned offset_bits = 31;
    static_assert(extents_max < 1u << count_bits);
    static_assert(abi::file_size <= alignment << offset_bits);
};

/// The bits of the chunk that `offset` lies in; each stands for a page.
[[nodiscard]] inline abi::word64& native_word(std::byte* file, std::uint64_t offset) noexcept {
    return reinterpret_cast<abi::word64*>(file + abi::native_pages_offset)[offset / (64 * abi::page_size)];
}

/// Looks `address` up for the process whose entry is `p`, and whose owner word `owner`, in a file of `file_bytes` that
/// is mapped at `file`.  Whatever that process claims, nothing is read and no answer lies outside the file.
[[nodiscard]] found_extent find_extent(std::byte* file, std::uint64_t file_bytes, const abi::process_entry& p,
                                       std::uint32_t owner, std::uint64_t address) noexcept;

/// Marks the pages of [offset, offset + bytes) as a buffer's, or as nobody's.
void mark_native(std::byte* file, std::uint64_t offset, std::uint64_t bytes, bool is_buffer) noexcept;

}  // namespace vinic::rules

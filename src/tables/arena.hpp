// SPDX-License-Identifier: Apache-2.0
//
// arena.hpp -- a process' own part of the device file.
//
//   The file is cut into chunks of 64 MiB; a chunk has one owner, named in a shared table.  Inside
//   its chunks a process keeps its books in private memory, so a crash leaves nothing half-written: the one who buries
//   the process takes all its chunks.
#pragma once

#include <map>

#include "tables/memory.hpp"

namespace vinic::tables {

/// Not thread-safe: the nic's mutex guards it.
class arena {
public:
    explicit arena(memory& m) noexcept : memory_(m) {}
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;

    /// Whole pages with storage; contents are zero when taken for the first time or after give_pages.
    [[nodiscard]] result<std::uint64_t> take_pages(std::uint64_t bytes);
    void give_pages(std::uint64_t offset, std::uint64_t bytes) noexcept;

    /// Zeroed, aligned to a pair of cache lines; for rings and tables.
    [[nodiscard]] result<std::uint64_t> take(std::uint64_t bytes);
    void give(std::uint64_t offset, std::uint64_t bytes) noexcept;

private:
    using spans = std::map<std::uint64_t, std::uint64_t>;  // offset -> bytes
    static void insert(spans& free, std::uint64_t offset, std::uint64_t bytes);
    [[nodiscard]] static std::uint64_t cut(spans& free, std::uint64_t bytes);
    [[nodiscard]] result<void> add_chunks(std::uint64_t bytes);
    [[nodiscard]] result<std::uint64_t> reserve(std::uint64_t bytes);
    void release_chunks(std::uint64_t offset);
    void give_lines(std::uint64_t offset, std::uint64_t bytes);

    memory& memory_;
    spans free_pages_;    // without storage
    spans free_lines_;    // inside slabs
    spans slab_storage_;  // slab -> bytes of it that have storage
};

}  // namespace vinic::tables

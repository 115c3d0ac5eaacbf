// SPDX-License-Identifier: Apache-2.0
//
// extents.cc -- looking an address up in either kind, and marking the pages of buffers.
#include "rules/extents.hpp"

#include <algorithm>

namespace vinic::rules {

namespace {

constexpr std::uint64_t pages_per_word = 64;

/// `offset` is where the address would lie if it is a buffer's.  Answers end with the word of bits.
found_extent find_native(std::byte* file, std::uint32_t owner, std::uint64_t address, std::uint64_t offset) noexcept {
    const auto* owners = reinterpret_cast<const abi::word32*>(file + abi::chunk_owners_offset);
    found_extent f;
    const std::uint64_t page = offset / abi::page_size;
    std::uint64_t run = pages_per_word - page % pages_per_word;
    // Bits have storage where the chunk has an owner.
    if (owners[offset / abi::chunk_size].load_acquire() == owner) {
        const std::uint64_t bits = native_word(file, offset).load_acquire() >> page % pages_per_word;
        f.inside = (bits & 1) != 0;
        run = std::min<std::uint64_t>(
            run, static_cast<std::uint64_t>(f.inside ? std::countr_one(bits) : std::countr_zero(bits)));
    }
    f.offset = offset;
    f.until = address - offset % abi::page_size + run * abi::page_size;
    return f;
}

found_extent find_adopted(const std::byte* file, std::uint64_t file_bytes, const adopted_table& t,
                          std::uint64_t address) noexcept {
    found_extent f;
    if (t.count == 0 || t.count > adopted_table::extents_max || file_bytes < adopted_table::bytes ||
        t.offset > file_bytes - adopted_table::bytes) {
        return f;
    }
    const auto* extents = reinterpret_cast<const abi::extent*>(file + t.offset);
    std::uint32_t low = 0;
    for (std::uint32_t high = t.count; low < high;) {  // first extent that begins behind address
        const std::uint32_t middle = low + (high - low) / 2;
        if (extents[middle].address.load_relaxed() <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < t.count) {
        f.until = std::max(extents[low].address.load_relaxed(), address + 1);
    }
    if (low > 0) {
        const std::uint64_t begin = extents[low - 1].address.load_relaxed();
        const std::uint64_t bytes = extents[low - 1].bytes.load_relaxed();
        const std::uint64_t offset = extents[low - 1].offset.load_relaxed();
        const bool whole_pages = (begin | bytes | offset) % abi::page_size == 0;
        if (whole_pages && address - begin < bytes && bytes <= file_bytes && offset <= file_bytes - bytes) {
            f.inside = true;
            f.offset = offset + (address - begin);
            f.until = begin + bytes;
        }
    }
    return f;
}

}  // namespace

found_extent find_extent(std::byte* file, std::uint64_t file_bytes, const abi::process_entry& p, std::uint32_t owner,
                         std::uint64_t address) noexcept {
    const std::uint64_t base = p.base.load_relaxed();
    if (base % abi::page_size == 0 && address - base < file_bytes) {
        return find_native(file, owner, address, address - base);
    }
    found_extent f;
    constexpr int attempts_max = 4;
    for (int i = 0; i < attempts_max; ++i) {
        const std::uint64_t word = p.adopted.load_acquire();
        f = find_adopted(file, file_bytes, adopted_table::of(word), address);
        // The words above may have been those of a table that is being written: not if it is still published.
        std::atomic_thread_fence(std::memory_order_acquire);
        if (p.adopted.load_relaxed() == word) {
            break;
        }
        f = {};  // whose owner moves pages all the time is reached as foreign, which is as right
    }
    if (address < base) {
        f.until = std::min(f.until, base);
    }
    return f;
}

void mark_native(std::byte* file, std::uint64_t offset, std::uint64_t bytes, bool is_buffer) noexcept {
    for (const std::uint64_t end = offset + bytes; offset < end;) {
        abi::word64& word = native_word(file, offset);
        const std::uint64_t first = offset / abi::page_size % pages_per_word;
        const std::uint64_t pages = std::min(pages_per_word - first, (end - offset) / abi::page_size);
        const std::uint64_t bits = (pages == pages_per_word ? ~0ULL : (1ULL << pages) - 1) << first;
        const std::uint64_t others = word.load_relaxed() & ~bits;
        word.store_release(is_buffer ? others | bits : others);
        offset += pages * abi::page_size;
    }
}

}  // namespace vinic::rules

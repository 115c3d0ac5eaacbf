// SPDX-License-Identifier: Apache-2.0
//
// arena.cc -- free spans of the chunks that this process owns: taken, given, joined, returned.
#include "tables/arena.hpp"

#include <cstring>
#include <iterator>

#include "tables/span.hpp"

namespace vinic::tables {

namespace {
constexpr std::uint64_t slab_bytes = 256 << 10;
}

/// Needs memory for a span that touches no other only.
void arena::insert(spans& free, std::uint64_t offset, std::uint64_t bytes) {
    const auto after = free.lower_bound(offset);
    const bool touches_after = after != free.end() && offset + bytes == after->first;
    if (after != free.begin()) {
        if (const auto before = std::prev(after); before->first + before->second == offset) {
            before->second += bytes;
            if (touches_after) {
                before->second += after->second;
                free.erase(after);
            }
            return;
        }
    }
    if (touches_after) {
        auto span = free.extract(after);
        span.key() = offset;
        span.mapped() += bytes;
        free.insert(std::move(span));
        return;
    }
    free.emplace(offset, bytes);
}

std::uint64_t arena::cut(spans& free, std::uint64_t bytes) {
    for (auto it = free.begin(); it != free.end(); ++it) {
        if (it->second < bytes) {
            continue;
        }
        auto span = free.extract(it);
        const std::uint64_t offset = span.key();
        if (span.mapped() > bytes) {
            span.key() += bytes;
            span.mapped() -= bytes;
            free.insert(std::move(span));
        }
        return offset;
    }
    return abi::none64;
}

result<void> arena::add_chunks(std::uint64_t bytes) {
    const auto want = static_cast<std::uint32_t>((bytes + abi::chunk_size - 1) / abi::chunk_size);
    const control_lock hold(memory_);
    if (!hold) {
        return std::unexpected(memory_.fail_lock(errc::busy, "taking device memory"));
    }
    std::uint32_t run = 0;
    for (std::uint32_t c = abi::first_chunk; c < memory_.chunks(); ++c) {
        run = memory_.chunk_owner(c).load_relaxed() == 0 ? run + 1 : 0;
        if (run != want) {
            continue;
        }
        const std::uint32_t first = c + 1 - want;
        // A process that finds the chunk owned may look at its bits.
        if (const int e =
                os::allocate_storage(memory_.fd(), abi::native_pages_offset + first * abi::native_bytes_per_chunk,
                                     want * abi::native_bytes_per_chunk);
            e != 0) {
            return std::unexpected(memory_.fail_storage(e, "taking storage for the books of a chunk"));
        }
        insert(free_pages_, first * abi::chunk_size, want * abi::chunk_size);
        for (std::uint32_t k = first; k <= c; ++k) {
            memory_.chunk_owner(k).store_release(memory_.owner_word());
        }
        return {};
    }
    return std::unexpected(memory_.fail(errc::out_of_memory, 0,
                                        "finding room for " + std::to_string(bytes) + " bytes in " +
                                            memory_.room(words_of_span(memory_.chunks() * abi::chunk_size))));
}

result<std::uint64_t> arena::reserve(std::uint64_t bytes) {
    if (const std::uint64_t offset = cut(free_pages_, bytes); offset != abi::none64) {
        return offset;
    }
    if (auto r = add_chunks(bytes); !r) {
        return std::unexpected(r.error());
    }
    return cut(free_pages_, bytes);
}

result<std::uint64_t> arena::take_pages(std::uint64_t bytes) {
    bytes = abi::align_up(bytes, abi::page_size);
    if (bytes == 0 || bytes > abi::file_size) {
        return std::unexpected(
            error{errc::invalid_argument, 0, "taking " + std::to_string(bytes) + " bytes of device memory"});
    }
    if (const auto r = memory_.admits(bytes); !r) {
        return std::unexpected(r.error());
    }
    auto offset = reserve(bytes);
    if (!offset) {
        return offset;
    }
    if (const int e = os::allocate_storage(memory_.fd(), *offset, bytes); e != 0) {
        give_pages(*offset, bytes);
        return std::unexpected(memory_.fail_storage(e, "taking " + std::to_string(bytes) + " bytes of storage"));
    }
    return offset;
}

void arena::give_pages(std::uint64_t offset, std::uint64_t bytes) noexcept {
    bytes = abi::align_up(bytes, abi::page_size);
    if (!os::release_storage(memory_.fd(), offset, bytes)) {
        return;  // what is taken is zero: these pages are nobody's until their chunk is given back
    }
    try {
        insert(free_pages_, offset, bytes);
        release_chunks(offset);
    } catch (const std::bad_alloc&) {
        // Nobody can note that it is free: it is nobody's until this process leaves the device.
    }
}

/// Gives whole free chunks of the span around `offset` back to the device.
void arena::release_chunks(std::uint64_t offset) {
    const auto it = std::prev(free_pages_.upper_bound(offset));
    const auto [begin, bytes] = *it;
    const std::uint64_t first = abi::align_up(begin, abi::chunk_size);
    const std::uint64_t last = (begin + bytes) / abi::chunk_size * abi::chunk_size;
    if (first >= last) {
        return;
    }
    free_pages_.erase(it);
    if (first > begin) {
        free_pages_.emplace(begin, first - begin);
    }
    if (begin + bytes > last) {
        free_pages_.emplace(last, begin + bytes - last);
    }
    for (std::uint64_t c = first / abi::chunk_size; c < last / abi::chunk_size; ++c) {
        memory_.chunk_owner(static_cast<std::uint32_t>(c)).store_release(0);
    }
}

result<std::uint64_t> arena::take(std::uint64_t bytes) {
    bytes = abi::align_up(bytes, 2 * abi::line_size);
    if (bytes > slab_bytes) {
        return take_pages(bytes);
    }
    std::uint64_t offset = cut(free_lines_, bytes);
    if (offset == abi::none64) {
        auto slab = reserve(slab_bytes);
        if (!slab) {
            return slab;
        }
        slab_storage_.emplace(*slab, 0);
        // Not merged with a neighbouring slab: storage is counted per slab.
        free_lines_.emplace(*slab, slab_bytes);
        offset = *slab;
        const std::uint64_t rest = slab_bytes - bytes;
        free_lines_.erase(offset);
        if (rest != 0) {
            free_lines_.emplace(offset + bytes, rest);
        }
    }
    // First fit keeps a slab dense from its start, so its storage grows page by page.
    auto& [slab, stored] = *std::prev(slab_storage_.upper_bound(offset));
    const std::uint64_t need = abi::align_up(offset + bytes - slab, abi::page_size);
    if (need > stored) {
        if (const auto r = memory_.admits(need - stored); !r) {
            insert(free_lines_, offset, bytes);
            return std::unexpected(r.error());
        }
        if (const int e = os::allocate_storage(memory_.fd(), slab + stored, need - stored); e != 0) {
            insert(free_lines_, offset, bytes);
            return std::unexpected(memory_.fail_storage(e, "taking " + std::to_string(bytes) + " bytes of storage"));
        }
        stored = need;
    }
    std::memset(memory_.at<std::byte>(offset), 0, bytes);
    return offset;
}

void arena::give(std::uint64_t offset, std::uint64_t bytes) noexcept {
    bytes = abi::align_up(bytes, 2 * abi::line_size);
    if (bytes > slab_bytes) {
        give_pages(offset, bytes);
        return;
    }
    try {
        give_lines(offset, bytes);
    } catch (const std::bad_alloc&) {
        // As above.
    }
}

void arena::give_lines(std::uint64_t offset, std::uint64_t bytes) {
    insert(free_lines_, offset, bytes);
    // A slab that is free as a whole goes back with its storage.
    const std::uint64_t slab = std::prev(slab_storage_.upper_bound(offset))->first;
    const auto it = std::prev(free_lines_.upper_bound(offset));
    const auto [begin, size] = *it;
    if (begin > slab || begin + size < slab + slab_bytes) {
        return;
    }
    free_lines_.erase(it);
    if (begin < slab) {
        free_lines_.emplace(begin, slab - begin);
    }
    if (begin + size > slab + slab_bytes) {
        free_lines_.emplace(slab + slab_bytes, begin + size - slab - slab_bytes);
    }
    slab_storage_.erase(slab);
    give_pages(slab, slab_bytes);
}

}  // namespace vinic::tables

// SPDX-License-Identifier: Apache-2.0
//
// copy.hpp -- moving bytes between mappings.
//
//   A program may watch any word of the memory that a message goes into, and act on what it sees there without a call
//   of vinic.  So whatever lands in a program's memory, by a write, a read or a receive, lands like this:
//
//       to ...5  6   8              16                      32                             n*32     +16   +20 +22
//          |1| 2 |       8          |         16            |       32       | ...           |  16   | 4 | 2 |
//
//   one store after the other, upwards, each aligned to its own size: every naturally aligned word of 2, 4 or 8 bytes
//   is stored whole and once, none before those below it, the last one last.  How the source is aligned does not
//   matter.  No memcpy: glibc's stores head and tail first, and twice where they overlap, and `rep movsb` promises
//   no order; nor is it faster, from 64 bytes to 256 KiB.  Memory that only the kernel reaches is as the kernel leaves
//   it: docs/design.md, "What a program sees that watches its memory".
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vinic::rules {

/// copy_ascending() for any length and alignment, out of line.
void copy_ascending_any(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;

/// Whether [to, to + bytes) is one aligned word of 8 bytes.
[[nodiscard]] inline bool is_one_word(const std::byte* to, std::size_t bytes) noexcept {
    return bytes == 8 && reinterpret_cast<std::uintptr_t>(to) % 8 == 0;
}

inline void store_word(std::byte* to, const std::byte* from) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, from, 8);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // x86 keeps stores in order; so must the compiler
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(to), word, __ATOMIC_RELAXED);
}

/// Copies in whole words, upwards, the last one last.
inline void copy_ascending(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (is_one_word(to, bytes)) [[likely]] {
        store_word(to, from);
    } else {
        copy_ascending_any(to, from, bytes);
    }
}

/// copy_ascending() for a range that comes in pieces, upwards: a word that a piece ends within is held back until the
/// next one completes it.  What is held when a message fails is dropped with it.
class word_copy {
public:
    /// [to, to + bytes) follows what was put before.  `ends`: no more of this range will come.
    void put(std::byte* to, const std::byte* from, std::size_t bytes, bool ends) noexcept {
        if (held_ == 0 && (ends || (reinterpret_cast<std::uintptr_t>(to) + bytes) % 8 == 0)) [[likely]] {
            copy_ascending(to, from, bytes);
        } else {
            put_part(to, from, bytes, ends);
        }
    }
    /// How many of the bytes before the next piece were not stored yet.
    [[nodiscard]] std::uint32_t held() const noexcept { return held_; }
    /// Takes them, for memory that words cannot be stored in.
    [[nodiscard]] const std::byte* release() noexcept {
        held_ = 0;
        return word_;
    }

private:
    void put_part(std::byte* to, const std::byte* from, std::size_t bytes, bool ends) noexcept;

    std::byte word_[8];
    std::uint32_t held_ = 0;
};

/// Asks for a line in order to write it.  __builtin_prefetch(p, 1) asks for reading only, unless the
/// compiler may assume a CPU with PREFETCHW; the instruction is a no-op where it is missing.
inline void prefetch_for_write(const void* p) noexcept {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#else
    __builtin_prefetch(p, 1);
#endif
}

/// memcpy for payloads of a few words into a line that nobody looks at yet, without a call.
inline void copy_small(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes == 8) {
        std::memcpy(to, from, 8);
    } else if (bytes >= 16) {
        // Two or three 16-byte moves that may overlap: no loop, no branch per word.
        if (bytes > 32) {
            std::memcpy(to + 16, from + 16, 16);
        }
        std::byte head[16];
        std::memcpy(head, from, 16);
        std::byte tail[16];
        std::memcpy(tail, from + bytes - 16, 16);
        std::memcpy(to, head, 16);
        std::memcpy(to + bytes - 16, tail, 16);
    } else {
        std::memcpy(to, from, bytes);
    }
}

}  // namespace vinic::rules

// SPDX-License-Identifier: Apache-2.0
//
// copy.hpp -- moving bytes between mappings.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vinic::device {

/// Copies in ascending address order with the last word stored last (release), so that a target may
/// poll memory.  Why no memcpy: glibc's stores head and tail first, and `rep movsb` promises no order.
void copy_ascending(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;

/// copy_ascending for what is a single word most of the time, without a call.
inline void write_ascending(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes != 8) {
        copy_ascending(to, from, bytes);
        return;
    }
    std::uint64_t word = 0;
    std::memcpy(&word, from, 8);
    std::atomic_thread_fence(std::memory_order_release);  // no store before may move behind
    __atomic_store(reinterpret_cast<std::uint64_t*>(to), &word, __ATOMIC_RELAXED);
}

/// Asks for a line in order to write it.  __builtin_prefetch(p, 1) asks for reading only, unless the
/// compiler may assume a CPU with PREFETCHW; the instruction is a no-op where it is missing.
inline void prefetch_for_write(const void* p) noexcept {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#else
    __builtin_prefetch(p, 1);
#endif
}

/// memcpy for payloads of a few words, without a call.
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

}  // namespace vinic::device

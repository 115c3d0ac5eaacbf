// SPDX-License-Identifier: Apache-2.0
#include "device/copy.hpp"

#include <atomic>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vinic::device {

namespace {

inline void store_last(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    // The stores before must stay before: on x86 the compiler alone could move them.
    std::atomic_thread_fence(std::memory_order_release);
    if (bytes == 8) {
        std::uint64_t v = 0;
        std::memcpy(&v, from, 8);
        __atomic_store(reinterpret_cast<std::uint64_t*>(to), &v, __ATOMIC_RELAXED);
        return;
    }
    for (std::size_t i = 0; i < bytes; ++i) {
        reinterpret_cast<volatile std::byte*>(to)[i] = from[i];
    }
}

inline void words_ascending(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
        std::uint64_t v = 0;
        std::memcpy(&v, from + i, 8);
        std::memcpy(to + i, &v, 8);
        std::atomic_signal_fence(std::memory_order_seq_cst);  // keeps this a loop in this order
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) std::size_t lines_ascending_avx2(std::byte* to, const std::byte* from,
                                                                 std::size_t bytes) noexcept {
    std::size_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
        const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + 32));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), a);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i + 32), b);
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    return i;
}
#endif

std::size_t lines_ascending(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
#if defined(__x86_64__)
    static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
    if (avx2) {
        return lines_ascending_avx2(to, from, bytes);
    }
#endif
    (void)to;
    (void)from;
    (void)bytes;
    return 0;
}

}  // namespace

void copy_ascending(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes < 8) {
        if (bytes != 0) {
            store_last(to, from, bytes);
        }
        return;
    }
    // Everything but the last word, which may be unaligned against the start.
    const std::size_t body = bytes - 8;
    std::size_t done = body >= 64 ? lines_ascending(to, from, body) : 0;
    words_ascending(to + done, from + done, body - done);
    done += (body - done) / 8 * 8;
    if (done < body) {
        for (std::size_t i = done; i < body; ++i) {
            reinterpret_cast<volatile std::byte*>(to)[i] = from[i];
        }
    }
    store_last(to + body, from + body, 8);
}

}  // namespace vinic::device

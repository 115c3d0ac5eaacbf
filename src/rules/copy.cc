// SPDX-License-Identifier: Apache-2.0
//
// copy.cc -- wide stores where the CPU has them, and a word that lies across two parts of a message.
#include "rules/copy.hpp"

#include <algorithm>

#include "rules/copy_steps.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vinic::rules {

namespace {

/// A store keeps its place among the others on x86 (TSO); the fences keep the compiler from moving it, or from making
/// one of two.
struct memory_store {
    template <std::size_t N>
    [[gnu::always_inline]] void move(std::byte* to, const std::byte* from) const noexcept {
        if constexpr (N <= 8) {
            using word = std::conditional_t<
                N == 8, std::uint64_t,
                std::conditional_t<N == 4, std::uint32_t, std::conditional_t<N == 2, std::uint16_t, std::uint8_t>>>;
            word w = 0;
            std::memcpy(&w, from, N);
            __atomic_store_n(reinterpret_cast<word*>(to), w, __ATOMIC_RELAXED);
        } else {
            static_assert(N == 16);
#if defined(__x86_64__)
            // Whole, as all aligned stores of 16 bytes on CPUs with AVX (AMD64 manual, volume 2, 7.3.2; Intel SDM,
            // volume 3, 9.1.1), and in practice on the older ones.
            _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
            move<8>(to, from);
            move<8>(to + 8, from + 8);
#endif
        }
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
};

#if defined(__x86_64__)
struct wide_store : memory_store {
    template <std::size_t N>
    VINIC_WIDE void move(std::byte* to, const std::byte* from) const noexcept {
        if constexpr (N == 32) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(to),
                               _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
            std::atomic_signal_fence(std::memory_order_seq_cst);
        } else {
            memory_store::move<N>(to, from);
        }
    }
};

VINIC_WIDE std::size_t copy_lines(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    return copy_wide(wide_store(), to, from, bytes);
}

/// An aligned store of 32 bytes goes to its line in one go, except where the CPU's own paths are 16 bytes wide.
bool has_wide_stores() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_is("znver1") == 0 && __builtin_cpu_is("bdver4") == 0;
}
#endif

std::size_t wide(const memory_store& /*store*/, std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
#if defined(__x86_64__)
    static const bool is_wide = has_wide_stores();
    if (is_wide) {
        return copy_lines(to, from, bytes);
    }
#endif
    (void)to;
    (void)from;
    (void)bytes;
    return 0;
}

}  // namespace

void copy_ascending_any(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    copy_in_steps(memory_store(), {to, from, bytes}, wide);
}

void word_copy::put_part(std::byte* to, const std::byte* from, std::size_t bytes, bool ends) noexcept {
    if (held_ > reinterpret_cast<std::uintptr_t>(to) % 8) {
        held_ = 0;  // this does not follow; whoever says where its memory lies may say anything
    }
    if (held_ != 0) {
        const std::size_t missing = 8 - reinterpret_cast<std::uintptr_t>(to) % 8;
        const std::size_t n = std::min(missing, bytes);
        std::memcpy(word_ + held_, from, n);
        held_ += static_cast<std::uint32_t>(n);
        to += n;
        from += n;
        bytes -= n;
        if (n != missing && !ends) {
            return;
        }
        copy_ascending(to - held_, word_, held_);
        held_ = 0;
    }
    const std::size_t part =
        ends ? 0 : std::min<std::size_t>(bytes, (reinterpret_cast<std::uintptr_t>(to) + bytes) % 8);
    copy_ascending(to, from, bytes - part);
    std::memcpy(word_, from + (bytes - part), part);
    held_ = static_cast<std::uint32_t>(part);
}

}  // namespace vinic::rules

// SPDX-License-Identifier: Apache-2.0
//
// word.hpp -- a word that several processes share.
//
//   Plain memory in layout, atomic in use: the member names say which order is meant, so nobody
//   touches a shared word without deciding.  All-zero bytes are a valid word.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace vinic::abi {

/// Fixed by the ABI.  Never std::hardware_destructive_interference_size: that value may differ
/// between two compilers that map the same page.
inline constexpr std::size_t line_size = 64;

template <class T>
struct shared {
    static_assert(std::atomic_ref<T>::is_always_lock_free, "shared memory needs it");

    [[nodiscard]] T load_relaxed() const noexcept { return ref().load(std::memory_order_relaxed); }
    [[nodiscard]] T load_acquire() const noexcept { return ref().load(std::memory_order_acquire); }
    void store_relaxed(T v) noexcept { ref().store(v, std::memory_order_relaxed); }
    void store_release(T v) noexcept { ref().store(v, std::memory_order_release); }
    /// Sequentially consistent read-modify-writes: on x86 each is a full fence.
    T exchange(T v) noexcept { return ref().exchange(v); }
    T fetch_or(T v) noexcept { return ref().fetch_or(v); }
    T fetch_and(T v) noexcept { return ref().fetch_and(v); }
    T fetch_add(T v) noexcept { return ref().fetch_add(v); }
    [[nodiscard]] bool compare_exchange(T& expected, T desired) noexcept {
        return ref().compare_exchange_strong(expected, desired);
    }
    /// For words with a single writer: no locked instruction.
    void add_single_writer(T v) noexcept { store_relaxed(static_cast<T>(load_relaxed() + v)); }

    T raw_;

private:
    [[nodiscard]] std::atomic_ref<T> ref() const noexcept { return std::atomic_ref<T>(const_cast<T&>(raw_)); }
};

using word16 = shared<std::uint16_t>;
using word32 = shared<std::uint32_t>;
using word64 = shared<std::uint64_t>;

static_assert(sizeof(word32) == 4 && std::is_trivially_default_constructible_v<word32>);
static_assert(sizeof(word64) == 8 && std::is_trivially_copyable_v<word64> && std::is_standard_layout_v<word64>);

}  // namespace vinic::abi

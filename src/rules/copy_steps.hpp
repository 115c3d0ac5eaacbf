// SPDX-License-Identifier: Apache-2.0
//
// copy_steps.hpp -- which stores a copy consists of: copy.hpp's drawing as code.
//
//   Store is what a step does: store::move<N>(to, from) stores the N bytes at `from` in one go at `to`, which is
//   aligned to N.  copy.cc gives one that does, its test one that writes down what it is asked for.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#define VINIC_WIDE __attribute__((target("avx2")))
#else
#define VINIC_WIDE
#endif

namespace vinic::rules {

/// What is still to be copied.
struct copy_range {
    std::byte* to;
    const std::byte* from;
    std::size_t bytes;

    /// Whether the next step is one of `size` bytes on the way up to an address that is aligned to twice as much.
    [[nodiscard]] bool is_off_by(std::size_t size) const noexcept {
        return (reinterpret_cast<std::uintptr_t>(to) & size) != 0 && bytes >= size;
    }
    template <std::size_t N, class Store>
    [[gnu::always_inline]] void step(const Store& store) noexcept {
        store.template move<N>(to, from);
        skip(N);
    }
    void skip(std::size_t size) noexcept {
        to += size;
        from += size;
        bytes -= size;
    }
};

/// At least so much is left when steps of 32 bytes are worth it.
inline constexpr std::size_t wide_least = 64;

/// All but the last less than 32 bytes, from an address on that is aligned to 16.  How many were copied.
template <class Store>
VINIC_WIDE inline std::size_t copy_wide(const Store& store, std::byte* to, const std::byte* from,
                                        std::size_t bytes) noexcept {
    copy_range r{to, from, bytes};
    if (r.is_off_by(16)) {
        store.template move<16>(r.to, r.from);
        r.skip(16);
    }
    for (; r.bytes >= 256; r.skip(256)) {
        store.template move<32>(r.to, r.from);
        store.template move<32>(r.to + 32, r.from + 32);
        store.template move<32>(r.to + 64, r.from + 64);
        store.template move<32>(r.to + 96, r.from + 96);
        store.template move<32>(r.to + 128, r.from + 128);
        store.template move<32>(r.to + 160, r.from + 160);
        store.template move<32>(r.to + 192, r.from + 192);
        store.template move<32>(r.to + 224, r.from + 224);
    }
    for (; r.bytes >= 32; r.skip(32)) {
        store.template move<32>(r.to, r.from);
    }
    return bytes - r.bytes;
}

/// `wide(store, to, from, bytes)` is copy_wide(), or does nothing and says so.
template <class Store, class Wide>
[[gnu::always_inline]] inline void copy_in_steps(const Store& store, copy_range r, Wide wide) noexcept {
    // Up to an address that is aligned to 16; what is shorter than a step is shorter than all that follow it.
    if (r.is_off_by(1)) {
        r.template step<1>(store);
    }
    if (r.is_off_by(2)) {
        r.template step<2>(store);
    }
    if (r.is_off_by(4)) {
        r.template step<4>(store);
    }
    if (r.is_off_by(8)) {
        r.template step<8>(store);
    }
    if (r.bytes >= wide_least) {
        r.skip(wide(store, r.to, r.from, r.bytes));
    }
    while (r.bytes >= 16) {
        r.template step<16>(store);
    }
    if ((r.bytes & 8) != 0) {
        r.template step<8>(store);
    }
    if ((r.bytes & 4) != 0) {
        r.template step<4>(store);
    }
    if ((r.bytes & 2) != 0) {
        r.template step<2>(store);
    }
    if ((r.bytes & 1) != 0) {
        r.template step<1>(store);
    }
}

}  // namespace vinic::rules

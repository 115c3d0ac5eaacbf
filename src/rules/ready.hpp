// SPDX-License-Identifier: Apache-2.0
//
// ready.hpp -- marking a queue in the ready bits of its completion queue, and who wakes the sleepers.
//
//   bitmap -> summary words, a bit for each leaf ... leaf words, a bit for each queue
#pragma once

#include "abi/vi.hpp"

namespace vinic::rules {

/// The leaf word that `bit` lies in.
[[nodiscard]] constexpr std::uint32_t ready_leaf(std::uint32_t bit) noexcept { return bit / 64; }

/// Whether there is a bitmap, and that bit in it.
[[nodiscard]] constexpr bool has_ready_bit(std::uint64_t bitmap, std::uint32_t bit) noexcept {
    return bitmap != 0 && ready_leaf(bit) < abi::bitmap_leaves(bitmap);
}

/// `summary`: where the bitmap lies, which has that bit.
inline void mark_ready(abi::word64* summary, std::uint64_t bitmap, std::uint32_t bit) noexcept {
    abi::word64* leaf_words = summary + abi::summary_words(abi::bitmap_leaves(bitmap));
    const std::uint32_t leaf = ready_leaf(bit);
    // The leaf first, always by a locked instruction (it orders the completion before it), then the
    // summary: a poller that saw neither will see both.
    leaf_words[leaf].fetch_or(abi::ready_bit(bit));
    const std::uint64_t summary_bit = abi::ready_bit(leaf);
    if ((summary[leaf / 64].load_relaxed() & summary_bit) == 0) {
        summary[leaf / 64].fetch_or(summary_bit);
    }
}

/// Whether the caller is the one who wakes those that sleep on `cq`.
[[nodiscard]] inline bool takes_wake(abi::cq_entry& cq) noexcept {
    return cq.armed.load_relaxed() != 0 && cq.armed.exchange(0) != 0;
}

}  // namespace vinic::rules

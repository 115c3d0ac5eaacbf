// SPDX-License-Identifier: Apache-2.0
//
// doorbell.hpp -- a context's doorbell area: the bits with which its VIs ask the device for attention.
//
//   Three pages per context (window.hpp: doorbell_offset), written by the client and taken by the device:
//
//     line   0        top         1 word     bit s: something in summary s         <- all that an idle device reads
//            1        armed       1 word     1: the device does not look here, kick it
//            2..3     summaries   16 words   bit l of word s: something in leaf 64 s + l
//            4..131   leaves      1024 words bit v of word l: VI 64 l + v was rung
//
//   Coloured: line n of the drawing is line n + colour of the area, so that the words of the same meaning in
//   many areas, which lie at a stride of whole pages, do not share one set of the first-level cache.
//
//   Client, after its descriptor is stored             Device, for a context that it polls (hot)
//     leaf |= bit                 locked: the fence      top != 0 ?
//     summary has it ? : summary |= bit                    top, then flagged summaries, then flagged leaves:
//     top has it ?     : top |= bit                        exchange with 0
//     armed ?  exchange 0 gave 1 ?  kick                 not polled any more: armed = 1, fence, top == 0 ?
//
//   - The locked OR of the leaf is never skipped, however set the bit looks: that look may come before the
//     descriptor is visible, the device then takes the bit and reads no descriptor (docs/protocols.md, 5).
//   - Each word above decides by itself whether it needs the bit.  "The leaf was 0" says nothing: the thread
//     that made it non-zero may stand still before it marks the summary.
//   - To the device every word is a hint.  A context that spoils its area harms itself alone.
#pragma once

#include "abi/window.hpp"

namespace vinic::abi {

inline constexpr std::uint32_t bits_per_word = 64;
inline constexpr std::uint32_t bell_leaf_count = vi_count / bits_per_word;
inline constexpr std::uint32_t bell_summary_count = bell_leaf_count / bits_per_word;
static_assert(vi_count == 65536 && bell_leaf_count == 1024 && bell_summary_count == 16);

inline constexpr std::uint32_t bell_area_lines = doorbell_bytes / line_size;
inline constexpr std::uint32_t bell_words_per_line = line_size / sizeof(word64);
inline constexpr std::uint32_t bell_top_line = 0;
inline constexpr std::uint32_t bell_armed_line = 1;
inline constexpr std::uint32_t bell_summary_line = 2;
inline constexpr std::uint32_t bell_leaf_line = bell_summary_line + bell_summary_count / bell_words_per_line;
inline constexpr std::uint32_t bell_lines = bell_leaf_line + bell_leaf_count / bell_words_per_line;
static_assert(bell_area_lines == 192 && bell_leaf_line == 4 && bell_lines == 132);

inline constexpr std::uint32_t bell_colour_count = page_size / line_size;
static_assert(bell_colour_count == 64 && bell_colour_count < bell_area_lines && bell_lines <= bell_area_lines);

/// By how many lines a context's area is rotated.  Distinct for the 64 contexts of a function, and for the same
/// context of 64 functions; the factor is odd and near 64 / golden ratio, so that mixtures spread too.
constexpr std::uint32_t doorbell_colour(std::uint32_t function, std::uint32_t context) {
    return (context + 39 * function) % bell_colour_count;
}

/// Offset of a line of the drawing in an area of that colour (below bell_colour_count).
constexpr std::uint32_t bell_line_offset(std::uint32_t colour, std::uint32_t line) {
    const std::uint32_t at = colour + line;
    return (at < bell_area_lines ? at : at - bell_area_lines) * static_cast<std::uint32_t>(line_size);
}
constexpr std::uint32_t bell_top_offset(std::uint32_t colour) { return bell_line_offset(colour, bell_top_line); }
constexpr std::uint32_t bell_armed_offset(std::uint32_t colour) { return bell_line_offset(colour, bell_armed_line); }
constexpr std::uint32_t bell_summary_offset(std::uint32_t colour, std::uint32_t summary) {
    return bell_line_offset(colour, bell_summary_line + summary / bell_words_per_line) +
           summary % bell_words_per_line * static_cast<std::uint32_t>(sizeof(word64));
}
constexpr std::uint32_t bell_leaf_offset(std::uint32_t colour, std::uint32_t leaf) {
    return bell_line_offset(colour, bell_leaf_line + leaf / bell_words_per_line) +
           leaf % bell_words_per_line * static_cast<std::uint32_t>(sizeof(word64));
}
static_assert(bell_leaf_offset(0, bell_leaf_count - 1) == bell_lines * line_size - sizeof(word64));
static_assert(bell_leaf_offset(bell_colour_count - 1, bell_leaf_count - 1) < bell_top_offset(bell_colour_count - 1));

inline word64& bell_word(std::byte* area, std::uint32_t offset) noexcept {
    return *reinterpret_cast<word64*>(area + offset);
}
constexpr std::uint64_t bell_bit(std::uint32_t number) { return std::uint64_t{1} << number % bits_per_word; }

/// Sets a bit of a word above the leaves, for the price of a load if it is set.
inline void mark_bell(word64& word, std::uint64_t bit) noexcept {
    // The leaf's locked OR came before: this load cannot be older than it.
    if ((word.load_relaxed() & bit) == 0) {
        word.fetch_or(bit);
    }
}

enum class [[nodiscard]] rang : std::uint8_t {
    quiet,  ///< the device will see it
    kick,   ///< it may sleep: write 1 to the doorbell's event descriptor
};

/// Rings for `vi` (below vi_count).  `area` is page-aligned; `colour` is doorbell_colour() of function and context.
/// The caller has stored its descriptor before, with release order.
inline rang ring(std::byte* area, std::uint32_t colour, std::uint32_t vi) noexcept {
    const std::uint32_t leaf = vi / bits_per_word;
    const std::uint32_t summary = leaf / bits_per_word;
    // Pairs with the device's exchange of the same word: an engine that takes the bit sees the descriptor.  And a full
    // fence: what is loaded below is not older than this.
    bell_word(area, bell_leaf_offset(colour, leaf)).fetch_or(bell_bit(vi));
    mark_bell(bell_word(area, bell_summary_offset(colour, summary)), bell_bit(leaf));
    mark_bell(bell_word(area, bell_top_offset(colour)), bell_bit(summary));
    // Pairs with "armed = 1, fence, top == 0 ?": either the device sees top, or this load sees 1.
    word64& armed = bell_word(area, bell_armed_offset(colour));
    return armed.load_relaxed() != 0 && armed.exchange(0) != 0 ? rang::kick : rang::quiet;
}

}  // namespace vinic::abi

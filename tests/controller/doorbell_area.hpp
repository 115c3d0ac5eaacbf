// SPDX-License-Identifier: Apache-2.0
//
// doorbell_area.hpp -- memory with the doorbell area of one context in it, its client's view, and polls.
#pragma once

#include <memory>
#include <new>
#include <vector>

#include "controller/doorbells.hpp"

namespace vinic::controller {

class doorbell_area {
public:
    explicit doorbell_area(std::uint32_t function = 1, std::uint32_t context = 0)
        : colour_(abi::doorbell_colour(function, context)),
          bytes_(new(std::align_val_t{abi::page_size}) std::byte[abi::doorbell_bytes]{}) {}

    [[nodiscard]] std::byte* data() const { return bytes_.get(); }
    [[nodiscard]] abi::rang ring(std::uint32_t vi) const { return abi::ring(data(), colour_, vi); }
    [[nodiscard]] abi::word64& top() const { return abi::bell_word(data(), abi::bell_top_offset(colour_)); }
    [[nodiscard]] abi::word64& armed() const { return abi::bell_word(data(), abi::bell_armed_offset(colour_)); }
    [[nodiscard]] abi::word64& summary(std::uint32_t i) const {
        return abi::bell_word(data(), abi::bell_summary_offset(colour_, i));
    }
    [[nodiscard]] abi::word64& leaf(std::uint32_t i) const {
        return abi::bell_word(data(), abi::bell_leaf_offset(colour_, i));
    }
    /// Every word of the area, armed excepted; what is in the unused lines does not matter either.
    template <class With>
    void each_word(With with) const {
        for (std::uint32_t at = 0; at < abi::doorbell_bytes; at += sizeof(abi::word64)) {
            if (at != abi::bell_armed_offset(colour_)) {
                with(abi::bell_word(data(), at));
            }
        }
    }

private:
    struct release {
        void operator()(std::byte* at) const { ::operator delete[](at, std::align_val_t{abi::page_size}); }
    };
    std::uint32_t colour_;
    std::unique_ptr<std::byte[], release> bytes_;
};

inline constexpr std::uint32_t plenty = 1u << 20;

/// One pass with room for all.
inline std::vector<rung> poll(doorbells& bells, std::size_t room = abi::vi_count, std::uint32_t budget = plenty) {
    std::vector<rung> out(room);
    out.resize(bells.poll(out, budget));
    return out;
}

inline std::vector<std::uint32_t> vis_of(const std::vector<rung>& found) {
    std::vector<std::uint32_t> vis;
    for (const rung& r : found) {
        vis.push_back(r.vi);
    }
    return vis;
}

}  // namespace vinic::controller

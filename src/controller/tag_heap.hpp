// SPDX-License-Identifier: Apache-2.0
//
// tag_heap.hpp -- functions by their tag, the smallest first: a heap with four children to a node.
//
//   An entry's tag may be smaller than the function's: tags only grow, so the arbiter corrects an entry when it
//   comes to the top, and a decision sifts once however often tags were advanced in between.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace vinic::controller {

class tag_heap {
public:
    struct entry {
        std::uint64_t tag;
        std::uint32_t function;
    };

    void reserve(std::size_t count) { entries_.reserve(count); }
    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    [[nodiscard]] const entry& top() const noexcept { return entries_.front(); }

    /// Above those of equal tag: a newcomer has waited least, but asks for nothing beyond its share.
    void push(std::uint64_t tag, std::uint32_t function) {
        std::size_t hole = entries_.size();
        entries_.push_back({});
        while (hole > 0 && tag <= entries_[(hole - 1) / 4].tag) {
            entries_[hole] = entries_[(hole - 1) / 4];
            hole = (hole - 1) / 4;
        }
        entries_[hole] = {tag, function};
    }

    void pop() noexcept {
        const entry last = entries_.back();
        entries_.pop_back();
        if (!entries_.empty()) {
            sift_down(0, last);
        }
    }

    /// The tag of the first has grown.
    void raise_top(std::uint64_t tag) noexcept { sift_down(0, {tag, entries_.front().function}); }

    /// Takes out a function wherever it is; linear, for what happens rarely.
    void remove(std::uint32_t function) {
        std::erase_if(entries_, [function](const entry& e) { return e.function == function; });
        for (std::size_t node = entries_.size(); node-- > 0;) {
            sift_down(node, entries_[node]);
        }
    }

    /// All tags lose `base`, but none goes below 0: the order stays.
    void subtract(std::uint64_t base) noexcept {
        for (entry& e : entries_) {
            e.tag -= std::min(e.tag, base);
        }
    }

private:
    void sift_down(std::size_t hole, entry moved) noexcept {
        const std::size_t count = entries_.size();
        for (;;) {
            const std::size_t first = 4 * hole + 1;
            if (first >= count) {
                break;
            }
            std::size_t least = first;
            const std::size_t end = std::min(first + 4, count);
            for (std::size_t child = first + 1; child < end; ++child) {
                least = entries_[child].tag < entries_[least].tag ? child : least;
            }
            if (moved.tag <= entries_[least].tag) {
                break;
            }
            entries_[hole] = entries_[least];
            hole = least;
        }
        entries_[hole] = moved;
    }

    std::vector<entry> entries_;
};

}  // namespace vinic::controller

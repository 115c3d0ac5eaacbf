// SPDX-License-Identifier: Apache-2.0
//
// doorbells.cc -- takes the marks of the doorbell areas.
#include "controller/doorbells.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "controller/doorbell_walk.hpp"

namespace vinic::controller {

using abi::bits_per_word;
using abi::word64;

namespace {

/// The first `count` bits; all of them from 64 on.
std::uint64_t first_bits(std::uint32_t count) {
    return count < bits_per_word ? (std::uint64_t{1} << count) - 1 : ~std::uint64_t{0};
}

/// The bits of word `index` that stand for the first `count` things.
std::uint64_t valid_bits(std::uint32_t count, std::uint32_t index) {
    const std::uint32_t before = index * bits_per_word;
    return count <= before ? 0 : first_bits(count - before);
}

/// Takes the lowest bit out of a word that has one.
std::uint32_t take_lowest(std::uint64_t& bits) {
    const auto number = static_cast<std::uint32_t>(std::countr_zero(bits));
    bits &= bits - 1;
    return number;
}

}  // namespace

/// A context: the words of its area, and what was taken from them and not given out yet.  One word of each level
/// is enough: a word is only taken when everything below the last one has been given out.
struct doorbells::area_state {
    std::uint32_t function = 0;
    std::uint32_t context = 0;
    std::byte* area = nullptr;
    std::uint32_t colour = 0;
    std::uint32_t vis_max = 0;
    std::uint32_t leaves = 0;     ///< that lead to VIs below vis_max
    std::uint32_t summaries = 0;  ///< that lead to these leaves
    bool hot = true;
    std::size_t position = 0;  ///< in hot_ or cold_
    std::uint64_t last_found = 0;
    std::uint64_t top_bits = 0;
    std::uint64_t summary_bits = 0;
    std::uint64_t leaf_bits = 0;
    std::uint32_t summary = 0;  ///< the one summary_bits came from
    std::uint32_t leaf = 0;
    bell_counters counters;
    std::uint64_t nothing = 0;  ///< words taken that led to nothing

    [[nodiscard]] word64& top() const { return abi::bell_word(area, abi::bell_top_offset(colour)); }
    [[nodiscard]] word64& armed() const { return abi::bell_word(area, abi::bell_armed_offset(colour)); }
    [[nodiscard]] bool pending() const { return (top_bits | summary_bits | leaf_bits) != 0; }

    /// Exchange: pairs with the client's locked OR; the descriptors behind the bits taken are visible from here
    /// on.  Bits that mean nothing are dropped.
    std::uint64_t take(word64& word, std::uint64_t valid) {
        ++counters.words;
        const std::uint64_t bits = word.exchange(0);
        counters.spurious += static_cast<std::uint64_t>(std::popcount(bits & ~valid)) + (bits == 0 ? 1 : 0);
        nothing += (bits & valid) == 0 ? 1 : 0;
        return bits & valid;
    }
    void take_top() { top_bits = take(top(), first_bits(summaries)); }
    void take_summary() {
        summary = take_lowest(top_bits);
        word64& word = abi::bell_word(area, abi::bell_summary_offset(colour, summary));
        summary_bits = take(word, valid_bits(leaves, summary));
    }
    void take_leaf() {
        leaf = summary * bits_per_word + take_lowest(summary_bits);
        word64& word = abi::bell_word(area, abi::bell_leaf_offset(colour, leaf));
        leaf_bits = take(word, valid_bits(vis_max, leaf));
    }
};

doorbells::doorbells(std::uint32_t idle_passes, clock now) : idle_passes_(idle_passes), now_(now) {}
doorbells::~doorbells() = default;

doorbells::area_state* doorbells::find(std::uint32_t function, std::uint32_t context) const noexcept {
    if (function >= functions_.size() || context >= functions_[function].size()) {
        return nullptr;
    }
    return functions_[function][context].get();
}

void doorbells::add_context(std::uint32_t function, std::uint32_t context, std::byte* area, std::uint32_t vis_max) {
    remove_context(function, context);
    auto state = std::make_unique<area_state>();
    area_state& s = *state;
    s.function = function;
    s.context = context;
    s.area = area;
    s.colour = abi::doorbell_colour(function, context);
    s.vis_max = std::min(vis_max, abi::vi_count);
    s.leaves = (s.vis_max + bits_per_word - 1) / bits_per_word;
    s.summaries = (s.leaves + bits_per_word - 1) / bits_per_word;
    s.last_found = pass_;
    // Whatever needs memory comes first: from here on contexts move to and fro without asking for any.
    allowances_.resize(std::max<std::size_t>(allowances_.size(), function + 1));
    functions_.resize(std::max<std::size_t>(functions_.size(), function + 1));
    if (context >= functions_[function].size()) {
        functions_[function].resize(context + 1);
    }
    const std::size_t all = hot_.size() + cold_.size() + 1;
    if (all > hot_.capacity() || all > cold_.capacity()) {
        hot_.reserve(2 * all);
        cold_.reserve(2 * all);
    }
    wasted_.reserve(functions_.size());
    s.position = hot_.size();
    hot_.push_back({.top = &s.top(), .state = &s, .pending = false});
    functions_[function][context] = std::move(state);
    // Nobody polls if the device sleeps: then the context must kick like the others.
    s.armed().store_relaxed(armed_ ? 1 : 0);
}

void doorbells::remove_context(std::uint32_t function, std::uint32_t context) noexcept {
    area_state* s = find(function, context);
    if (s == nullptr) {
        return;
    }
    if (s->hot) {
        hot_[s->position] = hot_.back();
        hot_[s->position].state->position = s->position;
        hot_.pop_back();
    } else {
        cold_[s->position] = cold_.back();
        cold_[s->position]->position = s->position;
        cold_.pop_back();
    }
    functions_[function][context].reset();
}

std::size_t doorbells::poll(std::span<rung> out, std::uint32_t budget) {
    disarm();
    ++pass_;
    wasted_.clear();
    look_at_one_cold();
    const std::size_t count = hot_.size();
    saw_all_ = true;
    if (count == 0) {
        return 0;
    }
    walk w(count < walk::areas_between_looks ? nullptr : now_, pass_ns);
    if (first_ >= count) {
        first_ = 0;
    }
    std::size_t found = 0;
    std::uint64_t words = 0;
    std::size_t at = first_;
    for (std::size_t left = count; left != 0; --left) {
        polled& p = hot_[at];
        if (p.pending || p.top->load_relaxed() != 0) {
            if (found == out.size() || words > words_of_a_pass) {
                saw_all_ = false;
                break;  // `at` is first next time
            }
            allowance& a = allowances_[p.state->function];
            if (a.pass != pass_) {
                a = {.pass = pass_, .used = 0, .waste = 0};
            }
            if (a.used < std::max(budget, 1u)) {
                const std::uint64_t before = p.state->counters.words;
                const std::uint64_t nothing = p.state->nothing;
                const std::size_t most = std::min<std::size_t>(out.size() - found, std::max(budget, 1u) - a.used);
                const std::size_t n = drain(p, out.subspan(found, most));
                a.used += std::max(static_cast<std::uint32_t>(n), 1u);
                found += n;
                words += p.state->counters.words - before;
                note_waste(p.state->function, a, p.state->nothing - nothing);
            }
        }
        at = at + 1 == count ? 0 : at + 1;
        if (left != 1 && w.step()) {
            saw_all_ = false;
            break;
        }
    }
    // After a whole pass `at` is where it began: let the next one begin.
    first_ = at == first_ && saw_all_ ? at + 1 : at;
    idle_next_ = idle_next_ + 1 < count ? idle_next_ + 1 : 0;
    demote_if_idle(idle_next_);
    return found;
}

void doorbells::note_waste(std::uint32_t function, allowance& a, std::uint64_t words) {
    if (words == 0) {
        return;
    }
    if (a.waste == 0) {
        wasted_.push_back({.function = function, .words = 0});
        a.waste = wasted_.size();
    }
    wasted_[a.waste - 1].words += static_cast<std::uint32_t>(words);
}

std::size_t doorbells::drain(polled& at, std::span<rung> out) {
    area_state& s = *at.state;
    std::size_t found = 0;
    bool top_taken = false;
    for (std::size_t words = out.size() + words_over_budget; found < out.size();) {
        if (s.leaf_bits != 0) {
            found += give_out(s, out.subspan(found));
            continue;
        }
        if (words-- == 0) {
            break;
        }
        if (s.summary_bits != 0) {
            s.take_leaf();
        } else if (s.top_bits != 0) {
            s.take_summary();
        } else if (!top_taken && s.top().load_relaxed() != 0) {
            top_taken = true;  // what is rung from here on waits for the next pass
            s.take_top();
        } else {
            break;
        }
    }
    at.pending = s.pending();
    s.counters.vis += found;
    if (found != 0) {
        s.last_found = pass_;
    }
    return found;
}

std::size_t doorbells::give_out(area_state& s, std::span<rung> out) {
    std::size_t found = 0;
    while (s.leaf_bits != 0 && found < out.size()) {
        const std::uint32_t vi = s.leaf * bits_per_word + take_lowest(s.leaf_bits);
        out[found++] = {.function = s.function, .context = s.context, .vi = vi};
    }
    return found;
}

/// A context that became cold without need pays one kick; one that became cold at the wrong moment loses nothing:
/// the fence stands between "armed" and the last look.
void doorbells::demote_if_idle(std::size_t at) {
    polled& p = hot_[at];
    area_state& s = *p.state;
    if (p.pending || pass_ - s.last_found <= idle_passes_) {
        return;
    }
    s.armed().store_relaxed(1);
    // Pairs with the client's locked OR between its top word and its look at armed.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // The top word is enough: a client whose ring has returned has seen or made it non-zero after its leaf, one
    // that is still on its way will see armed.
    if (s.top().load_relaxed() != 0) {
        s.armed().store_relaxed(0);
        s.last_found = pass_;
        return;
    }
    ++s.counters.demotions;
    hot_[at] = hot_.back();
    hot_[at].state->position = at;
    hot_.pop_back();
    s.hot = false;
    s.position = cold_.size();
    cold_.push_back(&s);
}

void doorbells::wake(area_state& s) {
    cold_[s.position] = cold_.back();
    cold_[s.position]->position = s.position;
    cold_.pop_back();
    s.hot = true;
    s.position = hot_.size();
    s.last_found = pass_;
    ++s.counters.wakes;
    hot_.push_back({.top = &s.top(), .state = &s, .pending = false});
    // Before or after the next look is the same: while it is hot, it is looked at again and again.
    s.armed().store_relaxed(armed_ ? 1 : 0);
}

/// A kick may be late: the thread that took `armed` was stopped, or somebody else read the event descriptor.
void doorbells::look_at_one_cold() {
    if (cold_.empty()) {
        return;
    }
    cold_next_ = cold_next_ + 1 < cold_.size() ? cold_next_ + 1 : 0;
    area_state& s = *cold_[cold_next_];
    if (s.top().load_relaxed() != 0 || s.armed().load_relaxed() == 0) {
        wake(s);
    }
}

std::size_t doorbells::kicked(std::uint32_t function) {
    if (function >= functions_.size()) {
        return 0;
    }
    std::size_t woken = 0;
    walk w(now_, pass_ns);
    for (const auto& s : functions_[function]) {
        // Not the top word: what a late kick rang for may have been found long ago, but its `armed` is gone, and
        // without that the context's next ring would stay quiet.
        if (s != nullptr && !s->hot && s->armed().load_acquire() == 0) {
            wake(*s);
            ++woken;
        }
        if (s != nullptr && w.step()) {
            break;  // the others are found one by one, and before the next sleep
        }
    }
    return woken;
}

bool doorbells::arm_all() {
    walk w(now_, pass_ns);
    // A cold context whose `armed` was taken has its kick on the way.  The device must not wait for it: a client that
    // stops there, or reads the event descriptor of others, would leave the ring unseen for as long as the device
    // sleeps.
    for (area_state* s : cold_) {
        if (s->armed().load_relaxed() == 0) {
            wake(*s);
            return false;
        }
        if (w.step_slowly()) {
            return false;
        }
    }
    if (!are_quiet(w)) {
        return false;
    }
    armed_ = true;
    for (const polled& p : hot_) {
        p.state->armed().store_relaxed(1);
        if (w.step_slowly()) {
            return false;
        }
    }
    // As in demote_if_idle; one for all.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return are_quiet(w);
}

bool doorbells::are_quiet(walk& w) const {
    for (const polled& p : hot_) {
        if (p.pending || p.top->load_relaxed() != 0 || w.step_slowly()) {
            return false;
        }
    }
    return true;
}

/// A context that is still armed when this takes too long kicks needlessly, until it goes on.
void doorbells::disarm() {
    if (std::exchange(armed_, false)) {
        disarm_left_ = hot_.size();
    }
    if (disarm_left_ == 0) {
        return;
    }
    walk w(now_, pass_ns);
    for (disarm_left_ = std::min(disarm_left_, hot_.size()); disarm_left_ != 0;) {
        // A client that has taken it is on its way to kick, needlessly: it costs that one a system call.
        if (word64& armed = hot_[--disarm_left_].state->armed(); armed.load_relaxed() != 0) {
            armed.store_relaxed(0);
        }
        if (w.step()) {
            break;
        }
    }
}

bell_counters doorbells::counters(std::uint32_t function, std::uint32_t context) const noexcept {
    const area_state* s = find(function, context);
    return s == nullptr ? bell_counters{} : s->counters;
}

}  // namespace vinic::controller

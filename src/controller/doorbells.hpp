// SPDX-License-Identifier: Apache-2.0
//
// doorbells.hpp -- the device's side of the doorbells: finds the VIs that were rung, whatever their number.
//
//                 add                    idle for many passes
//     (nothing) -------> hot: polled  ---------------------------> cold: armed, looked at one per pass
//                          ^                                         |
//                          '-----------------------------------------'
//                             kicked() and armed was taken, or the top word is not empty
//
//   A pass reads one line per hot context and one context that is cold.  What it finds it takes level by level
//   (abi/doorbell.hpp) and keeps what goes beyond the budget privately, so that the client's words are only
//   read again when all that was taken has been given out.  Whatever the client writes:
//
//   - a pass gives out at most `budget` VIs of a function, however many contexts it has, and takes of each context at
//     most that and `words_over_budget` words, of at most `budget` contexts of a function;
//   - a VI that the context may not have (vis_max) is never given out, only counted;
//   - whose VI it is follows from where the area lies, not from what is in it;
//   - pages that the client has punched out of its window are made anew by looking at them, a few microseconds each: a
//     pass, and whatever goes over all contexts, ends early when it takes that long, and goes on later.
//
//   Threads: the caller lets one thread in at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "abi/doorbell.hpp"

namespace vinic::controller {

/// A VI that was rung.  A hint: that there is something to do, its ring must say.
struct rung {
    std::uint32_t function = 0;
    std::uint32_t context = 0;
    std::uint32_t vi = 0;
    friend bool operator==(const rung&, const rung&) = default;
};

/// Counts of one context since it was added.
struct bell_counters {
    std::uint64_t vis = 0;        ///< given out
    std::uint64_t spurious = 0;   ///< bits above the leaves that led to nothing, and VIs beyond vis_max
    std::uint64_t words = 0;      ///< words taken: what looking cost
    std::uint64_t demotions = 0;  ///< hot to cold
    std::uint64_t wakes = 0;      ///< cold to hot
    friend bool operator==(const bell_counters&, const bell_counters&) = default;
};

class doorbells {
public:
    static constexpr std::uint32_t words_over_budget = 1 + abi::bell_summary_count;
    /// A pass takes no further context once it has taken so many words: a storm of marks that lead to nothing.
    static constexpr std::uint64_t words_of_a_pass = 256;

    /// A pass goes on in the next one after so long.
    static constexpr std::uint64_t pass_ns = 5'000;
    using clock = std::uint64_t (*)() noexcept;

    /// A context becomes cold after so many passes in which nothing was found in it.  Without a clock no pass ends
    /// for the time that it takes.
    explicit doorbells(std::uint32_t idle_passes = 4096, clock now = nullptr);
    doorbells(const doorbells&) = delete;
    doorbells& operator=(const doorbells&) = delete;
    ~doorbells();

    /// Begins to look at an area; what is already marked in it will be found.  `area` stays mapped until
    /// remove_context; VIs 0 to vis_max - 1 are given out.  Replaces what was there under that name.  If the device
    /// sleeps, poll() must follow.
    void add_context(std::uint32_t function, std::uint32_t context, std::byte* area, std::uint32_t vis_max);
    /// On return the area is not touched any more.  Unknown contexts are ignored.
    void remove_context(std::uint32_t function, std::uint32_t context) noexcept;

    /// One pass: fills `out` with rung VIs, at most `budget` (1 if 0) of a function; the count.  Each bit is given
    /// out once.  Contexts take turns in being first; one that finds no room in `out` is first in the next pass.
    [[nodiscard]] std::size_t poll(std::span<rung> out, std::uint32_t budget);

    /// Whether the last pass has looked at every context that is hot.
    [[nodiscard]] bool saw_all() const noexcept { return saw_all_; }
    /// Words that the last pass took and that led to nothing, by function.
    struct waste {
        std::uint32_t function = 0;
        std::uint32_t words = 0;
    };
    [[nodiscard]] std::span<const waste> wasted() const noexcept { return wasted_; }

    /// Before a sleep: from now on a client that rings finds the device asleep.  false: there is something already, or
    /// pages have to be made: poll instead.  The next poll() ends it.
    [[nodiscard]] bool arm_all();
    /// The event descriptor of a function was written to: its cold contexts that did it are hot again.  Returns
    /// how many.  Right at any time; if the device sleeps, poll() must follow whatever it returns.
    std::size_t kicked(std::uint32_t function);

    [[nodiscard]] std::size_t hot_count() const noexcept { return hot_.size(); }
    [[nodiscard]] std::size_t cold_count() const noexcept { return cold_.size(); }
    /// Zeroes for one that is not there.
    [[nodiscard]] bell_counters counters(std::uint32_t function, std::uint32_t context) const noexcept;

private:
    struct area_state;
    /// What a pass over idle contexts reads: dense, and nothing else of them.
    struct polled {
        abi::word64* top;
        area_state* state;
        bool pending;  ///< taken and not given out yet
    };

    /// What contexts of a function have got of a pass' budget; one that led to nothing counts as a VI.
    struct allowance {
        std::uint64_t pass = 0;
        std::uint32_t used = 0;
        std::size_t waste = 0;  ///< where it is in wasted_, if it has any
    };
    /// Watches over a walk through many areas.
    class walk;

    [[nodiscard]] area_state* find(std::uint32_t function, std::uint32_t context) const noexcept;
    std::size_t drain(polled& at, std::span<rung> out);
    std::size_t give_out(area_state& s, std::span<rung> out);
    void note_waste(std::uint32_t function, allowance& a, std::uint64_t words);
    [[nodiscard]] bool are_quiet(walk& w) const;
    void disarm();
    void look_at_one_cold();
    void demote_if_idle(std::size_t at);
    void wake(area_state& s);

    std::uint32_t idle_passes_;
    std::uint64_t pass_ = 0;
    std::size_t first_ = 0;      ///< where in hot_ the next pass begins
    std::size_t idle_next_ = 0;  ///< whose idleness is looked at next
    std::size_t cold_next_ = 0;
    bool armed_ = false;           ///< hot contexts may be armed, too
    std::size_t disarm_left_ = 0;  ///< so many of the first hot ones may be armed still
    bool saw_all_ = true;
    clock now_;
    std::vector<waste> wasted_;
    std::vector<polled> hot_;
    std::vector<area_state*> cold_;
    std::vector<std::vector<std::unique_ptr<area_state>>> functions_;  ///< by function, then by context
    std::vector<allowance> allowances_;                                ///< by function
};

}  // namespace vinic::controller

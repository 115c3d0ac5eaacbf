// SPDX-License-Identifier: Apache-2.0
//
// scheduler.hpp -- which VI an idle engine serves next: operation queues, engine pool and arbiter in one.
//
//   doorbell -> ready(vi) -> operation queue (leased) -> next(now): class, then hClock over functions, then
//   byte-deficit round robin inside a function -> grant to an idle engine -> done(): charged, requeued or unbound
//
//   Pure: time is an argument, nothing sleeps, nothing is shared; the caller guards it with one lock.
//   Nothing is allocated but in set_entitlement() and at the first prepare() or ready() of a range of 256 VIs
//   (policy::fifo apart). docs/scheduling.md has the rules, and what they are worth.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace vinic::controller {

constexpr std::uint32_t functions_max = 257;  ///< the PF and 256 VFs
constexpr std::uint32_t engines_max = 64;
constexpr std::uint32_t queues_max = 1024;

/// What a function is entitled to.  Rates are bytes per second, 0 = none (no guarantee, no cap).
struct entitlement {
    std::uint64_t guarantee = 0;
    std::uint64_t cap = 0;
    std::uint32_t weight = 1;           ///< 1 to 10000
    std::uint32_t priority = 0;         ///< strict class: a higher one is served first; 0 to 7
    std::uint32_t reserved_queues = 1;  ///< operation queues that nobody else may take
    friend bool operator==(const entitlement&, const entitlement&) = default;
};

/// Which function comes next.  The first is the product; the others are what it is compared with.
enum class policy : std::uint8_t {
    hclock,               ///< class, then guarantee / cap / weight
    request_round_robin,  ///< one message per function in turn, whatever its size; neither classes nor caps
    fifo,                 ///< VIs in order of arrival, whosever they are; neither classes nor caps
};

struct scheduler_options {
    std::uint32_t engines = 1;
    std::uint32_t queues = 64;             ///< operation queues, M: 1 to 1024
    std::uint32_t lease_bytes = 64 << 10;  ///< 0: no limit
    std::uint32_t lease_descriptors = 64;  ///< messages in one lease at most
    std::uint64_t bytes_per_second =
        8'000'000'000;  ///< what an engine second is worth: charge = max(bytes, time * this)
    policy order = policy::hclock;
};

/// What is wrong with it, as the end of a sentence; empty: nothing.
[[nodiscard]] std::string_view complaint(const entitlement& s) noexcept;
[[nodiscard]] std::string_view complaint(const scheduler_options& o) noexcept;

/// A function's number (0 = PF) and a VI's in it.
struct vi_name {
    std::uint32_t function = 0;
    std::uint32_t vi = 0;
    friend bool operator==(const vi_name&, const vi_name&) = default;
};

struct grant {
    vi_name vi;
    std::uint32_t engine = 0;
    std::uint32_t queue = 0;      ///< the operation queue that holds the VI
    std::uint32_t bytes_max = 0;  ///< the lease: 0 = no limit
    std::uint32_t descriptors_max = 0;
};

/// What an engine did with a grant.
struct served {
    std::uint64_t bytes = 0;
    std::uint32_t descriptors = 0;
    std::uint64_t engine_ns = 0;
    bool more = false;  ///< the VI has more to do: it stays in its queue and goes to the end
};

/// Per function, monotone.
struct scheduling_counters {
    std::uint64_t grants = 0;
    std::uint64_t bytes = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t engine_ns = 0;
    std::uint64_t queue_waits = 0;  ///< times a VI found no operation queue free and had to share one
    std::uint64_t wait_ns = 0;      ///< from ready to grant, summed over grants
    /// Grants that came more than 1, 10, 100 and 1000 us after ready.
    std::array<std::uint64_t, 4> long_waits = {};
    std::uint64_t capped_ns = 0;        ///< time in which it had work and its cap held it back
    std::uint64_t received_charge = 0;  ///< bytes charged to it as the receiver
};

class scheduler {
public:
    /// Options outside their limits are brought to the nearest; complaint() tells beforehand.
    explicit scheduler(const scheduler_options& options);
    scheduler(scheduler&&) noexcept;
    scheduler& operator=(scheduler&&) noexcept;
    ~scheduler();

    /// A function comes, or its entitlement changes; takes effect with the next grant.  The same again changes nothing.
    void set_entitlement(std::uint32_t function, const entitlement& s, std::uint64_t now_ns);
    /// A function goes: its VIs are forgotten, grants under way may still be done().
    void remove_function(std::uint32_t function, std::uint64_t now_ns);

    /// Takes the memory that ready() would need for this VI; that one cannot do without.
    void prepare(vi_name vi);
    /// VI has work.  Idempotent while it is bound or under grant (then it counts as more = true at done()).
    /// For a function that is not there, or a VI from 65536 on: ignored.
    void ready(vi_name vi, std::uint64_t now_ns);
    /// VI has gone or has nothing to do; false: it is under grant right now, and nothing was changed.
    bool forget(vi_name vi) noexcept;

    /// The next grant, if an engine is idle and somebody may be served now.
    [[nodiscard]] std::optional<grant> next(std::uint64_t now_ns);
    /// The engine of g is idle again.
    void done(const grant& g, const served& s, std::uint64_t now_ns);
    /// Work that was done for a receiver, charged to its function: it counts towards the weighted share, not towards
    /// guarantee and cap, and never costs more than one turn, or a flood would silence its victim.
    void charge_receiver(std::uint32_t function, std::uint64_t bytes, std::uint64_t now_ns);

    /// When next() may give something although nothing new comes (a cap holds somebody back); 0: no such time.
    /// Exact once next() has given nothing with an engine idle.
    [[nodiscard]] std::uint64_t next_time() const noexcept;
    /// Whether any VI waits for an engine.
    [[nodiscard]] bool has_work() const noexcept;
    /// Whether one waits that no cap is known to hold back: before this says no, an engine must not sleep until
    /// next_time(), for that is somebody else's.
    [[nodiscard]] bool can_serve() const noexcept;
    [[nodiscard]] scheduling_counters counters(std::uint32_t function) const;
    [[nodiscard]] const scheduler_options& options() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace vinic::controller

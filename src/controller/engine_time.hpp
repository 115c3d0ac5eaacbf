// SPDX-License-Identifier: Apache-2.0
//
// engine_time.hpp -- what a lease costs the function that had it: the engine's time, not the host's.
//
//   wall      begun |-------- lease ---------| ended
//   thread    runs  |--.   host runs others  .--|        the gap is nobody's fault: not charged
//   thread    runs  |--.   sleeps in a fault .--|        the function's own pages did that: charged
//
//   Leases are short, and asking the kernel costs more than a short one may: only one that took long is looked into,
//   from a mark that is never much older than the lease.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>

namespace vinic::controller {

/// What the kernel says of the calling thread.
struct thread_usage {
    std::uint64_t cpu_ns = 0;
    std::uint64_t sleeps = 0;  ///< times it waited for something, unlike: was put aside for others
};

[[nodiscard]] inline thread_usage usage_of_this_thread() noexcept {
    rusage u{};
    (void)::getrusage(RUSAGE_THREAD, &u);
    const auto seconds = static_cast<std::uint64_t>(u.ru_utime.tv_sec + u.ru_stime.tv_sec);
    const auto microseconds = static_cast<std::uint64_t>(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    return {seconds * 1'000'000'000 + microseconds * 1000, static_cast<std::uint64_t>(u.ru_nvcsw)};
}

/// Not thread-safe: one per engine.
class engine_time {
public:
    static constexpr std::uint64_t suspicious_ns = 50'000;  ///< a lease that took longer is looked into
    static constexpr std::uint64_t mark_ns_max = 1'000'000;
    static constexpr std::uint64_t charge_least_ns = 10'000;  ///< of such a lease
    static constexpr std::uint64_t charge_most_ns = 5'000'000;
    using source = thread_usage (*)() noexcept;

    explicit engine_time(source usage = &usage_of_this_thread) noexcept : usage_(usage) {}

    /// The thread has slept, or given its core away, for reasons of its own.
    void rested() noexcept { marked_ns_ = 0; }
    /// The thread waited for what engines share, which no lease is to blame for.
    void waited() noexcept { ++excused_sleeps_; }
    /// There is nothing to do: the moment to ask the kernel, and not when a message has come.
    void idle(std::uint64_t now_ns) noexcept {
        if (now_ns - marked_ns_ > mark_ns_max / 2) {
            mark(now_ns, usage_());
        }
    }
    /// Before a lease.
    void begin(std::uint64_t now_ns) noexcept {
        begun_ns_ = now_ns;
        if (now_ns - marked_ns_ > mark_ns_max) {
            mark(now_ns, usage_());
        }
    }
    /// After it: its engine time.
    [[nodiscard]] std::uint64_t end(std::uint64_t now_ns) noexcept {
        const std::uint64_t wall = now_ns - begun_ns_;
        if (wall <= suspicious_ns) {
            return wall;
        }
        const thread_usage u = usage_();
        const bool slept = u.sleeps - marked_.sleeps > excused_sleeps_;
        const std::uint64_t passed = now_ns - marked_ns_;
        const std::uint64_t ran = std::min(u.cpu_ns - marked_.cpu_ns, passed);
        const std::uint64_t taken = slept ? 0 : passed - ran;
        mark(now_ns, u);
        return std::clamp(wall - std::min(taken, wall), charge_least_ns, charge_most_ns);
    }

private:
    void mark(std::uint64_t now_ns, const thread_usage& u) noexcept {
        marked_ns_ = now_ns;
        marked_ = u;
        excused_sleeps_ = 0;
    }

    source usage_;
    std::uint64_t begun_ns_ = 0;
    std::uint64_t marked_ns_ = 0;
    thread_usage marked_;
    std::uint64_t excused_sleeps_ = 0;  ///< since the mark
};

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// scheduler_memory_test.cc -- a grant allocates nothing.  Counts every allocation of this program.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "controller/scheduler.hpp"

namespace {
std::uint64_t allocations = 0;
}  // namespace

void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* taken = std::malloc(bytes == 0 ? 1 : bytes)) {
        return taken;
    }
    throw std::bad_alloc();
}
void operator delete(void* taken) noexcept { std::free(taken); }
void operator delete(void* taken, std::size_t) noexcept { std::free(taken); }

namespace vinic::controller {
namespace {

/// Doorbells, grants and caps of 32 functions with 40 VIs each.
void traffic(scheduler& s, std::uint64_t& now) {
    for (std::uint32_t turn = 0; turn < 20'000; ++turn) {
        s.ready({turn % 32, turn % 40}, now);
        while (const auto g = s.next(now)) {
            now += 50;
            s.done(*g, {.bytes = 4096, .descriptors = 1, .engine_ns = 50, .more = turn % 3 == 0}, now);
            if (turn % 3 == 0) {
                break;
            }
        }
        now += 300;
        s.charge_receiver(turn % 32, 64, now);
        s.forget({turn % 32, (turn + 7) % 40});
    }
}

TEST(scheduler_memory, once_every_vi_was_seen_nothing_is_allocated) {
    for (const policy order : {policy::hclock, policy::request_round_robin}) {
        scheduler s({.engines = 2, .queues = 48, .order = order});
        std::uint64_t now = 1'000'000;
        for (std::uint32_t f = 0; f < 32; ++f) {
            s.set_entitlement(f, {.guarantee = f % 2 * 50'000'000, .cap = f % 4 == 3 ? 100'000'000U : 0}, now);
        }
        traffic(s, now);
        const std::uint64_t before = allocations;
        traffic(s, now);
        EXPECT_EQ(allocations, before);
        EXPECT_GT(s.counters(3).grants, 100U);
    }
}

TEST(scheduler_memory, vis_cost_memory_where_they_are_used) {
    scheduler s({});
    const std::uint64_t before = allocations;
    for (std::uint32_t f = 0; f < 257; ++f) {
        s.set_entitlement(f, {}, 0);
    }
    const std::uint64_t functions = allocations - before;
    s.ready({0, 65535}, 0);
    s.ready({0, 65281}, 0);
    EXPECT_LE(allocations - before - functions, 1U) << "one range of VIs";
}

}  // namespace
}  // namespace vinic::controller

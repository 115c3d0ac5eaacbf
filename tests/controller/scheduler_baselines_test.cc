// SPDX-License-Identifier: Apache-2.0
//
// scheduler_baselines_test.cc -- the table of docs/scheduling.md: what the product's order is worth beside the two
// others, and what a lease is worth.  The clock is virtual, so every figure repeats.
#include <gtest/gtest.h>

#include <string>

#include "controller/simulation.hpp"

namespace vinic::controller::test {
namespace {

constexpr double whole = engine_rate / 10.0;  // what one engine moves in the time of a run

struct figures {
    const char* name;
    policy order;
    double jain_of_sizes;     // 8 functions, every second one with 4 KiB messages and the others with 64 bytes
    double share_of_one;      // one VI against a function with nine
    double guarantee;         // delivered of half the device, among 8 greedy functions
    double cap;               // taken by one that may have a twentieth, among 8 greedy functions
    double wait_us;           // the longest of a 64-byte message beside 7 functions with 3 VIs of 1 MiB messages each
    double wait_no_lease_us;  // the same when a lease has no limit
};

double jain_of_sizes(policy order) {
    simulation s({.order = order});
    for (std::uint32_t f = 1; f <= 8; ++f) {
        s.function(f);
        s.send({f, 0}, f % 2 == 0 ? 64 : 4096);
    }
    s.run_for(second_ns / 10);
    return jain(s.shares(1, 8));
}

double share_of_one(policy order) {
    simulation s({.order = order});
    s.function(1);
    s.function(2);
    s.send({1, 0}, 4096);
    for (std::uint32_t vi = 0; vi < 9; ++vi) {
        s.send({2, vi}, 4096);
    }
    s.run_for(second_ns / 10);
    return static_cast<double>(s.bytes(1)) / whole;
}

double share_with(policy order, const entitlement& quality) {
    simulation s({.order = order});
    for (std::uint32_t f = 1; f <= 8; ++f) {
        s.function(f, f == 1 ? quality : entitlement{});
        s.send({f, 0}, 64 << 10);
    }
    s.run_for(second_ns / 10);
    return static_cast<double>(s.bytes(1)) / whole;
}

double longest_wait_us(const scheduler_options& options) {
    simulation s(options);
    s.function(1);
    for (std::uint32_t f = 2; f <= 8; ++f) {
        s.function(f);
        for (std::uint32_t vi = 0; vi < 3; ++vi) {
            s.send({f, vi}, 1 << 20);
        }
    }
    std::uint64_t longest = 0;
    std::uint64_t since = endless;
    s.on_grant = [&](const grant& g) {
        if (g.vi.function == 1) {
            longest = std::max(longest, s.now() - since);
            since = endless;
        }
    };
    for (std::uint64_t i = 1; i <= 100; ++i) {
        s.at(i * 3'000'007, [&] {
            since = std::min(since, s.now());
            s.send({1, 0}, 64, 1);
        });
    }
    s.run_for(second_ns / 2);
    return static_cast<double>(longest) / 1000;
}

class baselines : public testing::TestWithParam<figures> {};

TEST_P(baselines, are_what_the_page_says) {
    const figures& page = GetParam();
    EXPECT_NEAR(jain_of_sizes(page.order), page.jain_of_sizes, 0.001);
    EXPECT_NEAR(share_of_one(page.order), page.share_of_one, 0.001);
    EXPECT_NEAR(share_with(page.order, {.guarantee = engine_rate / 2}), page.guarantee, 0.001);
    EXPECT_NEAR(share_with(page.order, {.cap = engine_rate / 20}), page.cap, 0.001);
    EXPECT_NEAR(longest_wait_us({.order = page.order}), page.wait_us, 0.1);
    EXPECT_NEAR(longest_wait_us({.lease_bytes = 0, .lease_descriptors = 1, .order = page.order}), page.wait_no_lease_us,
                0.5);
}

INSTANTIATE_TEST_SUITE_P(orders, baselines,
                         testing::Values(figures{"hclock", policy::hclock, 1, 0.5, 0.5, 0.05, 8.1, 125.7},
                                         figures{"request_round_robin", policy::request_round_robin, 0.516, 0.5, 0.125,
                                                 0.125, 65.5, 1043.2},
                                         figures{"fifo", policy::fifo, 0.562, 0.1, 0.125, 0.125, 172.0, 2747.1}),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace vinic::controller::test

// SPDX-License-Identifier: Apache-2.0
//
// arbiter_random_test.cc -- random entitlements, and what each function is due: the ideal is computed, not simulated.
//
//   rate of f = min(cap, max(guarantee, weight * level)), with the level at which all rates add up to the device's
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <vector>

#include "controller/arbiter.hpp"

namespace vinic::controller {
namespace {

constexpr double device_rate = 8e9;
constexpr std::uint64_t span_ns = 200'000'000;

double due(const entitlement& s, double level) {
    const double wanted = std::max(static_cast<double>(s.guarantee), s.weight * level);
    return s.cap == 0 ? wanted : std::min(wanted, static_cast<double>(s.cap));
}

/// What each function is due, by bisection over the level.
std::vector<double> ideal(const std::vector<entitlement>& services) {
    double low = 0;
    double high = device_rate;
    for (int i = 0; i < 200; ++i) {
        const double level = (low + high) / 2;
        double sum = 0;
        for (const entitlement& s : services) {
            sum += due(s, level);
        }
        (sum < device_rate ? low : high) = level;
    }
    std::vector<double> rates;
    for (const entitlement& s : services) {
        rates.push_back(due(s, low));
    }
    return rates;
}

/// Bytes that each function moved in the span.  Sizes of messages differ by function.
std::vector<double> served_bytes(const std::vector<entitlement>& services, std::mt19937_64& random) {
    basic_arbiter<hclock_rules> a(static_cast<std::uint64_t>(device_rate), 64 << 10);
    std::vector<std::uint64_t> size;
    for (std::uint32_t f = 0; f < services.size(); ++f) {
        a.set(f, services[f], 0);
        a.wake(f, 0);
        a.offer(f);
        size.push_back(256ULL << (random() % 5));
    }
    std::vector<double> moved(services.size());
    for (std::uint64_t now = 0; now < span_ns;) {
        const auto chosen = a.choose(now);
        if (!chosen) {
            now = a.next_time();
            continue;
        }
        const std::uint64_t bytes = size[chosen->function];
        now += bytes / 8;
        moved[chosen->function] += static_cast<double>(bytes);
        a.charge(chosen->function, bytes, chosen->by_reservation, now);
    }
    return moved;
}

TEST(arbiter_random, everybody_gets_what_it_is_due) {
    std::random_device entropy;
    const char* given = std::getenv("VINIC_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : entropy();
    const int rounds = std::getenv("VINIC_LONG") != nullptr ? 2000 : 15;
    for (int round = 0; round < rounds && !HasFailure(); ++round) {
        SCOPED_TRACE(testing::Message() << "VINIC_SEED=" << seed << " round " << round);
        std::mt19937_64 random(seed + static_cast<std::uint64_t>(round));
        const std::uint64_t count = 2 + random() % 30;
        std::vector<entitlement> services(count);
        for (entitlement& s : services) {
            s.weight = static_cast<std::uint32_t>(1 + random() % 100);
            s.guarantee = random() % 3 == 0 ? static_cast<std::uint64_t>(device_rate * 0.9) / count : 0;
            s.cap = random() % 3 == 0
                        ? std::max(s.guarantee, static_cast<std::uint64_t>(device_rate / 100) * (1 + random() % 20))
                        : 0;
        }
        const std::vector<double> rates = ideal(services);
        const std::vector<double> moved = served_bytes(services, random);
        for (std::size_t f = 0; f < count; ++f) {
            const double expected = rates[f] * (span_ns / 1e9);
            // A thousandth, a bucket and a message or two.
            const double tolerance =
                expected / 500 + rates[f] * cap_burst_ns / 1e9 + 2 * 4096 * services[f].weight / 10.0;
            EXPECT_NEAR(moved[f], expected, tolerance)
                << "function " << f << " of " << count << ": guarantee " << services[f].guarantee << " cap "
                << services[f].cap << " weight " << services[f].weight;
        }
    }
}

}  // namespace
}  // namespace vinic::controller

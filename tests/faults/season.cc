// SPDX-License-Identifier: Apache-2.0
//
// season.cc -- chooses the faults, and plays one after the other.
#include "faults/season.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <optional>
#include <ostream>
#include <random>
#include <vector>

#include "faults/errnos.hpp"

namespace faults {

namespace {

constexpr int failures_told = 20;
constexpr auto slow = std::chrono::seconds(1);  ///< told, and no failure: a wait that had to be repaired, perhaps

struct fault {
    plan what;
    call where;
};

std::string words_of(const fault& f) {
    return std::to_string(f.what.at) + ":" + std::to_string(f.what.error) + ":" + std::to_string(f.what.lasts);
}

std::ostream& operator<<(std::ostream& out, const fault& f) {
    return out << "call " << f.what.at << ", " << name_of(f.where) << ", fails with " << std::strerror(f.what.error)
               << (f.what.lasts != 0 ? " from then on" : "") << " (VINIC_FAULT=" << words_of(f) << ")";
}

std::vector<fault> all_faults(const record& seen) {
    std::vector<fault> all;
    const std::uint32_t calls = std::min(seen.count.load(), calls_kept);
    for (std::uint32_t i = 0; i < calls; ++i) {
        const rule* r = rule_of(seen.calls[i]);
        for (const int error : r->errors) {
            all.push_back({{i + 1, error, 0}, seen.calls[i]});
            if (group_of(*r, error) != 0) {
                all.push_back({{i + 1, error, 1}, seen.calls[i]});
            }
        }
    }
    return all;
}

std::optional<plan> given_plan() {
    const char* text = std::getenv("VINIC_FAULT");
    plan p;
    if (text == nullptr || std::sscanf(text, "%u:%d:%u", &p.at, &p.error, &p.lasts) != 3) {
        return std::nullopt;
    }
    return p;
}

std::uint64_t seed_of_this_run() {
    const char* given = std::getenv("VINIC_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device()();
}

}  // namespace

void play_all(const std::function<std::string(const plan&)>& play_once, const record& seen, std::uint32_t sample) {
    const auto given = given_plan();
    const std::string wrong = play_once(given.value_or(plan{}));
    ASSERT_EQ(wrong, "") << (given ? "with the given fault" : "without any fault");
    ASSERT_GT(seen.count.load(), 0u) << "system calls are seen";
    std::vector<fault> faults = given ? std::vector<fault>{} : all_faults(seen);
    const std::size_t all = faults.size();
    if (std::getenv("VINIC_LONG") == nullptr && all > sample) {
        const std::uint64_t seed = seed_of_this_run();
        std::cout << "VINIC_SEED=" << seed << '\n';
        std::vector<fault> some;
        std::ranges::sample(faults, std::back_inserter(some), sample, std::mt19937_64(seed));
        faults = std::move(some);
    }
    std::cout << seen.count.load() << " calls, " << all << " faults, of these " << faults.size() << " played\n";
    int failures = 0;
    std::size_t met = 0;
    for (const fault& f : faults) {
        const auto start = std::chrono::steady_clock::now();
        const std::string what = play_once(f.what);
        if (const auto took = std::chrono::steady_clock::now() - start; took > slow) {
            std::cout << "slow, " << took / std::chrono::milliseconds(1) << " ms: " << f << '\n';
        }
        met += seen.injected.load() != 0 ? 1u : 0u;
        if (!what.empty()) {
            ADD_FAILURE() << f << ":\n" << what;
            if (++failures == failures_told) {
                return;
            }
        }
    }
    EXPECT_TRUE(faults.empty() || met > faults.size() / 2) << "most faults are met: " << met << " of " << faults.size();
}

}  // namespace faults

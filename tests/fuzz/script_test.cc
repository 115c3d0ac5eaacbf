// SPDX-License-Identifier: Apache-2.0
//
// script_test.cc -- scripts from a seed.
//
//     VINIC_FUZZ_SEED=N     the first script's seed; the others follow
//     VINIC_FUZZ_SCRIPTS=N  how many; default 300, with VINIC_LONG=1 50,000
//     VINIC_FUZZ_SHOW=1     prints what each script does
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "addresses.hpp"
#include "directory.hpp"
#include "runner.hpp"

namespace {

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
    const char* given = std::getenv(variable);
    return given == nullptr || *given == '\0' ? otherwise : std::strtoull(given, nullptr, 10);
}

std::vector<std::uint8_t> random_bytes(std::uint64_t seed, std::size_t most) {
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> bytes(most / 16 + random() % most);
    for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random() >> 40);
    return bytes;
}

/// Calls `trial` with the bytes of one seed after the other.
template <class Trial>
void repeat(std::size_t bytes_max, Trial trial) {
    const std::uint64_t first = number("VINIC_FUZZ_SEED", std::random_device{}());
    const char* lasting = std::getenv("VINIC_LONG");
    const bool is_long = lasting != nullptr && *lasting == '1';
    const std::uint64_t count = number("VINIC_FUZZ_SCRIPTS", is_long ? 50'000 : 300);
    std::printf("seeds %llu to %llu\n", static_cast<unsigned long long>(first),
                static_cast<unsigned long long>(first + count - 1));
    for (std::uint64_t seed = first; seed != first + count; ++seed) {
        try {
            trial(random_bytes(seed, bytes_max));
        } catch (const fuzz::violation& v) {
            FAIL() << v.what() << "\nVINIC_FUZZ_SEED=" << seed << " VINIC_FUZZ_SCRIPTS=1";
        }
    }
}

TEST(fuzz, scripts_of_random_calls_find_every_promise_kept) {
    const fuzz::directory where;
    const bool shows = number("VINIC_FUZZ_SHOW", 0) != 0;
    repeat(4000, [&](const std::vector<std::uint8_t>& bytes) {
        const std::string trace = fuzz::play(where.path(), bytes);
        if (shows)
            std::printf("%s", trace.c_str());
    });
}

TEST(fuzz, addresses_and_names_of_random_bytes_are_taken_or_refused) {
    const fuzz::directory where;
    repeat(1000, [&](const std::vector<std::uint8_t>& bytes) { fuzz::try_addresses(where.path(), bytes); });
}

}  // namespace

// SPDX-License-Identifier: Apache-2.0
//
// scribble_test.cc -- random scribbles (scribble.hpp), for builds without libFuzzer.
//
//     scribble_test [FIRST_SEED [COUNT]]     the seed of a trial that goes wrong is printed
#include "scribble.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>

#include "sanitized.hpp"

namespace {

char message[64];

void tell_seed(int signal) {
    (void)!::write(STDERR_FILENO, message, sizeof message - 1);
    std::signal(signal, SIG_DFL);
    (void)std::raise(signal);
}

}  // namespace

int main(int argc, char** argv) try {
    const std::uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
    const char* soak = std::getenv("VINIC_LONG");
    // Where the address sanitizer watches, libFuzzer tries others.
    const std::uint64_t count = argc > 2                             ? std::strtoull(argv[2], nullptr, 10)
                                : soak != nullptr && soak[0] != '\0' ? 100'000
                                : tests::address_sanitized           ? 150
                                                                     : 500;
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
        std::signal(signal, tell_seed);
    }
    vinic::cli::test::scribbled_device device;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        std::snprintf(message, sizeof message, "scribble_test: seed %llu\n", static_cast<unsigned long long>(seed));
        std::mt19937_64 random(seed);
        std::vector<std::uint64_t> input(2 * (random() % 24));
        for (std::uint64_t& word : input) {
            word = random();
        }
        device.run(std::as_bytes(std::span(input)));
    }
    std::printf("%llu trials from seed %llu\n", static_cast<unsigned long long>(count),
                static_cast<unsigned long long>(first));
    return 0;
} catch (const std::exception& why) {
    std::fprintf(stderr, "scribble_test: %s\n", why.what());
    return 1;
}

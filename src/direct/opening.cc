// SPDX-License-Identifier: Apache-2.0
//
// opening.cc -- waits for byte 0 with a patience that grows while the others make progress.
#include "direct/opening.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <random>
#include <thread>

#include "os/file.hpp"
#include "os/sync.hpp"

namespace vinic::direct {

namespace {

using steady = std::chrono::steady_clock;

constexpr int crowd = 12;  ///< as many patiences as one holder is given, many who come one after the other are

}  // namespace

int lock_opening(int fd, tables::patience p) noexcept {
    constexpr std::uint64_t at = offsetof(abi::device_header, openings);
    auto seen = read_words<opening_words>(fd, at);
    const std::chrono::nanoseconds of_one(p.ns);
    auto end = steady::now() + of_one;
    const auto end_of_crowd = steady::now() + crowd * of_one;
    std::minstd_rand random(static_cast<unsigned>(os::ticks()));
    for (int longest_us = 100; !os::try_lock_byte(fd, opening_byte); longest_us = std::min(longest_us * 2, 5000)) {
        if (errno != EAGAIN && errno != EACCES) {
            return errno;
        }
        const auto now = steady::now();
        if (const auto words = read_words<opening_words>(fd, at); words.openings != seen.openings) {
            seen = words;  // a crowd, but it moves
            end = std::min(now + of_one, end_of_crowd);
        }
        if (now > end) {
            return ETIMEDOUT;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution(50, longest_us)(random)));
    }
    if (read_words<first_words>(fd, 0).magic == abi::magic) {
        seen = {seen.openings + 1, static_cast<std::uint64_t>(::getpid())};
        (void)!::pwrite(fd, &seen, sizeof seen, static_cast<off_t>(at));
    }
    return 0;
}

}  // namespace vinic::direct

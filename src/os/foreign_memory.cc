// SPDX-License-Identifier: Apache-2.0
//
// foreign_memory.cc -- the bounce buffer of reads, and how far the kernel may store by itself.
#include "os/foreign_memory.hpp"

#include <algorithm>

#include "os/process_memory.hpp"

namespace vinic::os {

namespace {

/// On the stack of whichever thread of a program posts or polls, which may be small.
constexpr std::uint64_t ordered_bytes = 8 << 10;
/// Likewise where a transfer is between two other processes, which is made by a device's own thread as a rule.
constexpr std::uint64_t between_bytes = 16 << 10;

/// What may go to `to` without the buffer: nothing, or up to a word's end, so that a buffer full is left.  The kernel
/// copies page by page of `from`: where such a page does not end with a word of `to`, that word would be stored in two
/// halves, and between two lots of pages much time may pass.
std::uint64_t straight_part(const std::byte* to, std::uint64_t from, std::uint64_t bytes,
                            const rules::word_copy& words) noexcept {
    const bool words_stay_whole = (reinterpret_cast<std::uintptr_t>(to) - from) % 8 == 0;
    if (bytes <= 2 * ordered_bytes || words.held() != 0 || !words_stay_whole) {
        return 0;
    }
    const std::uint64_t part = bytes - ordered_bytes;
    return part - (reinterpret_cast<std::uintptr_t>(to) + part) % 8;
}

}  // namespace

int read_foreign(std::uint32_t pid, std::uint64_t from, std::byte* to, std::uint64_t bytes, rules::word_copy& words,
                 bool ends) noexcept {
    std::byte buffer[ordered_bytes];
    std::uint64_t done = straight_part(to, from, bytes, words);
    if (const int e = done != 0 ? read_process(pid, from, to, done) : 0; e != 0) {
        return e;
    }
    while (done != bytes) {
        const std::uint64_t n = std::min(bytes - done, ordered_bytes);
        if (const int e = read_process(pid, from + done, buffer, n); e != 0) {
            return e;
        }
        words.put(to + done, buffer, n, ends && done + n == bytes);
        done += n;
    }
    return 0;
}

int write_held(std::uint32_t pid, std::uint64_t to, rules::word_copy& words) noexcept {
    const std::uint32_t held = words.held();
    return held == 0 ? 0 : write_process(pid, to - held, words.release(), held);
}

rules::moved move_foreign_both(std::uint32_t to_pid, std::uint64_t to, std::uint32_t from_pid, std::uint64_t from,
                               std::uint64_t bytes) noexcept {
    std::byte buffer[between_bytes];
    for (std::uint64_t done = 0; done < bytes;) {
        const std::uint64_t n = std::min(bytes - done, between_bytes);
        if (const int e = read_process(from_pid, from + done, buffer, n); e != 0) {
            return rules::moved_of(e, false);
        }
        if (const int e = write_process(to_pid, to + done, buffer, n); e != 0) {
            return rules::moved_of(e, true);
        }
        done += n;
    }
    return rules::moved::all;
}

}  // namespace vinic::os

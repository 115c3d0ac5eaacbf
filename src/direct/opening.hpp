// SPDX-License-Identifier: Apache-2.0
//
// opening.hpp -- what is done with a device's file before it is mapped: its first words, and byte 0.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "direct/device_file.hpp"

namespace vinic::direct {

/// Locked by a process that opens or leaves.
inline constexpr std::uint64_t opening_byte = 0;

/// The words of the header that are read and written before anything is mapped.
struct opening_words {
    std::uint64_t openings = 0;
    std::uint64_t opener = 0;
};
static_assert(offsetof(abi::device_header, opener) == offsetof(abi::device_header, openings) + 8);
struct first_words {
    std::uint64_t magic = 0;
    std::uint32_t version = 0;
    std::uint32_t fence = 0;
    std::uint64_t created_ns = 0;
    std::uint64_t span = 0;
    std::uint64_t claim = 0;
};
static_assert(offsetof(abi::device_header, span) == offsetof(first_words, span) &&
              offsetof(abi::device_header, claim) == offsetof(first_words, claim));

/// What lies at `at`; zeros if that is beyond the file's end.
template <class Words>
Words read_words(int fd, std::uint64_t at) noexcept {
    Words w;
    return ::pread(fd, &w, sizeof w, static_cast<off_t>(at)) == static_cast<ssize_t>(sizeof w) ? w : Words{};
}

/// The directory of a device's file, and what is looked for in it.
struct device_file::place {
    os::unique_fd directory;
    struct stat status{};
    std::string file;
};

/// Waits for byte 0, which is somebody else's for as long as it takes to open or leave.  0, or errno: ETIMEDOUT when
/// one holder (stopped while opening?) keeps it for so long, or a crowd for twelve times as long.
[[nodiscard]] int lock_opening(int fd, tables::patience p) noexcept;

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// scribble.hpp -- a device file that a process went wild in, and everybody who looks at it.
//
//   A real device is made once, with VIs, regions, names and waiting requests, and its bytes are
//   kept.  Each trial lays them out anew, overwrites some words as the input says, and lets every
//   command that only looks look.  None may crash, and what they print must be fit to be printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "os/file.hpp"

namespace vinic::cli::test {

/// One overwritten word, as it is cut from the input.
struct scribble {
    std::uint8_t area;   ///< which table
    std::uint8_t form;   ///< how wide, and what is made of `value`
    std::uint16_t word;  ///< which word of the area
    std::uint32_t reserved;
    std::uint64_t value;
};
static_assert(sizeof(scribble) == 16);

class scribbled_device {
public:
    scribbled_device();
    scribbled_device(const scribbled_device&) = delete;
    scribbled_device& operator=(const scribbled_device&) = delete;
    ~scribbled_device();

    /// One trial.  Ends the process with a message if something unfit is printed.
    void run(std::span<const std::byte> input);

private:
    struct piece {
        std::uint64_t offset;
        std::vector<std::byte> bytes;
    };
    struct area {
        std::uint64_t offset;
        std::uint64_t bytes;
    };
    void make_original();
    void overwrite(const scribble& s);
    void look() const;

    std::filesystem::path directory_;
    std::vector<piece> original_;
    std::vector<area> areas_;
    os::unique_fd fd_;
};

}  // namespace vinic::cli::test

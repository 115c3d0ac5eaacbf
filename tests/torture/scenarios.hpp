// SPDX-License-Identifier: Apache-2.0
//
// scenarios.hpp -- the calls in which a process is killed, and those who live through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>
#include <vinic/vinic.hpp>

#include "multi/process.hpp"

namespace torture {

inline constexpr const char* step_device = "shm:step";
/// A device that only subjects use: when one dies, nobody is left.
inline constexpr const char* lonely_device = "shm:lonely";

// What a subject writes, and the partner finds in the target that it offers with its answer:
//
//   bytes 0 to written_bytes - 1   a beginning of the pattern, up to all of it; zeros behind
//   word added_word                0, 1 or 2 times the addend
//   word swapped_word              0 or the addend
//   the rest                       zeros
inline constexpr std::size_t target_bytes = 8192;
inline constexpr std::size_t written_bytes = 5000;
inline constexpr std::size_t added_word = written_bytes / 8;
inline constexpr std::size_t swapped_word = added_word + 1;
inline constexpr std::uint64_t addend = 0x0101'0101'0101'0101;
/// Immediate data of a message that follows the write.
inline constexpr std::uint32_t after_write = 2;
/// What subjects' messages and writes are filled with, for multi::fill().
inline constexpr std::uint64_t subject_seed = 7;

/// What a subject does: make() sets up at full speed and returns the call that is led instruction by instruction.
struct scenario {
    const char* name;
    /// What the partner is told before the subject starts: "rest", "accept N" (with N receives and a target for RDMA),
    /// "accept N foreign" (the target is memory that only system calls reach), "connect", "send N" (connects and posts
    /// N sends), "write" (connects and writes to the memory that the subject names with its answer) or "peer".
    const char* partner;
    bool corpse;  ///< another process is killed first, and nobody has buried it yet
    std::function<std::function<void()>(const std::string& directory)> make;
};

[[nodiscard]] const std::vector<scenario>& scenarios();

/// The private data that a peer has sent along.
[[nodiscard]] std::string text_of(const vinic::peer_information& peer);

/// The two that live through everything; they obey words of the runner.
void be_partner(const std::string& directory, multi::channel& runner);
void be_witness(const std::string& directory, multi::channel& runner);
/// Opens, uses and closes the device.
void be_stranger(const std::string& directory);
/// Has a connection with the partner and many things, and waits to be killed.
void be_corpse(const std::string& directory, multi::channel& runner);

}  // namespace torture

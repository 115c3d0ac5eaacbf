// SPDX-License-Identifier: Apache-2.0
//
// trap.hpp -- makes the n-th system call of a thread fail, whoever makes it: the library, the C library below it, or
// an instruction of the library's own.
//
//     thread that is armed             kernel                      this file
//     syscall instruction  --------->  user dispatch: SIGSYS --->  notes the call; is it the one that shall fail?
//                                                                   no:  makes it, from the gate
//     goes on with the result  <-------------------------------    yes: -errno, without making it
//
//   The kernel hands over every system call of a thread that asked for it (PR_SET_SYSCALL_USER_DISPATCH, Linux 5.11),
//   but for those in the gate.  So nothing is linked otherwise, nothing is wrapped, and what is shipped has no hooks.
//
//   What happened is written to memory that processes can share: the one that watches reads it after a crash too.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace faults {

/// What shall fail.
struct plan {
    std::uint32_t at = 0;     ///< number of the call, from 1; 0: none, the calls are only noted
    std::int32_t error = 0;   ///< errno
    std::uint32_t lasts = 0;  ///< 1: from then on every call that wants of the same resource fails, too
};

/// A system call that was made: which, and what tells its kinds apart (a command, an operation, flags).
struct call {
    std::uint32_t number = 0;
    std::uint32_t kind = 0;
};

inline constexpr std::uint32_t calls_kept = 8192;

struct record {
    std::atomic<std::uint32_t> count;     ///< calls that can fail, made while armed
    std::atomic<std::uint32_t> injected;  ///< of these, how many were made to fail
    std::atomic<std::uint32_t> over;      ///< nothing fails any more
    std::atomic<std::int32_t> error;      ///< of the plan
    std::atomic<std::uint32_t> unmapped;  ///< munmap was made to fail so often: what it was for stays
    std::array<call, calls_kept> calls;
};

/// Whether this kernel and CPU can do it.
[[nodiscard]] bool available() noexcept;

/// From now on calls count and fail, of those threads that join(): one plan per process.
void begin(const plan& p, record& into) noexcept;
/// Nothing fails any more, and calls are not noted.
void relieve() noexcept;
/// The calling thread takes part, until it leaves.
void join() noexcept;
void leave() noexcept;

/// A part of a test that is not to fail.
class paused {
public:
    paused() noexcept;
    paused(const paused&) = delete;
    paused& operator=(const paused&) = delete;
    ~paused();

private:
    bool was_armed_;
};

}  // namespace faults

// SPDX-License-Identifier: Apache-2.0
//
// kicks.hpp -- what a thread of the device sleeps on: an event descriptor of each function, and one of its own.
//
//   Clients hold a function's descriptor, so it may be anything: drained, filled to the brim, made blocking.
//   Therefore each function has its own, and the device never reads one: epoll's edges say that somebody wrote.
//   Whoever spoils a descriptor wakes the device late for his own function, and for no other.
#pragma once

#include <cstdint>
#include <vector>
#include <vinic/vinic.hpp>

#include "os/file.hpp"

namespace vinic::controller {

class kicks {
public:
    [[nodiscard]] static result<kicks> create();

    /// Gives a function a new descriptor; the old one means nothing any more.
    [[nodiscard]] result<void> renew(std::uint32_t function);
    /// For clients to write to.
    [[nodiscard]] int fd(std::uint32_t function) const noexcept { return fds_[function].get(); }

    /// Sleeps until somebody writes, or for so long.  The functions that were written to, at most 64 at a time.
    [[nodiscard]] std::vector<std::uint32_t> wait(std::uint64_t timeout_ns) const;
    /// Ends one wait().
    void wake() const noexcept;

private:
    os::unique_fd epoll_;
    os::unique_fd own_;
    std::vector<os::unique_fd> fds_;
};

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// kicks.hpp -- what a thread of the device sleeps on: an event descriptor of each function, and one of its own.
//
//   Clients hold a function's descriptor, so it may be anything: drained, filled to the brim, made blocking.
//   Therefore each function has its own, and the device never reads one: epoll's edges say that somebody wrote.
//   A client that spoils a descriptor wakes the device late for its own function, and for no other.
#pragma once

#include <array>
#include <cstdint>
#include <vector>
#include <vinic/words.hpp>

#include "os/file.hpp"

namespace vinic::controller {

class kicks {
public:
    [[nodiscard]] static result<kicks> create();

    /// Gives a function a new descriptor; the old one means nothing any more.
    [[nodiscard]] result<void> renew(std::uint32_t function);
    /// For clients to write to.
    [[nodiscard]] int fd(std::uint32_t function) const noexcept { return fds_[function].get(); }

    /// Functions that were written to; needs no memory of its own.
    class written {
    public:
        static constexpr std::size_t most = 64;
        void add(std::uint32_t function) noexcept { functions_[count_++] = function; }
        [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
        [[nodiscard]] const std::uint32_t* begin() const noexcept { return functions_.data(); }
        [[nodiscard]] const std::uint32_t* end() const noexcept { return functions_.data() + count_; }

    private:
        std::array<std::uint32_t, most> functions_;
        std::size_t count_ = 0;
    };
    /// Sleeps until somebody writes, or for so long.
    [[nodiscard]] written wait(std::uint64_t timeout_ns) const noexcept;
    /// Ends one wait().
    void wake() const noexcept;

private:
    os::unique_fd epoll_;
    os::unique_fd own_;
    std::vector<os::unique_fd> fds_;
};

}  // namespace vinic::controller

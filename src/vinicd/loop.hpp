// SPDX-License-Identifier: Apache-2.0
//
// loop.hpp -- what the main thread waits for: descriptors and times.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "os/file.hpp"

namespace vinic::vinicd {

/// One thread calls everything.  Handlers may add and remove whatever they like, themselves included.
class loop {
public:
    using watch = std::uint64_t;  ///< never 0, never used twice

    loop();
    [[nodiscard]] bool works() const noexcept { return static_cast<bool>(epoll_); }

    /// Calls the handler with what epoll says of the descriptor.  0: it cannot be watched (errno).
    [[nodiscard]] watch add(int fd, std::uint32_t events, std::function<void(std::uint32_t)> handler);
    void change(watch w, std::uint32_t events) noexcept;
    /// Before the descriptor is closed.
    void remove(watch w) noexcept;
    /// Once, not before os::now_ns() is `time_ns`.
    void at(std::uint64_t time_ns, std::function<void()> what);

    /// Until stop().
    void run();
    void stop() noexcept { stopped_ = true; }

private:
    struct entry {
        int fd = -1;
        std::function<void(std::uint32_t)> handler;
    };
    void call_what_is_due();
    [[nodiscard]] int wait_ms() const noexcept;

    os::unique_fd epoll_;
    std::map<watch, std::shared_ptr<entry>> watched_;
    std::multimap<std::uint64_t, std::function<void()>> times_;
    watch last_ = 0;
    bool stopped_ = false;
};

}  // namespace vinic::vinicd

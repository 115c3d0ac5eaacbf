// SPDX-License-Identifier: Apache-2.0
//
// notify.hpp -- what systemd hands to a service and is told by it: environment variables and a datagram socket.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "os/file.hpp"
#include "vinicd/loop.hpp"

namespace vinic::vinicd {

/// What started this as a service, and listens at NOTIFY_SOCKET; perhaps nothing.  What is sent through is opened once:
/// out of descriptors, a program still gives signs of life.
class service_manager {
public:
    service_manager();
    /// Why it cannot be told anything: errno, or 0.
    [[nodiscard]] int broken() const noexcept { return broken_; }
    /// "READY=1", "STOPPING=1", "WATCHDOG=1".  Never waits; 0: told, or nobody wants to know.  Else errno, of which
    /// EAGAIN says that it has not read what it was told before.
    [[nodiscard]] int tell(std::string_view state) noexcept;

private:
    sockaddr_un to_{};
    socklen_t to_bytes_ = 0;  ///< 0: there is none
    os::unique_fd socket_;
    int broken_ = 0;
};

/// What the manager must hear, in order: what it is too slow for is said again, and nobody waits for it.
class announcer {
public:
    announcer(loop& l, service_manager& to) : loop_(l), manager_(to), alive_(std::make_shared<bool>(true)) {}
    ~announcer() { *alive_ = false; }
    announcer(const announcer&) = delete;
    announcer& operator=(const announcer&) = delete;
    void say(std::string state);

private:
    void go_on();
    loop& loop_;
    service_manager& manager_;
    std::deque<std::string> unsaid_;
    bool waiting_ = false;
    std::shared_ptr<bool> alive_;  ///< false once this has gone: timers may come later
};

/// Half of the time in which a sign of life is wanted, in nanoseconds; 0: none is.
[[nodiscard]] std::uint64_t watchdog_interval_ns();

/// Sockets that were opened for this process (LISTEN_FDS), marked to be closed on exec; the variables are removed.
[[nodiscard]] std::vector<int> handed_over_sockets();

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// notify.hpp -- what systemd hands to a service and is told by it: environment variables and a datagram socket.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vinicd/loop.hpp"

namespace vinic::vinicd {

/// "READY=1", "STOPPING=1", "WATCHDOG=1": to NOTIFY_SOCKET, if there is one.  Never waits; false: the manager has not
/// read what it was told before.
bool notify(std::string_view state);

/// What the manager must hear, in order: what it is too slow for is said again, and nobody waits for it.
class announcer {
public:
    explicit announcer(loop& l) : loop_(l), alive_(std::make_shared<bool>(true)) {}
    ~announcer() { *alive_ = false; }
    announcer(const announcer&) = delete;
    announcer& operator=(const announcer&) = delete;
    void say(std::string state);

private:
    void go_on();
    loop& loop_;
    std::deque<std::string> unsaid_;
    bool waiting_ = false;
    std::shared_ptr<bool> alive_;  ///< false once this has gone: timers may come later
};

/// Half of the time in which a sign of life is wanted, in nanoseconds; 0: none is.
[[nodiscard]] std::uint64_t watchdog_interval_ns();

/// Sockets that were opened for this process (LISTEN_FDS), marked to be closed on exec; the variables are removed.
[[nodiscard]] std::vector<int> handed_over_sockets();

}  // namespace vinic::vinicd

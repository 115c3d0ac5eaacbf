// SPDX-License-Identifier: Apache-2.0
//
// notify.hpp -- what systemd hands to a service and is told by it: environment variables and a datagram socket.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vinic::vinicd {

/// "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...": to NOTIFY_SOCKET, if there is one.
void notify(std::string_view state);

/// Half of the time in which a sign of life is wanted, in nanoseconds; 0: none is.
[[nodiscard]] std::uint64_t watchdog_interval_ns();

/// Sockets that were opened for this process (LISTEN_FDS), marked to be closed on exec; the variables are removed.
[[nodiscard]] std::vector<int> handed_over_sockets();

}  // namespace vinic::vinicd

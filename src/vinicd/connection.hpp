// SPDX-License-Identifier: Apache-2.0
//
// connection.hpp -- one connection, as the two halves of connections.hpp see it.
#pragma once

#include <cerrno>
#include <deque>
#include <string>
#include <string_view>

#include "vinicd/connections.hpp"

namespace vinic::vinicd {

struct connections::connection {
    number n = 0;
    os::unique_fd fd;
    peer who;
    account of;  ///< pays for it
    loop::watch watch = 0;
    loop::watch process_watch = 0;
    role as = role::fresh;
    // A client's.
    std::uint32_t function = 0;
    std::uint32_t epoch = 0;
    std::uint32_t context = 0;
    std::uint32_t context_epoch = 0;
    std::uint32_t enter_tries = 0;
    // An administrator's or a monitor's.
    std::deque<std::string> unsent;
    std::uint64_t lost = 0;
};

/// What a client that is refused is told when there is no descriptor, and nobody who makes room.
inline constexpr const char* no_descriptor = "vinicd may not open more files: its administrator raises the limit";

/// What `what` returns, an error or not.  While that is a lack of descriptors, those who are weakest make room, for
/// connection `but` of account `of`, and it is tried again: each gives back two or so, and no step needs more than six.
template <class F>
auto connections::with_room(account of, number but, F what) {
    constexpr int leave_most = 6;
    auto done = what();
    for (int i = 0; i < leave_most && !done && done.error().os_errno == EMFILE && make_room(of, but); ++i) {
        done = what();
    }
    return done;
}

/// One packet, without waiting; 0 or errno.
[[nodiscard]] int send_packet(int fd, std::string_view bytes);

/// The last packet of a connection that is refused; it arrives whatever the other side has sent or is just sending.
void say_goodbye(int fd, std::string_view bytes);

template <class Packet>
[[nodiscard]] std::string_view bytes_of(const Packet& p) {
    return {reinterpret_cast<const char*>(&p), sizeof p};
}

}  // namespace vinic::vinicd

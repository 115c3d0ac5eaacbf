// SPDX-License-Identifier: Apache-2.0
//
// baggage.hpp -- packets from sockets whose other side may send descriptors along that nobody wants.
//
//   Whoever reads such a packet, or closes a socket in which one lies, drops what came with it; and the last drop of a
//   file may take as long as its maker likes: a TCP socket lingers.  So descriptors are taken out here and closed by
//   threads that may wait.  From Linux 6.16 on none arrives at all (listener.cc).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>

namespace vinic::vinicd {

/// recv(2) without waiting, also where descriptors come along.
[[nodiscard]] ssize_t receive(int fd, std::span<std::byte> into) noexcept;

/// Ends a conversation: nothing comes any more, and what is there is dropped, so that the socket closes at once.
void drain(int fd) noexcept;

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// server.hpp -- the vinicd at the other end of a socket: how it is addressed, and whether it is believed.
//
//     vinicd:PATH                  the function vf0
//     vinicd:PATH#vf3              another; also #pf
//     vinicd:PATH#vf3,user=NAME    the device may also be NAME's
//     vinicd:PATH#user=NAME        likewise, of vf0
//
//   A path may have any character but '#', which it never could have: so the user stands behind that.  The user comes
//   last and takes the rest, for directory services have users with commas, spaces and backslashes in their names.
//
//   The first user to make a socket serves those who connect to its path, and gives out the memory that messages go
//   through.  So that user is believed only when the kernel says that it is root, the client's own user, or a user who
//   was named.  The kernel tells who called listen(): with systemd's sockets that is root, whoever vinicd runs as.
//
//   The window that comes is taken when it cannot change under its client: its size is sealed (a page that goes is
//   SIGBUS), and it is as long as was said.  What lies in it is believed as far as a device file of one's own is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vinic/words.hpp>

namespace vinic::isolated {

/// What stands behind "vinicd:".
struct server_address {
    std::string path;
    std::string function;  ///< empty: not said
    std::string user;      ///< name or number; empty: not said
};
/// Nothing: it is not such an address.
[[nodiscard]] std::optional<server_address> parse_server(std::string_view where);

/// The user whom the environment names, VINIC_VINICD_USER, if the address names none.
[[nodiscard]] std::string believed_user(const server_address& at);

/// The user who listens at the other end of a connected socket is believed; `user` is a name, a number or empty.
/// errc::permission_denied: somebody else listens there; errc::invalid_argument: there is no such user.
[[nodiscard]] result<void> believe_server(int socket, const std::string& user);

/// What is wrong with a window of so many bytes, in words that say what to do; nullptr: nothing.
[[nodiscard]] const char* wrong_with_window(int fd, std::uint64_t bytes) noexcept;

}  // namespace vinic::isolated

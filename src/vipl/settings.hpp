// SPDX-License-Identifier: Apache-2.0
//
// settings.hpp -- what the environment says about opening a NIC: which device a name stands for, and how patient
// connection requests are.  docs/vipl.md has the list.
//
//   a name stands for, in this order:
//     VINIC_VIPL_NICS     "NAME;NAME=DEVICE;..."   there are these NICs and no others; "*": every name
//     without it          a name that ends in a number is there if that is 0: a program that counts VINIC0, VINIC1, ...
//                         until one fails finds one
//     VINIC_VIPL_DEVICE   the device of every NIC that the list gives none
//     itself              shm:NAME; the address shm:NAME or vinicd:PATH#FUNCTION always is
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "vipl/state.hpp"

namespace vipl {

/// An environment variable; nullptr: not set, empty, or not to be believed (a program with the rights of another user).
[[nodiscard]] const char* environment(const char* name) noexcept;
[[nodiscard]] bool is_set(const char* name) noexcept;  ///< to anything but 0

/// What the address of a device begins with.
inline constexpr std::string_view shared_scheme = "shm:";
inline constexpr std::string_view isolated_scheme = "vinicd:";

/// What a name of VipOpenNic stands for.
struct named_device {
    VIP_RETURN code = VIP_SUCCESS;
    std::string device;  ///< the name of a shm: device, or vinicd:PATH#FUNCTION
    std::string why;     ///< a sentence for the user, unless code is VIP_SUCCESS; may be empty
};
[[nodiscard]] named_device device_of(std::string_view program_says);

/// How long a connection request goes on asking for somebody who does not wait yet: VINIC_VIPL_CONNECT_GRACE, a number
/// with a unit ("500ms", "10s", "1min").  False: malformed, and `why` says so.
[[nodiscard]] bool read_grace(std::chrono::milliseconds& grace, std::string& why);

}  // namespace vipl

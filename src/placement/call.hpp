// SPDX-License-Identifier: Apache-2.0
//
// call.hpp -- what each public call that returns a result does at its door.
//
//     result<listener> nic::listen(const address& at) try {
//         const os::cancellation_off inside;
//         ...
//     } catch (const std::exception& e) {
//         return detail::caught(e, "listening");
//     }
//
//   Nothing leaves but the result.  pthread_exit in a handler of the program's and a cancelled wait unwind by something
//   that is not a std::exception: they go through.  tests/tidy sees to it that no door is without.
#pragma once

#include <algorithm>
#include <exception>
#include <expected>
#include <vector>
#include <vinic/vinic.hpp>

#include "os/cancellation.hpp"

namespace vinic::detail {

/// What an exception of the standard library says as an error of ours: out_of_memory, or os_failure.
[[nodiscard]] std::unexpected<error> caught(const std::exception& e, const char* doing) noexcept;

/// Room for so many, now, where what comes later cannot fail.  Grows as push_back does: to ask for one more each time
/// costs nothing to speak of.
template <class T>
void make_room(std::vector<T>& v, std::size_t at_least) {
    if (v.capacity() < at_least) {
        v.reserve(std::max(at_least, v.capacity() * 2));
    }
}

}  // namespace vinic::detail

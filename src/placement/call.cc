// SPDX-License-Identifier: Apache-2.0
//
// call.cc -- from an exception to an error.
#include "placement/call.hpp"

#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

namespace vinic::detail {

std::unexpected<error> caught(const std::exception& e, const char* doing) noexcept {
    error told{errc::os_failure, 0, {}};
    if (dynamic_cast<const std::bad_alloc*>(&e) != nullptr || dynamic_cast<const std::length_error*>(&e) != nullptr) {
        told = {errc::out_of_memory, ENOMEM, {}};
    } else if (const auto* system = dynamic_cast<const std::system_error*>(&e)) {
        told.os_errno = system->code().value();  // a thread could not be started
    }
    try {
        told.doing = doing;
    } catch (const std::bad_alloc&) {
        told.doing.clear();  // there is no memory for words either
    }
    return std::unexpected<error>(std::move(told));
}

}  // namespace vinic::detail

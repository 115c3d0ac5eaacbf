// SPDX-License-Identifier: Apache-2.0
//
// door.cc -- shares a listener among those who wait at it, and closes it behind the last.
#include "vipl/door.hpp"

#include <mutex>

#include "vipl/connect.hpp"

namespace vipl {

void leave_door(nic& n, const std::string& discriminator) noexcept {
    const std::lock_guard hold(n.mutex);
    if (const auto it = n.doors.find(discriminator); it != n.doors.end() && --it->second->users == 0) {
        it->second->listener = {};  // now, so that the next thread that opens the door finds the name free
        n.doors.erase(it);
    }
}

std::shared_ptr<door> enter_door(nic& n, const std::string& discriminator, VIP_RETURN& why) {
    const std::lock_guard hold(n.mutex);
    if (!n.open) {
        why = VIP_INVALID_PARAMETER;
        return nullptr;
    }
    auto& there = n.doors[discriminator];
    if (!there) {
        const vinic::address at(native_name(n.host), std::as_bytes(std::span(discriminator)));
        auto listener = n.native.listen(at);
        if (!listener) {
            n.doors.erase(discriminator);
            why = VIP_ERROR_RESOURCE;
            return nullptr;
        }
        there = std::make_shared<door>();
        there->listener = std::move(*listener);
    }
    ++there->users;
    return there;
}

}  // namespace vipl

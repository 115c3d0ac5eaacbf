// SPDX-License-Identifier: Apache-2.0
//
// door.hpp -- listeners: one is open while a thread sits in VipConnectWait or a request taken from it is unanswered, so
// that a request that nobody waits for is told so at once.
#pragma once

#include <memory>
#include <string>

#include "vipl/state.hpp"

namespace vipl {

/// One use more of the door of that discriminator, which is opened if it was not; nullptr and why not.
[[nodiscard]] std::shared_ptr<door> enter_door(nic& n, const std::string& discriminator, VIP_RETURN& why);
/// Gives up one use of it; the last one closes it.
void leave_door(nic& n, const std::string& discriminator) noexcept;

/// One use of a door, given up unless it stays: also when the thread is cancelled that waits there.
struct door_use {
    nic& n;
    const std::string& discriminator;
    bool stays = false;
    door_use(nic& at, const std::string& d) noexcept : n(at), discriminator(d) {}
    door_use(const door_use&) = delete;
    door_use& operator=(const door_use&) = delete;
    ~door_use() {
        if (!stays) {
            leave_door(n, discriminator);
        }
    }
};

}  // namespace vipl

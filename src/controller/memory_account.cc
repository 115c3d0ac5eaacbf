// SPDX-License-Identifier: Apache-2.0
//
// memory_account.cc -- asking the kernel how much of the limit is left, when what is known does not suffice.
#include "controller/memory_account.hpp"

#include "controller/window.hpp"

namespace vinic::controller {

std::uint64_t memory_account::used(const window& w) const noexcept { return w.used_bytes() + retired(); }

bool memory_account::look_and_take(std::uint32_t pages, const window& w) noexcept {
    const std::lock_guard hold(look_);
    if (take_known(pages)) {
        return true;  // somebody else has looked
    }
    const std::uint64_t used_now = used(w);
    const std::uint64_t most = limit();
    const auto left = static_cast<std::int64_t>(used_now < most ? (most - used_now) / page_bytes : 0);
    if (left < pages) {
        want_room();
        left_.store(0, std::memory_order_relaxed);  // the next one looks again: memory may have been given back
        return false;
    }
    left_.store(left - pages, std::memory_order_relaxed);
    return true;
}

}  // namespace vinic::controller

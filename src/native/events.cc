// SPDX-License-Identifier: Apache-2.0
//
// events.cc -- events of the device, and what the function is given.
#include "placement/call.hpp"
#include "placement/request.hpp"

namespace vinic {

result<device_event> nic::next_event(nanoseconds timeout) try {
    const os::cancellation_off inside;
    constexpr const char* doing = "waiting for an event of the device";
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, doing});
    }
    const auto refuse = [&](errc code) { return std::unexpected(state_->fail(code, doing)); };
    const std::uint64_t deadline = detail::deadline_of(timeout);
    for (;;) {
        inside.point();
        if (state_->forked()) {
            return refuse(errc::forked);
        }
        const auto event = state_->provider->take_event();
        if (!event) {
            return refuse(event.error());
        }
        if (*event) {
            return **event;
        }
        const std::uint64_t now = os::now_ns();
        if (now >= deadline) {
            return refuse(errc::timed_out);
        }
        state_->provider->await_event(deadline - now);
    }
} catch (const std::exception& e) {
    return detail::caught(e, "waiting for an event of the device");
}

result<service_level> nic::current_service_level() const try {
    const os::cancellation_off inside;
    constexpr const char* doing = "asking what the function is given";
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, doing});
    }
    const auto refuse = [&](errc code) { return std::unexpected(state_->fail(code, doing)); };
    if (state_->forked()) {
        return refuse(errc::forked);
    }
    const auto level = state_->provider->service_in_force();
    return level ? result<service_level>(*level) : refuse(level.error());
} catch (const std::exception& e) {
    return detail::caught(e, "asking what the function is given");
}

}  // namespace vinic

// SPDX-License-Identifier: Apache-2.0
//
// events.cc -- events of the device, and what the function is given.
#include "placement/call.hpp"
#include "placement/request.hpp"

namespace vinic {

result<device_event> nic::next_event(nanoseconds timeout) try {
    const os::cancellation_off inside;
    constexpr const char* doing = "waiting for an event of the device";
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, doing});
    }
    const auto refuse = [&](errc code) { return std::unexpected(body_->fail(code, doing)); };
    const std::uint64_t deadline = detail::deadline_of(timeout);
    for (;;) {
        inside.point();
        if (body_->forked()) {
            return refuse(errc::forked);
        }
        const auto event = body_->provider->take_event();
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
        body_->provider->await_event(deadline - now);
    }
} catch (const std::exception& e) {
    return detail::caught(e, "waiting for an event of the device");
}

result<service_level> nic::current_service_level() const try {
    const os::cancellation_off inside;
    constexpr const char* doing = "asking what the function is given";
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, doing});
    }
    const auto refuse = [&](errc code) { return std::unexpected(body_->fail(code, doing)); };
    if (body_->forked()) {
        return refuse(errc::forked);
    }
    const auto level = body_->provider->service_in_force();
    return level ? result<service_level>(*level) : refuse(level.error());
} catch (const std::exception& e) {
    return detail::caught(e, "asking what the function is given");
}

}  // namespace vinic

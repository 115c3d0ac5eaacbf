// SPDX-License-Identifier: Apache-2.0
//
// vectors.cc -- completion vectors, which a NIC of its own keeps.
#include "placement/call.hpp"
#include "placement/nic.hpp"

namespace vinic {

std::uint32_t nic::vectors() const noexcept { return body_ ? body_->provider->vectors() : 0; }

result<void> nic::set_vector(std::uint32_t index, const vector_settings& settings) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "setting a completion vector"});
    }
    const std::string doing = "setting completion vector " + std::to_string(index);
    if (body_->forked()) {
        return std::unexpected(body_->fail(errc::forked, doing));
    }
    if (settings.period.count() < 0) {
        return std::unexpected(body_->fail(errc::invalid_argument, doing + ": a period is not negative"));
    }
    const auto r = body_->provider->set_vector(index, settings);
    if (r) {
        return {};
    }
    const char* why = "";
    if (r.error() == errc::not_supported) {
        why = ": this device has one, which wakes at once";
    } else if (r.error() == errc::invalid_argument) {
        why = ": there are nic::vectors(), and a count above 1 needs a period, of 1 s at most";
    }
    return std::unexpected(body_->fail(r.error(), doing + why));
} catch (const std::exception& e) {
    return detail::caught(e, "setting a completion vector");
}

result<vector_status> nic::vector(std::uint32_t index) const try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "asking for a completion vector"});
    }
    const std::string doing = "asking for completion vector " + std::to_string(index);
    if (body_->forked()) {
        return std::unexpected(body_->fail(errc::forked, doing));
    }
    if (index >= vectors()) {
        return std::unexpected(body_->fail(errc::invalid_argument, doing + ": there is none"));
    }
    const auto r = body_->provider->vector(index);
    return r ? result<vector_status>(*r) : std::unexpected(body_->fail(r.error(), doing));
} catch (const std::exception& e) {
    return detail::caught(e, "asking for a completion vector");
}

}  // namespace vinic

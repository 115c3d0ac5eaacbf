// SPDX-License-Identifier: Apache-2.0
//
// vectors.cc -- completion vectors, which the isolated placement's device keeps.
#include <algorithm>
#include <limits>

#include "native/state.hpp"

namespace vinic {

std::uint32_t nic::vectors() const noexcept {
    if (!state_) {
        return 0;
    }
    if (!state_->isolated) {
        return 1;
    }
    const auto& identity = *state_->memory->at<abi::identity_page>(abi::identity_offset);
    return std::clamp<std::uint32_t>(identity.vectors.load_relaxed(), 1, abi::vectors_max);
}

result<void> nic::set_vector(std::uint32_t index, const vector_settings& settings) try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "setting a completion vector"});
    }
    const std::string doing = "setting completion vector " + std::to_string(index);
    if (state_->forked()) {
        return std::unexpected(state_->fail(errc::forked, doing));
    }
    if (!state_->isolated) {
        return std::unexpected(state_->fail(errc::not_supported, doing + ": direct placement wakes at once"));
    }
    if (settings.period.count() < 0) {
        return std::unexpected(state_->fail(errc::invalid_argument, doing + ": a period is not negative"));
    }
    const std::uint64_t flags = abi::change_vector | (settings.masked ? std::uint64_t{abi::vector_masked} : 0);
    const auto r = state_->isolated->call(
        abi::verb::vector, {index, flags, settings.count, static_cast<std::uint64_t>(settings.period.count())});
    if (!r.ok()) {
        const char* why = r.code == errc::invalid_argument
                              ? ": there are nic::vectors(), and a count above 1 needs a period, of 1 s at most"
                              : "";
        return std::unexpected(state_->fail(r.code, doing + why));
    }
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "setting a completion vector");
}

result<vector_status> nic::vector(std::uint32_t index) const try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "asking for a completion vector"});
    }
    const std::string doing = "asking for completion vector " + std::to_string(index);
    if (state_->forked()) {
        return std::unexpected(state_->fail(errc::forked, doing));
    }
    if (index >= vectors()) {
        return std::unexpected(state_->fail(errc::invalid_argument, doing + ": there is none"));
    }
    if (!state_->isolated) {
        return vector_status{};
    }
    const auto r = state_->isolated->call(abi::verb::vector, {index});
    if (!r.ok()) {
        return std::unexpected(state_->fail(r.code, doing));
    }
    return vector_status{{(r.value[1] & abi::vector_masked) != 0, static_cast<std::uint32_t>(r.value[2]),
                          nanoseconds(static_cast<std::int64_t>(r.value[3]))},
                         static_cast<std::uint32_t>(r.value[0])};
} catch (const std::exception& e) {
    return detail::caught(e, "asking for a completion vector");
}

}  // namespace vinic

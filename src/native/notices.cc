// SPDX-License-Identifier: Apache-2.0
//
// notices.cc -- events of the device, and what the function is given.
#include "native/notices.hpp"

#include <algorithm>

#include "native/request.hpp"
#include "native/state.hpp"
#include "os/sync.hpp"

namespace vinic {

namespace detail {

namespace {

constexpr std::uint64_t slice_ns = 20'000'000;
constexpr int reads_max = 1000;

service_level level_of(const abi::notice_words& w) noexcept {
    return {.guarantee_bytes_per_second = w.guarantee,
            .cap_bytes_per_second = w.cap,
            .weight = w.weight,
            .priority = w.priority};
}

}  // namespace

std::optional<device_event> notice_reader::take() noexcept {
    const std::lock_guard hold(mutex_);
    const std::uint32_t count = board_.count.load_acquire();
    if (const std::uint32_t behind = count - read_; behind > abi::notices_kept) {
        lost_ += behind - abi::notices_kept;
        read_ = count - abi::notices_kept;
    }
    while (read_ != count) {
        const std::uint32_t n = read_++;
        abi::notice_words w{};
        if (!board_.line[n % abi::notices_kept].read(n + 1, w) || w.kind == 0 || w.kind > abi::notice_last) {
            ++lost_;  // overtaken just now
            continue;
        }
        return device_event{.kind = static_cast<device_event_kind>(w.kind),
                            .service = level_of(w),
                            .lost = std::exchange(lost_, 0),
                            .time_ns = nanoseconds(w.time_ns)};
    }
    return std::nullopt;
}

void notice_reader::sleep(std::uint64_t at_most_ns) noexcept {
    std::uint32_t seen = 0;
    {
        const std::lock_guard hold(mutex_);
        seen = read_;
    }
    os::futex_wait(&board_.count.raw_, seen, std::min(at_most_ns, slice_ns));
}

std::optional<service_level> notice_reader::in_force() const noexcept {
    abi::notice_words w{};
    for (int i = 0; i < reads_max; ++i) {
        const std::uint32_t number = board_.in_force.sequence.load_acquire();
        if (number != 0 && board_.in_force.read(number, w)) {
            return level_of(w);
        }
        std::this_thread::yield();  // the device is between two words
    }
    return std::nullopt;
}

}  // namespace detail

result<device_event> nic::next_event(nanoseconds timeout) try {
    const os::cancellation_off inside;
    constexpr const char* doing = "waiting for an event of the device";
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, doing});
    }
    const auto refuse = [&](errc code) { return std::unexpected(state_->fail(code, doing)); };
    if (!state_->isolated) {
        return refuse(errc::not_supported);
    }
    const std::uint64_t deadline = detail::deadline_of(timeout);
    for (;;) {
        inside.point();
        if (state_->forked()) {
            return refuse(errc::forked);
        }
        const bool gone = state_->isolated->found_gone();  // looked at first: its last words were written before
        if (const auto event = state_->isolated->notices.take()) {
            return *event;
        }
        if (gone) {
            return refuse(errc::peer_gone);
        }
        const std::uint64_t now = os::now_ns();
        if (now >= deadline) {
            return refuse(errc::timed_out);
        }
        state_->isolated->notices.sleep(deadline - now);
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
    if (!state_->isolated) {
        return refuse(errc::not_supported);
    }
    if (state_->forked()) {
        return refuse(errc::forked);
    }
    if (state_->isolated->found_gone()) {
        return refuse(errc::peer_gone);
    }
    const auto level = state_->isolated->notices.in_force();
    return level ? result<service_level>(*level) : refuse(errc::busy);
} catch (const std::exception& e) {
    return detail::caught(e, "asking what the function is given");
}

}  // namespace vinic

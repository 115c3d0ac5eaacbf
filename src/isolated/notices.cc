// SPDX-License-Identifier: Apache-2.0
//
// notices.cc -- reads the board that the device writes.
#include "isolated/notices.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "os/sync.hpp"

namespace vinic::isolated {

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

}  // namespace vinic::isolated

// SPDX-License-Identifier: Apache-2.0
//
// ask.cc -- asking for a connection with somebody who may not wait yet.
#include <algorithm>
#include <chrono>
#include <thread>

#include "os/cancellation.hpp"
#include "vipl/connect.hpp"

namespace vipl {

namespace {

constexpr auto interval_least = std::chrono::milliseconds(1);
constexpr auto interval_most = std::chrono::milliseconds(20);

}  // namespace

/// The device tells nobody that a name has appeared, so it is asked anew, at growing intervals.
vinic::result<vinic::peer_information> ask(vi& v, std::uint32_t disconnects, const vinic::address& to,
                                           VIP_ULONG timeout_ms, std::span<const std::byte> data) {
    using clock = std::chrono::steady_clock;
    const vinic::os::cancellation_off inside;
    const auto whole = duration_of(timeout_ms);
    const auto patience = std::min<vinic::nanoseconds>(v.owner->grace, whole);
    const auto begin = clock::now();
    auto left = whole;
    for (auto interval = interval_least;; interval = std::min(2 * interval, interval_most)) {
        auto peer = v.native.connect(to, left, data);
        if (peer || peer.error().code != vinic::errc::no_listener || clock::now() - begin + interval >= patience) {
            return peer;
        }
        std::this_thread::sleep_for(interval);
        if (v.disconnects.load() != disconnects) {
            return std::unexpected(vinic::error{vinic::errc::invalid_state, 0, "connecting"});
        }
        if (whole != vinic::forever) {
            left = std::max<vinic::nanoseconds>(whole - (clock::now() - begin), std::chrono::milliseconds(1));
        }
    }
}

}  // namespace vipl

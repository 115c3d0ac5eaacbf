// SPDX-License-Identifier: Apache-2.0
//
// baselines.hpp -- the two orders that the arbiter is compared with.  Neither looks at bytes, classes or caps.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "controller/scheduler.hpp"

namespace vinic::controller {

/// Functions that have something to grant, each once, in turn.
class function_round {
public:
    void offer(std::uint32_t function) noexcept {
        if (!waiting_[function]) {
            waiting_[function] = true;
            ring_[(first_ + count_++) % functions_max] = static_cast<std::uint16_t>(function);
        }
    }
    /// `offered` tells which ones still have something.
    template <class Offered>
    std::optional<std::uint32_t> choose(Offered&& offered) noexcept {
        while (count_ > 0) {
            const std::uint32_t function = ring_[first_];
            first_ = (first_ + 1) % functions_max;
            --count_;
            waiting_[function] = false;
            if (offered(function)) {
                return function;
            }
        }
        return std::nullopt;
    }

private:
    std::array<std::uint16_t, functions_max> ring_{};
    std::array<bool, functions_max> waiting_{};
    std::uint32_t first_ = 0;
    std::uint32_t count_ = 0;
};

/// VIs in the order in which they became ready.
class arrivals {
public:
    void arrive(vi_name vi, std::uint64_t now_ns) { list_.push_back({vi, now_ns}); }
    /// `waiting` tells whether the VI that arrived then is still waiting since.
    template <class Waiting>
    std::optional<vi_name> choose(Waiting&& waiting) {
        while (!list_.empty()) {
            const arrival first = list_.front();
            list_.pop_front();
            if (waiting(first.vi, first.ready_ns)) {
                return first.vi;
            }
        }
        return std::nullopt;
    }

private:
    struct arrival {
        vi_name vi;
        std::uint64_t ready_ns;
    };
    std::deque<arrival> list_;
};

}  // namespace vinic::controller

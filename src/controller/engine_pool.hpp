// SPDX-License-Identifier: Apache-2.0
//
// engine_pool.hpp -- which engines are idle, and what the others are doing.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "controller/operation_queues.hpp"
#include "controller/scheduler.hpp"

namespace vinic::controller {

class engine_pool {
public:
    /// What an engine is busy with.
    struct task {
        vi_name vi;
        queued_vi* entry = nullptr;
        std::uint32_t generation = 0;  // of the function, which may be removed meanwhile
        bool by_reservation = false;
    };

    explicit engine_pool(std::uint32_t engines) noexcept
        : idle_(engines == engines_max ? ~0ULL : (1ULL << engines) - 1) {}

    [[nodiscard]] bool any_idle() const noexcept { return idle_ != 0; }
    [[nodiscard]] bool busy(std::uint32_t engine) const noexcept {
        return engine < engines_max && ((busy_ >> engine) & 1) != 0;
    }
    /// The lowest idle engine: the higher ones may sleep longest.
    [[nodiscard]] std::uint32_t first_idle() const noexcept {
        return static_cast<std::uint32_t>(std::countr_zero(idle_));
    }
    void take(std::uint32_t engine) noexcept {
        idle_ &= ~(1ULL << engine);
        busy_ |= 1ULL << engine;
    }
    void give_back(std::uint32_t engine) noexcept {
        idle_ |= 1ULL << engine;
        busy_ &= ~(1ULL << engine);
    }
    /// Filled in place: a copy of what has just been written piece by piece would have to wait for it.
    [[nodiscard]] task& of(std::uint32_t engine) noexcept { return tasks_[engine]; }

private:
    std::uint64_t idle_;
    std::uint64_t busy_ = 0;
    std::array<task, engines_max> tasks_{};
};

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// doorbell_walk.hpp -- watches over a walk through many doorbell areas, so that it ends before it takes too long.
#pragma once

#include <utility>

#include "controller/doorbells.hpp"

namespace vinic::controller {

/// Pages are made in a microsecond or more each; what is there takes a hundredth of that.  The clock is looked at
/// after every few areas.
class doorbells::walk {
public:
    static constexpr std::uint32_t areas_between_looks = 16;

    walk(clock now, std::uint64_t most_ns) : now_(now), most_ns_(most_ns), since_(now == nullptr ? 0 : now()) {}
    /// After an area.  True: this takes too long.
    [[nodiscard]] bool step() { return ++steps_ % areas_between_looks == 0 && is_over(); }
    [[nodiscard]] bool is_over() const { return now_ != nullptr && now_() - since_ > most_ns_; }
    /// As step(), but the time counts for the last few areas only, so that a walk over very many may end.
    [[nodiscard]] bool step_slowly() {
        if (now_ == nullptr || ++steps_ % areas_between_looks != 0) {
            return false;
        }
        const std::uint64_t begun = std::exchange(since_, now_());
        return since_ - begun > most_ns_;
    }

private:
    clock now_;
    std::uint64_t most_ns_;
    std::uint64_t since_;
    std::uint32_t steps_ = 0;
};

}  // namespace vinic::controller

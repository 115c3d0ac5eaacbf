// SPDX-License-Identifier: Apache-2.0
//
// random.hpp -- numbers that one seed makes again.
#pragma once

#include <cstdint>

namespace torture {

/// splitmix64: small, and good enough to choose what to break next.
class random {
public:
    explicit random(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept {
        state_ += 0x9e37'79b9'7f4a'7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebULL;
        return z ^ (z >> 31);
    }
    /// 0 to n - 1.
    std::uint64_t below(std::uint64_t n) noexcept { return next() % n; }
    [[nodiscard]] bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }
    /// A seed for somebody else, which differs for every `salt`.
    [[nodiscard]] std::uint64_t fork(std::uint64_t salt) const noexcept {
        random r(state_ ^ (salt * 0xd6e8'feb8'6659'fd93ULL));
        return r.next();
    }

private:
    std::uint64_t state_;
};

}  // namespace torture

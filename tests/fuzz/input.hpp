// SPDX-License-Identifier: Apache-2.0
//
// input.hpp -- bytes that somebody else chose, cut into decisions.  When they are used up every decision is 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace fuzz {

/// vinic broke a promise.
struct violation : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* promise) {
    if (!holds)
        throw violation(promise);
}
inline void require(bool holds, const std::string& promise) { require(holds, promise.c_str()); }

class input {
public:
    explicit input(std::span<const std::uint8_t> bytes) : left_(bytes) {}
    [[nodiscard]] bool empty() const { return left_.empty(); }
    std::uint8_t byte() {
        if (left_.empty())
            return 0;
        const std::uint8_t b = left_.front();
        left_ = left_.subspan(1);
        return b;
    }
    /// 0 to n - 1; n is at most 65536.
    std::uint32_t below(std::uint32_t n) {
        std::uint32_t value = byte();
        if (n > 256)
            value = value << 8 | byte();
        return value % n;
    }
    bool one_in(std::uint32_t n) { return below(n) == n - 1; }
    /// One of the elements.
    template <class Range>
    auto& of(Range& all) {
        return all[below(static_cast<std::uint32_t>(std::size(all)))];
    }
    std::uint64_t word() {
        std::uint64_t value = 0;
        for (int i = 0; i < 8; ++i) value = value << 8 | byte();
        return value;
    }
    std::vector<std::byte> bytes(std::size_t n) {
        std::vector<std::byte> cut(n);
        for (std::byte& b : cut) b = std::byte{byte()};
        return cut;
    }
    std::string text(std::size_t n) {
        std::string cut(n, ' ');
        for (char& c : cut) c = static_cast<char>(byte());
        return cut;
    }

private:
    std::span<const std::uint8_t> left_;
};

}  // namespace fuzz

// SPDX-License-Identifier: Apache-2.0
//
// overheard.hpp -- what a library prints, waited for as it comes: no time has to be guessed.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fixture.hpp"

namespace vipl_test {

/// What this process writes to its standard error while the object lives, as it comes.
class overheard {
public:
    overheard() : kept_(::dup(STDERR_FILENO)) {
        std::array<int, 2> ends{};
        if (kept_ < 0 || ::pipe(ends.data()) != 0 || ::dup2(ends[1], STDERR_FILENO) < 0) {
            throw std::runtime_error("standard error cannot be led through a pipe");
        }
        ::close(ends[1]);
        from_ = ends[0];
    }
    overheard(const overheard&) = delete;
    overheard& operator=(const overheard&) = delete;
    ~overheard() {
        ::dup2(kept_, STDERR_FILENO);
        ::close(kept_);
        ::close(from_);
    }
    /// Waits until this was written.
    bool comes(std::string_view what) {
        while (!words_.contains(what)) {
            pollfd ready{.fd = from_, .events = POLLIN, .revents = 0};
            std::array<char, 512> some{};
            const ssize_t n = ::poll(&ready, 1, patience_ms) == 1 ? ::read(from_, some.data(), some.size()) : -1;
            if (n <= 0) {
                return false;
            }
            words_.append(some.data(), static_cast<std::size_t>(n));
        }
        return true;
    }
    [[nodiscard]] const std::string& words() const noexcept { return words_; }

private:
    int kept_;
    int from_ = -1;
    std::string words_;
};

}  // namespace vipl_test

// SPDX-License-Identifier: Apache-2.0
//
// control.h -- how the parent tells its two programs what to do next, one line at a time.
//
// Nothing of what is measured or transferred goes this way: it carries "start" and "done" and
// the figures to print.  A socket that keeps message borders makes a line one call.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

class control {
public:
    explicit control(int descriptor) : descriptor_(descriptor) {}
    control(control&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    control(const control&) = delete;
    control& operator=(const control&) = delete;
    control& operator=(control&&) = delete;
    ~control();

    /// The parent's end, and the descriptor that its child inherits.
    static std::pair<control, int> make_pair();

    void send(std::string_view line);
    /// Fails when the other side is gone or says nothing for that long.
    std::string receive(std::chrono::seconds patience);
    /// As receive, but false when the other side has closed; waits as long as it takes.
    bool receive_or_end(std::string& line);

private:
    int descriptor_;
};

/// The words of a line.
std::vector<std::string> words_of(std::string_view line);

}  // namespace demo

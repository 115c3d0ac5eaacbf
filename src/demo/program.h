// SPDX-License-Identifier: Apache-2.0
//
// program.h -- a program that the demonstration starts: the sender or the receiver.
//
// It is exec'd, not forked on: it shares no memory, no descriptor (but its control socket) and no
// state with its parent or with the other program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control.h"
#include "machine.h"

namespace demo {

/// What a started program is told on its command line.
struct role_options {
    std::string role;  ///< "sender" or "receiver"
    std::string device;
    std::string directory;  ///< empty: the library's default
    std::string file;
    std::uint64_t file_bytes = 0;
    int processor = 0;
    bool polling = true;  ///< two processors: completions are polled
};

class program {
public:
    explicit program(const role_options& options);
    program(const program&) = delete;
    program& operator=(const program&) = delete;
    /// Ends the process the hard way if it was not finished.
    ~program();

    void tell(std::string_view line) { control_.send(line); }
    /// Waits for a line that starts with `word` and gives the words after it.
    std::vector<std::string> expect(std::string_view word);
    std::vector<std::string> ask(std::string_view line, std::string_view word) {
        tell(line);
        return expect(word);
    }

    /// SIGSTOP; returns when the kernel says that the process is stopped.
    void stop();
    void go_on() const;
    /// Lets it end by itself and checks that it did so well.
    void finish();
    [[nodiscard]] int process_id() const { return process_id_; }

private:
    program(const role_options& options, std::pair<control, int> ends);

    std::string role_;
    control control_;
    int process_id_ = -1;
};

/// The life of such a program.  Returns its exit code.
int run_role(const std::vector<std::string>& arguments);

/// The word that makes this program run_role.
inline constexpr std::string_view role_word = "--as-role";
inline constexpr int control_descriptor = 3;

}  // namespace demo

// SPDX-License-Identifier: Apache-2.0
//
// process.hpp -- children of a test, and the words that it exchanges with them.
//
//     test process                                 child
//     process b(body);  ---- fork, before ---->    body(channel)
//     b.hear("ready")   <------- words ---------   to_parent.say("ready")
//     b.kill_now() / b.stop() / b.go_on()
//     EXPECT_EQ(b.exit_code(), 0)                  returns, or throws: exit code 1
//
// A child ends with its parent, and is ended by its own pid when the object goes.  Nothing here waits for ever:
// `patience` guards against hanging and says nothing about speed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vinic/vinic.hpp>

namespace multi {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

/// Longest wait for something that must happen.
inline constexpr auto patience = std::chrono::seconds(60);

/// The value, or an exception that names the place.
template <class T>
T must(vinic::result<T> outcome, std::source_location where = std::source_location::current()) {
    if (!outcome) {
        throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": " +
                                 vinic::name(outcome.error().code) + ": " + outcome.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*outcome);
    }
}
void must(vinic::errc code, std::source_location where = std::source_location::current());
void require(bool condition, std::string_view what, std::source_location where = std::source_location::current());

template <class T>
[[nodiscard]] vinic::errc code_of(const vinic::result<T>& outcome) {
    return outcome ? vinic::errc::ok : outcome.error().code;
}

/// Whether `condition` becomes true.
template <class Condition>
[[nodiscard]] bool comes_true(Condition condition, std::chrono::nanoseconds limit = patience) {
    const auto end = steady::now() + limit;
    while (!condition()) {
        if (steady::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(200us);
    }
    return true;
}

[[nodiscard]] inline double milliseconds_since(steady::time_point start) {
    return std::chrono::duration<double, std::milli>(steady::now() - start).count();
}

// -- processes --------------------------------------------------------------------------------

/// Words between a test and its child.
class channel {
public:
    explicit channel(int fd) noexcept : fd_(fd) {}
    channel(channel&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
    channel& operator=(channel&&) = delete;
    ~channel();
    void say(std::string_view word);
    /// The next word; an exception when none comes in time or the other side has gone.
    [[nodiscard]] std::string hear(std::chrono::milliseconds limit = patience);
    /// The next word must be this one.
    void hear(std::string_view expected);
    /// Whether a word waits.
    [[nodiscard]] bool has_word();
    void say_number(std::uint64_t n) { say(std::to_string(n)); }
    [[nodiscard]] std::uint64_t hear_number() { return std::stoull(hear()); }

private:
    int fd_;
};

class process {
public:
    /// `body` runs in the child; what it throws is printed and makes the exit code 1.
    explicit process(const std::function<void(channel&)>& body);
    process(process&&) noexcept = default;
    process& operator=(process&&) = delete;
    ~process();

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    void say(std::string_view word) { words_.say(word); }
    [[nodiscard]] std::string hear() { return words_.hear(); }
    void hear(std::string_view expected) { words_.hear(expected); }
    [[nodiscard]] std::uint64_t hear_number() { return words_.hear_number(); }
    void say_number(std::uint64_t n) { words_.say_number(n); }

    /// SIGKILL; returns when the process is gone.
    void kill_now();
    /// SIGSTOP; returns when every thread of it stands still.
    void stop();
    void go_on();
    /// The same if it has ended by now.
    [[nodiscard]] std::optional<int> ended() { return reap(false); }
    /// Its exit code, or 128 + the signal that ended it; an exception when it does not end.
    [[nodiscard]] int exit_code();

private:
    struct owned_pid {
        pid_t value = -1;
        explicit owned_pid(pid_t v) noexcept : value(v) {}
        owned_pid(owned_pid&& o) noexcept : value(std::exchange(o.value, -1)) {}
        operator pid_t() const noexcept { return value; }
    };
    process(pid_t pid, int fd) : pid_(pid), words_(fd) {}
    static process start(const std::function<void(channel&)>& body);
    [[nodiscard]] std::optional<int> reap(bool wait);

    owned_pid pid_;
    channel words_;
    std::optional<int> ended_;
};

}  // namespace multi

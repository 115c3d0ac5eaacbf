// SPDX-License-Identifier: Apache-2.0
//
// child.hpp -- processes that are this test program again, started anew in a role of their own.
//
//     child server("echo");      ---- fork and exec, --role=echo ---->   role "echo" runs
//     server.words.hear(...)     <------------- words ---------------    words.say(...)
//     server.exit_code()                                                  returns, or throws: exit code 1
#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fixture.hpp"
#include "multi/process.hpp"

namespace vipl_test {

/// A process in a role.  It ends with its parent, and is ended by its own pid when the object goes.
class child {
public:
    using variable = std::pair<const char*, std::string>;
    /// With these environment variables beside those of the parent.
    explicit child(const std::string& role, std::initializer_list<variable> environment = {});
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    ~child();

    /// SIGKILL; returns when it is gone.
    void kill_now();
    /// Its exit code, or 128 + the signal that ended it; an exception when it does not end.
    [[nodiscard]] int exit_code();
    /// What it has written to stderr up to now.
    [[nodiscard]] std::string errors();

private:
    struct started {
        pid_t pid;
        int words;
        int errors;
    };
    explicit child(started s) : words(s.words), pid_(s.pid), errors_(s.errors) {}
    static started start(const std::string& role, std::initializer_list<variable> environment);
    [[nodiscard]] bool has_ended(bool wait);

public:
    multi::channel words;

private:
    pid_t pid_;
    int errors_;
    std::optional<int> ended_;
};

/// Connects an endpoint of this process with a server in another one.
void connect_to(endpoint& e, net_address to);
void connect_to(endpoint& e, const std::string& discriminator);

/// Runs the role that the arguments name, if they name one: the exit code.
[[nodiscard]] std::optional<int> run_role(int argument_count, char** arguments);

}  // namespace vipl_test

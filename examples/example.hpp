// SPDX-License-Identifier: Apache-2.0
//
// example.hpp -- what the examples share: errors end them with a sentence, and main picks a role.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#include <vinic/vinic.hpp>

/// Caught by run(), so that every object is destroyed: the last one out removes the device.
[[noreturn]] inline void fail(const std::string& message) { throw std::runtime_error(message); }

/// The value of a set-up call.  Its message says what was tried, why it failed and what to do.
template <class T>
T must(vinic::result<T> outcome) {
    if (!outcome) {
        fail(outcome.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*outcome);
    }
}

/// The device that an example opens, unless VINIC_DEVICE names another one, such as vinicd:PATH#vf0.
inline std::string device(const char* address) {
    const char* other = std::getenv("VINIC_DEVICE");
    return other != nullptr && *other != 0 ? other : address;
}

/// For calls of the data path, which return a bare code.
inline void must(vinic::errc code) {
    if (code != vinic::errc::ok) {
        fail(vinic::describe(code));
    }
}

/// The next completion of a queue, which must be a success.
inline vinic::completion next(vinic::completion_queue& cq) {
    vinic::completion done[1];
    if (must(cq.wait(done, std::chrono::seconds(10))) == 0) {
        fail("nothing completed in 10 s");
    }
    if (done[0].status != vinic::status::success) {
        fail(std::string(vinic::name(done[0].opcode)) + " ended with " + vinic::name(done[0].status));
    }
    return done[0];
}

/// For whoever starts the other side after this one, be it a person or a script.
inline void say_listening() {
    std::puts("listening");
    std::fflush(stdout);
}

/// One of the programs that an example is, such as its server.
struct role {
    std::string name;
    std::string argument;  ///< what its argument is called; empty if it takes none
    void (*play)(const std::string& argument);
};

/// main: plays the role that the command line names.  1 is a failure, 2 wrong usage.
inline int run(int argc, char** argv, const std::vector<role>& roles) {
    for (const auto& r : roles) {
        if (argc == (r.argument.empty() ? 2 : 3) && r.name == argv[1]) {
            try {
                r.play(argc == 3 ? argv[2] : "");
                return 0;
            } catch (const std::exception& problem) {
                std::fprintf(stderr, "%s\n", problem.what());
                return 1;
            }
        }
    }
    for (const auto& r : roles) {
        std::fprintf(stderr, "usage: %s %s %s\n", argv[0], r.name.c_str(), r.argument.c_str());
    }
    return 2;
}

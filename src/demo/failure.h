// SPDX-License-Identifier: Apache-2.0
//
// failure.h -- the one way in which the demonstration gives up.
//
// The program is straight-line work in three processes; whatever goes wrong ends it with one
// sentence.  So its parts throw a failure, and main turns that into a message and exit code 1.
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <stdexcept>
#include <string>
#include <utility>

#include "vinic/vinic.hpp"

namespace demo {

struct failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Fails with "what: the operating system's words".
[[noreturn]] inline void fail_with_errno(const std::string& what) { throw failure(what + ": " + std::strerror(errno)); }

/// The value of a set-up call, or its error's full message.
template <class T>
T must(vinic::result<T> outcome) {
    if (!outcome) {
        throw failure(outcome.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*outcome);
    }
}

/// For calls of the data path.
inline void must(vinic::errc code, const char* what) {
    if (code != vinic::errc::ok) {
        throw failure(std::string(what) + ": " + vinic::describe(code));
    }
}

}  // namespace demo

// SPDX-License-Identifier: Apache-2.0
//
// bench_failure.hpp -- how a benchmark gives up: one exception that carries the sentence for the
// user.  It never leaves the command line; the library itself throws nothing.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "vinic/vinic.hpp"

namespace vinic::cli::bench {

struct failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The value of a set-up call, or its error as a failure.
template <class T>
[[nodiscard]] T take(result<T>&& outcome) {
    if (!outcome) {
        throw failure(outcome.error().message());
    }
    return std::move(*outcome);
}
inline void take(result<void>&& outcome) {
    if (!outcome) {
        throw failure(outcome.error().message());
    }
}

[[noreturn]] inline void refuse(const char* doing, errc code) {
    throw failure(std::string(doing) + ": " + describe(code));
}

/// For data-path calls: anything but ok ends the run.
inline void expect_ok(const char* doing, errc code) {
    if (code != errc::ok) [[unlikely]] {
        refuse(doing, code);
    }
}

inline void expect_success(const completion& done) {
    if (done.status != status::success) [[unlikely]] {
        throw failure(std::string("a descriptor (") + name(done.opcode) + ") ended with " + name(done.status));
    }
}

}  // namespace vinic::cli::bench

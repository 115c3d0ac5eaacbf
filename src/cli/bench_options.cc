// SPDX-License-Identifier: Apache-2.0
//
// bench_options.cc -- the words for measurements and operations.
#include "cli/bench_options.hpp"

namespace vinic::cli::bench {

const char* name(measurement what) noexcept {
    switch (what) {
        case measurement::latency:
            return "lat";
        case measurement::bandwidth:
            return "bw";
        case measurement::rate:
            return "rate";
    }
    return "?";
}

const char* name(operation what) noexcept {
    switch (what) {
        case operation::send:
            return "send";
        case operation::write:
            return "write";
        case operation::read:
            return "read";
        case operation::atomic:
            return "atomic";
    }
    return "?";
}

}  // namespace vinic::cli::bench

// SPDX-License-Identifier: Apache-2.0
//
// script_fuzz.cc -- libFuzzer writes the scripts.
#include <cstdio>
#include <cstdlib>

#include "directory.hpp"
#include "runner.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fuzz::directory where;
    try {
        (void)fuzz::play(where.path(), std::span(data, size));
    } catch (const fuzz::violation& v) {
        std::fprintf(stderr, "%s\n", v.what());
        std::abort();
    }
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// address_fuzz.cc -- libFuzzer writes device addresses, directories, groups, names and discriminators.
#include <cstdio>
#include <cstdlib>

#include "addresses.hpp"
#include "directory.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fuzz::directory where;
    try {
        fuzz::try_addresses(where.path(), std::span(data, size));
    } catch (const fuzz::violation& v) {
        std::fprintf(stderr, "VIOLATED: %s\n", v.what());
        std::abort();
    }
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// print_words.cc -- what the library says about each error code and status, for docs/errors.md.
//
// One line each: kind, number, name, sentence, with tabs between.  Numbers that the library does
// not know are asked for too; scripts/errors_page.py takes those that the header names.
#include <cstdio>

#include "vinic/vinic.hpp"

int main() {
    for (std::int32_t number = 0; number < 64; ++number) {
        const auto code = static_cast<vinic::errc>(number);
        std::printf("errc\t%d\t%s\t%s\n", number, vinic::name(code), vinic::describe(code));
    }
    for (std::uint8_t number = 0; number < vinic::status_count; ++number) {
        std::printf("status\t%d\t%s\t\n", number, vinic::name(static_cast<vinic::status>(number)));
    }
}

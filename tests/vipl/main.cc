// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- the tests of the VIPL face whose sides are threads of one process.
#include "fixture.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// These tests look at memory while a peer writes to it, which is what they are about: to the language a race, to the
// architecture a promise.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:tail_word_is_visible_last_Test\n"; }
#endif
#endif

int main(int argument_count, char** arguments) { return vipl_test::run_suite(argument_count, arguments); }

// SPDX-License-Identifier: Apache-2.0
//
// process_main.cc -- the tests of the VIPL face whose sides are processes; or one of these processes.
#include "child.hpp"
#include "fixture.hpp"

int main(int argument_count, char** arguments) {
    if (const auto code = vipl_test::run_role(argument_count, arguments)) {
        return *code;
    }
    return vipl_test::run_suite(argument_count, arguments);
}

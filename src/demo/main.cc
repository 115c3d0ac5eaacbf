// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- vinic-demo [FILE]: the program behind ./run.
//
//   main --> show (the order of things) --> program (starts and commands two processes)
//                                              |
//            role (what such a process does) <-'--> vinic_path, socket_path, bypass
//        '-> tenants (the second act: a vinicd and its tenants)
//
// Exit code 0: everything was transferred and verified.  1: something was not, with a sentence on
// standard error.  2: wrong usage.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "machine.h"
#include "program.h"
#include "report.h"
#include "show.h"
#include "tenants.h"

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    if (!arguments.empty() && arguments[0] == demo::role_word) {
        return demo::run_role({arguments.begin() + 1, arguments.end()});
    }
    if (!arguments.empty() && arguments[0] == demo::tenant_word) {
        return demo::run_tenant({arguments.begin() + 1, arguments.end()});
    }
    const bool asks_for_help = !arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h");
    if (asks_for_help || arguments.size() > 1 || (!arguments.empty() && arguments[0].starts_with("-"))) {
        std::fputs(
            "usage: vinic-demo [FILE]\n"
            "Sends FILE (by default one of this machine's larger ones) from one process to another\n"
            "over vinic, a Unix socket and TCP loopback, verifies and compares; then shows tenants of a vinicd.\n",
            asks_for_help ? stdout : stderr);
        return asks_for_help ? 0 : 2;
    }
    try {
        demo::print(demo::show(arguments.empty() ? demo::choose_file() : arguments[0]));
        demo::show_tenants();
        if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
            throw std::runtime_error(std::string("writing the output: ") + std::strerror(errno));
        }
        return 0;
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "vinic-demo: %s\n", problem.what());
        return 1;
    }
}

// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- the program `vinicd`.  Exit codes: 0 done, 1 failed, 2 not understood.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "vinicd/program.hpp"

namespace {

/// What is refused here is told with its cure; the general words of the code would only make it longer.
std::string sentence(const vinic::error& e) {
    const bool whole =
        e.os_errno == 0 && (e.code == vinic::errc::invalid_argument || e.code == vinic::errc::name_in_use);
    return whole ? e.doing : e.message();
}

/// A program that was started with its output closed would write its log into the next file that it opens.
bool open_standard_files() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) {
            return false;
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    using namespace vinic::vinicd;
    // The reader of the log, or of an answer, may go at any time: that is an error of one write, not the end of the
    // NIC.
    std::signal(SIGPIPE, SIG_IGN);
    if (!open_standard_files()) {
        return 1;
    }
    try {
        auto line = read_command_line(argc, argv);
        if (!line) {
            std::FILE* to = line.error().exit_code == 0 ? stdout : stderr;
            std::fputs(line.error().text.c_str(), to);
            return std::fflush(to) == 0 ? line.error().exit_code : 1;
        }
        if (line->check_config) {
            std::puts(
                line->wanted.socket.empty()
                    ? "the configuration is in order; it names no socket: give --socket, or let systemd hand one over"
                    : "the configuration is in order");
            return std::fflush(stdout) == 0 ? 0 : 1;
        }
        program p(std::move(*line));
        if (const auto ended = p.run(); !ended) {
            p.say("vinicd: " + sentence(ended.error()));
            return 1;
        }
        return 0;
    } catch (const std::exception& why) {
        std::fprintf(stderr, "vinicd: %s\n", why.what());
        return 1;
    }
}

// SPDX-License-Identifier: Apache-2.0
//
// control.cc -- see control.h.
#include "control.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <sstream>

#include "failure.h"

namespace demo {

control::~control() {
    if (descriptor_ >= 0) {
        close(descriptor_);
    }
}

std::pair<control, int> control::make_pair() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        fail_with_errno("cannot make a socket pair");
    }
    return {control(ends[0]), ends[1]};
}

void control::send(std::string_view line) {
    if (::send(descriptor_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
        fail_with_errno("the other program is gone");
    }
}

std::string control::receive(std::chrono::seconds patience) {
    pollfd wanted{descriptor_, POLLIN, 0};
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
    int ready = 0;
    do {
        ready = poll(&wanted, 1, static_cast<int>(limit));
    } while (ready < 0 && errno == EINTR);
    std::string line;
    if (ready <= 0) {
        throw failure("a program did not answer in " + std::to_string(patience.count()) + " s");
    }
    if (!receive_or_end(line)) {
        throw failure("a program ended early");
    }
    return line;
}

bool control::receive_or_end(std::string& line) {
    std::array<char, 4096> text{};
    ssize_t got = 0;
    do {
        got = recv(descriptor_, text.data(), text.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        fail_with_errno("cannot hear the other program");
    }
    line.assign(text.data(), static_cast<std::size_t>(got));
    return got > 0;
}

std::vector<std::string> words_of(std::string_view line) {
    std::istringstream in{std::string(line)};
    std::vector<std::string> words;
    for (std::string word; in >> word;) {
        words.push_back(word);
    }
    return words;
}

}  // namespace demo

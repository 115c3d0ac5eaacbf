// SPDX-License-Identifier: Apache-2.0
//
// process.cc -- fork, the socket for words, and the ends that a child may come to.
#include "multi/process.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>

namespace multi {

namespace {

[[noreturn]] void fail(std::source_location where, const std::string& what) {
    throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": " + what);
}

[[noreturn]] void fail_os(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

}  // namespace

void must(vinic::errc code, std::source_location where) {
    if (code != vinic::errc::ok) {
        fail(where, vinic::name(code));
    }
}

void require(bool condition, std::string_view what, std::source_location where) {
    if (!condition) {
        fail(where, "it is not true that " + std::string(what));
    }
}

// -- channels and processes ---------------------------------------------------------------------

channel::~channel() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void channel::say(std::string_view word) {
    if (::send(fd_, word.data(), word.size(), MSG_NOSIGNAL) < 0) {
        fail_os("speaking to the other process");
    }
}

std::string channel::hear(std::chrono::milliseconds limit) {
    pollfd p{fd_, POLLIN, 0};
    const int ready = ::poll(&p, 1, static_cast<int>(limit.count()));
    if (ready <= 0) {
        throw std::runtime_error("the other process says nothing");
    }
    std::array<char, 512> text{};
    // A process that ends without having read all its words makes one ECONNRESET here, before its own last words.
    ssize_t n = ::recv(fd_, text.data(), text.size(), 0);
    if (n < 0 && errno == ECONNRESET) {
        n = ::recv(fd_, text.data(), text.size(), 0);
    }
    if (n <= 0) {
        throw std::runtime_error("the other process has gone");
    }
    return {text.data(), static_cast<std::size_t>(n)};
}

void channel::hear(std::string_view expected) {
    if (const std::string word = hear(); word != expected) {
        throw std::runtime_error("heard '" + word + "' instead of '" + std::string(expected) + "'");
    }
}

bool channel::has_word() {
    pollfd p{fd_, POLLIN, 0};
    return ::poll(&p, 1, 0) > 0;
}

process process::start(const std::function<void(channel&)>& body) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        fail_os("socketpair");
    }
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
        fail_os("fork");
    }
    if (pid == 0) {
        ::close(ends[0]);
        int code = 1;
        if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent) {
            try {
                channel words(ends[1]);
                body(words);
                code = 0;
            } catch (const std::exception& e) {
                std::fprintf(stderr, "child %d: %s\n", ::getpid(), e.what());
            }
        }
        std::fflush(nullptr);
        ::_exit(code);
    }
    ::close(ends[1]);
    return {pid, ends[0]};
}

process::process(const std::function<void(channel&)>& body) : process(start(body)) {}

std::optional<int> process::reap(bool wait) {
    if (!ended_ && pid_ > 0) {
        int status = 0;
        pid_t got = 0;
        do {
            got = ::waitpid(pid_, &status, wait ? 0 : WNOHANG);
        } while (got < 0 && errno == EINTR);
        if (got == pid_) {
            ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
    return ended_;
}

process::~process() {
    if (pid_ > 0) {
        kill_now();
    }
}

void process::kill_now() {
    if (!reap(false)) {
        ::kill(pid_, SIGKILL);
        (void)reap(true);
    }
}

void process::stop() {
    ::kill(pid_, SIGSTOP);
    int status = 0;
    pid_t got = 0;
    do {
        got = ::waitpid(pid_, &status, WUNTRACED);
    } while (got < 0 && errno == EINTR);
    if (got != pid_ || !WIFSTOPPED(status)) {
        throw std::runtime_error("the child ended instead of stopping");
    }
}

void process::go_on() { ::kill(pid_, SIGCONT); }

int process::exit_code() {
    if (!comes_true([&] { return reap(false).has_value(); })) {
        throw std::runtime_error("the child does not end");
    }
    return *ended_;
}

}  // namespace multi

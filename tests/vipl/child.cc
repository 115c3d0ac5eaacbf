// SPDX-License-Identifier: Apache-2.0
//
// child.cc -- fork and exec with a role, its log, and how it ends.
#include "child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace vipl_test {

namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

/// A file without a name: a pipe would make a child that writes much wait for us.
int make_log() {
    std::string name = std::filesystem::temp_directory_path() / "vipl-errors.XXXXXX";
    const int fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) {
        fail("making a file");
    }
    ::unlink(name.c_str());
    return fd;
}

}  // namespace

child::started child::start(const std::string& role, std::initializer_list<variable> environment) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        fail("socketpair");
    }
    const int log = make_log();
    std::fflush(nullptr);
    const std::string program = std::filesystem::read_symlink("/proc/self/exe");
    std::string role_argument = "--role=" + role;
    std::string words_argument = "--words=" + std::to_string(ends[1]);
    char* const arguments[] = {const_cast<char*>(program.c_str()), role_argument.data(), words_argument.data(),
                               nullptr};
    std::vector<std::string> all;
    for (char** e = environ; *e != nullptr; ++e) {
        all.emplace_back(*e);
    }
    for (const auto& [name, value] : environment) {
        all.push_back(std::string(name) + "=" + value);
    }
    std::vector<char*> pointers;
    for (std::string& e : all) {
        pointers.push_back(e.data());
    }
    pointers.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
        fail("fork");
    }
    if (pid == 0) {  // nothing but system calls: another thread may have held any lock
        if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent && ::dup2(log, 2) == 2 &&
            ::fcntl(ends[1], F_SETFD, 0) == 0) {
            ::execve(program.c_str(), arguments, pointers.data());
        }
        ::_exit(127);
    }
    ::close(ends[1]);
    return {pid, ends[0], log};
}

child::child(const std::string& role, std::initializer_list<variable> environment) : child(start(role, environment)) {}

child::~child() {
    kill_now();
    ::close(errors_);
}

bool child::has_ended(bool wait) {
    if (!ended_) {
        int status = 0;
        pid_t got = 0;
        do {
            got = ::waitpid(pid_, &status, wait ? 0 : WNOHANG);
        } while (got < 0 && errno == EINTR);
        if (got == pid_) {
            ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
    return ended_.has_value();
}

void child::kill_now() {
    if (!has_ended(false)) {
        ::kill(pid_, SIGKILL);
        (void)has_ended(true);
    }
}

int child::exit_code() {
    if (!multi::comes_true([&] { return has_ended(false); })) {
        throw std::runtime_error("the child does not end");
    }
    if (*ended_ == 1) {
        std::fprintf(stderr, "child %d: %s\n", pid_, errors().c_str());
    }
    return *ended_;
}

std::string child::errors() {
    std::string text;
    std::array<char, 4096> part{};
    ssize_t n = 0;
    for (off_t at = 0; (n = ::pread(errors_, part.data(), part.size(), at)) > 0; at += n) {
        text.append(part.data(), static_cast<std::size_t>(n));
    }
    return text;
}

void connect_to(endpoint& e, net_address to) {
    net_address from = e.device.address("parent");
    VIP_RETURN r = VIP_NO_MATCH;
    (void)comes_true([&] {
        r = VipConnectRequest(e.vi, from.get(), to.get(), patience_ms, &e.remote_attributes);
        return r != VIP_NO_MATCH;
    });
    must(r);
}
void connect_to(endpoint& e, const std::string& discriminator) { connect_to(e, e.device.address(discriminator)); }

}  // namespace vipl_test

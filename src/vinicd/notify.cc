// SPDX-License-Identifier: Apache-2.0
//
// notify.cc -- reads systemd's variables, and sends to its socket.
#include "vinicd/notify.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "os/sync.hpp"
#include "vinicd/units.hpp"

namespace vinic::vinicd {

namespace {

constexpr int first_handed_over = 3;
constexpr std::uint64_t handed_over_max = 64;
constexpr std::size_t unsaid_max = 16;
constexpr std::uint64_t again_ns = 50'000'000;

/// A variable that is a number; 0 if it is missing or none.
std::uint64_t number_of(const char* variable) {
    const char* text = ::secure_getenv(variable);
    return text == nullptr ? 0 : parse_number(text).value_or(0);
}

/// Whether the variable that says which process something is meant for says this one, or is missing.
bool meant_for_me(const char* variable, bool if_missing) {
    return ::secure_getenv(variable) == nullptr ? if_missing
                                                : number_of(variable) == static_cast<std::uint64_t>(::getpid());
}

}  // namespace

service_manager::service_manager() {
    const char* path = ::secure_getenv("NOTIFY_SOCKET");
    if (path == nullptr || path[0] == '\0') {
        return;
    }
    const std::size_t bytes = std::strlen(path);
    if ((path[0] != '/' && path[0] != '@') || bytes >= sizeof to_.sun_path) {
        broken_ = EINVAL;
        return;
    }
    to_.sun_family = AF_UNIX;
    std::memcpy(to_.sun_path, path, bytes);
    if (path[0] == '@') {
        to_.sun_path[0] = '\0';  // the abstract name space
    }
    to_bytes_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
    socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    broken_ = socket_ ? 0 : errno;
}

int service_manager::tell(std::string_view state) noexcept {
    if (to_bytes_ == 0 || !socket_) {
        return broken_;
    }
    const ssize_t sent = ::sendto(socket_.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                  reinterpret_cast<const sockaddr*>(&to_), to_bytes_);
    return sent >= 0 ? 0 : errno;
}

void announcer::say(std::string state) {
    if (unsaid_.size() >= unsaid_max) {
        unsaid_.pop_front();
    }
    unsaid_.push_back(std::move(state));
    if (!waiting_) {
        go_on();
    }
}

void announcer::go_on() {
    waiting_ = false;
    while (!unsaid_.empty()) {
        const int why = manager_.tell(unsaid_.front());
        if (why == EAGAIN || why == ENOBUFS) {
            break;
        }
        unsaid_.pop_front();  // told, or there is nobody to be told
    }
    if (!unsaid_.empty()) {
        waiting_ = true;
        loop_.at(os::now_ns() + again_ns, [this, alive = alive_] {
            if (*alive) {
                go_on();
            }
        });
    }
}

std::uint64_t watchdog_interval_ns() {
    return meant_for_me("WATCHDOG_PID", true) ? number_of("WATCHDOG_USEC") * 1000 / 2 : 0;
}

std::vector<int> handed_over_sockets() {
    std::vector<int> all;
    const std::uint64_t count = number_of("LISTEN_FDS");
    if (meant_for_me("LISTEN_PID", false) && count <= handed_over_max) {
        for (int fd = first_handed_over; fd < first_handed_over + static_cast<int>(count); ++fd) {
            ::fcntl(fd, F_SETFD, FD_CLOEXEC);
            all.push_back(fd);
        }
    }
    for (const char* variable : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) {
        ::unsetenv(variable);
    }
    return all;
}

}  // namespace vinic::vinicd

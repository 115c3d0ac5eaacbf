// SPDX-License-Identifier: Apache-2.0
//
// kicks.cc -- the event descriptors, and the epoll set that a thread of the device sleeps in.
#include "controller/kicks.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace vinic::controller {

namespace {

constexpr std::uint32_t own_mark = ~std::uint32_t{0};

int make_event() noexcept { return os::beyond_standard(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

error kick_error(const char* what) {
    const bool many = errno == EMFILE || errno == ENFILE;
    return {many ? errc::limit_reached : errc::os_failure, errno,
            std::string(what) + (many ? " (a limit on open files: ulimit -n)" : "")};
}

bool add(int epoll, int fd, std::uint32_t mark) noexcept {
    epoll_event e{};
    e.events = EPOLLIN | EPOLLET;
    e.data.u32 = mark;
    return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

}  // namespace

result<kicks> kicks::create() {
    kicks k;
    k.epoll_.reset(os::beyond_standard(::epoll_create1(EPOLL_CLOEXEC)));
    k.own_.reset(make_event());
    if (!k.epoll_ || !k.own_ || !add(k.epoll_.get(), k.own_.get(), own_mark)) {
        return std::unexpected(kick_error("making event descriptors"));
    }
    return k;
}

result<void> kicks::renew(std::uint32_t function) {
    if (function >= fds_.size()) {
        fds_.resize(function + 1);
    }
    os::unique_fd made(make_event());
    if (!made || !add(epoll_.get(), made.get(), function)) {
        return std::unexpected(kick_error("making a function's event descriptor"));
    }
    os::unique_fd& fd = fds_[function];
    if (fd) {
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);  // clients may keep it open
    }
    fd = std::move(made);
    return {};
}

kicks::written kicks::wait(std::uint64_t timeout_ns) const noexcept {
    std::array<epoll_event, written::most> events;
    const timespec t{static_cast<time_t>(timeout_ns / 1'000'000'000), static_cast<long>(timeout_ns % 1'000'000'000)};
    const int n = ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()), &t, nullptr);
    written kicked;
    for (int i = 0; i < n; ++i) {
        if (const std::uint32_t mark = events[static_cast<std::size_t>(i)].data.u32; mark != own_mark) {
            kicked.add(mark);
        }
    }
    return kicked;
}

void kicks::wake() const noexcept {
    // Nobody else holds it, and it is never read: each write is an edge.  It is full after 2^64 of them.
    const std::uint64_t one = 1;
    (void)!::write(own_.get(), &one, sizeof one);
}

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// baggage.cc -- descriptors are taken out of packets, and closed by threads that may wait.
#include "vinicd/baggage.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

namespace vinic::vinicd {

namespace {

constexpr std::size_t with_a_packet_max = 253;  ///< SCM_MAX_FD of the kernel
constexpr std::size_t threads_max = 16;
constexpr int packets_max = 10'000;  ///< more than fit into a socket

/// Never destroyed: its threads may be waiting when the program ends.
class closer {
public:
    static closer& instance() {
        static closer& one = *new closer;
        return one;
    }
    void take(std::span<const int> fds) {
        const std::lock_guard hold(mutex_);
        waiting_.insert(waiting_.end(), fds.begin(), fds.end());
        if (idle_ == 0 && threads_ < threads_max) {
            std::thread([this] { run(); }).detach();
            ++threads_;
        }
        come_.notify_one();
    }

private:
    [[noreturn]] void run() {
        std::unique_lock hold(mutex_);
        for (;;) {
            ++idle_;
            come_.wait(hold, [this] { return !waiting_.empty(); });
            --idle_;
            const int fd = waiting_.front();
            waiting_.pop_front();
            hold.unlock();
            ::close(fd);
            hold.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable come_;
    std::deque<int> waiting_;
    std::size_t idle_ = 0;
    std::size_t threads_ = 0;
};

void close_elsewhere(std::span<const int> fds) noexcept {
    try {
        closer::instance().take(fds);
    } catch (const std::exception&) {
        for (const int fd : fds) {
            ::close(fd);  // no memory or no thread: then here
        }
    }
}

struct packet {
    ssize_t bytes = 0;
    bool has_control = false;
};

packet take_packet(int fd, std::span<std::byte> into) noexcept {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(with_a_packet_max * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
        control{};
    iovec where{into.data(), into.size()};
    msghdr message{};
    message.msg_iov = &where;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t bytes = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes < 0) {
        return {bytes, false};
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            std::array<int, with_a_packet_max> fds{};
            const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            std::memcpy(fds.data(), CMSG_DATA(c), n * sizeof(int));
            close_elsewhere(std::span(fds).first(n));
        }
    }
    return {bytes, message.msg_controllen != 0};
}

}  // namespace

ssize_t receive(int fd, std::span<std::byte> into) noexcept { return take_packet(fd, into).bytes; }

void drain(int fd) noexcept {
    ::shutdown(fd, SHUT_RDWR);
    const int yes = 1;
    (void)::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes);  // so that a packet of no bytes is no end
    std::array<std::byte, 64> rest{};
    for (int i = 0; i < packets_max; ++i) {
        if (const packet p = take_packet(fd, rest); p.bytes < 0 || (p.bytes == 0 && !p.has_control)) {
            return;
        }
    }
}

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// socket_path.cc -- see socket_path.h.
//
// Plain read and write calls are used throughout, because the kernel's per-process account of
// bytes (/proc/self/io), from which the table's "copies" come, counts those.
#include "socket_path.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "failure.h"

namespace demo {

namespace {

// The size that gave both kinds of socket their best throughput where this was tried.
constexpr std::size_t call_bytes_max = 256u << 10;
constexpr std::size_t small_bytes = 8;

// A name without a file: nothing is left behind whatever happens.
std::pair<sockaddr_un, socklen_t> unix_address(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t length = std::min(name.size(), sizeof address.sun_path - 1);
    std::memcpy(address.sun_path + 1, name.data(), length);
    return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length)};
}

sockaddr_in tcp_address(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
}

int make_socket(socket_kind kind) {
    const int descriptor = socket(kind == socket_kind::unix_stream ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        fail_with_errno("cannot make a socket");
    }
    return descriptor;
}

template <class Address>
sockaddr* generic(Address& address) {
    return reinterpret_cast<sockaddr*>(&address);
}

}  // namespace

socket_listener::socket_listener(socket_kind kind) : descriptor_(make_socket(kind)) {
    int outcome = 0;
    if (kind == socket_kind::unix_stream) {
        where_ = "vinic-demo-" + std::to_string(getpid());
        auto [address, length] = unix_address(where_);
        outcome = bind(descriptor_, generic(address), length);
    } else {
        auto address = tcp_address(0);
        socklen_t length = sizeof address;
        outcome = bind(descriptor_, generic(address), length);
        if (outcome == 0) {
            outcome = getsockname(descriptor_, generic(address), &length);
        }
        where_ = std::to_string(ntohs(address.sin_port));
    }
    if (outcome != 0 || listen(descriptor_, 1) != 0) {
        close(descriptor_);
        fail_with_errno("cannot listen on a socket");
    }
}

socket_listener::~socket_listener() { close(descriptor_); }

int socket_listener::accept() const {
    const int connected = accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connected < 0) {
        fail_with_errno("cannot accept a connection");
    }
    return connected;
}

int socket_path::connect(socket_kind kind, const std::string& where) {
    const int descriptor = make_socket(kind);
    int outcome = 0;
    if (kind == socket_kind::unix_stream) {
        auto [address, length] = unix_address(where);
        outcome = ::connect(descriptor, generic(address), length);
    } else {
        auto address = tcp_address(static_cast<std::uint16_t>(std::stoi(where)));
        outcome = ::connect(descriptor, generic(address), sizeof address);
    }
    if (outcome != 0) {
        close(descriptor);
        fail_with_errno("cannot connect a socket");
    }
    return descriptor;
}

socket_path::socket_path(int connected, std::span<std::byte> file) : descriptor_(connected), file_(file) {
    // Small messages must leave at once.  A Unix socket knows no such option and needs none.
    const int on = 1;
    (void)setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

socket_path::~socket_path() { close(descriptor_); }

void socket_path::receive_file() {
    for (std::size_t at = 0; at < file_.size();) {
        const auto got = read(descriptor_, file_.data() + at, std::min(call_bytes_max, file_.size() - at));
        if (got <= 0) {
            fail_with_errno("the socket ended early");
        }
        at += static_cast<std::size_t>(got);
    }
}

void socket_path::send_file() {
    for (std::size_t at = 0; at < file_.size();) {
        const auto put = write(descriptor_, file_.data() + at, std::min(call_bytes_max, file_.size() - at));
        if (put <= 0) {
            fail_with_errno("the socket ended early");
        }
        at += static_cast<std::size_t>(put);
    }
}

void socket_path::send_small() {
    const std::array<char, small_bytes> message{};
    if (write(descriptor_, message.data(), message.size()) != static_cast<ssize_t>(message.size())) {
        fail_with_errno("the socket ended early");
    }
}

void socket_path::receive_small() {
    std::array<char, small_bytes> message{};
    const int flags = how_ == waiting::polling ? MSG_DONTWAIT : MSG_WAITALL;
    const auto deadline = clock::now() + patience;
    for (std::size_t at = 0; at < message.size();) {
        const auto got = recv(descriptor_, message.data() + at, message.size() - at, flags);
        if (got > 0) {
            at += static_cast<std::size_t>(got);
        } else if (got == 0 || errno != EAGAIN || clock::now() > deadline) {
            fail_with_errno("the socket ended early");
        }
    }
}

std::vector<std::chrono::nanoseconds> socket_path::ping(std::size_t count) {
    std::vector<std::chrono::nanoseconds> round_trips(count);
    auto before = clock::now();
    for (auto& round_trip : round_trips) {
        send_small();
        receive_small();
        const auto after = clock::now();
        round_trip = after - before;
        before = after;
    }
    return round_trips;
}

void socket_path::echo(std::size_t count) {
    for (std::size_t turn = 0; turn < count; ++turn) {
        receive_small();
        send_small();
    }
}

}  // namespace demo

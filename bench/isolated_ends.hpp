// SPDX-License-Identifier: Apache-2.0
//
// isolated_ends.hpp -- what bench_isolated measures with: pairs of ends that carry messages.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>
#include <vinic/vinic.hpp>

#include "bench/server.hpp"

namespace vinic::bench {

using clock_type = std::chrono::steady_clock;

constexpr int rounds = 5;
constexpr std::size_t buffer_bytes = 1 << 20;

inline double median(std::vector<double> v) {
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
}

inline double us_since(clock_type::time_point begin) {
    return std::chrono::duration<double, std::micro>(clock_type::now() - begin).count();
}

// -- ends ---------------------------------------------------------------------------------------

/// One end of something that carries messages.
struct end {
    virtual ~end() = default;
    virtual void send(std::size_t bytes) = 0;
    virtual void receive(std::size_t bytes) = 0;
};

struct nic_end : end {
    explicit nic_end(const std::string& device)
        : nic(must(vinic::nic::open(device))),
          domain(must(nic.create_domain())),
          buffer(must(nic.allocate(2 * buffer_bytes))),
          region(must(domain.register_memory(buffer.bytes(), vinic::access::local_write))),
          sends(must(nic.create_completion_queue({.queues_max = 131072}))),
          receives(must(nic.create_completion_queue({.queues_max = 131072}))),
          vi(must(domain.create_vi({.send_cq = &sends, .receive_cq = &receives, .receive_depth = 256}))) {
        for (std::uint64_t i = 0; i < 128; ++i) {
            post_receive();
        }
    }
    void post_receive() {
        if (vi.post_receive({region, buffer_bytes, buffer_bytes}, 0) != vinic::errc::ok) {
            fail("posting a receive");
        }
    }
    void send(std::size_t bytes) override {
        if (vi.post_send({region, 0, static_cast<std::uint32_t>(bytes)}, 0) != vinic::errc::ok) {
            fail("posting a send");
        }
    }
    static void take(vinic::completion_queue& cq) {
        std::array<vinic::completion, 1> done;
        while (cq.poll(done) == 0) {
        }
        if (done[0].status != vinic::status::success) {
            fail(std::string("a message ended with ") + vinic::name(done[0].status));
        }
    }
    void receive(std::size_t) override {
        take(receives);
        post_receive();
    }
    vinic::nic nic;
    vinic::domain domain;
    vinic::buffer buffer;
    vinic::region region;
    vinic::completion_queue sends;
    vinic::completion_queue receives;
    vinic::virtual_interface vi;
};

struct socket_end : end {
    explicit socket_end(int s) : fd(s), bytes_(buffer_bytes) {}
    ~socket_end() override { ::close(fd); }
    void send(std::size_t bytes) override {
        move(bytes, [&](std::byte* p, std::size_t n) { return ::send(fd, p, n, 0); });
    }
    void receive(std::size_t bytes) override {
        move(bytes, [&](std::byte* p, std::size_t n) { return ::recv(fd, p, n, 0); });
    }
    int fd;

private:
    template <class F>
    void move(std::size_t bytes, F f) {
        for (std::size_t done = 0; done < bytes;) {
            const ssize_t n = f(bytes_.data() + done, bytes - done);
            if (n <= 0) {
                fail("a socket");
            }
            done += static_cast<std::size_t>(n);
        }
    }
    std::vector<std::byte> bytes_;
};

inline std::pair<int, int> tcp_pair() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    if (::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || ::listen(listener, 1) != 0 ||
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &length) != 0) {
        fail("listening on the loopback interface");
    }
    const int a = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(a, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
        fail("connecting over the loopback interface");
    }
    const int b = ::accept(listener, nullptr, nullptr);
    ::close(listener);
    for (const int s : {a, b}) {
        const int one = 1;
        const int room = 1 << 20;
        ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        ::setsockopt(s, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        ::setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    return {a, b};
}

inline std::pair<int, int> unix_pair() {
    int s[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) != 0) {
        fail("a Unix socket");
    }
    const int room = 1 << 20;
    for (const int fd : s) {
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    }
    return {s[0], s[1]};
}

struct pair_of_ends {
    std::unique_ptr<end> a;
    std::unique_ptr<end> b;
};

inline pair_of_ends nic_pair(const std::string& one, const std::string& other) {
    auto a = std::make_unique<nic_end>(one);
    auto b = std::make_unique<nic_end>(other);
    auto listener = must(b->nic.listen("pair"));
    std::thread accepting([&] { must(must(listener.wait(10s)).accept(b->vi)); });
    must(a->vi.connect("pair", 10s));
    accepting.join();
    return {std::move(a), std::move(b)};
}

inline pair_of_ends socket_pair(std::pair<int, int> s) {
    return {std::make_unique<socket_end>(s.first), std::make_unique<socket_end>(s.second)};
}

inline void drop_send_completion(end& e) {
    if (auto* n = dynamic_cast<nic_end*>(&e)) {
        nic_end::take(n->sends);
    }
}

}  // namespace vinic::bench

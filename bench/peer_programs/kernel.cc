// SPDX-License-Identifier: Apache-2.0
//
// kernel.cc -- the ways through the kernel: unix (socketpair), tcp (loopback), pipe (two pipes).
// Blocking calls, as programs use them; TCP without Nagle's delay.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "peer.hpp"

namespace {

/// Two ends; each has a descriptor to read and one to write.
struct ends {
    int read_fd[2] = {-1, -1};
    int write_fd[2] = {-1, -1};
};

ends open_tcp() {
    const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(at);
    auto* name = reinterpret_cast<sockaddr*>(&at);
    if (listening < 0 || bind(listening, name, length) != 0 || listen(listening, 1) != 0 ||
        getsockname(listening, name, &length) != 0) {
        peer::give_up("listening on the loopback interface");
    }
    const int calling = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (calling < 0 || connect(calling, name, length) != 0) {
        peer::give_up("connecting on the loopback interface");
    }
    const int answering = accept(listening, nullptr, nullptr);
    const int one = 1;
    if (answering < 0 || setsockopt(calling, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        setsockopt(answering, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        peer::give_up("accepting on the loopback interface");
    }
    close(listening);
    return {{calling, answering}, {calling, answering}};
}

ends open_path(const std::string& path) {
    int pair[2] = {-1, -1};
    if (path == "tcp") {
        return open_tcp();
    }
    if (path == "unix") {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
            peer::give_up("socketpair");
        }
        return {{pair[0], pair[1]}, {pair[0], pair[1]}};
    }
    int back[2] = {-1, -1};
    if (path != "pipe" || pipe(pair) != 0 || pipe(back) != 0) {
        peer::give_up("opening path " + path);
    }
    return {{back[0], pair[0]}, {pair[1], back[1]}};
}

void write_all(int fd, const char* data, std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t done = write(fd, data, bytes);
        if (done <= 0) {
            peer::give_up("write");
        }
        data += done;
        bytes -= static_cast<std::size_t>(done);
    }
}

void read_all(int fd, char* data, std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t done = read(fd, data, bytes);
        if (done <= 0) {
            peer::give_up("read");
        }
        data += done;
        bytes -= static_cast<std::size_t>(done);
    }
}

struct side {
    int in;
    int out;
    std::vector<char> from;
    std::vector<char> into;
    side(const ends& both, int me, std::size_t bytes)
        : in(both.read_fd[me]), out(both.write_fd[me]), from(bytes, 'v'), into(bytes, 0) {}
};

double ping(side& me, std::uint64_t count, std::vector<double>* samples) {
    const double begin = peer::now_seconds();
    double before = begin;
    for (std::uint64_t i = 0; i < count; ++i) {
        write_all(me.out, me.from.data(), me.from.size());
        read_all(me.in, me.into.data(), me.into.size());
        const double now = peer::now_seconds();
        if (samples != nullptr) {
            samples->push_back(now - before);
        }
        before = now;
    }
    return before - begin;
}

void pong(side& me, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        read_all(me.in, me.into.data(), me.into.size());
        write_all(me.out, me.from.data(), me.from.size());
    }
}

double push(side& me, std::uint64_t count) {
    const double begin = peer::now_seconds();
    for (std::uint64_t i = 0; i < count; ++i) {
        write_all(me.out, me.from.data(), me.from.size());
    }
    char answer = 0;
    read_all(me.in, &answer, 1);
    return peer::now_seconds() - begin;
}

void pull(side& me, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        read_all(me.in, me.into.data(), me.into.size());
    }
    write_all(me.out, "!", 1);
}

}  // namespace

int main(int argument_count, char** arguments) {
    const peer::request asked = peer::read_arguments(argument_count, arguments);
    peer::shared_words* words = peer::make_shared_words();
    const ends both = open_path(asked.path);
    const std::uint64_t tries = std::clamp<std::uint64_t>((16u << 20) / asked.size_bytes, 16, 2000);

    const pid_t child = peer::start_child([&] {
        peer::pin_to(asked.cores[1]);
        side me(both, 1, asked.size_bytes);
        asked.latency ? pong(me, tries) : pull(me, tries);
        words->meet(1, 1);
        asked.latency ? pong(me, words->count) : pull(me, words->count);
    });
    peer::pin_to(asked.cores[0]);
    side me(both, 0, asked.size_bytes);
    const double took = asked.latency ? ping(me, tries, nullptr) : push(me, tries);
    words->count = peer::fitting_count(asked, tries, took);
    words->meet(0, 1);
    if (asked.latency) {
        std::vector<double> samples;
        samples.reserve(words->count);
        ping(me, words->count, &samples);
        peer::print_latency(samples);
    } else {
        const double seconds = push(me, words->count);
        peer::print_stream(words->count, seconds);
    }
    return peer::wait_for_child(child);
}

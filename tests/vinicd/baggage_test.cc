// SPDX-License-Identifier: Apache-2.0
//
// baggage_test.cc -- descriptors that take long to be closed come with packets, and keep nobody who reads them.
//
// A wait for one shows as the test's time-out: the sockets here linger for a quarter of an hour.
#include "vinicd/baggage.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstring>
#include <vector>

#include "os/file.hpp"

namespace vinic::vinicd {
namespace {

/// A TCP connection to itself, full of bytes that nobody reads until `reader` is closed.
struct lingering {
    lingering() {
        const os::unique_fd listens(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof at;
        EXPECT_EQ(::bind(listens.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
        EXPECT_EQ(::listen(listens.get(), 1), 0);
        EXPECT_EQ(::getsockname(listens.get(), reinterpret_cast<sockaddr*>(&at), &bytes), 0);
        writer.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(writer.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
        reader.reset(::accept4(listens.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const linger long_one{1, 900};
        EXPECT_EQ(::setsockopt(writer.get(), SOL_SOCKET, SO_LINGER, &long_one, sizeof long_one), 0);
        const std::vector<char> words(1 << 20);
        while (::send(writer.get(), words.data(), words.size(), MSG_DONTWAIT) > 0) {
        }
    }
    os::unique_fd writer;
    os::unique_fd reader;
};

struct unix_pair {
    unix_pair() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
        near.reset(ends[0]);
        far.reset(ends[1]);
    }
    void send(const char* words, int fd = -1) const {
        std::array<char, 16> copy{};
        std::strncpy(copy.data(), words, copy.size() - 1);
        iovec what{copy.data(), std::strlen(words)};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        msghdr m{};
        m.msg_iov = &what;
        m.msg_iovlen = 1;
        if (fd >= 0) {
            m.msg_control = control.data();
            m.msg_controllen = control.size();
            cmsghdr* c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof fd);
            std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
        }
        ASSERT_EQ(::sendmsg(far.get(), &m, 0), static_cast<ssize_t>(std::strlen(words)));
    }
    [[nodiscard]] std::string hear() const {
        std::array<std::byte, 16> packet{};
        const ssize_t bytes = receive(near.get(), packet);
        const auto* words = reinterpret_cast<const char*>(packet.data());
        return bytes < 0 ? "nothing" : std::string(words, static_cast<std::size_t>(bytes));
    }
    os::unique_fd near;
    os::unique_fd far;
};

TEST(baggage, of_a_packet_keeps_nobody_who_reads_it) {
    const unix_pair p;
    std::array<lingering, 3> all;
    for (lingering& each : all) {
        p.send("with", each.writer.get());
        each.writer.reset();
    }
    p.send("without");
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(p.hear(), "with");
    }
    EXPECT_EQ(p.hear(), "without");
    EXPECT_EQ(p.hear(), "nothing");
}

TEST(baggage, of_packets_that_nobody_has_read_keeps_nobody_who_hangs_up) {
    unix_pair p;
    std::array<lingering, 3> all;
    lingering last;
    for (lingering& each : all) {
        p.send("with", each.writer.get());
        each.writer.reset();
    }
    // Neither a packet without a byte is the end.
    p.send("");
    p.send("with", last.writer.get());
    last.writer.reset();
    drain(p.near.get());
    p.near.reset();
}

TEST(baggage, is_closed_and_not_kept) {
    const unix_pair p;
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const os::unique_fd reads(ends[0]);
    os::unique_fd writes(ends[1]);
    p.send("with", writes.get());
    writes.reset();
    EXPECT_EQ(p.hear(), "with");
    char none = 0;
    EXPECT_EQ(::read(reads.get(), &none, 1), 0) << "the end of a pipe is seen when nobody has its other end";
}

}  // namespace
}  // namespace vinic::vinicd

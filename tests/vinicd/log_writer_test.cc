// SPDX-License-Identifier: Apache-2.0
//
// log_writer_test.cc -- a log whose reader is slow, stands still, or has gone.
#include "vinicd/log_writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "os/file.hpp"

namespace vinic::vinicd {
namespace {

constexpr std::uint64_t patience_ns = 30'000'000'000;

struct pipe_pair {
    pipe_pair() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        reader.reset(ends[0]);
        writer.reset(ends[1]);
        EXPECT_EQ(::fcntl(writer.get(), F_SETPIPE_SZ, 4096), 4096);
    }
    /// Up to the line that `last` begins.
    [[nodiscard]] std::string read_until(const std::string& last) const {
        std::string all;
        std::array<char, 4096> piece{};
        while (all.find(last) == all.npos) {
            const ssize_t bytes = ::read(reader.get(), piece.data(), piece.size());
            if (bytes <= 0) {
                break;
            }
            all.append(piece.data(), static_cast<std::size_t>(bytes));
        }
        return all;
    }
    os::unique_fd reader;
    os::unique_fd writer;
};

std::string lost_text(std::uint64_t lost) { return "lost " + std::to_string(lost) + "\n"; }

TEST(log_writer, lines_come_as_they_were_put) {
    const pipe_pair p;
    log_writer w(p.writer.get(), lost_text);
    w.put("one\n");
    w.put("two\n");
    EXPECT_EQ(p.read_until("two\n"), "one\ntwo\n");
    EXPECT_TRUE(w.flush(patience_ns));
    EXPECT_EQ(w.lost(), 0U);
}

TEST(log_writer, nobody_waits_for_a_reader_that_stands_still_and_it_is_told_what_is_missing) {
    const pipe_pair p;
    const int flags = ::fcntl(p.writer.get(), F_GETFL);
    log_writer w(p.writer.get(), lost_text);
    const std::string line(99, 'x');
    constexpr std::uint64_t lines = 10'000;  // four times what may wait
    for (std::uint64_t i = 0; i < lines; ++i) {
        w.put(line + "\n");
    }
    EXPECT_FALSE(w.flush(1'000'000));
    EXPECT_EQ(::fcntl(p.writer.get(), F_GETFL), flags) << "the open file is others', too";
    const std::uint64_t lost = w.lost();
    EXPECT_GE(lost, lines - (log_writer::waiting_bytes_max + 3 * 4096) / 100);
    w.put("end\n");
    const std::string read = p.read_until("end\n");
    EXPECT_NE(read.find("lost "), read.npos) << read.substr(0, 8192);
    EXPECT_NE(read.find("\nend\n"), read.npos);
    EXPECT_TRUE(w.flush(patience_ns));
}

TEST(log_writer, it_ends_although_its_last_line_is_stuck) {
    const pipe_pair p;
    {
        log_writer w(p.writer.get(), lost_text);
        w.put(std::string(100'000, 'x'));
        EXPECT_FALSE(w.flush(1'000'000));
    }
    // The thread still stands in its write: let it go.
    (void)::fcntl(p.reader.get(), F_SETFL, O_NONBLOCK);
    std::array<char, 4096> piece{};
    std::size_t bytes = 0;
    while (bytes < 100'000) {
        const ssize_t n = ::read(p.reader.get(), piece.data(), piece.size());
        bytes += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
}

TEST(log_writer, a_reader_that_has_gone_costs_lines_and_nothing_else) {
    struct sigaction ignore{};
    struct sigaction before{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &before);
    {
        pipe_pair p;
        p.reader.reset();
        log_writer w(p.writer.get(), lost_text);
        w.put("one\n");
        w.put("two\n");
        EXPECT_TRUE(w.flush(patience_ns));
        EXPECT_EQ(w.lost(), 2U);
    }
    ::sigaction(SIGPIPE, &before, nullptr);
}

TEST(log_writer, a_file_that_others_have_made_nonblocking_is_waited_for) {
    const pipe_pair p;
    ASSERT_EQ(::fcntl(p.writer.get(), F_SETFL, O_NONBLOCK), 0);
    log_writer w(p.writer.get(), lost_text);
    w.put(std::string(20'000, 'x') + "\n");
    w.put("end\n");
    const std::string read = p.read_until("end\n");
    EXPECT_EQ(read.size(), 20'005U);
    EXPECT_EQ(w.lost(), 0U);
}

}  // namespace
}  // namespace vinic::vinicd

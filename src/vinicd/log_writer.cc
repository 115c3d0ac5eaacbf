// SPDX-License-Identifier: Apache-2.0
//
// log_writer.cc -- the queue and the thread that writes.
#include "vinicd/log_writer.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>

namespace vinic::vinicd {

struct log_writer::shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> lines;
    std::size_t bytes = 0;
    std::uint64_t lost = 0;    ///< ever
    std::uint64_t untold = 0;  ///< of these, since the reader was told
    bool writing = false;
    bool ended = false;
    int fd = -1;
    std::function<std::string(std::uint64_t)> lost_text;

    void lose(std::uint64_t count) {
        lost += count;
        untold += count;
    }
};

namespace {

/// One write for one line, so that lines of several programs in one file stay whole.
bool write_line(int fd, std::string_view line) {
    while (!line.empty()) {
        const ssize_t bytes = ::write(fd, line.data(), line.size());
        if (bytes >= 0) {
            line.remove_prefix(static_cast<std::size_t>(bytes));
        } else if (errno == EAGAIN) {  // somebody else has made it so
            pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
            (void)::poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

}  // namespace

log_writer::log_writer(int fd, std::function<std::string(std::uint64_t)> lost_text)
    : shared_(std::make_shared<shared>()) {
    shared_->fd = fd;
    shared_->lost_text = std::move(lost_text);
    // Signals are for the thread that waits for them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread([s = shared_] { write_all(s); }).detach();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

log_writer::~log_writer() {
    const std::lock_guard lock(shared_->mutex);
    shared_->ended = true;
    shared_->changed.notify_all();
}

void log_writer::put(std::string line) {
    const std::lock_guard lock(shared_->mutex);
    shared_->bytes += line.size();
    shared_->lines.push_back(std::move(line));
    while (shared_->bytes > waiting_bytes_max) {
        shared_->bytes -= shared_->lines.front().size();
        shared_->lines.pop_front();
        shared_->lose(1);
    }
    shared_->changed.notify_all();
}

bool log_writer::flush(std::uint64_t at_most_ns) {
    std::unique_lock lock(shared_->mutex);
    return shared_->changed.wait_for(lock, std::chrono::nanoseconds(at_most_ns),
                                     [&] { return shared_->lines.empty() && !shared_->writing; });
}

std::uint64_t log_writer::lost() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->lost;
}

void log_writer::write_all(const std::shared_ptr<shared>& s) {
    std::unique_lock lock(s->mutex);
    for (;;) {
        s->changed.wait(lock, [&] { return s->ended || !s->lines.empty(); });
        if (s->lines.empty()) {
            return;
        }
        const std::string line = std::move(s->lines.front());
        s->lines.pop_front();
        s->bytes -= line.size();
        const std::uint64_t untold = s->untold;
        s->writing = true;
        lock.unlock();
        const bool told = untold == 0 || write_line(s->fd, s->lost_text(untold));
        const bool written = told && write_line(s->fd, line);
        lock.lock();
        s->untold -= told ? untold : 0;
        s->lose(written ? 0 : 1);
        s->writing = false;
        s->changed.notify_all();
    }
}

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// sync.cc -- the system calls behind them, and how the scheduler is asked to treat a thread.
#include "os/sync.hpp"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <ctime>

namespace vinic::os {

std::uint64_t now_ns() noexcept {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

std::uint64_t ticks_per_us() noexcept {
#if defined(__x86_64__)
    static const std::uint64_t rate = [] {
        const auto ns = now_ns();
        const auto t = ticks();
        while (now_ns() - ns < 200'000) {
        }
        const auto passed_ns = now_ns() - ns;
        const auto r = (ticks() - t) * 1000 / passed_ns;
        return r == 0 ? std::uint64_t{1} : r;
    }();
    return rate;
#else
    return 1000;
#endif
}

void futex_wait(const std::uint32_t* word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept {
    timespec t{static_cast<time_t>(timeout_ns / 1'000'000'000u), static_cast<long>(timeout_ns % 1'000'000'000u)};
    const int saved = errno;
    (void)::syscall(SYS_futex, word, FUTEX_WAIT, expected, &t, nullptr, 0);
    errno = saved;
}

void futex_wake(const std::uint32_t* word, int most) noexcept {
    const int saved = errno;
    (void)::syscall(SYS_futex, word, FUTEX_WAKE, most, nullptr, nullptr, 0);
    errno = saved;
}

void sleep_ns(std::uint64_t ns) noexcept {
    const timespec t{static_cast<time_t>(ns / 1'000'000'000u), static_cast<long>(ns % 1'000'000'000u)};
    const int saved = errno;
    (void)::syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, nullptr);
    errno = saved;
}

void write_event(int fd) noexcept {
    const int saved = errno;
    const std::uint64_t one = 1;
    (void)::syscall(SYS_write, fd, &one, sizeof one);
    errno = saved;
}

void work_in_background() noexcept {
    constexpr int less = 10;  // about a tenth of what others get
    const sched_param none{};
    (void)::sched_setscheduler(0, SCHED_BATCH, &none);
    (void)::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0) + less);  // on Linux the thread's
}

bool has_hung_up(int socket) noexcept {
    const int saved = errno;
    std::byte unread{};
    const long n = ::syscall(SYS_recvfrom, socket, &unread, sizeof unread, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr);
    const bool gone = n == 0 || (n < 0 && errno == ECONNRESET);
    errno = saved;
    return gone;
}

/// Since 6.12 the kernel puts a thread that asks for short turns before one in a longer turn; before 6.6 it did so with
/// all that had slept.  A kernel that does not know such turns leaves everything as it is.
void work_in_short_turns() noexcept {
    struct attributes {
        std::uint32_t size, policy;
        std::uint64_t flags;
        std::int32_t nice;
        std::uint32_t priority;
        std::uint64_t turn_ns, deadline_ns, period_ns;
    };
    attributes a{};
    if (::syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) == 0 && a.policy == SCHED_OTHER) {
        a.turn_ns = 100'000;  // the shortest there are
        (void)::syscall(SYS_sched_setattr, 0, &a, 0);
    }
}

bool register_asymmetric_barrier() noexcept {
    return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void heavy_barrier(bool fenced) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!fenced) {
        const int saved = errno;
        (void)::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
        errno = saved;
    }
}

}  // namespace vinic::os

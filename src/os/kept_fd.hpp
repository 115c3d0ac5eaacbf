// SPDX-License-Identifier: Apache-2.0
//
// kept_fd.hpp -- descriptors that a library keeps for long in a program that is not its own.
//
//   A program may close every descriptor there is (closefrom(3), the loops of daemons) and open files of its own then,
//   which get the same numbers.  None of them is written into, read, locked or closed here:
//
//     out of the way    The kernel gives a program the lowest free number.  Ours begin at 512, or at half of the limit.
//     told              Before a number is used, it is checked that it still means what was kept, by
//                         - the file it is, device and inode; all event descriptors are one inode, though
//                         - the signal number of this open file (F_SETSIG), which is sent for O_ASYNC only and 0 with
//                           every file that was not asked for another; event descriptors that vinicd has handed out
//                           are one open file for all who have them, and all give them the same
//                         - whether another kept_fd has taken the number since
//     forgotten         What is another's is never closed.  get() says -1, and what is done with that fails (EBADF).
//
//   Not told: a duplicate that the program itself makes of our descriptor under our number; another copy of this
//   library in the process, linked statically perhaps, as far as it has the same file open or both are event
//   descriptors; and a number that another thread closes and opens anew between the look and the use. A doorbell of
//   the isolated placement is rung up to 20 ms after its look (isolated/mailbox.cc).
//
//   In a header: libvipl, which sees nothing of libvinic but its interface, keeps one too.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace vinic::os {

class kept_fd {
public:
    /// Signal numbers by which open files are known; two libraries know nothing of each other's numbers.
    enum class keeper : std::uint8_t { vipl = 63, vinic = 64 };
    /// What the program is given stays among the low numbers: select(2) takes none above 1023.
    enum class number_is : std::uint8_t { out_of_the_way, as_it_came };

    kept_fd() noexcept = default;
    explicit kept_fd(keeper by) noexcept : by_(by) {}
    kept_fd(const kept_fd&) = delete;
    kept_fd& operator=(const kept_fd&) = delete;
    ~kept_fd() { reset(); }

    /// Its number; -1 if it means another file by now, or none.  Two system calls; errno stays.
    [[nodiscard]] int get() const noexcept { return is_ours() ? fd_ : -1; }
    /// The same without a look, for callers that have had one a moment ago or say why they need none.
    [[nodiscard]] int number() const noexcept { return fd_; }
    /// Whether there was one to keep.
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Closes what it has, if that is ours still, and keeps `fd` instead, which it may give another number.  Empty
    /// then, with errno, if `fd` cannot be looked at or has the number of a standard stream and no other number is
    /// free.
    void reset(int fd = -1, number_is wanted = number_is::out_of_the_way) noexcept {
        const int saved = errno;
        if (is_ours()) {
            ::close(fd_);
        }
        fd_ = -1;
        errno = saved;
        if (fd >= 0) {
            take(wanted == number_is::out_of_the_way ? moved(fd) : fd);
        }
    }

private:
    static constexpr std::size_t known_numbers = 1 << 16;  ///< who has taken a number above is not known
    inline static std::array<std::atomic<std::uint32_t>, known_numbers> takers_{};
    inline static std::atomic<std::uint32_t> last_{0};

    [[nodiscard]] bool is_ours() const noexcept {
        if (fd_ < 0 || (static_cast<std::size_t>(fd_) < known_numbers &&
                        takers_[static_cast<std::size_t>(fd_)].load(std::memory_order_relaxed) != serial_)) {
            return false;
        }
        // Where a system call filter forbids to look, it is believed.
        const int saved = errno;
        struct stat s{};
        bool same = ::fstat(fd_, &s) == 0 ? s.st_dev == device_ && s.st_ino == inode_ : errno != EBADF;
        if (same && marked_) {
            const int mark = ::fcntl(fd_, F_GETSIG);
            same = mark < 0 ? errno != EBADF : mark == static_cast<int>(by_);
        }
        errno = saved;
        return same;
    }

    /// The same open file under a number that the program does not come to soon.
    [[nodiscard]] static int moved(int fd) noexcept {
        constexpr rlim_t away = 512;
        constexpr int beyond_standard = STDERR_FILENO + 1;
        rlimit limit{};
        const rlim_t most = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 2 : away;
        const int least = std::max(beyond_standard, static_cast<int>(std::min(away, most)));
        int other = fd >= least ? fd : ::fcntl(fd, F_DUPFD_CLOEXEC, least);
        if (other < 0) {
            other = fd >= beyond_standard ? fd : ::fcntl(fd, F_DUPFD_CLOEXEC, beyond_standard);
        }
        if (other != fd) {
            const int saved = errno;
            ::close(fd);
            errno = saved;
        }
        return other;
    }

    void take(int fd) noexcept {
        struct stat s{};
        if (fd < 0) {
            return;
        }
        if (::fstat(fd, &s) != 0) {
            const int saved = errno;
            ::close(fd);
            errno = saved;
            return;
        }
        fd_ = fd;
        device_ = s.st_dev;
        inode_ = s.st_ino;
        marked_ = ::fcntl(fd, F_SETSIG, static_cast<int>(by_)) == 0;
        serial_ = last_.fetch_add(1, std::memory_order_relaxed) + 1;
        if (static_cast<std::size_t>(fd) < known_numbers) {
            takers_[static_cast<std::size_t>(fd)].store(serial_, std::memory_order_relaxed);
        }
    }

    int fd_ = -1;
    keeper by_ = keeper::vinic;
    bool marked_ = false;  ///< the open file has the number of `by_`
    std::uint32_t serial_ = 0;
    std::uint64_t device_ = 0;
    std::uint64_t inode_ = 0;
};

}  // namespace vinic::os

// SPDX-License-Identifier: Apache-2.0
//
// file.cc -- the system calls, and how kernels and file systems differ in them.
#include "os/file.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace vinic::os {

void unique_fd::reset(int fd) noexcept {
    if (fd_ >= 0) {
        ::close(fd_);
    }
    fd_ = fd;
}

int beyond_standard(int fd) noexcept {
    if (fd < 0 || fd > STDERR_FILENO) {
        return fd;
    }
    const int other = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    const int e = errno;
    ::close(fd);
    errno = e;
    return other;
}

unique_fd duplicate(int fd) noexcept { return unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)); }

std::optional<std::uint32_t> owner_of(int fd) noexcept {
    struct stat s{};
    return ::fstat(fd, &s) == 0 ? std::optional<std::uint32_t>(s.st_uid) : std::nullopt;
}

int open_beside(int directory, const char* name, int flags, unsigned int mode) noexcept {
    open_how how{};
    how.flags = static_cast<unsigned int>(flags | O_NOFOLLOW);
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    const long fd = ::syscall(SYS_openat2, directory, name, &how, sizeof how);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {  // an old kernel, or a filter that does not know the call
        return ::openat(directory, name, flags | O_NOFOLLOW, mode);
    }
    return static_cast<int>(fd);
}

mapping& mapping::operator=(mapping&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
}

mapping::~mapping() {
    if (data_ != nullptr) {
        ::munmap(data_, size_);
    }
}

namespace {

/// Whether mlockall(MCL_FUTURE) is in effect, of which the kernel only shows what it does: a new page is there
/// untouched.
bool new_memory_is_locked() noexcept {
    constexpr std::size_t page = 4096;
    void* p = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return true;
    }
    unsigned char there = 0;
    const bool locked = ::mincore(p, page, &there) != 0 || (there & 1) != 0;
    ::munmap(p, page);
    return locked;
}

}  // namespace

bool mapping::map_shared(int fd, std::size_t size, bool writable) noexcept {
    const int rights = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    // A mapping that can be read is filled at once there, holes and all, until the file system is full.
    const bool filled = new_memory_is_locked();
    void* p = ::mmap(nullptr, size, filled ? PROT_NONE : rights, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    if (filled && (::munlock(p, size) != 0 || ::mprotect(p, size, rights) != 0)) {
        const int e = errno;
        ::munmap(p, size);
        errno = e;
        return false;
    }
    // A forked child has no part in it, whatever fails there: it does not get this mapping.
    if (::madvise(p, size, MADV_DONTFORK) != 0) {
        const int e = errno;
        (void)::munmap(p, size);
        errno = e;
        return false;
    }
    data_ = static_cast<std::byte*>(p);
    size_ = size;
    // Many GiB of holes would only make core files slow; what matters is in the processes' own memory.
    (void)::madvise(p, size, MADV_DONTDUMP);
    return true;
}

void mapping::replace_by_zeros(std::size_t head) noexcept {
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    if (data_ == nullptr || ::mmap(data_, size_, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED) {
        return;
    }
    // Where the kernel does not overcommit, what can be written to is charged; what can only be read is not.
    (void)::mmap(data_, size_, PROT_READ, flags, -1, 0);
    (void)::mmap(data_, std::min(head, size_), PROT_READ | PROT_WRITE, flags, -1, 0);
}

namespace {

int lock_call(int fd, int command, short type, std::uint64_t first, std::uint64_t count, struct flock* out = nullptr) {
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(first);
    lock.l_len = static_cast<off_t>(count);
    int rc = 0;
    do {
        rc = ::fcntl(fd, command, &lock);
    } while (rc != 0 && errno == EINTR);
    if (out != nullptr) {
        *out = lock;
    }
    return rc;
}

}  // namespace

bool try_lock_byte(int fd, std::uint64_t at) noexcept { return lock_call(fd, F_OFD_SETLK, F_WRLCK, at, 1) == 0; }

void unlock_byte(int fd, std::uint64_t at) noexcept { (void)lock_call(fd, F_OFD_SETLK, F_UNLCK, at, 1); }

bool is_locked_by_other(int fd, std::uint64_t first, std::uint64_t count) noexcept {
    struct flock found{};
    // A failing query must not bury the living: assume that the lock is held.
    return lock_call(fd, F_OFD_GETLK, F_WRLCK, first, count, &found) != 0 || found.l_type != F_UNLCK;
}

int allocate_storage(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept {
    constexpr std::uint64_t page = 4096;
    constexpr std::uint64_t most = 16 << 20;
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && offset + bytes > limit.rlim_cur) {
        return EFBIG;
    }
    // The kernel gives a piece back when a signal comes in between: after one, the next piece is half as large.
    std::uint64_t piece = most;
    while (bytes != 0) {
        const std::uint64_t now = std::min(bytes, piece);
        if (::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(now)) == 0) {
            offset += now;
            bytes -= now;
            piece = std::min(most, piece * 2);
        } else if (errno == EINTR) {
            piece = std::max(page, piece / 2);
        } else {
            return errno;
        }
    }
    return 0;
}

namespace {

/// Writes only where there is storage, so it needs none.
bool write_zeros(int fd, off_t begin, off_t end) noexcept {
    static constexpr std::byte zeros[16384]{};
    for (off_t at = begin; at < end;) {
        at = ::lseek(fd, at, SEEK_DATA);
        if (at < 0 || at >= end) {
            return at >= end || errno == ENXIO;  // holes up to the end
        }
        const off_t hole = ::lseek(fd, at, SEEK_HOLE);
        if (hole < 0) {
            return false;
        }
        for (const off_t until = std::min(hole, end); at < until;) {
            const auto most = std::min<std::size_t>(sizeof zeros, static_cast<std::size_t>(until - at));
            const ssize_t n = ::pwrite(fd, zeros, most, at);
            if (n <= 0 && errno != EINTR) {
                return false;
            }
            at += std::max<ssize_t>(n, 0);
        }
    }
    return true;
}

}  // namespace

bool release_storage(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept {
    const auto begin = static_cast<off_t>(offset);
    const auto size = static_cast<off_t>(bytes);
    int rc = 0;
    do {
        rc = ::fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, begin, size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 || write_zeros(fd, begin, begin + size);
}

}  // namespace vinic::os

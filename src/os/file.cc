// SPDX-License-Identifier: Apache-2.0
#include "os/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

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

bool mapping::map_shared(int fd, std::size_t size, bool writable) noexcept {
    void* p = ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    data_ = static_cast<std::byte*>(p);
    size_ = size;
    // 256 GiB of holes would only make core files slow; what matters is in the processes' own memory.
    (void)::madvise(p, size, MADV_DONTDUMP);
    return true;
}

void mapping::replace_by_zeros() noexcept {
    if (data_ != nullptr) {
        (void)::mmap(data_, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                     0);
    }
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

bool lock_byte(int fd, std::uint64_t at) noexcept { return lock_call(fd, F_OFD_SETLKW, F_WRLCK, at, 1) == 0; }

void unlock_byte(int fd, std::uint64_t at) noexcept { (void)lock_call(fd, F_OFD_SETLK, F_UNLCK, at, 1); }

bool is_locked_by_other(int fd, std::uint64_t first, std::uint64_t count) noexcept {
    struct flock found{};
    // A failing query must not bury the living: assume that the lock is held.
    return lock_call(fd, F_OFD_GETLK, F_WRLCK, first, count, &found) != 0 || found.l_type != F_UNLCK;
}

int allocate_storage(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept {
    int rc = 0;
    do {
        rc = ::fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes));
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
}

void release_storage(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept {
    (void)::fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, static_cast<off_t>(offset),
                      static_cast<off_t>(bytes));
}

}  // namespace vinic::os

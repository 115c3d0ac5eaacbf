// SPDX-License-Identifier: Apache-2.0
//
// file.hpp -- file descriptors, mappings and byte locks.
//
//   Byte locks are open-file-description locks: they belong to one open() and go when its last
//   descriptor is closed, so the kernel itself tells whether a process still lives, across pid
//   namespaces and without a heartbeat.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace vinic::os {

/// For a while, or in a program of our own; what is kept for long in somebody else's is a kept_fd.
class unique_fd {
public:
    unique_fd() noexcept = default;
    explicit unique_fd(int fd) noexcept : fd_(fd) {}
    unique_fd(unique_fd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
    unique_fd& operator=(unique_fd&& o) noexcept {
        reset(std::exchange(o.fd_, -1));
        return *this;
    }
    ~unique_fd() { reset(); }
    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
    void reset(int fd = -1) noexcept;
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_ = -1;
};

/// The same open file under a number beyond 2, closing the old one; -1 and errno on failure.  A program that was
/// started with its output closed would get a file of ours as number 1 and print into it.
[[nodiscard]] int beyond_standard(int fd) noexcept;

/// Another number, beyond 2, of the same open file; none and errno on failure.
[[nodiscard]] unique_fd duplicate(int fd) noexcept;
/// Whose file it is; nobody if that cannot be told.
[[nodiscard]] std::optional<std::uint32_t> owner_of(int fd) noexcept;

/// Opens the file `name` of a directory and nothing else: no link is followed, nothing that was mounted over it is
/// entered (a file system in user space says of its files what it likes, and may never let an open return).  As
/// open(2).
[[nodiscard]] int open_beside(int directory, const char* name, int flags, unsigned int mode = 0) noexcept;

/// A shared mapping of a file, or of the addresses that it may grow into; unmapped on destruction.
class mapping {
public:
    mapping() noexcept = default;
    mapping(mapping&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
    mapping& operator=(mapping&& o) noexcept;
    ~mapping();
    /// False with errno on failure.  Takes no page, also in a process that locks all memory it will have
    /// (mlockall with MCL_FUTURE): what is used is locked by those who want it locked.
    [[nodiscard]] bool map_shared(int fd, std::size_t size, bool writable) noexcept;
    /// In a forked child, which does not get the mapping: zeroed private memory in its place.  If the kernel does not
    /// give that much, it gives what it can: what lies behind the first `head` bytes can then be read but not written
    /// to.
    void replace_by_zeros(std::size_t head) noexcept;
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Takes the write lock on byte `at`.  False: somebody else holds it.
[[nodiscard]] bool try_lock_byte(int fd, std::uint64_t at) noexcept;
void unlock_byte(int fd, std::uint64_t at) noexcept;
/// Whether another open file holds a lock inside [first, first + count).
[[nodiscard]] bool is_locked_by_other(int fd, std::uint64_t first, std::uint64_t count) noexcept;

/// Gives storage to [offset, offset + bytes), so that touching it cannot raise SIGBUS; the file grows to hold it, and
/// never shrinks.  In pieces, so that a timer's signals cannot keep it from ever ending.  0 or errno; EFBIG instead of
/// SIGXFSZ where the process' limit on file sizes is in the way.  After a failure some of it may have storage.
[[nodiscard]] int allocate_storage(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept;
/// Takes the storage back, where the file system does that; the range reads as zeros in any case.  False: it does not.
[[nodiscard]] bool release_storage(int fd, std::uint64_t offset, std::uint64_t bytes) noexcept;

}  // namespace vinic::os

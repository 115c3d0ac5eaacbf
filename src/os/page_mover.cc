// SPDX-License-Identifier: Apache-2.0
//
// page_mover.cc -- the steps of a move, both directions, and copies of pages for a fork.
#include "os/page_mover.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "abi/layout.hpp"
#include "os/file.hpp"
#include "os/self_view.hpp"

namespace vinic::os {

namespace {

void* at(std::uint64_t address) noexcept { return reinterpret_cast<void*>(address); }

/// Signals of this thread wait as long as this lives, but for those that its own instructions raise.
class signals_wait {
public:
    signals_wait() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        for (const int own : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) {
            ::sigdelset(&all, own);
        }
        (void)::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    signals_wait(const signals_wait&) = delete;
    signals_wait& operator=(const signals_wait&) = delete;
    ~signals_wait() { (void)::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

/// Whole pages, neighbours' bytes and all: what lies beside a registered range belongs to others, and
/// a sanitizer that watches memcpy would take it for an overrun.
void copy_pages(void* to, const void* from, std::uint64_t bytes) noexcept {
#if defined(__x86_64__)
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
    std::memcpy(to, from, bytes);
#endif
}

/// Copies the pages that exist; missing ones are zero on both sides, and reading them would park this thread.
int copy_present(int pagemap, std::uint64_t address, std::uint64_t bytes, std::byte* to) noexcept {
    constexpr std::uint64_t batch = 512;
    std::uint64_t entries[batch];
    for (std::uint64_t done = 0; done < bytes;) {
        const std::uint64_t pages = std::min(batch, (bytes - done) / abi::page_size);
        const auto want = static_cast<ssize_t>(pages * sizeof entries[0]);
        const ssize_t n = ::pread(pagemap, entries, static_cast<std::size_t>(want),
                                  static_cast<off_t>((address + done) / abi::page_size * sizeof entries[0]));
        if (n != want) {
            return n < 0 ? errno : EIO;
        }
        for (std::uint64_t i = 0; i < pages; ++i, done += abi::page_size) {
            if (entries[i] >> 62 != 0) {  // present or swapped
                copy_pages(to + done, at(address + done), abi::page_size);
            }
        }
    }
    return 0;
}

/// mremap replaces what was mapped there and moves the pages in one step.  The kernel looks first whether it can; if it
/// stops half way nevertheless, the range is empty, and what was to go there is still where it was: again, then.
int put(void* made, std::uint64_t address, std::uint64_t bytes) noexcept {
    constexpr int attempts_max = 1000;
    int failed = 0;
    for (int i = 0; i < attempts_max; ++i) {
        if (::mremap(made, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at(address)) != MAP_FAILED) {
            return 0;
        }
        failed = errno;
        if (is_mapped(address, bytes)) {
            break;
        }
        ::sched_yield();
    }
    return failed;
}

void* map_private(std::uint64_t bytes) noexcept {
    return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/// Pages that nobody has written are zero on both sides, and there may be gigabytes of them.
void copy_data(std::byte* to, const std::byte* from, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept {
    const auto begin = static_cast<off_t>(offset);
    const auto end = static_cast<off_t>(offset + bytes);
    for (off_t data = begin; data < end;) {
        data = ::lseek(fd, data, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
            break;  // nothing but holes from here on
        }
        off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
        if (hole < 0) {  // a file system that does not tell
            data = begin;
            hole = end;
        }
        if (data < end) {
            copy_pages(to + (data - begin), from + (data - begin),
                       static_cast<std::uint64_t>(std::min(hole, end) - data));
        }
        data = hole;
    }
}

}  // namespace

int page_mover::open() noexcept {
    if (faults_.get() >= 0) {
        return 0;
    }
    // Without USER_MODE_ONLY a write by the kernel (read(2) into the range) waits too; that needs privilege, and
    // without it such a call fails with EFAULT for a moment.
    unique_fd made;
    for (const int mode : {0, UFFD_USER_MODE_ONLY}) {
        if (!made) {
            made.reset(beyond_standard(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | mode))));
        }
    }
    if (!made) {
        return errno;
    }
#if defined(UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
    if (::ioctl(made.get(), UFFDIO_API, &api) != 0) {
        return errno;  // pages that can be moved in could not be moved out again
    }
    faults_.reset(made.release());
    return faults_ ? 0 : errno;
#else
    return ENOSYS;
#endif
}

bool page_mover::can_move_out(int fd) noexcept {
    struct statfs where{};
    return ::fstatfs(fd, &where) == 0 && where.f_type == TMPFS_MAGIC;
}

void page_mover::close() noexcept { faults_.reset(); }

int page_mover::park(std::uint64_t address, std::uint64_t bytes, bool missing_too) noexcept {
    uffdio_register range{};
    range.range = {address, bytes};
    range.mode = UFFDIO_REGISTER_MODE_WP | (missing_too ? UFFDIO_REGISTER_MODE_MISSING : 0u);
    const int faults = faults_.get();
    if (::ioctl(faults, UFFDIO_REGISTER, &range) != 0) {
        return errno;
    }
    uffdio_writeprotect protect{};
    protect.range = range.range;
    protect.mode = UFFDIO_WRITEPROTECT_MODE_WP;
    if (::ioctl(faults, UFFDIO_WRITEPROTECT, &protect) != 0) {
        const int failed = errno;
        let_go(address, bytes);
        return failed;
    }
    return 0;
}

/// Whether the range has moved or not: it is no longer watched, and writers that waited look again.
void page_mover::let_go(std::uint64_t address, std::uint64_t bytes) noexcept {
    uffdio_writeprotect open_again{};
    open_again.range = {address, bytes};
    (void)::ioctl(faults_.number(), UFFDIO_WRITEPROTECT, &open_again);
    uffdio_range range{address, bytes};
    (void)::ioctl(faults_.number(), UFFDIO_UNREGISTER, &range);
    (void)::ioctl(faults_.number(), UFFDIO_WAKE, &range);
}

int page_mover::move_in(std::uint64_t address, std::uint64_t bytes, int pagemap, int fd, std::uint64_t offset,
                        bool in_children) noexcept {
    void* made =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, static_cast<off_t>(offset));
    if (made == MAP_FAILED) {
        return errno;
    }
    int failed = in_children || ::madvise(made, bytes, MADV_DONTFORK) == 0 ? 0 : errno;
    if (failed == 0) {
        const signals_wait during_the_move;
        failed = park(address, bytes, true);
        if (failed == 0) {
            failed = copy_present(pagemap, address, bytes, static_cast<std::byte*>(made));
            failed = failed != 0 ? failed : put(made, address, bytes);
            let_go(address, bytes);
        }
    }
    if (failed != 0) {
        (void)::munmap(made, bytes);
    }
    return failed;
}

int page_mover::move_out(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept {
    void* made = map_private(bytes);
    if (made == MAP_FAILED) {
        return errno;
    }
    int failed = 0;
    {
        const signals_wait during_the_move;
        failed = park(address, bytes, false);
        if (failed == 0) {
            copy_data(static_cast<std::byte*>(made), static_cast<const std::byte*>(at(address)), bytes, fd, offset);
            failed = put(made, address, bytes);
            let_go(address, bytes);
        }
    }
    if (failed != 0) {
        drop_copy(static_cast<std::byte*>(made), bytes);
    }
    return failed;
}

std::byte* copy_aside(const std::byte* from, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept {
    void* copy = map_private(bytes);
    if (copy == MAP_FAILED) {
        return nullptr;
    }
    copy_data(static_cast<std::byte*>(copy), from, bytes, fd, offset);
    return static_cast<std::byte*>(copy);
}

void keep_from_children(std::uint64_t address, std::uint64_t bytes, bool kept) noexcept {
    (void)::madvise(reinterpret_cast<void*>(address), bytes, kept ? MADV_DONTFORK : MADV_DOFORK);
}

void drop_copy(std::byte* copy, std::uint64_t bytes) noexcept {
    if (::munmap(copy, bytes) != 0) {
        (void)::madvise(copy, bytes, MADV_DONTNEED);  // no mapping is left to cut it out: its pages go at least
    }
}

void fill_hole(std::byte* copy, std::uint64_t address, std::uint64_t bytes) noexcept {
    if (::mmap(at(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
               0) == MAP_FAILED ||
        copy == nullptr) {
        return;
    }
    (void)put(copy, address, bytes);
}

void replace_shared(std::byte* copy, std::uint64_t address, std::uint64_t bytes) noexcept {
    if ((copy != nullptr && put(copy, address, bytes) == 0) ||
        ::mmap(at(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
            MAP_FAILED ||
        ::munmap(at(address), bytes) == 0) {
        return;
    }
    std::abort();  // nothing is left that would keep it from its parent's memory
}

}  // namespace vinic::os

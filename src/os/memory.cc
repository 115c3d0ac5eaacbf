// SPDX-License-Identifier: Apache-2.0
#include "os/memory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "abi/layout.hpp"
#include "os/file.hpp"

namespace vinic::os {

namespace {

void* at(std::uint64_t address) noexcept { return reinterpret_cast<void*>(address); }

/// Writers of a range sleep from begin() until the object is gone.
class write_barrier {
public:
    /// `shared`: the range is a mapping of a tmpfs file.  0 or errno.
    [[nodiscard]] int begin(std::uint64_t address, std::uint64_t bytes, bool shared) noexcept {
        // Without USER_MODE_ONLY a write by the kernel (read(2) into the range) waits too; that
        // needs privilege, and without it such a call fails with EFAULT for a moment.
        fd_.reset(beyond_standard(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))));
        if (!fd_) {
            fd_.reset(beyond_standard(
                static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY))));
        }
        if (!fd_) {
            return errno;
        }
        uffdio_api api{};
        api.api = UFFD_API;
#if defined(UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
        api.features =
            shared ? UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM : UFFD_FEATURE_PAGEFAULT_FLAG_WP;
#else
        if (shared) {
            return ENOSYS;
        }
        api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
#endif
        if (::ioctl(fd_.get(), UFFDIO_API, &api) != 0) {
            return errno;
        }
        uffdio_register reg{};
        reg.range = {address, bytes};
        reg.mode = UFFDIO_REGISTER_MODE_WP | (shared ? 0u : UFFDIO_REGISTER_MODE_MISSING);
        if (::ioctl(fd_.get(), UFFDIO_REGISTER, &reg) != 0) {
            return errno;
        }
        uffdio_writeprotect protect{};
        protect.range = {address, bytes};
        protect.mode = UFFDIO_WRITEPROTECT_MODE_WP;
        return ::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &protect) == 0 ? 0 : errno;
    }
    /// Lets the writers go on; they find whatever is mapped by now.
    void end(std::uint64_t address, std::uint64_t bytes) noexcept {
        uffdio_range range{address, bytes};
        (void)::ioctl(fd_.get(), UFFDIO_WAKE, &range);
        fd_.reset();
    }

private:
    unique_fd fd_;
};

/// Without userfaultfd nobody else may run while pages move.
bool single_threaded() noexcept {
    DIR* d = ::opendir("/proc/self/task");
    if (d == nullptr) {
        return false;
    }
    int threads = 0;
    while (const dirent* e = ::readdir(d)) {
        threads += e->d_name[0] != '.' ? 1 : 0;
    }
    ::closedir(d);
    return threads == 1;
}

/// Whole pages, neighbours' bytes and all: what lies beside a registered range belongs to others, and
/// a sanitizer that watches memcpy would take it for an overrun.
void copy_pages(void* to, const void* from, std::uint64_t bytes) noexcept {
#if defined(__x86_64__)
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
    std::memcpy(to, from, bytes);
#endif
}

/// Copies the pages that exist; missing ones are zero on both sides.
int copy_present(std::uint64_t address, std::uint64_t bytes, std::byte* copy) noexcept {
    const unique_fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    constexpr std::uint64_t batch = 512;
    std::uint64_t entries[batch];
    for (std::uint64_t done = 0; done < bytes;) {
        const std::uint64_t pages = std::min(batch, (bytes - done) / abi::page_size);
        const auto want = static_cast<ssize_t>(pages * 8);
        if (!pagemap || ::pread(pagemap.get(), entries, static_cast<std::size_t>(want),
                                static_cast<off_t>((address + done) / abi::page_size * 8)) != want) {
            return errno != 0 ? errno : EIO;
        }
        for (std::uint64_t i = 0; i < pages; ++i, done += abi::page_size) {
            if (entries[i] >> 62 != 0) {  // present or swapped
                copy_pages(copy + done, at(address + done), abi::page_size);
            }
        }
    }
    return 0;
}

}  // namespace

std::vector<memory_area> areas(std::uint64_t begin, std::uint64_t end) {
    std::vector<memory_area> found;
    std::FILE* maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) {
        return found;
    }
    char line[512];
    bool line_start = true;
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        const bool is_start = line_start;
        line_start = std::strchr(line, '\n') != nullptr;
        memory_area a;
        char mode[8] = {};
        unsigned int major = 0;
        unsigned int minor = 0;
        char path[256] = {};
        if (!is_start || std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 " %255s", &a.begin,
                                     &a.end, mode, &a.offset, &major, &minor, &a.inode, path) < 7) {
            continue;
        }
        if (a.end <= begin) {
            continue;
        }
        if (a.begin >= end) {
            break;
        }
        a.readable = mode[0] == 'r';
        a.writable = mode[1] == 'w';
        a.device = std::uint64_t{major} << 32 | minor;
        const bool plain = path[0] == 0 || std::strcmp(path, "[heap]") == 0 || std::strncmp(path, "[anon:", 6) == 0;
        a.private_anonymous = mode[3] == 'p' && a.inode == 0 && plain;
        found.push_back(a);
    }
    std::fclose(maps);
    return found;
}

int move_into_file(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset, std::byte* copy) noexcept {
    write_barrier barrier;
    const int refused = barrier.begin(address, bytes, false);
    if (refused != 0 && !single_threaded()) {
        return refused;
    }
    int failed = copy_present(address, bytes, copy);
    if (failed == 0 && ::mmap(at(address), bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
                              static_cast<off_t>(offset)) == MAP_FAILED) {
        failed = errno;
    }
    barrier.end(address, bytes);
    return failed;
}

int move_out_of_file(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept {
    write_barrier barrier;
    const int refused = barrier.begin(address, bytes, true);
    if (refused != 0 && !single_threaded()) {
        return refused;
    }
    int failed = 0;
    std::byte* copy = copy_aside(address, bytes, fd, offset);
    if (copy == nullptr) {
        failed = ENOMEM;
    } else {
        place_copy(copy, address, bytes);
    }
    barrier.end(address, bytes);
    return failed;
}

std::byte* copy_aside(std::uint64_t address, std::uint64_t bytes, int fd, std::uint64_t offset) noexcept {
    void* copy = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy == MAP_FAILED) {
        return nullptr;
    }
    // Pages that nobody has written are zero on both sides, and there may be gigabytes of them.
    const auto begin = static_cast<off_t>(offset);
    const auto end = static_cast<off_t>(offset + bytes);
    for (off_t from = begin; from < end;) {
        from = ::lseek(fd, from, SEEK_DATA);
        if (from < 0 && errno == ENXIO) {
            break;  // nothing but holes from here on
        }
        off_t to = from < 0 ? -1 : ::lseek(fd, from, SEEK_HOLE);
        if (to < 0) {  // a file system that does not tell
            from = begin;
            to = end;
        }
        if (from < end) {
            const auto at_byte = static_cast<std::uint64_t>(from - begin);
            copy_pages(static_cast<std::byte*>(copy) + at_byte, at(address + at_byte),
                       static_cast<std::uint64_t>(std::min(to, end) - from));
        }
        from = to;
    }
    return static_cast<std::byte*>(copy);
}

void place_copy(std::byte* copy, std::uint64_t address, std::uint64_t bytes) noexcept {
    // mremap replaces the old mapping and moves the pages in one step.
    (void)::mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at(address));
}

void own_private_page(std::uint64_t address) noexcept {
#if defined(__x86_64__)
    // Written in assembly: compilers turn an atomic "or 0" into a load, which owns nothing.
    asm volatile("lock orb $0, %0" : "+m"(*static_cast<char*>(at(address))) : : "memory");
#else
    auto* byte = static_cast<unsigned char*>(at(address));
    unsigned char seen = __atomic_load_n(byte, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(byte, &seen, seen, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
#endif
}

void drop_copy(std::byte* copy, std::uint64_t bytes) noexcept { ::munmap(copy, bytes); }

std::uint64_t process_start_time(std::uint32_t pid) noexcept {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
    const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    char text[1024];
    const ssize_t n = fd ? ::read(fd.get(), text, sizeof text - 1) : -1;
    if (n <= 0) {
        return 0;
    }
    text[n] = 0;
    // The command name may hold spaces and brackets: count fields from the last ')'.
    const char* p = std::strrchr(text, ')');
    for (int field = 2; p != nullptr && field < 22; ++field) {
        p = std::strchr(p + 1, ' ');
    }
    std::uint64_t start = 0;
    return p != nullptr && std::sscanf(p, " %" SCNu64, &start) == 1 ? start : 0;
}

std::uint64_t pid_namespace() noexcept {
    struct stat s{};
    return ::stat("/proc/self/ns/pid", &s) == 0 ? static_cast<std::uint64_t>(s.st_ino) : 0;
}

}  // namespace vinic::os

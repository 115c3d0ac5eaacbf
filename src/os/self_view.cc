// SPDX-License-Identifier: Apache-2.0
//
// self_view.cc -- reads /proc/self, and tells what is known to be harmless.
#include "os/self_view.hpp"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <new>

namespace vinic::os {

/// Text comes in pieces of the kernel's choice; directories in records.
struct self_view::reader {
    static constexpr std::size_t line_max = 8192;
    char text[64 << 10];
    std::size_t begin = 0;
    std::size_t end = 0;
    char name[4096 + 64];

    /// Starts at the beginning of `fd`.
    [[nodiscard]] bool rewind(int fd) noexcept {
        begin = end = 0;
        return ::lseek(fd, 0, SEEK_SET) == 0;
    }
    /// The next line, without its end.  step::end where there is none.
    [[nodiscard]] step line(int fd, std::string_view& out) noexcept {
        for (;;) {
            if (const void* stop = std::memchr(text + begin, '\n', end - begin); stop != nullptr) {
                const auto length = static_cast<std::size_t>(static_cast<const char*>(stop) - (text + begin));
                out = {text + begin, length};
                begin += length + 1;
                return step::found;
            }
            std::memmove(text, text + begin, end - begin);
            end -= begin;
            begin = 0;
            if (end > sizeof text - line_max) {
                return step::failed;  // no line is that long
            }
            ssize_t n = 0;
            do {
                n = ::read(fd, text + end, sizeof text - end);
            } while (n < 0 && errno == EINTR);
            if (n <= 0) {
                return n == 0 && end == 0 ? step::end : step::failed;
            }
            end += static_cast<std::size_t>(n);
        }
    }
    /// The next entry of a directory of numbers; others are skipped.
    [[nodiscard]] step number(int fd, int& out) noexcept {
        // struct linux_dirent64: where a record says how long it is, and its name.
        constexpr std::size_t length_at = 16;
        constexpr std::size_t name_at = 19;
        for (;;) {
            if (begin == end) {
                const long n = ::syscall(SYS_getdents64, fd, text, sizeof text);
                if (n <= 0) {
                    return n == 0 ? step::end : step::failed;
                }
                begin = 0;
                end = static_cast<std::size_t>(n);
            }
            std::uint16_t length = 0;
            std::memcpy(&length, text + begin + length_at, sizeof length);
            const char* entry = text + begin + name_at;
            begin += length;
            const char* stop = entry + std::strlen(entry);
            if (const auto [read, e] = std::from_chars(entry, stop, out); e == std::errc{} && read == stop) {
                return step::found;
            }
        }
    }
};

namespace {

/// The distance from a thread's pointer to the list of robust locks that the C library registers for it, which is
/// the same for all of its threads.
bool robust_list_distance(std::uint64_t& distance) noexcept {
    void* head = nullptr;
    std::size_t bytes = 0;
    if (::syscall(SYS_get_robust_list, 0, &head, &bytes) != 0 || head == nullptr) {
        return false;
    }
    distance = reinterpret_cast<std::uint64_t>(head) - reinterpret_cast<std::uint64_t>(__builtin_thread_pointer());
    return true;
}

/// The list of a thread.  No: the thread has ended, though /proc may show it for a while.
answer robust_list_of(int thread, const void*& head) noexcept {
    // One that has just begun has not registered its list yet; one of the kernel's never will.
    constexpr int patience = 1000;
    for (int i = 0; i < patience; ++i) {
        std::size_t bytes = 0;
        if (::syscall(SYS_get_robust_list, thread, &head, &bytes) != 0) {
            return errno == ESRCH ? answer::no : answer::unknown;
        }
        if (head != nullptr) {
            return answer::yes;
        }
        // At its end a thread loses its list, and then its memory, in which this byte lies.
        std::byte seen{};
        const std::byte there{};
        const iovec here{&seen, 1};
        const iovec its{const_cast<std::byte*>(&there), 1};
        if (::syscall(SYS_process_vm_readv, thread, &here, 1UL, &its, 1UL, 0UL) < 0 && errno == ESRCH) {
            return answer::no;
        }
        const timespec moment{0, i < patience / 10 ? 0 : 100'000};
        (void)::nanosleep(&moment, nullptr);
    }
    return answer::unknown;
}

/// Null, zero, full, random, urandom; terminals of all sorts.
bool is_harmless_device(dev_t d) noexcept {
    const unsigned kind = major(d);
    const unsigned which = minor(d);
    return (kind == 1 && (which == 3 || which == 5 || (which >= 7 && which <= 9))) || kind == 4 || kind == 5 ||
           (kind >= 136 && kind <= 143);
}

bool is_harmless_socket(int fd) noexcept {
    int domain = -1;
    socklen_t bytes = sizeof domain;
    return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
           (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6 || domain == AF_NETLINK);
}

bool is_harmless_object(std::string_view name) noexcept {
    constexpr std::string_view known[] = {"[eventfd]",     "[timerfd]", "[signalfd]", "[eventpoll]",
                                          "[userfaultfd]", "[pidfd]",   "inotify"};
    constexpr std::string_view prefix = "anon_inode:";
    return name.starts_with("pidfd:") ||
           (name.starts_with(prefix) && std::ranges::find(known, name.substr(prefix.size())) != std::end(known));
}

}  // namespace

bool is_mapped(std::uint64_t address, std::uint64_t bytes) noexcept {
    // Asks for nothing that a file system would have to do, but walks the mappings to do it.
    return ::msync(reinterpret_cast<void*>(address), bytes, MS_ASYNC) == 0;
}

bool memory_area::is_anonymous() const noexcept {
    return inode == 0 && (name.empty() || name == "[heap]" || name.starts_with("[anon:"));
}

bool memory_area::has_only(std::string_view allowed) const noexcept {
    for (std::size_t i = 0; i + 1 < flags.size(); i += 3) {
        if (allowed.find(flags.substr(i, 2)) == std::string_view::npos) {
            return false;
        }
    }
    return protection_key == 0 && !flags.empty();
}

bool memory_area::is_of_harmless_kind() const noexcept {
    constexpr std::string_view kernels[] = {"[stack]", "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]"};
    if (inode == 0) {
        return is_anonymous() || std::ranges::find(kernels, name) != std::end(kernels);
    }
    return name.starts_with("/dev/") ? name.starts_with("/dev/shm/") || name.starts_with("/dev/zero")
                                     : name.starts_with("/") && !name.starts_with("/[");
}

self_view::self_view() = default;
self_view::~self_view() = default;

void self_view::close() noexcept {
    areas_.reset();
    threads_.reset();
    descriptors_.reset();
    pagemap_.reset();
}

int self_view::open() noexcept {
    if (!reader_) {
        reader_.reset(new (std::nothrow) reader);
    }
    const struct {
        kept_fd* fd;
        const char* path;
        int flags;
    } wanted[] = {{&areas_, "/proc/self/smaps", O_RDONLY | O_CLOEXEC},
                  {&threads_, "/proc/self/task", O_RDONLY | O_CLOEXEC | O_DIRECTORY},
                  {&descriptors_, "/proc/self/fd", O_RDONLY | O_CLOEXEC | O_DIRECTORY},
                  {&pagemap_, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC}};
    for (const auto& w : wanted) {
        if (w.fd->get() < 0) {
            w.fd->reset(::open(w.path, w.flags));
        }
        if (!*w.fd) {
            return errno;
        }
    }
    return reader_ ? 0 : ENOMEM;
}

bool self_view::begin_areas() noexcept { return areas_ && reader_->rewind(areas_.get()); }

self_view::step self_view::next_area(memory_area& out) noexcept {
    std::string_view text;
    const step first = reader_->line(areas_.number(), text);
    if (first != step::found) {
        return first;
    }
    char line[256];
    const std::size_t copied = text.copy(line, sizeof line - 1);
    line[copied] = 0;
    char mode[8] = {};
    unsigned major_number = 0;
    unsigned minor_number = 0;
    int name_at = 0;
    out = {};
    if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 " %n", &out.begin, &out.end, mode,
                    &out.offset, &major_number, &minor_number, &out.inode, &name_at) < 7) {
        return step::failed;
    }
    out.readable = mode[0] == 'r';
    out.writable = mode[1] == 'w';
    out.executable = mode[2] == 'x';
    out.shared = mode[3] == 's';
    out.device = std::uint64_t{major_number} << 32 | minor_number;
    const std::string_view name = text.substr(std::min<std::size_t>(static_cast<std::size_t>(name_at), text.size()));
    out.name = {reader_->name, name.copy(reader_->name, sizeof reader_->name)};
    constexpr std::string_view key = "ProtectionKey:";
    constexpr std::string_view flags = "VmFlags:";
    for (;;) {
        if (reader_->line(areas_.number(), text) != step::found) {
            return step::failed;
        }
        if (text.starts_with(key)) {
            const std::size_t at = std::min(text.find_first_not_of(' ', key.size()), text.size());
            (void)std::from_chars(text.data() + at, text.data() + text.size(), out.protection_key);
        }
        if (text.starts_with(flags)) {  // the last line of an area
            out.flags = text.substr(std::min(text.find_first_not_of(' ', flags.size()), text.size()));
            return step::found;
        }
    }
}

bool self_view::begin_threads() noexcept {
    this_thread_seen_ = false;
    return threads_ && reader_->rewind(threads_.get());
}

self_view::step self_view::next_thread(thread_block& out) noexcept {
    std::uint64_t distance = 0;
    if (!robust_list_distance(distance)) {
        return step::failed;
    }
    int thread = 0;
    for (;;) {
        if (const step s = reader_->number(threads_.number(), thread); s != step::found) {
            // A /proc of another pid namespace has numbers that mean nothing here, or others.
            return s == step::end && !this_thread_seen_ ? step::failed : s;
        }
        const void* head = nullptr;
        if (const answer a = robust_list_of(thread, head); a != answer::yes) {
            if (a == answer::no) {
                continue;
            }
            return step::failed;
        }
        constexpr std::uint64_t block_bytes = 2304;
        constexpr std::uint64_t rseq_bytes = 32;  // and not more: what a program maps next may begin there
        out.begin = reinterpret_cast<std::uint64_t>(head) - distance;
        this_thread_seen_ =
            this_thread_seen_ || out.begin == reinterpret_cast<std::uint64_t>(__builtin_thread_pointer());
        const auto rseq = static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(__rseq_offset, 0));
        out.end = out.begin + std::max(block_bytes, rseq + rseq_bytes);
        out.is_first = thread == ::getpid();
        return step::found;
    }
}

answer self_view::holds_pages_by_descriptor() noexcept {
    if (!descriptors_ || !reader_->rewind(descriptors_.get())) {
        return answer::unknown;
    }
    for (;;) {
        int fd = -1;
        if (const step s = reader_->number(descriptors_.number(), fd); s != step::found) {
            return s == step::end ? answer::no : answer::unknown;
        }
        struct stat what{};
        if (::fstat(fd, &what) != 0) {
            continue;  // it was closed meanwhile
        }
        switch (what.st_mode & S_IFMT) {
            case S_IFREG:
            case S_IFDIR:
            case S_IFIFO:
                continue;
            case S_IFSOCK:
                if (is_harmless_socket(fd)) {
                    continue;
                }
                return answer::yes;
            case S_IFCHR:
                if (is_harmless_device(what.st_rdev)) {
                    continue;
                }
                return answer::yes;
            case 0: {  // objects without an inode of their own
                char link[16];
                std::snprintf(link, sizeof link, "%d", fd);
                const ssize_t n = ::readlinkat(descriptors_.number(), link, reader_->name, sizeof reader_->name);
                if (n > 0 && is_harmless_object({reader_->name, static_cast<std::size_t>(n)})) {
                    continue;
                }
                return n < 0 && errno != ENOENT ? answer::unknown : answer::yes;
            }
            default:
                return answer::yes;
        }
    }
}

bool has_own_policy(std::uint64_t address) noexcept {
    int there = MPOL_DEFAULT;
    int of_thread = MPOL_DEFAULT;
    if (::syscall(SYS_get_mempolicy, &there, nullptr, 0, address, MPOL_F_ADDR) != 0) {
        return false;  // not available on this machine, or not to this process: it can have set none, either
    }
    return ::syscall(SYS_get_mempolicy, &of_thread, nullptr, 0, nullptr, 0) != 0 || there != of_thread;
}

}  // namespace vinic::os

// SPDX-License-Identifier: Apache-2.0
//
// errnos.cc -- the table of calls and errors.
#include "faults/errnos.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

namespace faults {

namespace {

constexpr std::uint32_t creates = 1;    // of open: O_CREAT
constexpr std::uint32_t unlocks = ~1u;  // of fcntl: gives back what was locked as a whole, and that never fails
constexpr std::uint32_t of_a_file = 1;  // of mmap: not MAP_ANONYMOUS

constexpr int opening[] = {EMFILE, ENFILE, ENOMEM, EACCES, EPERM, EINTR};
constexpr int making_a_file[] = {EMFILE, ENFILE, ENOMEM, EACCES, ENOSPC, EROFS, EDQUOT};
constexpr int a_descriptor[] = {EMFILE, ENFILE, ENOMEM};
constexpr int closing[] = {EINTR, EIO};
constexpr int mapping[] = {ENOMEM, EAGAIN};
constexpr int mapping_a_file[] = {ENOMEM, EAGAIN, ENODEV, EPERM};
constexpr int no_memory[] = {ENOMEM};
constexpr int advising[] = {ENOMEM, EAGAIN, EINVAL};
constexpr int allocating[] = {ENOSPC, EINTR, EIO, EOPNOTSUPP, ENOMEM, EDQUOT, EPERM};
constexpr int sizing[] = {EFBIG, EINTR, EIO, EPERM};
constexpr int looking[] = {ENOMEM, EACCES, EIO};
constexpr int looking_at_open[] = {ENOMEM, EIO};
constexpr int changing[] = {EPERM, EROFS, EIO};
constexpr int removing[] = {EACCES, EPERM, EROFS, EBUSY, EIO};
constexpr int seeking[] = {EINVAL, EIO};
constexpr int locking[] = {ENOLCK, EINTR, EINVAL};
constexpr int file_locking[] = {ENOLCK};
constexpr int try_locking[] = {ENOLCK, EINVAL};
constexpr int asking_for_locks[] = {ENOLCK, EINVAL};
constexpr int faulting[] = {EPERM, ENOSYS, EMFILE, ENFILE, ENOMEM};
constexpr int fault_ioctl[] = {EINVAL, ENOMEM, EBUSY, EPERM};
constexpr int fault_protect[] = {EINVAL, ENOENT, EAGAIN, ENOMEM};
constexpr int reading[] = {EIO, EINTR, ENOMEM};
constexpr int writing[] = {EIO, ENOSPC, EINTR, EAGAIN, EPIPE};
constexpr int connecting[] = {ECONNREFUSED, ENOENT, EACCES, EAGAIN, EINTR, EPERM};
constexpr int binding[] = {EADDRINUSE, EACCES, ENOENT, ENOMEM, EROFS};
constexpr int listening[] = {EADDRINUSE, EOPNOTSUPP};
constexpr int accepting[] = {EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM};
constexpr int sending[] = {EPIPE, ECONNRESET, EAGAIN, ENOBUFS, ENOMEM, EINTR};
constexpr int receiving[] = {ECONNRESET, EAGAIN, ENOMEM, EINTR};
constexpr int a_socket[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, EACCES};
constexpr int options[] = {ENOMEM, ENOPROTOOPT, ENOBUFS};
constexpr int waiting[] = {EINTR, ENOMEM};
constexpr int waiting_for_events[] = {EINTR};
constexpr int watching[] = {ENOMEM, ENOSPC, EPERM};
constexpr int barrier[] = {ENOSYS, EPERM};
constexpr int other_memory[] = {EPERM, ESRCH, EFAULT, ENOMEM};
constexpr int sleeping[] = {EINTR};
constexpr int word_waiting[] = {EINTR, EAGAIN};
constexpr int cloning[] = {EAGAIN, ENOMEM};
constexpr int random_bytes[] = {ENOSYS, EINTR, EAGAIN};
constexpr int limits[] = {EPERM};
constexpr int file_system[] = {EIO, ENOSYS, EACCES};
constexpr int refused[] = {EPERM, EINVAL};
constexpr int system_information[] = {EFAULT};

struct named_rule {
    rule is;
    const char* name;
};

/// The kinds of one call stand together, `any` last.
constexpr named_rule rules[] = {
    {{SYS_openat, creates, making_a_file}, "openat (to make a file)"},
    {{SYS_openat, any, opening}, "openat"},
    {{SYS_openat2, any, opening}, "openat2"},
    {{SYS_open, creates, making_a_file}, "open (to make a file)"},
    {{SYS_open, any, opening}, "open"},
    {{SYS_close, any, closing}, "close"},
    {{SYS_mmap, 0, mapping}, "mmap (anonymous)"},
    {{SYS_mmap, any, mapping_a_file}, "mmap (of a file)"},
    {{SYS_mremap, any, mapping}, "mremap"},
    {{SYS_munmap, any, no_memory}, "munmap"},
    {{SYS_mprotect, any, no_memory}, "mprotect"},
    {{SYS_madvise, any, advising}, "madvise"},
    {{SYS_mlock, any, mapping}, "mlock"},
    {{SYS_munlock, any, no_memory}, "munlock"},
    {{SYS_mincore, any, mapping}, "mincore"},
    {{SYS_fallocate, any, allocating}, "fallocate"},
    {{SYS_ftruncate, any, sizing}, "ftruncate"},
    {{SYS_fstat, any, looking_at_open}, "fstat"},
    {{SYS_newfstatat, any, looking}, "newfstatat"},
    {{SYS_stat, any, looking}, "stat"},
    {{SYS_lstat, any, looking}, "lstat"},
    {{SYS_statx, any, looking}, "statx"},
    {{SYS_statfs, any, file_system}, "statfs"},
    {{SYS_fstatfs, any, file_system}, "fstatfs"},
    {{SYS_readlink, any, looking}, "readlink"},
    {{SYS_readlinkat, any, looking}, "readlinkat"},
    {{SYS_getdents64, any, looking_at_open}, "getdents64"},
    {{SYS_fchmod, any, changing}, "fchmod"},
    {{SYS_fchown, any, changing}, "fchown"},
    {{SYS_fremovexattr, any, changing}, "fremovexattr"},
    {{SYS_chmod, any, changing}, "chmod"},
    {{SYS_fchmodat, any, changing}, "fchmodat"},
    {{SYS_chown, any, changing}, "chown"},
    {{SYS_fchownat, any, changing}, "fchownat"},
    {{SYS_mkdir, any, removing}, "mkdir"},
    {{SYS_unlink, any, removing}, "unlink"},
    {{SYS_unlinkat, any, removing}, "unlinkat"},
    {{SYS_rename, any, removing}, "rename"},
    {{SYS_lseek, any, seeking}, "lseek"},
    {{SYS_fcntl, F_OFD_SETLK, try_locking}, "fcntl (lock)"},
    {{SYS_fcntl, F_OFD_SETLKW, locking}, "fcntl (wait for a lock)"},
    {{SYS_fcntl, F_OFD_GETLK, asking_for_locks}, "fcntl (ask for locks)"},
    {{SYS_fcntl, F_DUPFD_CLOEXEC, a_descriptor}, "fcntl (duplicate)"},
    {{SYS_fcntl, unlocks, {}}, "fcntl (unlock)"},
    {{SYS_fcntl, F_GETFD, {}}, "fcntl (is it open?)"},
    {{SYS_fcntl, F_GETFL, {}}, "fcntl (how is it open?)"},
    {{SYS_fcntl, any, refused}, "fcntl"},
    {{SYS_flock, any, file_locking}, "flock"},
    {{SYS_dup, any, a_descriptor}, "dup"},
    {{SYS_dup3, any, a_descriptor}, "dup3"},
    {{SYS_userfaultfd, any, faulting}, "userfaultfd"},
    {{SYS_ioctl, UFFDIO_API & 0xffffffffu, fault_ioctl}, "ioctl (UFFDIO_API)"},
    {{SYS_ioctl, UFFDIO_REGISTER & 0xffffffffu, fault_ioctl}, "ioctl (UFFDIO_REGISTER)"},
    {{SYS_ioctl, UFFDIO_WRITEPROTECT & 0xffffffffu, fault_protect}, "ioctl (UFFDIO_WRITEPROTECT)"},
    {{SYS_ioctl, any, refused}, "ioctl"},
    {{SYS_read, any, reading}, "read"},
    {{SYS_pread64, any, reading}, "pread"},
    {{SYS_write, any, writing}, "write"},
    {{SYS_writev, any, writing}, "writev"},
    {{SYS_pwrite64, any, writing}, "pwrite"},
    {{SYS_socket, any, a_socket}, "socket"},
    {{SYS_socketpair, any, a_socket}, "socketpair"},
    {{SYS_connect, any, connecting}, "connect"},
    {{SYS_bind, any, binding}, "bind"},
    {{SYS_listen, any, listening}, "listen"},
    {{SYS_accept4, any, accepting}, "accept4"},
    {{SYS_sendto, any, sending}, "send"},
    {{SYS_sendmsg, any, sending}, "sendmsg"},
    {{SYS_recvfrom, any, receiving}, "recv"},
    {{SYS_recvmsg, any, receiving}, "recvmsg"},
    {{SYS_setsockopt, any, options}, "setsockopt"},
    {{SYS_getsockopt, any, options}, "getsockopt"},
    {{SYS_poll, any, waiting}, "poll"},
    {{SYS_ppoll, any, waiting}, "ppoll"},
    {{SYS_epoll_create1, any, a_descriptor}, "epoll_create1"},
    {{SYS_epoll_ctl, any, watching}, "epoll_ctl"},
    {{SYS_epoll_wait, any, waiting_for_events}, "epoll_wait"},
    {{SYS_epoll_pwait, any, waiting_for_events}, "epoll_pwait"},
    {{SYS_eventfd2, any, a_descriptor}, "eventfd2"},
    {{SYS_timerfd_create, any, a_descriptor}, "timerfd_create"},
    {{SYS_signalfd4, any, a_descriptor}, "signalfd4"},
    {{SYS_memfd_create, any, a_descriptor}, "memfd_create"},
    {{SYS_pidfd_open, any, a_descriptor}, "pidfd_open"},
    {{SYS_pipe2, any, a_descriptor}, "pipe2"},
    {{SYS_membarrier, any, barrier}, "membarrier"},
    {{SYS_process_vm_readv, any, other_memory}, "process_vm_readv"},
    {{SYS_process_vm_writev, any, other_memory}, "process_vm_writev"},
    {{SYS_futex, FUTEX_WAIT, word_waiting}, "futex (wait)"},
    {{SYS_clock_nanosleep, any, sleeping}, "clock_nanosleep"},
    {{SYS_clone, any, cloning}, "clone"},
    {{SYS_clone3, any, cloning}, "clone3"},
    {{SYS_getrandom, any, random_bytes}, "getrandom"},
    {{SYS_prlimit64, any, limits}, "prlimit64"},
    {{SYS_sched_getaffinity, any, refused}, "sched_getaffinity"},
    {{SYS_sched_setaffinity, any, refused}, "sched_setaffinity"},
    {{SYS_sched_setscheduler, any, refused}, "sched_setscheduler"},
    {{SYS_sysinfo, any, system_information}, "sysinfo"},
};

const named_rule* find(const call& c) noexcept {
    const auto* found = std::ranges::find_if(rules, [&](const named_rule& r) {
        return r.is.number == c.number && (r.is.kind == c.kind || r.is.kind == any);
    });
    return found != std::end(rules) ? found : nullptr;
}

bool makes_a_descriptor(const rule& r) noexcept { return std::ranges::find(r.errors, EMFILE) != r.errors.end(); }

}  // namespace

call describe(std::uint32_t number, std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
    std::uint64_t kind = 0;
    switch (number) {
        case SYS_openat:
            kind = (c & O_CREAT) != 0 ? creates : 0;
            break;
        case SYS_open:
            kind = (b & O_CREAT) != 0 ? creates : 0;
            break;
        case SYS_mmap:
            kind = (d & MAP_ANONYMOUS) != 0 ? 0 : of_a_file;
            break;
        case SYS_fcntl:
            if ((b == F_OFD_SETLK || b == F_OFD_SETLKW) &&
                reinterpret_cast<const struct flock*>(c)->l_type == F_UNLCK) {
                kind = unlocks;
                break;
            }
            [[fallthrough]];
        case SYS_ioctl:
            kind = b;
            break;
        case SYS_futex:
            kind = b & static_cast<std::uint32_t>(FUTEX_CMD_MASK);
            break;
        default:
            break;
    }
    (void)a;
    return {number, static_cast<std::uint32_t>(kind)};
}

const rule* rule_of(const call& c) noexcept {
    const named_rule* r = find(c);
    return r != nullptr && !r->is.errors.empty() ? &r->is : nullptr;
}

bool can_fail_with(const rule& r, int error) noexcept { return std::ranges::find(r.errors, error) != r.errors.end(); }

std::uint32_t group_of(const rule& r, int error) noexcept {
    const bool may = can_fail_with(r, error);
    switch (error) {
        case EMFILE:
        case ENFILE:
            return makes_a_descriptor(r) ? 1 : 0;
        case ENOMEM:  // mappings; descriptors too need memory, but that is rather another moment
            return may && !makes_a_descriptor(r) && r.number != SYS_munmap ? 2 : 0;
        case ENOSPC:
        case EDQUOT:
            return may && r.number != SYS_epoll_ctl ? 3 : 0;  // of epoll_ctl it is another kind of space
        case EPERM:
        case ENOSYS:
        case EACCES:
        case EOPNOTSUPP:
        case ENOLCK:  // what a filter, a policy or a file system refuses, it refuses always
            return may ? 16 + r.number : 0;
        default:
            return 0;
    }
}

bool happens_all_the_same(const call& c) noexcept { return c.number == SYS_close; }

const char* name_of(const call& c) noexcept {
    const named_rule* r = find(c);
    return r != nullptr ? r->name : "?";
}

}  // namespace faults

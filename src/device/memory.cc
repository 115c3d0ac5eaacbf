// SPDX-License-Identifier: Apache-2.0
#include "device/memory.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "device/processes.hpp"

namespace vinic::device {

namespace {

constexpr std::uint64_t opening_byte = 0;
constexpr auto opening_patience = std::chrono::seconds(10);

bool valid_name(std::string_view n) {
    return !n.empty() && n.size() <= abi::name_bytes_max && std::all_of(n.begin(), n.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
    });
}

struct table_shape {
    std::uint64_t offset;
    std::uint64_t entry_bytes;
    std::uint32_t capacity;
    std::uint64_t owner_at;
    const char* what;
};

const table_shape& shape(abi::table t) {
    static constexpr table_shape shapes[abi::table_kinds] = {
        {abi::domains_offset, sizeof(abi::domain_entry), abi::domain_count, offsetof(abi::domain_entry, owner),
         "protection domains"},
        {abi::regions_offset, sizeof(abi::region_entry), abi::region_count, offsetof(abi::region_entry, owner),
         "memory regions"},
        {abi::cqs_offset, sizeof(abi::cq_entry), abi::cq_count, offsetof(abi::cq_entry, owner), "completion queues"},
        {abi::vis_offset, sizeof(abi::vi_entry), abi::vi_count, offsetof(abi::vi_entry, owner), "virtual interfaces"},
        {abi::names_offset, sizeof(abi::name_entry), abi::name_count, offsetof(abi::name_entry, owner), "names"},
        {abi::requests_offset, sizeof(abi::request_entry), abi::request_count, offsetof(abi::request_entry, owner),
         "connection requests"},
    };
    return shapes[t];
}

std::uint64_t read_openings(int fd) noexcept {
    std::uint64_t n = 0;
    return ::pread(fd, &n, sizeof n, offsetof(abi::device_header, openings)) == static_cast<ssize_t>(sizeof n) ? n : 0;
}

/// Waits for byte 0; false when one holder (stopped while opening?) keeps it too long.
bool lock_opening(int fd) noexcept {
    std::uint64_t seen = read_openings(fd);
    auto end = std::chrono::steady_clock::now() + opening_patience;
    std::minstd_rand random(static_cast<unsigned>(os::ticks()));
    for (int longest_us = 100; !os::try_lock_byte(fd, opening_byte); longest_us = std::min(longest_us * 2, 5000)) {
        if (errno != EAGAIN && errno != EACCES) {
            return false;
        }
        const auto now = std::chrono::steady_clock::now();
        if (const std::uint64_t n = read_openings(fd); n != seen) {
            seen = n;  // a crowd, but it moves
            end = now + opening_patience;
        }
        if (now > end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution(50, longest_us)(random)));
    }
    struct stat s{};
    if (::fstat(fd, &s) == 0 && static_cast<std::uint64_t>(s.st_size) == abi::file_size) {
        ++seen;
        (void)!::pwrite(fd, &seen, sizeof seen, offsetof(abi::device_header, openings));
    }
    return true;
}

bool same_file(int fd, const std::string& path) noexcept {
    struct stat mine{};
    struct stat named{};
    return ::fstat(fd, &mine) == 0 && ::stat(path.c_str(), &named) == 0 && named.st_ino == mine.st_ino &&
           named.st_dev == mine.st_dev;
}

/// Opens the device file or makes it; fd or -1.  Never O_CREAT on a file that is there: in a sticky
/// directory the kernel refuses that for another user's file (fs.protected_regular).
int open_or_make(const std::string& path) noexcept {
    for (int attempt = 0; attempt < 100; ++attempt) {
        int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 || errno != ENOENT) {
            return os::beyond_standard(fd);
        }
        fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0 || errno != EEXIST) {
            return os::beyond_standard(fd);
        }
    }
    return -1;
}

errc code_of(int os_errno) {
    switch (os_errno) {
        case EACCES:
        case EPERM:
            return errc::permission_denied;
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
            return errc::out_of_memory;
        default:
            return errc::os_failure;
    }
}

}  // namespace

error memory::fail(errc code, int os_errno, std::string what) const {
    return {code, os_errno, "device " + address_ + " (" + path_ + "): " + std::move(what)};
}

error memory::fail_os(int os_errno, std::string what) const {
    return fail(code_of(os_errno), os_errno, std::move(what));
}

result<std::unique_ptr<memory>> memory::open(std::string_view device_address, const open_options& options, role as) {
    constexpr std::string_view scheme = "shm:";
    constexpr std::string_view isolated = "vinicd:";
    if (device_address.starts_with(isolated)) {
        if (!options.directory.empty() || !options.group.empty()) {
            return std::unexpected(error{errc::invalid_argument, 0, "directory and group are for device files only"});
        }
        std::unique_ptr<memory> m(new memory);
        m->address_ = device_address;
        if (auto r = m->open_window(device_address.substr(isolated.size()), as); !r) {
            return std::unexpected(r.error());
        }
        return m;
    }
    if (!device_address.starts_with(scheme) || !valid_name(device_address.substr(scheme.size()))) {
        return std::unexpected(error{errc::unknown_address, 0, "device address '" + std::string(device_address) + "'"});
    }
    const char* from_environment = std::getenv("VINIC_SHM_DIR");
    std::string directory = options.directory;
    if (directory.contains('\0') || options.group.contains('\0')) {
        // The kernel would see another name, one that ends there.
        return std::unexpected(error{errc::invalid_argument, 0, "a directory or group with a NUL byte in its name"});
    }
    if (directory.empty()) {
        directory = from_environment != nullptr && *from_environment != 0 ? from_environment : "/dev/shm";
    }
    std::unique_ptr<memory> m(new memory);
    m->address_ = device_address;
    m->path_ = directory + "/vinic-" + std::string(device_address.substr(scheme.size()));
    if (auto r = as == role::participant ? m->attach(options) : m->inspect(); !r) {
        return std::unexpected(r.error());
    }
    return m;
}

result<void> memory::attach(const open_options& options) {
    // A file that is being removed by the last one out has to be opened again under its name.
    for (int attempt = 0; attempt < 100; ++attempt) {
        auto r = attach_once(options);
        if (!r) {
            fd_.reset();
            return std::unexpected(r.error());
        }
        if (*r) {
            return {};
        }
        fd_.reset();
    }
    return std::unexpected(fail(errc::busy, 0, "the device file is removed again and again while it is opened"));
}

result<bool> memory::attach_once(const open_options& options) {
    fd_.reset(open_or_make(path_));
    if (!fd_) {
        const bool nowhere = errno == ENOENT || errno == ENOTDIR;
        return std::unexpected(fail_os(errno, nowhere ? "no such directory (make it, or set VINIC_SHM_DIR to another)"
                                                      : "opening the device file"));
    }
    struct stat mine{};
    if (::fstat(fd_.get(), &mine) != 0 || !S_ISREG(mine.st_mode)) {
        return std::unexpected(fail(errc::version_mismatch, 0,
                                    "the name is taken by something that is no regular file; choose another name"));
    }
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < abi::file_size) {
        if (mine.st_size == 0) {
            ::unlink(path_.c_str());
        }
        return std::unexpected(fail(
            errc::out_of_memory, EFBIG,
            "the limit on file sizes (ulimit -f) is below the 256 GiB that the sparse device file spans; raise it"));
    }
    if (!lock_opening(fd_.get())) {
        return std::unexpected(
            fail(errc::timed_out, errno, "another process is stopped while it opens or leaves the device"));
    }
    if (::fstat(fd_.get(), &mine) != 0) {
        return std::unexpected(fail_os(errno, "reading the device file's size"));
    }
    if (!same_file(fd_.get(), path_)) {
        return false;
    }
    const bool in_use = os::is_locked_by_other(fd_.get(), process_byte, abi::process_count);
    if (!in_use) {
        std::uint64_t found = 0;
        if (mine.st_size != 0 && (::pread(fd_.get(), &found, sizeof found, 0) != static_cast<ssize_t>(sizeof found) ||
                                  (found != 0 && found != abi::magic))) {
            return std::unexpected(fail(errc::version_mismatch, 0,
                                        "the file exists and is no vinic device; remove it or choose another name"));
        }
        if (auto r = initialise(options); !r) {
            ::unlink(path_.c_str());
            return std::unexpected(r.error());
        }
    } else {
        if (!map_.map_shared(fd_.get(), abi::file_size, true)) {
            return std::unexpected(fail_os(errno, "mapping the device file"));
        }
        if (auto r = check_version(); !r) {
            return std::unexpected(r.error());
        }
    }
    if (auto r = enter(); !r) {
        if (!in_use) {
            ::unlink(path_.c_str());
        }
        return std::unexpected(r.error());
    }
    os::unlock_byte(fd_.get(), opening_byte);
    if (auto r = open_again(); !r) {
        leave();
        self_ = abi::none32;
        return std::unexpected(r.error());
    }
    control_lock hold(*this);
    bury_the_dead(*this);
    return true;
}

result<void> memory::initialise(const open_options& options) {
    if (!options.group.empty()) {
        const group* g = ::getgrnam(options.group.c_str());
        if (g == nullptr) {
            return std::unexpected(fail(errc::invalid_argument, 0, "group '" + options.group + "' does not exist"));
        }
        struct stat s{};
        const bool is_already = ::fstat(fd_.get(), &s) == 0 && s.st_gid == g->gr_gid && (s.st_mode & 0777) == 0660;
        if (!is_already &&
            (::fchown(fd_.get(), static_cast<uid_t>(-1), g->gr_gid) != 0 || ::fchmod(fd_.get(), 0660) != 0)) {
            return std::unexpected(fail_os(errno, "giving the file to group '" + options.group + "', as its member"));
        }
    } else {
        (void)::fchmod(fd_.get(), 0600);
    }
    // Emptied without shrinking it: somebody may be inspecting the remains.
    if (!os::release_storage(fd_.get(), 0, abi::file_size)) {
        return std::unexpected(fail_os(errno, "emptying what a device of this name has left"));
    }
    if (::ftruncate(fd_.get(), static_cast<off_t>(abi::file_size)) != 0) {
        return std::unexpected(fail_os(errno, "setting the device file's size"));
    }
    if (const int e = os::allocate_storage(fd_.get(), 0, abi::page_size); e != 0) {
        return std::unexpected(fail_os(e, "taking storage"));
    }
    if (const int e = os::allocate_storage(fd_.get(), abi::chunk_owners_offset, abi::chunk_count * 4); e != 0) {
        return std::unexpected(fail_os(e, "taking storage"));
    }
    if (!map_.map_shared(fd_.get(), abi::file_size, true)) {
        return std::unexpected(fail_os(errno, "mapping the device file"));
    }
    header().version.store_relaxed(abi::layout_version);
    header().fence.store_relaxed(os::register_asymmetric_barrier() ? 0 : 1);
    header().created_ns.store_relaxed(os::now_ns());
    header().magic.store_release(abi::magic);
    return {};
}

result<void> memory::check_version() const {
    if (header().magic.load_acquire() != abi::magic || header().version.load_relaxed() != abi::layout_version) {
        return std::unexpected(fail(errc::version_mismatch, 0,
                                    "layout version " + std::to_string(header().version.load_relaxed()) +
                                        ", this library has version " + std::to_string(abi::layout_version)));
    }
    return {};
}

result<void> memory::open_again() {
    const std::string again = "/proc/self/fd/" + std::to_string(fd_.get());
    mapping_fd_.reset(os::beyond_standard(::open(again.c_str(), O_RDWR | O_CLOEXEC)));
    if (!mapping_fd_) {
        return std::unexpected(fail_os(errno, "opening the device file again through /proc"));
    }
    return {};
}

result<void> memory::inspect() {
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd_) {
        const int e = errno;
        return std::unexpected(e == ENOENT ? fail(errc::unknown_address, e, "no such device")
                                           : fail_os(e, "opening the device file"));
    }
    struct stat s{};
    if (::fstat(fd_.get(), &s) != 0 || static_cast<std::uint64_t>(s.st_size) != abi::file_size) {
        return std::unexpected(fail(errc::version_mismatch, 0, "the file is no vinic device of this version"));
    }
    if (!map_.map_shared(fd_.get(), abi::file_size, false)) {
        return std::unexpected(fail_os(errno, "mapping the device file"));
    }
    return check_version();
}

memory::~memory() {
    if (self_ != abi::none32 && !forked_) {
        leave();
    }
}

void memory::leave() noexcept {
    if (window_) {
        leave_window();
        return;
    }
    // Without byte 0 (its holder is stopped) the file is left to the next opener.
    const bool may_remove = lock_opening(fd_.get());
    {
        control_lock hold(*this);
        retire_process(*this, self_, abi::break_reason::remote_disconnect);
    }
    os::unlock_byte(fd_.get(), process_byte + self_);
    if (may_remove) {
        if (!os::is_locked_by_other(fd_.get(), process_byte, abi::process_count) && same_file(fd_.get(), path_)) {
            ::unlink(path_.c_str());
        }
        os::unlock_byte(fd_.get(), opening_byte);
    }
    fd_.reset();
}

bool memory::alive(std::uint32_t i) const noexcept {
    return i == self_ || (i < abi::process_count && os::is_locked_by_other(fd_.get(), process_byte + i, 1));
}

bool memory::try_lock() noexcept {
    std::uint32_t expected = 0;
    return header().lock.compare_exchange(expected, owner_word());
}

void memory::lock() noexcept {
    abi::word32& word = header().lock;
    for (std::uint32_t spins = 0;; ++spins) {
        std::uint32_t seen = word.load_relaxed();
        if (seen == 0) {
            if (word.compare_exchange(seen, owner_word() | (spins > 100 ? abi::lock_waiters : 0))) {
                return;
            }
            continue;
        }
        if (spins < 100) {
            os::spin_pause();
            continue;
        }
        if ((seen & abi::lock_waiters) == 0 && !word.compare_exchange(seen, seen | abi::lock_waiters)) {
            continue;
        }
        seen |= abi::lock_waiters;
        os::futex_wait(&word.raw_, seen, 5'000'000);
        const std::uint32_t holder = (seen & ~abi::lock_waiters) - 1;
        if (word.load_relaxed() == seen && !alive(holder) &&
            word.compare_exchange(seen, owner_word() | abi::lock_waiters)) {
            header().lock_breaks.fetch_add(1);
            recount();
            return;
        }
    }
}

bool memory::lock_of_dead() noexcept {
    std::uint32_t seen = header().lock.load_relaxed();
    const std::uint32_t holder = (seen & ~abi::lock_waiters) - 1;
    if (seen == 0 || alive(holder) || !header().lock.compare_exchange(seen, owner_word() | abi::lock_waiters)) {
        return false;
    }
    header().lock_breaks.fetch_add(1);
    recount();
    return true;
}

void memory::unlock() noexcept {
    if ((header().lock.exchange(0) & abi::lock_waiters) != 0) {
        os::futex_wake(&header().lock.raw_);
    }
}

abi::word32& memory::owner_of(abi::table t, std::uint32_t i) const noexcept {
    const table_shape& s = shape(t);
    return *at<abi::word32>(s.offset + i * s.entry_bytes + s.owner_at);
}

result<std::uint32_t> memory::take(abi::table t) {
    const table_shape& s = shape(t);
    abi::table_marks& marks = header().marks[t];
    std::uint32_t backed_now = marks.backed.load_relaxed();
    if (marks.used.load_relaxed() == backed_now) {
        if (backed_now == s.capacity) {
            return std::unexpected(
                fail(errc::limit_reached, 0, "all " + std::to_string(s.capacity) + " " + s.what + " are taken"));
        }
        // A page at first, then an eighth more each time.
        const std::uint64_t begin = s.offset + backed_now * s.entry_bytes;
        const std::uint64_t want = std::max<std::uint64_t>(abi::page_size, backed_now * s.entry_bytes / 8);
        const std::uint64_t end =
            std::min(abi::align_up(begin + want, abi::page_size), s.offset + s.capacity * s.entry_bytes);
        if (const int e = os::allocate_storage(fd_.get(), begin, end - begin); e != 0) {
            return std::unexpected(fail_os(e, std::string("taking storage for more ") + s.what));
        }
        marks.cursor.store_relaxed(backed_now);
        backed_now = static_cast<std::uint32_t>((end - s.offset) / s.entry_bytes);
        marks.backed.store_release(backed_now);
    }
    std::uint32_t i = marks.cursor.load_relaxed();
    for (;; ++i) {
        i = i < backed_now ? i : 0;
        if (owner_of(t, i).load_relaxed() == 0) {
            break;
        }
    }
    owner_of(t, i).store_release(owner_word());
    marks.used.add_single_writer(1);
    marks.cursor.store_relaxed(i + 1);
    return i;
}

void memory::give(abi::table t, std::uint32_t i) noexcept {
    owner_of(t, i).store_release(0);
    header().marks[t].used.add_single_writer(~std::uint32_t{0});
}

void memory::recount() noexcept {
    for (std::uint32_t t = 0; t < abi::table_kinds; ++t) {
        std::uint32_t used = 0;
        const auto kind = static_cast<abi::table>(t);
        for (std::uint32_t i = 0; i < backed(kind); ++i) {
            used += owner_of(kind, i).load_relaxed() != 0 ? 1u : 0u;
        }
        header().marks[t].used.store_relaxed(used);
    }
}

void memory::forget_after_fork() noexcept {
    forked_ = true;
    map_.replace_by_zeros();
    mapping_fd_.reset();
    fd_.reset();
    if (window_) {
        window_->socket.reset();
        window_->doorbell.reset();
        window_->mailbox.reset();
    }
}

}  // namespace vinic::device

// SPDX-License-Identifier: Apache-2.0
//
// attach.cc -- how a device's file is opened: found or made, believed or not, entered or looked at.
//
//     open beside its directory --> believed? (belief.hpp) --> byte 0 --> still believed, still of that name?
//       somebody holds a process byte:  map as long a span as the header says
//       nobody does:                    make it anew: claim, mode and group, empty tables, magic number last
//     --> a process entry of one's own --> byte 0 given back
//
//   Until the file is believed nothing of it is mapped, written or waited for.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "direct/device_file.hpp"
#include "direct/opening.hpp"
#include "tables/processes.hpp"
#include "tables/span.hpp"

namespace vinic::direct {

using tables::control_lock;
using tables::control_patience;
using tables::farewell;

namespace {

constexpr int opening_attempts = 300;

/// Opens the device file or makes it; fd or -1.  Never O_CREAT on a file that is there: in a sticky
/// directory the kernel refuses that for another user's file (fs.protected_regular).
int open_or_make(int directory, const char* name) noexcept {
    constexpr int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    for (int attempt = 0; attempt < 100; ++attempt) {
        int fd = os::open_beside(directory, name, flags);
        if (fd >= 0 || errno != ENOENT) {
            return fd;
        }
        fd = os::open_beside(directory, name, flags | O_CREAT | O_EXCL, 0600);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

}  // namespace

result<device_file::place> device_file::find_place() const {
    const std::size_t end = path_.rfind('/');
    place p;
    p.file = path_.substr(end + 1);
    p.directory.reset(os::beyond_standard(::open(path_.substr(0, end + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
    if (!p.directory || ::fstat(p.directory.get(), &p.status) != 0) {
        const bool nowhere = errno == ENOENT || errno == ENOTDIR;
        return std::unexpected(fail_os(errno, nowhere ? "no such directory (make it, or set VINIC_SHM_DIR to another)"
                                                      : "opening the directory of the device file"));
    }
    return p;
}

/// Why the file could not be opened; whose it is is said by its name, for nothing of it is used.
error device_file::fail_open(int os_errno, const place& p) const {
    struct stat s{};
    const bool there = ::fstatat(p.directory.get(), p.file.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0;
    std::string what = "opening the device file";
    if (there && S_ISLNK(s.st_mode)) {
        what = "the name is taken by a symbolic link; choose another name";
    } else if (there && !S_ISREG(s.st_mode)) {
        what = "the name is taken by something that is no regular file; choose another name";
    } else if (os_errno == EXDEV) {
        what = "something is mounted over the file; choose another name";
    } else if (there && s.st_uid != ::geteuid()) {
        what = "the file belongs to user " + std::to_string(s.st_uid) + ", mode " +
               (((s.st_mode & 07777) == 0660) ? "0660, group " + std::to_string(s.st_gid) : "for its owner");
    } else if (!there && (os_errno == EACCES || os_errno == EPERM)) {
        what = "this user may not make a file in that directory; choose one of your own (VINIC_SHM_DIR)";
    }
    const bool taken = there && !S_ISREG(s.st_mode);
    return taken || os_errno == EXDEV ? fail(errc::version_mismatch, os_errno, std::move(what))
                                      : fail_os(os_errno, std::move(what));
}

result<void> device_file::attach(const open_options& options) {
    const auto who = openers_of(options.group);
    if (!who) {
        return std::unexpected(fail(who.error().code, who.error().os_errno, who.error().doing));
    }
    // A file that is being removed by the last one out has to be opened again under its name.
    for (int attempt = 0; attempt < opening_attempts; ++attempt) {
        auto r = attach_once(options, *who, attempt + 1 == opening_attempts);
        if (!r || *r) {
            return r ? result<void>{} : std::unexpected(r.error());
        }
        fd_.reset();
    }
    return std::unexpected(fail(errc::busy, 0, "the device file is removed again and again while it is opened"));
}

/// False: not now, try again.
result<bool> device_file::attach_once(const open_options& options, const openers& who, bool last) {
    auto p = find_place();
    if (!p) {
        return std::unexpected(p.error());
    }
    fd_.reset(open_or_make(p->directory.get(), p->file.c_str()));
    struct stat mine{};
    if (!fd_) {
        const int e = errno;
        // Made by another process of ours, or of the group, which has not handed it over yet?
        if (!last && e == EACCES && ::fstatat(p->directory.get(), p->file.c_str(), &mine, AT_SYMLINK_NOFOLLOW) == 0 &&
            mine.st_size == 0 && (who.group || mine.st_uid == ::geteuid())) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            return false;
        }
        return std::unexpected(fail_open(e, *p));
    }
    auto told = judge(*p, options, who, last);
    if (!told || !*told) {
        fd_.reset();
    }
    return told;
}

/// The file is open, and its own word is all that is known of it.
result<bool> device_file::judge(const place& p, const open_options& options, const openers& who, bool last) {
    struct stat mine{};
    if (::fstat(fd_.get(), &mine) != 0) {
        return std::unexpected(fail_os(errno, "looking at the device file"));
    }
    const bool fresh = mine.st_size == 0 && mine.st_uid == ::geteuid() && mine.st_nlink == 1 && S_ISREG(mine.st_mode);
    // A new file, of one's own or just made here, is handed over below; but for that, only what is believed is touched.
    if (std::string why = doubt(fd_.get(), mine, p.status, who);
        !why.empty() && !(fresh && (mine.st_mode & 07077) == 0)) {
        if (mine.st_size == 0 && who.group && !last) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            return false;
        }
        return clear_away(mine, std::move(why), last);
    }
    if (const int e = lock_opening(fd_.get(), control_patience); e != 0) {
        return std::unexpected(fail_opening(e));
    }
    if (!is_named()) {
        return false;
    }
    const bool in_use = os::is_locked_by_other(fd_.get(), process_byte, abi::process_count);
    auto ready = in_use ? join(p, who) : make_anew(p, options, who);
    if (ready) {
        ready = enter();
    }
    if (!ready) {
        if (!in_use && ready.error().code != errc::version_mismatch) {
            ::unlink(path_.c_str());
        }
        return std::unexpected(ready.error());
    }
    os::unlock_byte(fd_.get(), opening_byte);
    open_again(p.directory.get(), p.file.c_str());
    if (const control_lock hold(*this, farewell); hold) {  // else the next process that polls buries them
        tables::bury_the_dead(*this);
    }
    return true;
}

/// One's own file that is not believed, and that nobody uses, makes room for a new one; anything else stays.
result<bool> device_file::clear_away(const struct stat& mine, std::string why, bool last) {
    if (!S_ISREG(mine.st_mode)) {
        return std::unexpected(fail(errc::version_mismatch, 0, "the file " + std::move(why)));
    }
    const auto words = read_words<first_words>(fd_.get(), 0);
    const bool own = mine.st_uid == ::geteuid();
    if (own && mine.st_size != 0 && words.magic != abi::magic && words.claim != abi::magic) {
        return std::unexpected(fail_no_device());
    }
    const bool unused = own && !os::is_locked_by_other(fd_.get(), process_byte, 0);
    if (unused && !last && (!os::try_lock_byte(fd_.get(), opening_byte) || !is_named())) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // another process of ours is at it
        return false;
    }
    if (!unused || !os::try_lock_byte(fd_.get(), opening_byte) || os::is_locked_by_other(fd_.get(), process_byte, 0) ||
        !is_named() || ::unlink(path_.c_str()) != 0) {
        return std::unexpected(fail(errc::permission_denied, 0, "the file " + std::move(why)));
    }
    return false;
}

error device_file::fail_no_device() const {
    return fail(errc::version_mismatch, 0, "the file exists and is no vinic device; remove it or choose another name");
}

error device_file::fail_opening(int os_errno) const {
    if (os_errno != ETIMEDOUT) {
        return fail(
            errc::os_failure, os_errno,
            "locking the device file (open-file-description locks are refused here; use a local file system, or "
            "let the system call filter allow fcntl(2) with F_OFD_SETLK)");
    }
    const auto words = read_words<opening_words>(fd_.get(), offsetof(abi::device_header, openings));
    const std::string who = words.opener != 0 ? "process " + std::to_string(words.opener) : "a process";
    return fail(
        errc::timed_out, 0,
        who + " is stopped, it seems, while it opens or leaves the device; let it go on (kill -CONT) or end it");
}

/// A living device: the header says how far it may grow.
result<void> device_file::join(const place& p, const openers& who) {
    struct stat mine{};
    if (::fstat(fd_.get(), &mine) != 0) {
        return std::unexpected(fail_os(errno, "looking at the device file"));
    }
    if (std::string why = doubt(fd_.get(), mine, p.status, who); !why.empty()) {
        return std::unexpected(fail(errc::permission_denied, 0, "the file " + std::move(why)));
    }
    const auto words = read_words<first_words>(fd_.get(), 0);
    if (words.magic != abi::magic || words.version != abi::layout_version || !tables::is_span(words.span)) {
        return std::unexpected(fail(errc::version_mismatch, 0,
                                    "layout version " + std::to_string(words.version) + ", this library has version " +
                                        std::to_string(abi::layout_version)));
    }
    return map_span(words.span, true);
}

/// Nobody uses the file: it becomes an empty device, unless it is something else.
result<void> device_file::make_anew(const place& p, const open_options& options, const openers& who) {
    struct stat mine{};
    if (::fstat(fd_.get(), &mine) != 0) {
        return std::unexpected(fail_os(errno, "looking at the device file"));
    }
    const auto words = read_words<first_words>(fd_.get(), 0);
    const bool unfinished = words.magic == 0 && words.claim == abi::magic;
    if (mine.st_size != 0 && words.magic != abi::magic && !unfinished) {
        return std::unexpected(fail_no_device());
    }
    if (mine.st_size == 0 && mine.st_uid == ::geteuid()) {
        if (const int e = hand_over_file(fd_.get(), who); e != 0) {
            return std::unexpected(who.group
                                       ? fail_os(e, "giving the file to group '" + who.group_name + "', as its member")
                                       : fail_os(e, "taking the file's rights from everybody else"));
        }
    }
    if (::fstat(fd_.get(), &mine) != 0) {
        return std::unexpected(fail_os(errno, "looking at the device file"));
    }
    if (std::string why = doubt(fd_.get(), mine, p.status, who); !why.empty()) {
        return std::unexpected(fail(errc::permission_denied, 0, "the file " + std::move(why)));
    }
    return initialise(options);
}

result<void> device_file::map_span(std::uint64_t span, bool writable) {
    if (map_.map_shared(fd_.get(), span, writable)) {
        return {};
    }
    const int e = errno;
    std::string what =
        "mapping the " + tables::words_of_span(span) +
        " that it may grow into (less with VINIC_SHM_SPAN or open_options::span_bytes, said by who makes it)";
    if (e == EAGAIN) {
        what += ", where mlockall(MCL_FUTURE) is in effect and that is more than may be locked (ulimit -l)";
        return std::unexpected(fail(errc::out_of_memory, e, what));
    }
    return std::unexpected(e == EPERM || e == EACCES ? fail(errc::os_failure, e, what) : fail_os(e, what));
}

result<void> device_file::initialise(const open_options& options) {
    const auto span = tables::wanted_span(options, fd_.get());
    if (!span) {
        return std::unexpected(fail(span.error().code, 0, span.error().doing));
    }
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < abi::page_size) {
        return std::unexpected(fail_storage(EFBIG, "writing the device's header"));
    }
    // In one write: a process that ends here leaves an empty file, or one that says what it was going to be.
    const first_words claim{0, 0, 0, 0, *span, abi::magic};
    std::vector<std::byte> page(abi::page_size);
    std::memcpy(page.data(), &claim, sizeof claim);
    if (::pwrite(fd_.get(), page.data(), page.size(), 0) != static_cast<ssize_t>(page.size())) {
        return std::unexpected(fail_storage(errno, "writing the device's header"));
    }
    if (const int e = os::allocate_storage(fd_.get(), 0, abi::page_size); e != 0) {
        return std::unexpected(fail_storage(e, "taking storage"));
    }
    // Emptied and not shrunk: a process that has left may still have pages of it mapped.  But for what no span reaches.
    struct stat now{};
    if (::fstat(fd_.get(), &now) == 0 && static_cast<std::uint64_t>(now.st_size) > *span) {
        (void)!::ftruncate(fd_.get(), static_cast<off_t>(*span));
    }
    if (!os::release_storage(fd_.get(), abi::page_size, abi::file_size - abi::page_size)) {
        return std::unexpected(fail_os(errno, "emptying what a device of this name has left"));
    }
    if (const int e = os::allocate_storage(fd_.get(), abi::chunk_owners_offset, abi::chunk_count * 4); e != 0) {
        return std::unexpected(fail_storage(e, "taking storage"));
    }
    if (auto r = map_span(*span, true); !r) {
        return r;
    }
    header().version.store_relaxed(abi::layout_version);
    header().fence.store_relaxed(os::register_asymmetric_barrier() ? 0 : 1);
    header().created_ns.store_relaxed(os::now_ns());
    header().magic.store_release(abi::magic);
    return {};
}

result<void> device_file::enter() {
    fenced_ = header().fence.load_relaxed() != 0;
    if (!fenced_ && !os::register_asymmetric_barrier()) {
        return std::unexpected(
            fail(errc::not_supported, errno,
                 "its processes use membarrier(2), which is refused to this one; allow that system call"));
    }
    std::uint32_t i = 0;
    while (i < abi::process_count) {
        if (auto r = back_process(i); !r) {
            return r;
        }
        if (process(i).state.load_acquire() == static_cast<std::uint32_t>(abi::process_state::free) &&
            os::try_lock_byte(fd_.get(), process_byte + i)) {
            break;
        }
        ++i;
    }
    if (i == abi::process_count) {
        return std::unexpected(
            fail(errc::limit_reached, 0, "all " + std::to_string(abi::process_count) + " process entries are taken"));
    }
    take_entry(i);
    return {};
}

/// For tests: a device that is believed, mapped to be read.
result<void> device_file::inspect() {
    const auto p = find_place();
    if (!p) {
        return std::unexpected(p.error());
    }
    fd_.reset(os::open_beside(p->directory.get(), p->file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat s{};
    if (!fd_ || ::fstat(fd_.get(), &s) != 0) {
        return std::unexpected(errno == ENOENT ? fail(errc::unknown_address, errno, "no such device")
                                               : fail_open(errno, *p));
    }
    if (standing_of(s) == standing::alien) {
        return std::unexpected(fail(errc::permission_denied, 0, "the file is not believed"));
    }
    const auto words = read_words<first_words>(fd_.get(), 0);
    if (words.magic != abi::magic || words.version != abi::layout_version || !tables::is_span(words.span)) {
        return std::unexpected(fail(errc::version_mismatch, 0, "the file is no vinic device of this version"));
    }
    return map_span(words.span, false);
}

}  // namespace vinic::direct

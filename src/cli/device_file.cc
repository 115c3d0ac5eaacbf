// SPDX-License-Identifier: Apache-2.0
//
// device_file.cc -- opening, bounded reading, listing and removing device files.
#include "cli/device_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli/value.hpp"
#include "direct/device_file.hpp"
#include "os/sync.hpp"
#include "tables/span.hpp"

namespace vinic::cli {

namespace {

constexpr std::string_view file_scheme = "shm:";
constexpr std::string_view file_prefix = "vinic-";
// direct/device_file.hpp: byte 0 is locked by a process that opens or leaves, byte 1 + i by the holder
// of process entry i.
constexpr std::uint64_t opening_byte = 0;
constexpr std::uint64_t process_byte = 1;
// An honest device is read in a fraction of a second.
constexpr std::uint64_t patience_ns = 30'000'000'000;
constexpr std::uint64_t patience_with_aliens_ns = 5'000'000'000;

bool valid_name(std::string_view n) {
    return !n.empty() && n.size() <= abi::name_bytes_max && std::all_of(n.begin(), n.end(), [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
    });
}

std::string path_of(const std::string& name, const std::string& directory) {
    return directory_or_default(directory) + "/" + std::string(file_prefix) + name;
}

struct table_shape {
    std::uint64_t offset;
    std::uint64_t entry_bytes;
    std::uint32_t capacity;
};

const table_shape& shape(abi::table t) noexcept {
    static constexpr table_shape all[abi::table_kinds] = {
        {abi::domains_offset, sizeof(abi::domain_entry), abi::domain_count},
        {abi::regions_offset, sizeof(abi::region_entry), abi::region_count},
        {abi::cqs_offset, sizeof(abi::cq_entry), abi::cq_count},
        {abi::vis_offset, sizeof(abi::vi_entry), abi::vi_count},
        {abi::names_offset, sizeof(abi::name_entry), abi::name_count},
        {abi::requests_offset, sizeof(abi::request_entry), abi::request_count}};
    return all[t];
}

errc code_of(int os_errno) noexcept {
    return os_errno == ENOENT                        ? errc::unknown_address
           : os_errno == EACCES || os_errno == EPERM ? errc::permission_denied
                                                     : errc::os_failure;
}

error fail(errc code, int os_errno, const std::string& doing) { return {code, os_errno, doing}; }

}  // namespace

const char* name(file_state s) noexcept {
    static constexpr const char* names[] = {"live",          "stale",        "unfinished",
                                            "other_version", "not_a_device", "no_access"};
    return names[static_cast<std::size_t>(s)];
}

std::string directory_or_default(const std::string& directory) {
    return direct::directory_of({.directory = directory});
}

result<std::string> device_name(std::string_view typed) {
    const std::string_view bare = typed.starts_with(file_scheme) ? typed.substr(file_scheme.size()) : typed;
    if (typed.starts_with("vinicd:")) {
        return std::unexpected(fail(errc::not_supported, 0,
                                    std::string(typed) + " keeps its tables to itself; `vinic function show --device " +
                                        std::string(typed) + "` and `vinic top` tell what it does"));
    }
    if (!valid_name(bare)) {
        return std::unexpected(fail(errc::unknown_address, 0, "device '" + std::string(typed) + "'"));
    }
    return std::string(bare);
}

result<device_file> device_file::open(const std::string& name, const std::string& directory) {
    device_file f;
    f.name_ = name;
    f.path_ = path_of(name, directory);
    // Without waiting: a named pipe may be called like a device too.
    f.fd_.reset(::open(f.path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    if (!f.fd_) {
        const int e = errno;
        if (::lstat(f.path_.c_str(), &f.status_) != 0) {
            return std::unexpected(
                fail(code_of(errno), errno == ENOENT ? 0 : errno, "device shm:" + name + " (" + f.path_ + ")"));
        }
        f.state_ = e == EACCES || e == EPERM ? file_state::no_access : file_state::not_a_device;
        return f;
    }
    if (::fstat(f.fd_.get(), &f.status_) != 0) {
        return std::unexpected(fail(errc::os_failure, errno, "device shm:" + name + " (" + f.path_ + ")"));
    }
    f.look_anew();
    f.state_ = f.look();
    return f;
}

file_state device_file::look() noexcept {
    if (!S_ISREG(status_.st_mode)) {
        return file_state::not_a_device;
    }
    read_header();
    const std::uint64_t magic = header_.magic.load_relaxed();
    const auto length = static_cast<std::uint64_t>(status_.st_size);
    if (magic == 0) {
        const bool begun = header_.claim.load_relaxed() == abi::magic;
        return length == 0 || begun ? file_state::unfinished : file_state::not_a_device;
    }
    if (magic != abi::magic) {
        return file_state::not_a_device;
    }
    if (header_.version.load_relaxed() != abi::layout_version) {
        return file_state::other_version;
    }
    if (!tables::is_span(span_bytes()) || length > span_bytes() || length < abi::processes_offset) {
        return file_state::not_a_device;
    }
    return os::is_locked_by_other(fd_.get(), process_byte, abi::process_count) ? file_state::live : file_state::stale;
}

bool device_file::still_there() const noexcept {
    struct stat named{};
    return ::stat(path_.c_str(), &named) == 0 && named.st_ino == status_.st_ino && named.st_dev == status_.st_dev;
}

std::uint32_t device_file::backed(abi::table t) const noexcept {
    const table_shape& s = shape(t);
    return std::min(header_.marks[t].backed.load_relaxed(), room_for(s.offset, s.entry_bytes, s.capacity));
}

std::uint32_t device_file::room_for(std::uint64_t offset, std::uint64_t entry_bytes,
                                    std::uint32_t capacity) const noexcept {
    struct stat now{};
    const std::uint64_t length = ::fstat(fd_.get(), &now) == 0 ? static_cast<std::uint64_t>(now.st_size) : 0;
    const std::uint64_t entries = length <= offset ? 0 : (length - offset) / entry_bytes;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(entries, capacity));
}

void device_file::look_anew() noexcept {
    deadline_ns_ = os::now_ns() + (believed() ? patience_ns : patience_with_aliens_ns);
}

bool device_file::may_go_on() const noexcept {
    gave_up_ = gave_up_ || os::now_ns() > deadline_ns_;
    return !gave_up_;
}

bool device_file::alive(std::uint32_t i) const noexcept {
    return i < abi::process_count && may_go_on() && os::is_locked_by_other(fd_.get(), process_byte + i, 1);
}

bool device_file::in_use() const noexcept {
    // To the end of the file: another version may lock more bytes.
    return os::is_locked_by_other(fd_.get(), opening_byte, 0);
}

void device_file::read(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
    auto* at = static_cast<char*>(to);
    while (bytes != 0 && offset < abi::file_size && may_go_on()) {
        const ssize_t n = ::pread(fd_.get(), at, bytes, static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        at += n;
        offset += static_cast<std::uint64_t>(n);
        bytes -= static_cast<std::size_t>(n);
    }
    std::memset(at, 0, bytes);
}

std::uint64_t device_file::touched_bytes(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    const auto end = static_cast<off_t>(offset + bytes);
    std::uint64_t sum = 0;
    for (auto at = static_cast<off_t>(offset); at < end && may_go_on();) {
        const off_t data = ::lseek(fd_.get(), at, SEEK_DATA);
        if (data < 0 || data >= end) {
            break;
        }
        const off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
        const off_t until = hole < 0 ? end : std::min(hole, end);
        sum += static_cast<std::uint64_t>(std::max<off_t>(until - data, 0));
        at = std::max(until, at + 1);
    }
    return sum;
}

result<device_file> open_readable(const std::string& typed, const std::string& directory) {
    auto name = device_name(typed);
    if (!name) {
        return std::unexpected(name.error());
    }
    auto file = device_file::open(*name, directory);
    if (!file || file->readable()) {
        return file;
    }
    const std::string what = "device shm:" + *name + " (" + file->path() + ")";
    switch (file->state()) {
        case file_state::no_access:
            return std::unexpected(fail(errc::permission_denied, EACCES,
                                        what + ", which belongs to user " + user_name(file->status().st_uid)));
        case file_state::unfinished:
            return std::unexpected(fail(errc::busy, 0, what + " is not finished being made"));
        case file_state::other_version:
            return std::unexpected(fail(errc::version_mismatch, 0,
                                        what + " has layout version " +
                                            std::to_string(file->header().version.load_relaxed()) +
                                            ", this program reads version " + std::to_string(abi::layout_version)));
        default:
            return std::unexpected(fail(errc::version_mismatch, 0, what + " is no vinic device"));
    }
}

result<void> read_to_the_end(const device_file& f) {
    if (!f.gave_up()) {
        return {};
    }
    return std::unexpected(fail(errc::version_mismatch, 0,
                                "device shm:" + f.name() + " (" + f.path() + "), of user " +
                                    user_name(f.status().st_uid) + ": its tables have no end; no vinic made them"));
}

std::string user_name(uid_t user) {
    passwd entry{};
    passwd* found = nullptr;
    std::vector<char> room(1 << 16);
    (void)::getpwuid_r(user, &entry, room.data(), room.size(), &found);
    return found != nullptr ? printable(entry.pw_name) : std::to_string(user);
}

std::string group_name(gid_t number) {
    group entry{};
    group* found = nullptr;
    std::vector<char> room(1 << 16);
    (void)::getgrgid_r(number, &entry, room.data(), room.size(), &found);
    return found != nullptr ? printable(entry.gr_name) : std::to_string(number);
}

result<std::vector<std::string>> device_names(const std::string& directory) {
    const std::string path = directory_or_default(directory);
    const std::unique_ptr<DIR, int (*)(DIR*)> d(::opendir(path.c_str()), ::closedir);
    if (d == nullptr) {
        return std::unexpected(fail(errno == ENOENT ? errc::os_failure : code_of(errno), errno,
                                    "listing the directory of devices, " + path +
                                        " (make it, or name another one with --directory or VINIC_SHM_DIR)"));
    }
    std::vector<std::string> names;
    while (const dirent* e = ::readdir(d.get())) {
        const std::string_view entry = e->d_name;
        if (entry.starts_with(file_prefix) && valid_name(entry.substr(file_prefix.size()))) {
            names.emplace_back(entry.substr(file_prefix.size()));
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

result<void> remove_device(const std::string& typed, const std::string& directory) {
    auto name = device_name(typed);
    if (!name) {
        return std::unexpected(name.error());
    }
    auto seen = device_file::open(*name, directory);
    if (!seen) {
        return std::unexpected(seen.error());
    }
    const std::string what = "removing device shm:" + *name + " (" + seen->path() + ")";
    if (seen->state() == file_state::not_a_device) {
        return std::unexpected(fail(errc::invalid_argument, 0, what + ", which is no vinic device (use rm)"));
    }
    // As the library does when the last one leaves: under byte 0, so that an opener either is seen
    // here or finds its file gone and makes a new one.
    const os::unique_fd fd(::open(seen->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    if (!fd) {
        return std::unexpected(fail(code_of(errno), errno, what));
    }
    if (!os::try_lock_byte(fd.get(), opening_byte)) {
        return std::unexpected(fail(errc::busy, 0, what + ": somebody is opening or leaving it"));
    }
    struct stat locked{};
    if (::fstat(fd.get(), &locked) != 0 || locked.st_ino != seen->status().st_ino || !seen->still_there()) {
        return std::unexpected(fail(errc::busy, 0, what + ": somebody has just made it anew"));
    }
    if (os::is_locked_by_other(fd.get(), process_byte, 0)) {
        return std::unexpected(fail(errc::busy, 0, what + ": living processes have it open"));
    }
    if (::unlink(seen->path().c_str()) != 0) {
        return std::unexpected(fail(code_of(errno), errno, what));
    }
    return {};
}

}  // namespace vinic::cli

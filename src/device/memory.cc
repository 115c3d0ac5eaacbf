// SPDX-License-Identifier: Apache-2.0
//
// memory.cc -- a device's memory as a whole: which one an address means, what is said when it cannot be opened, and its
// end.
#include "device/memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "device/span.hpp"

namespace vinic::device {

namespace {

bool valid_name(std::string_view n) {
    return !n.empty() && n.size() <= abi::name_bytes_max && std::all_of(n.begin(), n.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
    });
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

/// A name of a program that is left for another directory still means the same file.
std::string absolute(const std::string& directory) {
    std::vector<char> room(256);
    while (!directory.starts_with('/') && ::getcwd(room.data(), room.size()) == nullptr) {
        if (errno != ERANGE) {
            return directory;
        }
        room.resize(room.size() * 2);
    }
    return directory.starts_with('/') ? directory : std::string(room.data()) + "/" + directory;
}

}  // namespace

error memory::fail(errc code, int os_errno, std::string what) const {
    return {code, os_errno, "device " + address_ + " (" + path_ + "): " + std::move(what)};
}

error memory::fail_os(int os_errno, std::string what) const {
    return fail(code_of(os_errno), os_errno, std::move(what));
}

error memory::fail_storage(int os_errno, std::string what) const {
    const bool room = os_errno == ENOSPC || os_errno == EDQUOT || os_errno == ENOMEM || os_errno == EFBIG;
    if (os_errno == EOPNOTSUPP) {
        what += ": this file system cannot promise room (fallocate); use a tmpfs, ext4, xfs or btrfs";
    } else if (os_errno == EPERM || os_errno == EACCES) {
        what += ": fallocate(2) is refused, by a system call filter, a seal or a swap file's flag";
    } else if (os_errno == EBADF) {
        what += lost_words;
    }
    return fail(room ? errc::out_of_memory : errc::os_failure, os_errno, std::move(what));
}

std::string directory_of(const open_options& options) {
    if (!options.directory.empty()) {
        return absolute(options.directory);
    }
    const char* told = ::secure_getenv("VINIC_SHM_DIR");
    return told != nullptr && *told != 0 ? absolute(told) : "/dev/shm";
}

result<std::unique_ptr<memory>> memory::open(std::string_view device_address, const open_options& options, role as) {
    constexpr std::string_view scheme = "shm:";
    constexpr std::string_view isolated = "vinicd:";
    if (device_address.starts_with(isolated)) {
        if (!options.directory.empty() || !options.group.empty() || options.span_bytes != 0) {
            return std::unexpected(
                error{errc::invalid_argument, 0, "directory, group and span_bytes are for device files only"});
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
    if (options.directory.contains('\0') || options.group.contains('\0')) {
        // The kernel would see another name, one that ends there.
        return std::unexpected(error{errc::invalid_argument, 0, "a directory or group with a NUL byte in its name"});
    }
    std::unique_ptr<memory> m(new memory);
    m->address_ = device_address;
    m->path_ = directory_of(options) + "/vinic-" + std::string(device_address.substr(scheme.size()));
    if (auto r = as == role::participant ? m->attach(options) : m->inspect(); !r) {
        return std::unexpected(r.error());
    }
    return m;
}

result<void> memory::map_span(std::uint64_t span, bool writable) {
    if (map_.map_shared(fd_.get(), span, writable)) {
        return {};
    }
    const int e = errno;
    std::string what =
        "mapping the " + words_of_span(span) +
        " that it may grow into (less with VINIC_SHM_SPAN or open_options::span_bytes, said by who makes it)";
    if (e == EAGAIN) {
        what += ", where mlockall(MCL_FUTURE) is in effect and that is more than may be locked (ulimit -l)";
        return std::unexpected(fail(errc::out_of_memory, e, what));
    }
    return std::unexpected(e == EPERM || e == EACCES ? fail(errc::os_failure, e, what) : fail_os(e, what));
}

result<void> memory::check_version() const {
    if (header().magic.load_acquire() != abi::magic || header().version.load_relaxed() != abi::layout_version) {
        return std::unexpected(fail(errc::version_mismatch, 0,
                                    "layout version " + std::to_string(header().version.load_relaxed()) +
                                        ", this library has version " + std::to_string(abi::layout_version)));
    }
    return {};
}

memory::~memory() {
    if (self_ != abi::none32 && !forked_) {
        leave();
    }
}

bool memory::alive(std::uint32_t i) const noexcept {
    return i == self_ || (i < abi::process_count && os::is_locked_by_other(fd_.get(), process_byte + i, 1));
}

bool memory::lost() const noexcept {
    if (window_ == nullptr) {
        return fd_.get() < 0;
    }
    return window_->socket.get() < 0 || window_->doorbell.get() < 0 || window_->mailbox.get() < 0;
}

void memory::forget_after_fork() noexcept {
    forked_ = true;
    map_.replace_by_zeros(abi::first_chunk * abi::chunk_size);
    mapping_fd_.reset();
    fd_.reset();
    if (window_) {
        window_->socket.reset();
        window_->doorbell.reset();
        window_->mailbox.reset();
    }
}

}  // namespace vinic::device

// SPDX-License-Identifier: Apache-2.0
//
// memory.cc -- what is said when something fails, who is alive, and what is left of it after fork().
#include "tables/memory.hpp"

#include <cerrno>

namespace vinic::tables {

namespace {

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

result<void> memory::check_version() const {
    if (header().magic.load_acquire() != abi::magic || header().version.load_relaxed() != abi::layout_version) {
        return std::unexpected(fail(errc::version_mismatch, 0,
                                    "layout version " + std::to_string(header().version.load_relaxed()) +
                                        ", this library has version " + std::to_string(abi::layout_version)));
    }
    return {};
}

bool memory::alive(std::uint32_t i) const noexcept {
    return i == self_ || (i < abi::process_count && os::is_locked_by_other(fd_.get(), process_byte + i, 1));
}

void memory::forget_after_fork() noexcept {
    forked_ = true;
    map_.replace_by_zeros(abi::first_chunk * abi::chunk_size);
    mapping_fd_.reset();
    fd_.reset();
}

}  // namespace vinic::tables

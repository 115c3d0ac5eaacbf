// SPDX-License-Identifier: Apache-2.0
//
// window.cc -- creates the memory file, seals and maps it, and asks how much of it is there.
#include "controller/window.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr unsigned noexec_seal = 0x8;  // MFD_NOEXEC_SEAL, which older headers do not know

error window_error(const char* what) {
    const int e = errno;
    const bool full = e == ENOMEM || e == ENOSPC || e == EFBIG;
    const bool many = e == EMFILE || e == ENFILE;
    const errc code = full ? errc::out_of_memory : many ? errc::limit_reached : errc::os_failure;
    return {code, e, std::string("making a window: ") + what};
}

constexpr std::uint64_t block_bytes = 512;  // of st_blocks, whatever the file system

}  // namespace

std::uint64_t window::used_bytes() const noexcept {
    struct stat s{};
    return fd_ && ::fstat(fd_.get(), &s) == 0 ? static_cast<std::uint64_t>(s.st_blocks) * block_bytes : 0;
}

std::uint64_t window::next_page(std::uint64_t offset) const noexcept {
    // Its clients share the file's position, which means nothing to anybody.
    const off_t found = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
    return found < 0 ? bytes() : static_cast<std::uint64_t>(found);
}

result<window> window::create(std::uint32_t function, std::uint64_t bytes) {
    window w;
    const std::string name = "vinic-window-" + std::to_string(function);
    constexpr unsigned kind = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    os::unique_fd made(os::beyond_standard(::memfd_create(name.c_str(), kind | noexec_seal)));
    if (!made && errno == EINVAL) {  // before Linux 6.3
        made.reset(os::beyond_standard(::memfd_create(name.c_str(), kind)));
    }
    // A client that was given it, of whatever user, opens it anew for locks of its own; nobody else gets at it under
    // /proc, whatever its mode, for that takes the rights of a process that has it open.  Nobody executes it.
    constexpr mode_t who_has_it = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;
    if (!made || ::fchmod(made.get(), who_has_it) != 0) {
        return std::unexpected(window_error("creating a memory file (a limit on open files: ulimit -n)"));
    }
    if (::ftruncate(made.get(), static_cast<off_t>(bytes)) != 0) {
        return std::unexpected(window_error("setting its size (a limit on file sizes: ulimit -f)"));
    }
    // A client that could shrink it would make the device stumble over missing pages.
    if (::fcntl(made.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return std::unexpected(window_error("sealing it"));
    }
    if (!w.map_.map_shared(made.get(), bytes, true)) {
        return std::unexpected(window_error("mapping it (a limit on address space: ulimit -v)"));
    }
    w.fd_ = shared_fd(std::move(made));
    auto& header = *w.at<abi::device_header>(0);
    header.version.store_relaxed(abi::layout_version);
    header.fence.store_relaxed(1);  // device and clients share no membarrier
    header.created_ns.store_relaxed(os::now_ns());
    header.magic.store_release(abi::magic);
    return w;
}

}  // namespace vinic::controller

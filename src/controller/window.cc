// SPDX-License-Identifier: Apache-2.0
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

error refuse(const char* what) {
    const int e = errno;
    const bool full = e == ENOMEM || e == ENOSPC || e == EFBIG;
    const bool many = e == EMFILE || e == ENFILE;
    const errc code = full ? errc::out_of_memory : many ? errc::limit_reached : errc::os_failure;
    return {code, e, std::string("making a window: ") + what};
}

}  // namespace

result<window> window::create(std::uint32_t function, std::uint64_t bytes) {
    window w;
    const std::string name = "vinic-window-" + std::to_string(function);
    constexpr unsigned kind = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    w.fd_.reset(os::beyond_standard(::memfd_create(name.c_str(), kind | noexec_seal)));
    if (!w.fd_ && errno == EINVAL) {  // before Linux 6.3
        w.fd_.reset(os::beyond_standard(::memfd_create(name.c_str(), kind)));
    }
    // Who was given it can map it; nobody else opens it under /proc, and nobody executes it.
    if (!w.fd_ || ::fchmod(w.fd_.get(), S_IRUSR | S_IWUSR) != 0) {
        return std::unexpected(refuse("creating a memory file (a limit on open files: ulimit -n)"));
    }
    if (::ftruncate(w.fd_.get(), static_cast<off_t>(bytes)) != 0) {
        return std::unexpected(refuse("setting its size (a limit on file sizes: ulimit -f)"));
    }
    // A client that could shrink it would make the device stumble over missing pages.
    if (::fcntl(w.fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return std::unexpected(refuse("sealing it"));
    }
    if (!w.map_.map_shared(w.fd_.get(), bytes, true)) {
        return std::unexpected(refuse("mapping it (a limit on address space: ulimit -v)"));
    }
    auto& header = *w.at<abi::device_header>(0);
    header.version.store_relaxed(abi::layout_version);
    header.fence.store_relaxed(1);  // device and clients share no membarrier
    header.created_ns.store_relaxed(os::now_ns());
    header.magic.store_release(abi::magic);
    return w;
}

}  // namespace vinic::controller

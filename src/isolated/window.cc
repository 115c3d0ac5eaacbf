// SPDX-License-Identifier: Apache-2.0
//
// window.cc -- a window that one is in: what may be taken of it, whether it is served still, and how it is left.
#include "isolated/window.hpp"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "tables/processes.hpp"

namespace vinic::isolated {

using tables::control_lock;
using tables::farewell;

window::~window() {
    if (is_in()) {
        leave();
    }
}

result<void> window::admits(std::uint64_t bytes) const {
    struct stat s{};
    const std::uint64_t limit = identity().memory_bytes.load_relaxed();
    if (limit == 0 || ::fstat(fd_.get(), &s) != 0) {
        return {};
    }
    constexpr std::uint64_t block_bytes = 512;  // of st_blocks, whatever the file system
    const std::uint64_t used = static_cast<std::uint64_t>(s.st_blocks) * block_bytes;
    if (used <= limit && bytes <= limit - used) {
        return {};
    }
    return std::unexpected(fail(errc::out_of_memory, EDQUOT,
                                "taking " + std::to_string(bytes) + " bytes: this function may hold " +
                                    std::to_string(limit) + ", and holds " + std::to_string(used)));
}

bool window::lost() const noexcept { return socket_.get() < 0 || doorbell_.get() < 0 || mailbox_.get() < 0; }

void window::forget_after_fork() noexcept {
    memory::forget_after_fork();
    socket_.reset();
    doorbell_.reset();
    mailbox_.reset();
}

/// In a window the device is the engine: it has let go once it says so, or was told VI by VI.
bool window::engines_have_left(std::uint32_t owner) noexcept {
    bool any = false;
    for (std::uint32_t i = 0; i < backed(abi::vis) && !any; ++i) {
        any = vi(i).owner.load_relaxed() == owner;
    }
    return !served(owner - 1) || (owner == owner_word() && !any);
}

bool window::cut_off() const noexcept {
    const abi::identity_page& page = identity();
    if (page.epoch.load_acquire() != epoch_ || page.context_epoch[self()].load_acquire() != context_epoch_) {
        return true;
    }
    if (lost()) {
        return true;
    }
    return os::has_hung_up(socket_.number());
}

void window::leave() noexcept {
    if (const control_lock hold(*this, farewell); hold) {
        tables::retire_process(*this, self(), abi::break_reason::remote_disconnect);
    }
    // The socket last: with its close, the device may take the memory of the last process that was in.
    map_ = {};
    const abi::leave_notice goodbye{static_cast<std::uint32_t>(abi::packet::leave), self()};
    (void)::send(socket_.get(), &goodbye, sizeof goodbye, MSG_NOSIGNAL | MSG_DONTWAIT);
    socket_.reset();
    fd_.reset();
}

}  // namespace vinic::isolated

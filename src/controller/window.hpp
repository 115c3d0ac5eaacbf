// SPDX-License-Identifier: Apache-2.0
//
// window.hpp -- one function's window: a sealed memory file, mapped by the device and by its clients.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vinic/words.hpp>

#include "abi/window.hpp"
#include "os/file.hpp"

namespace vinic::controller {

/// A descriptor that is closed once, by the last one that has it: closing one of a file that clients have open walks
/// through all the locks that they hold of it.
class shared_fd {
public:
    shared_fd() noexcept = default;
    /// Throws std::bad_alloc.
    explicit shared_fd(os::unique_fd fd) : fd_(std::make_shared<const os::unique_fd>(std::move(fd))) {}
    [[nodiscard]] int get() const noexcept { return fd_ ? fd_->get() : -1; }
    [[nodiscard]] explicit operator bool() const noexcept { return get() >= 0; }

private:
    std::shared_ptr<const os::unique_fd> fd_;
};

class window {
public:
    /// A fresh object, all zero but for what clients look for first.  `bytes`: a power of two.
    [[nodiscard]] static result<window> create(std::uint32_t function, std::uint64_t bytes);

    [[nodiscard]] explicit operator bool() const noexcept { return map_.data() != nullptr; }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return map_.size(); }
    /// Whether [offset, offset + bytes) lies inside.
    [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
        return bytes <= map_.size() && offset <= map_.size() - bytes;
    }
    /// What it takes of the machine's memory, no matter who touched it first.  A system call; 0 without a window.
    [[nodiscard]] std::uint64_t used_bytes() const noexcept;
    /// Gives the pages of a part back, in every process that maps them; it reads as zeros.
    void empty(std::uint64_t offset, std::uint64_t bytes) const noexcept {
        (void)os::release_storage(fd(), offset, bytes);
    }
    /// Whether a process has it open still: a client holds the lock of its process entry as long as it does.
    [[nodiscard]] bool is_in_use() const noexcept {
        constexpr std::uint64_t first_entry = 1;
        return os::is_locked_by_other(fd(), first_entry, abi::context_count);
    }
    /// Where the first page from `offset` on is that there is, or bytes().
    [[nodiscard]] std::uint64_t next_page(std::uint64_t offset) const noexcept;
    template <class T>
    [[nodiscard]] T* at(std::uint64_t offset) const noexcept {
        return reinterpret_cast<T*>(map_.data() + offset);
    }
    [[nodiscard]] abi::identity_page& identity() const noexcept {
        return *at<abi::identity_page>(abi::identity_offset);
    }
    [[nodiscard]] abi::mailbox& mailbox(std::uint32_t context) const noexcept {
        return *at<abi::mailbox>(abi::mailbox_offset(context));
    }
    [[nodiscard]] abi::vi_entry& vi(std::uint32_t i) const noexcept { return at<abi::vi_entry>(abi::vis_offset)[i]; }
    [[nodiscard]] abi::process_entry& process(std::uint32_t i) const noexcept {
        return at<abi::process_entry>(abi::processes_offset)[i];
    }

    /// Its descriptor, to be sent to a client.
    [[nodiscard]] const shared_fd& shared() const noexcept { return fd_; }

private:
    shared_fd fd_;
    os::mapping map_;
};

}  // namespace vinic::controller

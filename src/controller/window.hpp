// SPDX-License-Identifier: Apache-2.0
//
// window.hpp -- one function's window: a sealed memory file, mapped by the device and by its clients.
#pragma once

#include <vinic/vinic.hpp>

#include "abi/window.hpp"
#include "os/file.hpp"

namespace vinic::controller {

class window {
public:
    /// A fresh object, all zero but for what clients look for first.  `bytes`: a power of two.
    [[nodiscard]] static result<window> create(std::uint32_t function, std::uint64_t bytes);

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return map_.size(); }
    /// Whether [offset, offset + bytes) lies inside.
    [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
        return bytes <= map_.size() && offset <= map_.size() - bytes;
    }
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

private:
    os::unique_fd fd_;
    os::mapping map_;
};

}  // namespace vinic::controller

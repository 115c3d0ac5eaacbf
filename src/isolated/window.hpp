// SPDX-License-Identifier: Apache-2.0
//
// window.hpp -- the memory of a device in isolated placement: a function's window, which its processes map and vinicd
// serves (abi/window.hpp).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "abi/window.hpp"
#include "tables/memory.hpp"

namespace vinic::isolated {

class window final : public tables::memory {
public:
    /// Has the device at "vinicd:PATH#FUNCTION" let this process in.
    [[nodiscard]] static result<std::unique_ptr<window>> open(std::string_view device_address, role as);
    ~window() override;

    [[nodiscard]] result<void> admits(std::uint64_t bytes) const override;
    [[nodiscard]] bool lost() const noexcept override;
    [[nodiscard]] bool served(std::uint32_t i) const noexcept override {
        return i < abi::context_count && identity().context_epoch[i].load_acquire() != 0;
    }
    [[nodiscard]] bool engines_have_left(std::uint32_t owner) noexcept override;
    [[nodiscard]] std::string room(const std::string& size) const override {
        return "the function's window of " + size;
    }
    void forget_after_fork() noexcept override;

    [[nodiscard]] abi::identity_page& identity() const noexcept {
        return *at<abi::identity_page>(abi::identity_offset);
    }
    [[nodiscard]] std::uint32_t function() const noexcept { return function_; }
    /// Event descriptors; the program may have closed them.
    [[nodiscard]] const os::kept_fd& doorbell() const noexcept { return doorbell_; }
    [[nodiscard]] const os::kept_fd& mailbox() const noexcept { return mailbox_; }
    /// Whether the device no longer serves this process: it died, or was reset, or this process has lost what it
    /// reaches it by.
    [[nodiscard]] bool cut_off() const noexcept;

private:
    using memory::memory;
    [[nodiscard]] result<void> open_at(std::string_view where, role as);
    [[nodiscard]] result<void> map(std::uint32_t function, role as);
    [[nodiscard]] result<void> connect_socket();
    [[nodiscard]] error fail_answer(int os_errno, const std::string& doing) const;
    [[nodiscard]] result<os::unique_fd> attach(std::uint32_t function);
    [[nodiscard]] result<bool> enter_window();
    [[nodiscard]] result<bool> enter_context(std::uint32_t i);
    void leave() noexcept;

    os::kept_fd socket_;  ///< its close tells the device that the process has left
    os::kept_fd doorbell_;
    os::kept_fd mailbox_;
    std::string user_;  ///< who may serve it, beside root and ourselves
    std::uint32_t function_ = 0;
    std::uint32_t epoch_ = 0;          ///< of the function
    std::uint32_t context_epoch_ = 0;  ///< of this process' context
    std::uint64_t bytes_ = 0;          ///< as the device has said
};

}  // namespace vinic::isolated

// SPDX-License-Identifier: Apache-2.0
//
// vi.hpp -- a VI whose sends the isolated placement's device executes, of either service.
#pragma once

#include "isolated/mailbox.hpp"
#include "placement/vi.hpp"

namespace vinic::isolated {

using detail::domain_body;
using detail::nic_body;
using detail::vi_body;

/// What was being done, and why the device refuses a name.
[[nodiscard]] inline std::string refused_name(errc code, std::string doing) {
    return code == errc::permission_denied ? doing + ": vinicd's configuration gives that name to another function"
                                           : doing;
}

struct vi final : vi_body {
    explicit vi(mailbox& m) noexcept : vi_body(true), device_(m) {}

    // post.cc
    [[nodiscard]] errc post(const work_request& w) noexcept override;
    [[nodiscard]] posted post_several(std::span<const work_request> requests) noexcept override;
    [[nodiscard]] bool make_way() noexcept;
    [[nodiscard]] errc execute(std::uint64_t state, const rules::message& m, const work_request& w) noexcept;

    void serve_waiting_sender() noexcept override { device_.ring(index); }
    [[nodiscard]] bool engines_outside() noexcept override { return true; }  // the device says `error` when it is
    void break_for_local_error() noexcept override;

    // vi.cc
    [[nodiscard]] result<void> begin_life() override;
    [[nodiscard]] result<void> tell_change(const vi_attributes& wanted, const domain_body& in,
                                           const char* doing) override;
    void on_connected() noexcept override;
    [[nodiscard]] result<void> disconnect_now(tables::patience p) override;
    [[nodiscard]] result<void> end_life(tables::patience p) override;

    // connect.cc
    [[nodiscard]] result<std::uint32_t> ask(const wish& w) override;
    [[nodiscard]] result<bool> withdraw(std::uint32_t request, std::uint64_t attempt_made,
                                        std::uint64_t deadline) override;
    /// Accepts a request that was taken.
    [[nodiscard]] mailbox::reply accept(std::uint64_t ticket, const abi::answer_mail& mail) noexcept;

private:
    [[nodiscard]] bool fits_in_line(const rules::message& m) const noexcept;
    void announce() noexcept;
    [[nodiscard]] std::uint64_t next_base() const noexcept;
    [[nodiscard]] bool abandon_request(std::uint32_t request, std::uint64_t lock_until) noexcept;
    [[nodiscard]] result<void> fail_unless_ok(const mailbox::reply& r, const char* doing) const;

    mailbox& device_;
    std::uint32_t bells_held_ = 0;     // batches under way, which ring at their end
    std::uint32_t fetches_until_ = 0;  // behind the last read or atomic that was posted
    /// The state word in which posts are taken; any_connection: one is being accepted, or none is needed.
    std::atomic<std::uint64_t> open_connection_{abi::none64};
    static constexpr std::uint64_t any_connection = abi::none64 - 1;
};

}  // namespace vinic::isolated

// SPDX-License-Identifier: Apache-2.0
//
// provider.hpp -- isolated placement: vinicd is the NIC, and is asked by mailbox.
#pragma once

#include "isolated/notices.hpp"
#include "isolated/vi.hpp"
#include "placement/request.hpp"

namespace vinic::isolated {

class provider final : public detail::provider {
public:
    explicit provider(window& w);

    [[nodiscard]] bool gone() const noexcept override { return mailbox_.gone(); }
    [[nodiscard]] bool found_gone() noexcept override { return mailbox_.found_gone(); }
    void look_after(nic_body& n, std::uint64_t now_ns) noexcept override;
    void explain(errc code, std::string& what, int& os_errno) const override;

    [[nodiscard]] errc region_made(const abi::region_entry& e) noexcept override;
    [[nodiscard]] errc region_changed(std::uint32_t key, std::uint32_t domain, access rights) noexcept override;
    [[nodiscard]] errc region_closed(std::uint32_t key) noexcept override;
    [[nodiscard]] bool reaches_foreign_memory() const noexcept override;

    [[nodiscard]] std::unique_ptr<vi_body> make_vi(const nic_body& n, service s) override;
    [[nodiscard]] result<void> bind(vi_body& v, const address& at) override;
    [[nodiscard]] result<datagram_address> resolve(nic_body& n, const address& name) override;
    [[nodiscard]] result<std::vector<address>> names(nic_body& n) override;
    [[nodiscard]] result<std::uint32_t> listen(nic_body& n, const address& at) override;
    void unlisten(std::uint32_t entry) noexcept override;
    [[nodiscard]] result<std::shared_ptr<detail::request_body>> take_request(
        const std::shared_ptr<detail::listener_body>& l, std::uint64_t deadline) override;
    [[nodiscard]] result<void> answer(detail::request_body& r, vi_body* vi, std::span<const std::byte> data,
                                      tables::patience p, const char* doing) override;

    [[nodiscard]] std::uint32_t vectors() const noexcept override;
    [[nodiscard]] std::expected<void, errc> set_vector(std::uint32_t index,
                                                       const vector_settings& settings) noexcept override;
    [[nodiscard]] std::expected<vector_status, errc> vector(std::uint32_t index) noexcept override;
    [[nodiscard]] std::expected<std::optional<device_event>, errc> take_event() noexcept override;
    void await_event(std::uint64_t at_most_ns) noexcept override { notices_.sleep(at_most_ns); }
    [[nodiscard]] std::expected<service_level, errc> service_in_force() noexcept override;

private:
    window& window_;
    mailbox mailbox_;
    notice_reader notices_;
    std::atomic<bool> cut_off_{false};  // the device is gone, and the VIs know
};

/// Has vinicd let this process in.
[[nodiscard]] result<detail::opened> open(std::string_view device_address, const open_options& options);

}  // namespace vinic::isolated

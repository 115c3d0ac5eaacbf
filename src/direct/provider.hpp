// SPDX-License-Identifier: Apache-2.0
//
// provider.hpp -- direct placement: a device is a file that its users share, and every process is its own NIC.
#pragma once

#include "direct/vi.hpp"
#include "placement/request.hpp"

namespace vinic::direct {

class provider final : public detail::provider {
public:
    provider() noexcept : detail::provider(detail::placement_facts()) {}

    [[nodiscard]] bool gone() const noexcept override { return false; }
    [[nodiscard]] bool found_gone() noexcept override { return false; }
    void look_after(nic_body& n, std::uint64_t now_ns) noexcept override;
    void explain(errc, std::string&, int&) const override {}

    // Whoever looks a region up looks into the table.
    [[nodiscard]] errc region_made(const abi::region_entry&) noexcept override { return errc::ok; }
    [[nodiscard]] errc region_changed(std::uint32_t, std::uint32_t, access) noexcept override { return errc::ok; }
    [[nodiscard]] errc region_closed(std::uint32_t) noexcept override { return errc::ok; }
    [[nodiscard]] bool reaches_foreign_memory() const noexcept override { return true; }

    [[nodiscard]] std::unique_ptr<vi_body> make_vi(const nic_body& n, service s) override;
    [[nodiscard]] result<void> bind(vi_body& v, const address& at) override;
    [[nodiscard]] result<datagram_address> resolve(nic_body& n, const address& name) override;
    [[nodiscard]] result<std::vector<address>> names(nic_body& n) override;
    [[nodiscard]] result<std::uint32_t> listen(nic_body& n, const address& at) override;
    void unlisten(std::uint32_t) noexcept override {}
    [[nodiscard]] result<std::shared_ptr<detail::request_body>> take_request(
        const std::shared_ptr<detail::listener_body>& l, std::uint64_t deadline) override;
    [[nodiscard]] result<void> answer(detail::request_body& r, vi_body* vi, std::span<const std::byte> data,
                                      tables::patience p, const char* doing) override;

    // -- VIs with a message that waits for its receiver, and a limit for that (stall.cc) ------------------------
    void watch(connected_vi& v) noexcept;
    void forget(connected_vi& v) noexcept;

private:
    std::mutex mutex_;
    std::vector<connected_vi*> stalled_;
    std::atomic<bool> any_stalled_{false};
};

/// Opens the device, or makes it.
[[nodiscard]] result<detail::opened> open(std::string_view device_address, const open_options& options);

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// device_state.hpp -- the parts of a device, and what its files share.
#pragma once

#include <thread>

#include "controller/configuration_space.hpp"
#include "controller/control.hpp"

namespace vinic::controller {

[[nodiscard]] inline error refuse(errc code, std::string what, int os_errno = 0) {
    return {code, os_errno, std::move(what)};
}

/// What was counted between two looks.
[[nodiscard]] function_counters since(function_counters now, const function_counters& before);

struct device::state {
    explicit state(const device_options& o) : options(o) {}

    device_options options;
    kicks doorbell_kicks;
    kicks mailbox_kicks;
    delivery_times deliveries;
    std::vector<std::unique_ptr<function>> functions;
    std::unique_ptr<class engines> engines;
    std::unique_ptr<class control> control;
    std::optional<configuration_space> configuration;  ///< under control->mutex
    std::function<void(const event&)> on_event;
    std::mutex event_mutex;
    std::uint64_t event_sequence = 0;
    std::atomic<bool> stopping{false};
    std::atomic<bool> draining{false};
    std::thread mailboxes;
    std::mutex presence;  ///< one comes or goes at a time; taken before control->mutex

    void tell(event_kind kind, const function& f, std::uint32_t context, std::uint32_t process_id, std::string text);
    [[nodiscard]] result<void> renew_window(function& f);
    void serve_mailboxes() noexcept;
    [[nodiscard]] bool cut_off(function& f);
    void look_for_violations(function& f, std::uint64_t now_ns);
    [[nodiscard]] bool serve_function(function& f, std::uint64_t now_ns, bool& served);
    [[nodiscard]] result<void> admits(const function& f) const;
    [[nodiscard]] result<function*> find(std::uint32_t number) const;
    /// Under control->mutex.
    [[nodiscard]] static result<void> is_present(const function& f);
    [[nodiscard]] function_counters counted(const function& f) const;
    [[nodiscard]] result<void> put_service(function& f, const service& wanted);
    void allow_all();
    /// Lets nobody in any more, and says so.
    void begin_to_end() noexcept;
};

}  // namespace vinic::controller

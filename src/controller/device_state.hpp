// SPDX-License-Identifier: Apache-2.0
//
// device_state.hpp -- the parts of a device, and what its files share.
#pragma once

#include <condition_variable>
#include <thread>

#include "controller/configuration_space.hpp"
#include "controller/control.hpp"
#include "controller/retired_windows.hpp"

namespace vinic::controller {

[[nodiscard]] inline error refuse(errc code, std::string what, int os_errno = 0) {
    return {code, os_errno, std::move(what)};
}

/// What was counted between two looks.
[[nodiscard]] function_counters since(function_counters now, const function_counters& before);

/// A context that is being ended.
struct departure {
    function* whose;
    std::uint32_t context;
    std::uint32_t process;
    bool died;   ///< of this one: somebody else may be the context already when it is told
    bool tells;  ///< an event when it is over
};

struct device::state {
    /// A window in use and those that attach() lets wait, of every function; every context, and the one that is just
    /// being crossed out a second time: a process that has entered it meanwhile may leave before that is done.
    explicit state(const device_options& o) : options(o), retired((retired_most + 2) * (o.functions + 1)) {
        departures.reserve(std::size_t{o.functions + 1} * abi::context_count + 1);
    }

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

    // What ends is cleared away by a thread of its own, a slice of each at a time (device_departures.cc), and windows
    // are emptied by others, which a client may keep.
    static constexpr std::size_t retired_most = 2;  ///< windows of a function that may wait to be emptied
    std::vector<departure> departures;              ///< under control->mutex; the reaper alone takes some out
    retired_windows retired;
    bool resumes = false;  ///< some function has a resume_next; under control->mutex
    std::thread reaper;
    std::atomic<bool> reaping{false};
    std::mutex bell_mutex;
    std::condition_variable bell;
    bool rung = false;  ///< under bell_mutex
    using pace = retired_windows::pace;

    /// Under control->mutex.
    void depart(function& f, std::uint32_t context, bool died, std::uint64_t words_end_ns, bool tells) noexcept;
    void begin_to_end(function& f, eviction how, abi::notice told, std::string by) noexcept;
    struct ended_function {
        event_kind kind;
        std::string by;
    };
    [[nodiscard]] std::optional<ended_function> end_if_empty(function& f);
    void retire_window(function& f) noexcept;
    void outdate(function& f) noexcept;
    // Under no lock.
    void call_reaper();
    void reap() noexcept;
    [[nodiscard]] pace clear_away();
    [[nodiscard]] pace clear_away(const departure& d, std::size_t at);
    [[nodiscard]] pace resume_some();
    [[nodiscard]] bool has_departures();
    [[nodiscard]] bool is_settled();

    void tell(event_kind kind, const function& f, std::uint32_t context, std::uint32_t process_id, std::string text);
    [[nodiscard]] result<void> renew_window(function& f);
    void serve_mailboxes() noexcept;
    void look_for_violations(function& f, std::uint64_t now_ns);
    [[nodiscard]] bool serve_function(function& f, std::uint64_t now_ns, bool& served);
    [[nodiscard]] result<void> admits(const function& f) const;
    /// Under control->mutex.
    [[nodiscard]] result<attachment> give_window(function& f, uid_t user);
    [[nodiscard]] result<function*> find(std::uint32_t number) const;
    /// Under control->mutex.
    [[nodiscard]] static result<void> is_present(const function& f);
    [[nodiscard]] function_counters counted(const function& f) const;
    [[nodiscard]] result<void> put_entitlement(function& f, const entitlement& wanted);
    void allow_all();
    /// Lets nobody in any more, and says so.
    void begin_to_end() noexcept;
};

}  // namespace vinic::controller

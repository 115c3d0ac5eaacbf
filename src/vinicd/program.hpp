// SPDX-License-Identifier: Apache-2.0
//
// program.hpp -- vinicd from its first line in the log to its last.
//
//     start --> serving --SIGTERM--> draining --done, or the time is over--> stopped
//                  |  ^                  '------------second signal-------------^
//                SIGHUP: reads the file again
#pragma once

#include <atomic>
#include <optional>
#include <thread>

#include "vinicd/config.hpp"
#include "vinicd/connections.hpp"
#include "vinicd/events.hpp"
#include "vinicd/listener.hpp"
#include "vinicd/log.hpp"
#include "vinicd/loop.hpp"
#include "vinicd/metrics.hpp"
#include "vinicd/notify.hpp"

namespace vinic::vinicd {

class program {
public:
    explicit program(command_line line);
    ~program();
    program(const program&) = delete;
    program& operator=(const program&) = delete;

    /// Returns when it was told to end.  An error: it could not begin.
    [[nodiscard]] result<void> run();
    /// Where the log goes, without its time and level.
    void say(const std::string& words) { log_.plain(words); }

private:
    [[nodiscard]] result<void> watch_signals();
    void share_memory();
    [[nodiscard]] result<void> make_device();
    [[nodiscard]] result<void> open_doors();
    void raise_descriptor_limit();
    void on_signal();
    void on_events();
    void reload(const std::string& by);
    void apply(const options& fresh, const std::string& by);
    void add_missing(const std::string& by);
    void report(std::uint32_t number, const result<void>& done, const std::string& what);
    void drain(const std::string& by);
    void finish();
    void wait_for_drain();
    void keep_watchdog_quiet(std::uint64_t interval_ns);

    command_line line_;
    options in_force_;
    bool adding_ = false;  ///< comes again for what is to be added
    log log_;
    loop loop_;
    service_manager manager_;
    announcer news_{loop_, manager_};
    event_queue events_;
    os::unique_fd signals_;
    os::unique_fd drained_;  ///< readable when drain() of the device has returned
    std::unique_ptr<controller::device> device_;
    std::unique_ptr<connections> connections_;
    std::optional<listener> listener_;
    std::unique_ptr<metrics_server> metrics_;
    std::thread draining_;
};

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// monitor.hpp -- the provider's thread of a NIC handle: tells the program what no descriptor can carry.
//
//   It sleeps while no VI is connected; otherwise it looks at the connected ones every few
//   milliseconds, and at once when the data path meets an error.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "vipl/goes_on.hpp"
#include "vipl/state.hpp"

namespace vipl {

class monitor : public std::enable_shared_from_this<monitor> {
public:
    explicit monitor(nic& n) noexcept : nic_(n) {}
    /// May throw std::system_error.
    void start();
    void handle_with(VIP_PVOID context, VIP_ERROR_HANDLER handler) noexcept;
    /// Until the handler that is running now has returned; at once in its own thread.
    void await_handler() noexcept;
    void report(const VIP_ERROR_DESCRIPTOR& error) noexcept;
    void suspect() noexcept;
    void watch() noexcept;
    /// The NIC handle is being closed.
    void end() noexcept;

private:
    friend class goes_on<monitor>;
    friend void replace_thread<monitor>(std::thread&, std::shared_ptr<monitor>) noexcept;
    void run();
    void go_on() noexcept;
    void look() noexcept;

    nic& nic_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable handled_;
    std::uint64_t handlings_ = 0;  ///< begun
    std::thread::id in_handler_;   ///< the thread that a handler runs in
    std::deque<VIP_ERROR_DESCRIPTOR> errors_;
    VIP_PVOID context_ = nullptr;
    VIP_ERROR_HANDLER handler_ = nullptr;
    bool watching_ = false;
    bool ending_ = false;
    std::atomic<bool> suspicious_{false};
    std::thread thread_;
};

}  // namespace vipl

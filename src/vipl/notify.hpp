// SPDX-License-Identifier: Apache-2.0
//
// notify.hpp -- the thread that serves SendNotify, RecvNotify and CQNotify of a NIC handle.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "os/kept_fd.hpp"
#include "vipl/goes_on.hpp"
#include "vipl/state.hpp"

namespace vipl {

class notifier : public std::enable_shared_from_this<notifier> {
public:
    notifier() noexcept = default;
    notifier(const notifier&) = delete;
    notifier& operator=(const notifier&) = delete;
    ~notifier();
    /// False: no descriptor or no thread.
    [[nodiscard]] bool start() noexcept;
    void kick() noexcept;
    [[nodiscard]] bool add(completer& c) noexcept;
    /// On return the thread neither looks at `c` nor will.
    void forget(completer& c) noexcept;
    void end() noexcept;

private:
    friend class goes_on<notifier>;
    friend void replace_thread<notifier>(std::thread&, std::shared_ptr<notifier>) noexcept;
    void run();
    void go_on() noexcept;
    /// Serves what can be served; false: nothing could.
    [[nodiscard]] bool serve();
    [[nodiscard]] bool serve_one(completer& c);
    /// Waits for the next completion on any.
    void sleep() noexcept;

    std::mutex mutex_;
    std::condition_variable left_;
    std::vector<completer*> served_;  ///< those with registrations
    completer* inside_ = nullptr;     ///< the thread looks at it
    bool ending_ = false;
    vinic::os::kept_fd bell_{vinic::os::kept_fd::keeper::vipl};
    std::thread thread_;
};

/// The NIC's notifier, made when it is needed; nullptr: it cannot be, or the NIC is closed.
[[nodiscard]] std::shared_ptr<notifier> notifier_of(nic& n) noexcept;
void forget_notifications(completer& c) noexcept;

/// Registers one notification; `enter` does it under the completer's lock, and returns false if the
/// handle was not good any more.
template <class Enter>
VIP_RETURN add_notification(completer& c, Enter enter) noexcept {
    const std::shared_ptr<notifier> serves = notifier_of(*c.owner);
    if (!serves) {
        return VIP_ERROR_RESOURCE;
    }
    try {
        const std::lock_guard hold(c.lock);
        if (!enter()) {
            return VIP_INVALID_PARAMETER;
        }
        ++c.notifications;
        c.served_by = serves.get();
    } catch (const std::bad_alloc&) {
        return VIP_ERROR_RESOURCE;
    }
    return serves->add(c) ? VIP_SUCCESS : VIP_ERROR_RESOURCE;
}

}  // namespace vipl

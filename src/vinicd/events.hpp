// SPDX-License-Identifier: Apache-2.0
//
// events.hpp -- what the device tells, on its way from its threads to the main thread.
//
//   device threads --put()--> bounded queue --eventfd--> main thread --take()--> log, monitors
//
//   An engine must not wait for the reader of a log: a queue that is full drops the event and counts it.
#pragma once

#include <deque>
#include <mutex>
#include <vector>

#include "controller/device.hpp"
#include "os/file.hpp"

namespace vinic::vinicd {

class event_queue {
public:
    event_queue();
    /// Readable when there is something to take.
    [[nodiscard]] int fd() const noexcept { return wake_.get(); }
    void put(const controller::event& e) noexcept;
    /// All there are; `lost` grows by those that were dropped since.
    [[nodiscard]] std::vector<controller::event> take(std::uint64_t& lost);

private:
    os::unique_fd wake_;
    std::mutex mutex_;
    std::deque<controller::event> waiting_;
    std::uint64_t lost_ = 0;
};

[[nodiscard]] const char* name(controller::event_kind kind) noexcept;

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// events.cc -- the queue, and the events' names.
#include "vinicd/events.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <iterator>
#include <new>

namespace vinic::vinicd {

namespace {
constexpr std::size_t waiting_max = 4096;
}

event_queue::event_queue() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void event_queue::put(const controller::event& e) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() >= waiting_max) {
            ++lost_;
            return;
        }
        try {
            waiting_.push_back(e);
        } catch (const std::bad_alloc&) {
            ++lost_;
            return;
        }
    }
    const std::uint64_t one = 1;
    // It can only fail when the counter is full, and then it is readable.
    [[maybe_unused]] const auto woken = ::write(wake_.get(), &one, sizeof one);
}

std::vector<controller::event> event_queue::take(std::uint64_t& lost) {
    std::uint64_t count = 0;
    // Before the queue is looked at, so that an event that comes now wakes once more.
    [[maybe_unused]] const auto bytes = ::read(wake_.get(), &count, sizeof count);
    const std::lock_guard lock(mutex_);
    lost += lost_;
    lost_ = 0;
    std::vector<controller::event> taken(std::make_move_iterator(waiting_.begin()),
                                         std::make_move_iterator(waiting_.end()));
    waiting_.clear();
    return taken;
}

const char* name(controller::event_kind kind) noexcept {
    static constexpr const char* names[] = {"attached", "detached",   "died",  "reset",
                                            "changed",  "misbehaved", "added", "removed"};
    return names[static_cast<std::size_t>(kind)];
}

}  // namespace vinic::vinicd

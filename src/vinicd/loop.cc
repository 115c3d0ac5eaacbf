// SPDX-License-Identifier: Apache-2.0
//
// loop.cc -- one epoll set, and a list of times.
#include "vinicd/loop.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>

#include "os/sync.hpp"

namespace vinic::vinicd {

namespace {
constexpr std::size_t events_at_a_time = 64;
constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::uint64_t wait_ms_max = 3'600'000;
}  // namespace

loop::loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

loop::watch loop::add(int fd, std::uint32_t events, std::function<void(std::uint32_t)> handler) {
    epoll_event wanted{};
    wanted.events = events;
    wanted.data.u64 = last_ + 1;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &wanted) != 0) {
        return 0;
    }
    watched_.emplace(++last_, std::make_shared<entry>(fd, std::move(handler)));
    return last_;
}

void loop::change(watch w, std::uint32_t events) noexcept {
    if (const auto found = watched_.find(w); found != watched_.end()) {
        epoll_event wanted{};
        wanted.events = events;
        wanted.data.u64 = w;
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, found->second->fd, &wanted);
    }
}

void loop::remove(watch w) noexcept {
    if (const auto found = watched_.find(w); found != watched_.end()) {
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second->fd, nullptr);
        watched_.erase(found);
    }
}

void loop::at(std::uint64_t time_ns, std::function<void()> what) { times_.emplace(time_ns, std::move(what)); }

void loop::call_what_is_due() {
    // What is due at the beginning: a handler that asks for the same moment again is called in the next round.
    const std::uint64_t now = os::now_ns();
    std::multimap<std::uint64_t, std::function<void()>> due;
    while (!times_.empty() && times_.begin()->first <= now) {
        due.insert(times_.extract(times_.begin()));
    }
    for (auto& [time, what] : due) {
        what();
    }
}

int loop::wait_ms() const noexcept {
    if (times_.empty()) {
        return -1;
    }
    const std::uint64_t now = os::now_ns();
    const std::uint64_t first = times_.begin()->first;
    return first <= now ? 0 : static_cast<int>(std::min(wait_ms_max, (first - now) / ns_per_ms + 1));
}

void loop::run() {
    std::array<epoll_event, events_at_a_time> seen{};
    while (!stopped_) {
        const int count = ::epoll_wait(epoll_.get(), seen.data(), static_cast<int>(seen.size()), wait_ms());
        for (int i = 0; i < count && !stopped_; ++i) {
            // Kept alive while it runs; gone if a handler before it in this round has removed it.
            // By value: the kernel packs its structure, and a reference into it may be misaligned.
            const epoll_event e = seen[static_cast<std::size_t>(i)];
            const watch w = e.data.u64;
            if (const auto found = watched_.find(w); found != watched_.end()) {
                const std::shared_ptr<entry> running = found->second;
                running->handler(std::uint32_t{e.events});
            }
        }
        if (!stopped_) {
            call_what_is_due();
        }
    }
}

}  // namespace vinic::vinicd

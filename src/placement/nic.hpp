// SPDX-License-Identifier: Apache-2.0
//
// nic.hpp -- an open nic and a protection domain: what only this process knows of them.
//
//   Lock order: registry > vi_body::connect_mutex > nic_body::mutex > a placement's own (stalled VIs, mailbox), and
//   cq_body::attach_mutex, > the device's control lock.  The data path takes none of them; the thread_safe attributes
//   add one mutex per queue.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>
#include <vinic/vinic.hpp>

#include "placement/provider.hpp"

namespace vinic::tables {
class arena;
}

namespace vinic::detail {

class adoption;
struct holdings;

struct nic_body {
    nic_body(std::unique_ptr<tables::memory> m, std::unique_ptr<detail::provider> p);
    ~nic_body();
    nic_body(const nic_body&) = delete;
    nic_body& operator=(const nic_body&) = delete;

    /// Housekeeping, called now and then from the data path: cheap unless tick_interval has passed.
    void tick() noexcept {
        if (os::ticks() >= next_tick.load(std::memory_order_relaxed)) [[unlikely]] {
            tick_now();
        }
    }
    void tick_now() noexcept;
    [[nodiscard]] int start_bell() noexcept;  ///< 0 or errno
    void ring_loop() noexcept;
    [[nodiscard]] bool forked() const noexcept { return memory->forked(); }
    [[nodiscard]] error fail(errc code, std::string what, int os_errno = 0) const {
        provider->explain(code, what, os_errno);
        return {code, os_errno, "device " + memory->address() + ": " + std::move(what)};
    }

    std::mutex mutex;
    adopt adopts_always = adopt::no;  ///< what the environment makes of registrations that do not ask
    std::unique_ptr<tables::memory> memory;
    std::unique_ptr<detail::provider> provider;
    std::unique_ptr<holdings> held;
    tables::arena& arena;
    adoption& pages;
    std::vector<vi_body*> vis;  // for deregistration
    struct unclosed_vi {
        std::uint32_t vi;
        std::uint32_t peer;
        std::uint32_t domain;
    };
    std::vector<unclosed_vi> unclosed;  // given up by the program while a stopped peer was inside
    std::vector<cq_body*> fd_queues;
    std::atomic<std::uint64_t> next_tick{0};
    std::thread bell;
    std::atomic<bool> closing{false};
};

struct domain_body {
    std::shared_ptr<nic_body> nic;
    std::uint32_t index = 0;
    std::uint32_t id = 0;
    [[nodiscard]] bool open() const noexcept { return (id & abi::open_domain) != 0; }
    ~domain_body();
};

/// Why a handle cannot be used: there is nothing behind it, or it was made before a fork.
template <class Body>
[[nodiscard]] std::optional<error> unusable(const std::shared_ptr<Body>& body, const char* doing) {
    if (!body) {
        return error{errc::invalid_handle, 0, doing};
    }
    const nic_body* nic = nullptr;
    if constexpr (std::is_same_v<Body, nic_body>) {
        nic = body.get();
    } else {
        nic = body->nic.get();
    }
    return nic->forked() ? std::optional(nic->fail(errc::forked, doing)) : std::nullopt;
}

}  // namespace vinic::detail

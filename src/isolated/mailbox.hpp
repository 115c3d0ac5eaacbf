// SPDX-License-Identifier: Apache-2.0
//
// mailbox.hpp -- isolated placement: what this process tells the device, by mailbox and doorbell.
//
//   The mailbox is for what the device must know and decide: VIs, regions, names, connections.  It takes one
//   request at a time, and the answer is waited for.  The doorbell only says which VIs to look at.
#pragma once

#include <atomic>
#include <initializer_list>
#include <mutex>
#include <span>

#include "isolated/window.hpp"

namespace vinic::isolated {

class mailbox {
public:
    explicit mailbox(window& w) noexcept;
    mailbox(const mailbox&) = delete;
    mailbox& operator=(const mailbox&) = delete;

    struct reply {
        errc code = errc::peer_gone;
        std::uint64_t value[6] = {};
        std::uint32_t payload_bytes = 0;  ///< of what was given to call()
        [[nodiscard]] bool ok() const noexcept { return code == errc::ok; }
        /// A device that is gone uses nothing any more.
        [[nodiscard]] bool ok_or_gone() const noexcept { return ok() || code == errc::peer_gone; }
    };

    /// Asks the device and waits for its answer; its payload goes to `answer`.  errc::peer_gone: the device is.
    reply call(abi::verb verb, std::initializer_list<std::uint64_t> values, std::span<const std::byte> payload = {},
               std::span<std::byte> answer = {}) noexcept;
    template <class Payload>
    reply call(abi::verb verb, std::initializer_list<std::uint64_t> values, const Payload& payload) noexcept {
        return call(verb, values, std::as_bytes(std::span(&payload, 1)));
    }

    /// Has the device look at VI `vi`, waking it if it sleeps.  What is to be seen was written before.
    void ring(std::uint32_t vi) noexcept;

    /// Whether the device is gone for this process, once and for all: it died, or has reset the function.
    [[nodiscard]] bool gone() const noexcept { return gone_.load(std::memory_order_acquire); }
    /// Looks whether it is, at once.
    [[nodiscard]] bool found_gone() noexcept;
    /// Looks whether it is, now and then.
    void look(std::uint64_t now_ns) noexcept;

private:
    [[nodiscard]] bool await(std::uint32_t sequence) noexcept;

    window& window_;
    abi::mailbox& box_;
    std::mutex mutex_;
    std::uint32_t last_;  ///< sequence of the last request
    std::atomic<bool> gone_{false};
    std::atomic<std::uint64_t> next_look_ns_{0};
};

}  // namespace vinic::isolated

// SPDX-License-Identifier: Apache-2.0
//
// provider.hpp -- the door that the placements stand behind (VIA 1.0: the VI Provider).
//
//   native/ holds the program's handles, polls, and registers memory; it asks this one interface, and vi.hpp's of each
//   VI, for whatever is done in another way in each placement.  direct/ and isolated/ implement them; open.cc alone
//   knows both.  Nothing of a message's path is here.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>
#include <vinic/vinic.hpp>

#include "tables/memory.hpp"

namespace vinic::detail {

/// What differs between placements and is only looked at.  Constant for as long as a nic is open.
struct placement_facts {
    /// Every send descriptor goes through the shared ring.  Otherwise only one that waits for its receiver does.
    bool every_send_is_queued = false;
    /// Another process has to run for a message to arrive.
    bool needs_another_core = false;
    /// The NIC may be gone, and its VIs with it, while this process is not.
    bool may_be_gone = false;
    /// In the addresses of datagrams.
    std::uint32_t function = 0;
};

class provider {
public:
    explicit provider(const placement_facts& f) noexcept : facts(f) {}
    provider(const provider&) = delete;
    provider& operator=(const provider&) = delete;
    virtual ~provider() = default;

    const placement_facts facts;

    // -- housekeeping ------------------------------------------------------------------------------
    /// Whether the NIC is gone for this process, once and for all, as far as is known.
    [[nodiscard]] virtual bool gone() const noexcept = 0;
    /// Looks whether it is, at once.
    [[nodiscard]] virtual bool found_gone() noexcept = 0;
    /// From tick_now(), every millisecond or so.
    virtual void look_after(nic_body& n, std::uint64_t now_ns) noexcept = 0;
    /// Adds to what an error says what only this placement knows.
    virtual void explain(errc code, std::string& what, int& os_errno) const = 0;

    // -- memory: the table says it already; under the nic's mutex ---------------------------------------
    [[nodiscard]] virtual errc region_made(const abi::region_entry& e) noexcept = 0;
    /// Rights are what both sides of the change allow by now.
    [[nodiscard]] virtual errc region_changed(std::uint32_t key, std::uint32_t domain, access rights) noexcept = 0;
    /// The table refuses the key by now.  errc::busy: a transfer with it does not end.
    [[nodiscard]] virtual errc region_closed(std::uint32_t key) noexcept = 0;
    [[nodiscard]] virtual bool reaches_foreign_memory() const noexcept = 0;

    // -- VIs, names, requests -----------------------------------------------------------------------
    /// Of the kind that suits the service; entered nowhere yet.  Under the nic's mutex.
    [[nodiscard]] virtual std::unique_ptr<vi_body> make_vi(const nic_body& n, service s) = 0;
    [[nodiscard]] virtual result<void> bind(vi_body& v, const address& at) = 0;
    [[nodiscard]] virtual result<datagram_address> resolve(nic_body& n, const address& name) = 0;
    [[nodiscard]] virtual result<std::vector<address>> names(nic_body& n) = 0;
    /// Enters the name of a listener; its entry.
    [[nodiscard]] virtual result<std::uint32_t> listen(nic_body& n, const address& at) = 0;
    /// The listener goes; its entry is given back afterwards.
    virtual void unlisten(std::uint32_t entry) noexcept = 0;
    /// The oldest request that nobody has taken.  errc::not_done: there is none.
    [[nodiscard]] virtual result<std::shared_ptr<request_body>> take_request(const std::shared_ptr<listener_body>& l,
                                                                             std::uint64_t deadline) = 0;
    /// Accepts with `vi`, whose connect_mutex is held, or rejects without.  Sets r.answered once it cannot be answered
    /// again.
    [[nodiscard]] virtual result<void> answer(request_body& r, vi_body* vi, std::span<const std::byte> data,
                                              tables::patience p, const char* doing) = 0;

    // -- what only a NIC of its own has ----------------------------------------------------------------
    [[nodiscard]] virtual std::uint32_t vectors() const noexcept { return 1; }
    [[nodiscard]] virtual std::expected<void, errc> set_vector(std::uint32_t, const vector_settings&) noexcept {
        return std::unexpected(errc::not_supported);
    }
    [[nodiscard]] virtual std::expected<vector_status, errc> vector(std::uint32_t) noexcept { return vector_status{}; }
    /// The next event of the NIC; nothing: none has come yet.
    [[nodiscard]] virtual std::expected<std::optional<device_event>, errc> take_event() noexcept {
        return std::unexpected(errc::not_supported);
    }
    /// Sleeps until one comes, or the time is over, or for no reason.
    virtual void await_event(std::uint64_t) noexcept {}
    [[nodiscard]] virtual std::expected<service_level, errc> service_in_force() noexcept {
        return std::unexpected(errc::not_supported);
    }
};

/// What opening a device brings.  The memory outlives the provider, and perhaps the nic.
struct opened {
    std::unique_ptr<tables::memory> memory;
    std::unique_ptr<detail::provider> provider;
};

}  // namespace vinic::detail

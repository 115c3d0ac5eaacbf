// SPDX-License-Identifier: Apache-2.0
//
// vi.hpp -- a VI whose process executes its sends itself.
#pragma once

#include "direct/hand_over.hpp"
#include "placement/vi.hpp"

namespace vinic::direct {

using detail::domain_body;
using detail::engine_mark;
using detail::nic_body;
using detail::vi_body;

class provider;

/// What connected and datagram VIs have in common (vi.cc, connect.cc).
struct vi : vi_body {
    vi() noexcept : vi_body(false) {}
    [[nodiscard]] bool make_way() const noexcept { return false; }  // whoever has to poll, polls

    void serve_waiting_sender() noexcept override {}
    [[nodiscard]] bool engines_outside() noexcept override;
    void break_for_local_error() noexcept override;
    [[nodiscard]] result<void> begin_life() override;
    [[nodiscard]] result<void> tell_change(const vi_attributes&, const domain_body&, const char*) override {
        return {};  // there is nobody to ask
    }
    [[nodiscard]] result<void> end_life(tables::patience p) override;
    [[nodiscard]] result<std::uint32_t> ask(const wish& w) override;
    [[nodiscard]] result<bool> withdraw(std::uint32_t request, std::uint64_t attempt_made,
                                        std::uint64_t deadline) override;

private:
    void become_connecting(std::uint32_t request) noexcept;
    [[nodiscard]] result<std::uint32_t> ask_listener(const wish& w);
    [[nodiscard]] result<std::uint32_t> ask_peer(const wish& w);
    std::uint64_t quiet_state_ = 0;  // the poller's: in this state no engine is inside our memory any more
};

/// Sends go through `outgoing` at once; one that has to wait for its receiver goes into the ring, and the ring to the
/// receiver (docs/protocols.md).
struct connected_vi final : vi {
    explicit connected_vi(provider& p) noexcept : home(p) { outgoing.connected = abi::none64; }
    connected_vi(const connected_vi&) = delete;
    connected_vi& operator=(const connected_vi&) = delete;
    ~connected_vi() override;

    [[nodiscard]] errc post(const work_request& w) noexcept override;
    [[nodiscard]] errc post_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                 std::uint32_t immediate) noexcept override;
    [[nodiscard]] errc post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                                  std::uint32_t immediate) noexcept override;
    [[nodiscard]] errc execute(std::uint64_t state, const rules::message& m, const work_request& w) noexcept;
    void serve_waiting_sender() noexcept override;
    void on_connected() noexcept override;
    [[nodiscard]] result<void> disconnect_now(tables::patience p) override;
    /// Under the provider's mutex, from whichever thread keeps house.
    void expire_stall(std::uint64_t now_ns) noexcept;

private:
    void set_handed(bool is) noexcept {
        handed = is;
        detours = is || outgoing.chooser.kind != nullptr;
    }
    [[nodiscard]] bool is_plain(const segment& s, send_flag flags) const noexcept;
    [[nodiscard]] bool try_plain_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                      std::uint32_t immediate) noexcept;
    [[nodiscard]] bool try_plain_write(const segment& s, remote_address to, std::uint64_t cookie,
                                       send_flag flags) noexcept;
    [[nodiscard]] errc post_checked(const rules::message& m, const work_request& w) noexcept;
    [[nodiscard]] bool await_receiver() noexcept;
    void await_return() noexcept;
    [[nodiscard]] errc stall(const rules::message& m, const work_request& w) noexcept;

public:
    // Posting sends: one thread.
    alignas(64) route outgoing;
    provider& home;
    bool handed = false;
    bool detours = false;                             // handed, or the receiver has a table: not by the fast paths
    std::uint32_t handed_next = 0;                    // how far the receiver was at the last post
    std::uint32_t waited_for = 0;                     // the receive descriptor that await_receiver gave up
    std::atomic<std::uint64_t> stall_deadline_ns{0};  // 0: no limit runs
    std::uint32_t stall_head = 0;                     // under the provider's mutex

    // Posting receives: one thread.
    alignas(64) route incoming;  // the peer's sends, when they were handed over
    tables::send_side peer_queue;
};

/// Takes the receiver's ring for one message, under its lock (datagram_vi.cc).
struct datagram_vi final : vi {
    [[nodiscard]] errc post(const work_request& w) noexcept override;
    [[nodiscard]] errc execute(std::uint64_t state, const rules::message& m, const work_request& w) noexcept;
    void on_connected() noexcept override {}
    [[nodiscard]] result<void> disconnect_now(tables::patience p) override;
    [[nodiscard]] result<void> end_life(tables::patience p) override;
};

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// vi.hpp -- a virtual interface as this process knows it: what all placements have in common, and the door of each.
//
//   direct/ has a connected and a datagram VI, isolated/ has one for both services; each adds what it needs behind the
//   common members.  Of a message's path only the calls that post a send are virtual; receives are posted, and
//   completions polled, in the same way everywhere.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>
#include <vinic/vinic.hpp>

#include "placement/guard.hpp"
#include "placement/nic.hpp"
#include "rules/receivers.hpp"
#include "tables/link.hpp"
#include "tables/rings.hpp"

namespace vinic::detail {

/// A send as the poller will report it.
struct send_entry {
    std::uint64_t cookie;
    std::uint32_t length;
    enum opcode opcode;
    enum status status;
    bool signalled;
    bool deferred;  // executed by another holder of the queue; the ring tells
};
static_assert(sizeof(send_entry) == 16);

/// Attributes as they stand in the entry of a VI.
[[nodiscard]] inline std::uint32_t flags_of(const vi_attributes& a) noexcept {
    return (a.rdma_write ? abi::allow_write : 0u) | (a.rdma_read ? abi::allow_read : 0u) |
           (a.rdma_atomic ? abi::allow_atomic : 0u) | (a.service == service::datagram ? abi::is_datagram : 0u);
}
[[nodiscard]] inline std::uint64_t wait_of(const vi_attributes& a) noexcept {
    return a.receiver_wait == forever ? abi::none64 : static_cast<std::uint64_t>(a.receiver_wait.count());
}

struct vi_body {
    /// `by_another`: another process executes its sends.
    explicit vi_body(bool by_another) noexcept : executed_by_another(by_another) {}
    vi_body(const vi_body&) = delete;
    vi_body& operator=(const vi_body&) = delete;
    virtual ~vi_body() = default;
    /// Called by the last who has it, before it is destroyed.
    void let_go() noexcept;

    // -- the door: posting ---------------------------------------------------------------------------
    [[nodiscard]] virtual errc post(const work_request& w) noexcept = 0;
    [[nodiscard]] virtual errc post_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                         std::uint32_t immediate) noexcept;
    [[nodiscard]] virtual errc post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                                          std::uint32_t immediate) noexcept;
    [[nodiscard]] virtual posted post_several(std::span<const work_request> requests) noexcept;

    // -- the door: what posting a receive and polling meet seldom ----------------------------------------
    /// A receive was posted, and a message waits for it.
    virtual void serve_waiting_sender() noexcept = 0;
    /// In error, or after a disconnect: is every engine that could touch our memory outside for good?
    [[nodiscard]] virtual bool engines_outside() noexcept = 0;
    /// What a message was to be placed in is refused.
    virtual void break_for_local_error() noexcept = 0;

    // -- the door: its life.  Under connect_mutex, but for begin_life() -----------------------------------
    /// Attached to its queues: becomes idle, or connected (datagram).
    [[nodiscard]] virtual result<void> begin_life() = 0;
    /// Whoever executes for it learns of a change before it is made here, so that what is refused has changed nothing.
    [[nodiscard]] virtual result<void> tell_change(const vi_attributes& wanted, const domain_body& in,
                                                   const char* doing) = 0;
    /// The entry says `connected`: from now on posts go through.
    virtual void on_connected() noexcept = 0;
    [[nodiscard]] virtual result<void> disconnect_now(tables::patience p) = 0;
    /// Disconnected: nobody finds it any more, and nobody touches what it has.
    [[nodiscard]] virtual result<void> end_life(tables::patience p) = 0;

    // -- the door: connecting -----------------------------------------------------------------------
    /// Whom a request is for: the listener at `remote`, or if there is a `local` the peer that wants this one.
    struct wish {
        const abi::address_key& remote;
        const abi::address_key* local;
        std::span<const std::byte> data;
        std::uint64_t deadline;
        const std::string& doing;
    };
    /// Enters a request, the VI connecting; its entry.  Under connect_mutex.
    [[nodiscard]] virtual result<std::uint32_t> ask(const wish& w) = 0;
    /// The time is over.  True: the request is withdrawn; false: it is settled by now, or the NIC is gone.
    [[nodiscard]] virtual result<bool> withdraw(std::uint32_t request, std::uint64_t attempt_made,
                                                std::uint64_t deadline) = 0;

    // -- posting sends: what all placements share (placement/vi.cc, post.hpp) ----------------------------------
    /// Checks what the interface promises to check at post, and fills `m`.
    [[nodiscard]] errc prepare(const work_request& w, rules::message& m, std::byte* inline_space) noexcept;
    [[nodiscard]] errc post_unconnected(std::uint64_t state, const rules::message& m, const work_request& w) noexcept;
    /// The operation is over: a completion, unless it succeeded unsignalled.
    void finish(enum opcode opcode, std::uint32_t length, std::uint64_t cookie, send_flag flags,
                enum status s) noexcept {
        if (s == status::success) [[likely]] {
            tables::count_sent(*entry, opcode, length);
            if (has(flags, send_flag::unsignalled)) {
                return;
            }
        }
        push({cookie, length, opcode, s, true, false});
    }
    void push(const send_entry& e) noexcept {
        const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
        sends[at & send_mask] = e;
        send_posted.store(at + 1, std::memory_order_release);
        tables::signal_if_wanted(*nic_memory, *entry, abi::send_queue);
    }
    [[nodiscard]] bool send_queue_full() const noexcept {
        return send_posted.load(std::memory_order_relaxed) - send_reported.load(std::memory_order_acquire) > send_mask;
    }
    /// Storage for what a descriptor has beyond its line, taken when the first such one is posted.
    [[nodiscard]] errc make_room(const rules::message& m) noexcept {
        const std::uint32_t bytes =
            m.inline_data != nullptr ? m.length : m.segment_count * static_cast<std::uint32_t>(sizeof(segment));
        return bytes <= sizeof(abi::send_descriptor::segments) || entry->send_extra.load_relaxed() != 0
                   ? errc::ok
                   : take_room(abi::send_queue);
    }
    [[nodiscard]] errc make_room(std::span<const segment> segments) noexcept {
        return segments.size() <= abi::receive_segments_in_line || entry->receive_extra.load_relaxed() != 0
                   ? errc::ok
                   : take_room(abi::receive_queue);
    }
    [[nodiscard]] errc take_room(abi::queue_kind kind) noexcept;

    // -- posting receives (vi_receive.cc) ------------------------------------------------------------
    [[nodiscard]] errc post_receive(const segment& s, std::uint64_t cookie) noexcept;
    [[nodiscard]] posted post_receives(std::span<const receive_request> requests) noexcept;
    [[nodiscard]] bool enter_receive(std::span<const segment> segments, std::uint64_t cookie) noexcept;
    [[nodiscard]] std::uint64_t store_pieces(abi::receive_descriptor& d, std::span<const segment> segments,
                                             std::uint32_t at) noexcept;
    [[nodiscard]] errc tell_receives(std::size_t count) noexcept;
    [[nodiscard]] errc receives_posted() noexcept;

    // -- polling (vi_poll.cc) ----------------------------------------------------------------------
    [[nodiscard]] std::size_t take(abi::queue_kind kind, std::span<completion> out) noexcept {
        return kind == abi::receive_queue ? take_receives(out) : take_sends(out);
    }
    [[nodiscard]] std::size_t take_receives(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t take_sends(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t take_done(std::span<completion> out, bool by_another) noexcept;
    void count_unreported() noexcept;
    [[nodiscard]] bool pending(abi::queue_kind kind) const noexcept;
    /// The word that announces the next receive completion, and the value it will have.
    void next_receive(const abi::word32*& sequence, std::uint32_t& expected) const noexcept {
        const std::uint32_t at = receive_reported.load(std::memory_order_relaxed);
        sequence = &receives.slots[at & receives.mask].completion.sequence;
        expected = at + 1;
    }
    /// Reports descriptors that will never be executed; called for queues that were signalled.
    [[nodiscard]] std::size_t take_flushed(abi::queue_kind kind, std::span<completion> out) noexcept;
    void place_payload(const abi::receive_slot& slot, std::uint32_t at, completion& out) noexcept;
    void place_pieces(const abi::receive_slot& slot, std::uint32_t at, completion& out) noexcept;

    // -- life (vi_create.cc, vi.cc, vi_control.cc, connect.cc) --------------------------------------------
    void publish_attributes() noexcept;
    void lay_out(std::uint64_t rings, std::uint64_t receive_bytes);
    [[nodiscard]] result<void> begin();
    /// Gives a VI that nothing was posted to yet another kind of receiver; its table is all zeros.
    [[nodiscard]] result<void> become(const rules::receiver_kind& kind);
    static void give_back(nic_body& nic, std::uint32_t vi, std::uint64_t rings, const vi_attributes& a) noexcept;
    [[nodiscard]] result<void> disconnect(tables::patience p = tables::control_patience);
    [[nodiscard]] result<void> close(tables::patience p = tables::control_patience);
    void detach() noexcept;
    [[nodiscard]] result<peer_information> finish_request(std::uint32_t request, std::uint64_t deadline);
    /// What is posted by now and was not executed belongs to the past; the next connection starts behind it.
    void flush_posted(enum status as) noexcept;
    /// Under the control lock: the request that is open, if one is, is nobody's any more.
    void drop_request() noexcept;
    /// How the VI is linked, once an attempt that is over is taken back.  Waits for the lock until `deadline` for that.
    [[nodiscard]] abi::link settled_link(std::uint64_t deadline = 0) noexcept;
    [[nodiscard]] bool is_datagram() const noexcept { return attributes.service == service::datagram; }

    std::shared_ptr<nic_body> nic;
    tables::memory* nic_memory = nullptr;  // nic->memory, one load nearer
    abi::vi_entry* entry = nullptr;
    std::uint32_t index = 0;
    bool open = false;
    std::shared_ptr<domain_body> domain;
    std::shared_ptr<cq_body> cqs[2];
    vi_attributes attributes;

    // Posting sends: one thread.
    std::unique_ptr<send_entry[]> sends;
    std::uint32_t send_mask = 0;
    std::uint32_t posts = 0;
    tables::send_side queue;
    alignas(64) std::atomic<std::uint32_t> send_posted{0};
    std::atomic<std::uint32_t> send_reported{0};
    /// Who posts may take finished sends off the queue, too; and who reports one counts it.
    const bool executed_by_another;
    std::atomic_flag reporting;  // then held by the thread that moves send_reported

    // Posting receives: one thread.
    alignas(64) tables::receive_side receives;
    std::atomic<std::uint32_t> receive_posted{0};
    std::uint32_t receive_room = 0;  // bytes that the smallest of the outstanding descriptors can take

    // Polling: one thread per completion queue.  It may run while another thread connects, so what it needs of that is
    // here.
    alignas(64) std::atomic<std::uint32_t> receive_reported{0};
    std::uint32_t polls_for = 0;  // the domain
    bool polls_datagrams = false;
    bool polls_tellings = false;  // completions have a word of their kind: datagrams, and VIs with a table
    rules::chooser chooser;       // its own

    // Disconnect: descriptors below these indices belong to the past.
    std::atomic<std::uint32_t> flush_limit[2]{0, 0};
    std::atomic<enum status> flush_status{status::flushed};

    std::mutex send_mutex, receive_mutex;  // thread_safe only
    std::mutex connect_mutex;
    std::atomic<std::uint32_t> pending_request = abi::none32;  // changed under the device's control lock
    std::uint64_t attempt = 0;                                 // the state word of the last one to connect
    std::atomic<std::uint64_t> overdue = abi::none64;          // of one whose time ended while the lock was held
    std::uint64_t request_deadline_ns = 0;
    std::vector<std::byte> rejection;
};

}  // namespace vinic::detail

// SPDX-License-Identifier: Apache-2.0
//
// function.hpp -- what the device knows by itself: the private truth behind the windows.
//
//   function (PF, VF) --> context (a process' open nic) --> regions, VIs, names, requests
//
//   A VI's place in its rings, its peer and its rights are here and nowhere else; what lies in the window about
//   them is told, not asked.
//
//   Who may touch what: everything under state::board, but for what an engine that holds a VI's lease may use
//   without it: that VI's send side, its peer's receive side, and regions, which it reads.  A thread that takes any of
//   these away changes the state under the board and then waits until the leases of that moment have ended
//   (engines::quiesce).
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <set>
#include <span>
#include <thread>

#include "controller/device.hpp"
#include "controller/memory_account.hpp"
#include "controller/vectors.hpp"
#include "controller/window.hpp"
#include "os/sync.hpp"
#include "rules/receivers.hpp"
#include "rules/ring.hpp"

namespace vinic::controller {

/// Registered memory.  Engines read it while it changes, so `key` makes it valid and the rest is behind it.
struct region {
    std::atomic<std::uint32_t> key;
    std::uint32_t context;
    std::atomic<std::uint32_t> domain;
    std::atomic<std::uint32_t> rights;
    std::uint64_t address;
    std::uint64_t length;
    std::uint64_t offset;  ///< in the window, or none64: look the address up in the context's extents
};

struct function;
struct transfer;

/// One open nic.
struct context {
    bool active = false;
    bool leaving = false;            ///< what it had is being ended: nobody may be this context yet
    bool died = false;               ///< without a word
    std::uint64_t words_end_ns = 0;  ///< until then what it had posted may go on its way; 0: it has, or need not
    std::uint32_t words_next = 0;    ///< VI that is looked at next for that
    std::uint32_t drop_next = 0;     ///< VI, then region, that is looked at next to be ended
    std::uint32_t forget_next = 0;   ///< completion queue, likewise
    std::uint32_t epoch = 0;
    credentials who;
    std::uint32_t mail_sequence = 0;
    std::uint32_t ignored_sequence = 0;
    std::uint64_t patience_end_ns = 0;  ///< of a disconnect that waits for messages, 0 = none does
};

struct vi {
    function* owner = nullptr;
    std::uint32_t index = 0;
    std::uint32_t context = 0;
    abi::vi_description d{};  ///< checked
    // Its rings, in the window.
    abi::vi_entry* entry = nullptr;
    abi::send_descriptor* sends = nullptr;
    abi::receive_slot* receives = nullptr;
    std::uint32_t send_mask = 0;
    std::uint32_t send_depth_log2 = 0;
    std::uint32_t receive_mask = 0;
    std::uint32_t send_extra_bytes = 0;        ///< per descriptor
    std::uint32_t receive_extra_per_slot = 0;  ///< segments
    rules::chooser chooser;                    ///< set when it is idle

    // Connection, under the board; engines look at `link` to stop early.
    std::atomic<abi::link> link{abi::link::idle};
    abi::break_reason reason = abi::break_reason::none;
    std::uint32_t epoch = 0;
    vi* peer = nullptr;
    bool leased = false;
    bool unpublished_break = false;  ///< link is error, the window does not say so yet
    std::uint64_t base = 0;          ///< of the request under way
    std::uint64_t request = 0;       ///< its ticket, 0 = none
    /// By queue: the bitmap of its completion queue whose pages are paid for.
    std::array<std::atomic<std::uint64_t>, 2> marked{};
    // A message whose receiver is not ready.
    bool waits = false;
    bool waits_for_function = false;                                ///< and not for a descriptor
    std::optional<rules::arrival> waits_with;                       ///< and for a buffer that suits this
    std::uint64_t wait_end_ns = 0;                                  ///< 0: no limit
    using limited_waits = std::set<std::pair<std::uint64_t, vi*>>;  ///< by when they end
    limited_waits::node_type wait_node;                             ///< its own, while it is not in the list
    /// An engine has no way to say that it has no memory.
    void reserve_wait() {
        limited_waits one;
        one.emplace(0, this);
        wait_node = one.extract(one.begin());
    }

    // The lease holder's.
    alignas(64) std::uint32_t send_next = 0;
    std::unique_ptr<transfer> pending;  ///< a message that outlived its lease
    // The lease holder's of the peer; datagram VIs: under receive_lock.
    alignas(64) std::uint32_t receive_next = 0;
    std::atomic_flag receive_lock;
    const vi* filled_by = nullptr;      ///< a datagram that takes several leases: everybody else's is dropped meanwhile
    std::uint64_t filled_until_ns = 0;  ///< then somebody else may fill it
    // Whether the device looks at the send ring itself.
    bool watched = false;
    std::uint64_t watched_until_ns = 0;

    [[nodiscard]] bool is_datagram() const noexcept { return (d.flags & abi::is_datagram) != 0; }
    /// The address of a datagram VI: what peers send to, and see messages come from.
    [[nodiscard]] std::uint64_t address() const noexcept;
    [[nodiscard]] bool is_reliable() const noexcept {
        return static_cast<reliability>(d.reliability) != reliability::unreliable;
    }
    [[nodiscard]] bool has_posted() const noexcept {
        return std::atomic_ref(sends[send_next & send_mask].lap).load(std::memory_order_acquire) ==
               abi::lap_of(send_next, send_depth_log2);
    }
    [[nodiscard]] bool has_receive() const noexcept {
        return rules::is_posted(receives[receive_next & receive_mask].descriptor, receive_next);
    }
    [[nodiscard]] bool has_place(const rules::arrival& a) const noexcept {
        return chooser.kind == nullptr || chooser.kind->has_place(chooser.table, a);
    }
};

/// Under the board.
inline void set_link(vi& v, abi::link l) noexcept;

inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) noexcept {
    counter.fetch_add(n, std::memory_order_relaxed);
}

/// Counters that engines and the mailbox' thread add to.
struct live_counters {
    std::atomic<std::uint64_t> tx_messages, tx_bytes, rx_messages, rx_bytes, rx_no_descriptor_drops,
        rx_unknown_destination_drops, protection_errors, malformed_descriptors, foreign_copies, doorbells,
        empty_doorbells, mailbox_requests, mailbox_refusals, mailbox_ignored, resets, memory_refusals;
};

/// Why all contexts of a function are being ended.
enum class eviction : std::uint8_t { none, reset, removal, violation };

struct function {
    function(std::uint32_t n, const function_options& o, delivery_times& t)
        : number(n),
          options(o),
          memory(o.memory()),
          regions(abi::region_count),
          vis(abi::vi_count),
          vectors(n, o.vectors),
          times(t) {}
    std::uint32_t number;
    function_options options;
    class window window;                ///< none while nobody uses the function, perhaps
    std::uint32_t epoch = 1;            ///< of the window; counts whenever the one that was handed out is void
    bool outdated = true;               ///< the window is of an earlier epoch
    std::uint64_t farewell_end_ns = 0;  ///< for those in the window that is taken away
    memory_account memory;
    bool present = true;         ///< not removed
    function_counters before;    ///< what its predecessors of the same number had counted
    std::uint32_t notices = 0;   ///< told in this window
    std::uint32_t services = 0;  ///< written there
    bool handed_out = false;     ///< the window, and to whose processes
    uid_t handed_to = 0;
    std::atomic<bool> allowed{true};  ///< bus master: engines work for it, and touch its window
    std::array<struct context, abi::context_count> contexts;
    sparse_array<region> regions;
    sparse_array<std::atomic<vi*>> vis;
    completion_vectors vectors;
    delivery_times& times;
    std::uint32_t contexts_used = 0;  ///< with those that are leaving
    std::uint32_t vis_used = 0;
    std::atomic<std::uint32_t> vis_connected{0};
    std::uint32_t regions_used = 0;
    std::uint32_t names_used = 0;
    std::uint32_t requests_used = 0;
    std::uint32_t vis_high = 0;  ///< behind the last VI that was ever made
    std::uint32_t regions_high = 0;
    live_counters counters{};
    std::uint64_t violations_seen = 0;  ///< at the last look
    std::uint64_t violations_since_ns = 0;
    std::string ended_by;                     ///< why, or who asked for it
    eviction ends = eviction::none;           ///< nobody enters meanwhile
    std::uint32_t resume_next = abi::none32;  ///< VI that is looked at next because engines may work for it again
    bool misbehaved = false;                  ///< disabled until it is reset
    std::uint32_t next_mail = 0;              ///< mailbox: whose turn it is
    std::uint64_t verb_credit_ns = 0;         ///< mailbox: when the next request may be served

    [[nodiscard]] vi* find(std::uint64_t index) const noexcept {
        return index < abi::vi_count ? vis[index].load(std::memory_order_acquire) : nullptr;
    }
};

/// Whether a sender that waits has what it waits for.
[[nodiscard]] inline bool is_ready_for(const vi& sender, const vi& receiver) noexcept {
    return receiver.owner->allowed.load(std::memory_order_relaxed) &&
           (sender.waits_for_function ||
            (receiver.has_receive() && (!sender.waits_with || receiver.has_place(*sender.waits_with))));
}

inline void set_link(vi& v, abi::link l) noexcept {
    const bool was = v.link.load(std::memory_order_relaxed) == abi::link::connected;
    if (!v.is_datagram() && was != (l == abi::link::connected)) {
        was ? --v.owner->vis_connected : ++v.owner->vis_connected;
    }
    v.link.store(l, std::memory_order_relaxed);
}

inline std::uint64_t vi::address() const noexcept {
    return abi::make_datagram_address(index, owner->number, d.generation);
}

using function_list = std::span<const std::unique_ptr<function>>;

/// What stands now where an address was given out; it may be another VI than that of the address' generation.
[[nodiscard]] inline vi* find(function_list functions, std::uint64_t address) noexcept {
    const std::uint32_t number = abi::function_of_address(address);
    return number < functions.size() ? functions[number]->find(abi::index_of_address(address)) : nullptr;
}

/// Held by the thread that fills the receives of a datagram VI, or flushes them.
/// Not taken under the board: an engine may hold it for a whole lease.
class receives_lock {
public:
    explicit receives_lock(vi& v) noexcept : held_(v.receive_lock) {
        for (int tries = 0; held_.test_and_set(std::memory_order_acquire); ++tries) {
            tries < 100 ? os::spin_pause() : std::this_thread::yield();
        }
    }
    ~receives_lock() { held_.clear(std::memory_order_release); }
    receives_lock(const receives_lock&) = delete;
    receives_lock& operator=(const receives_lock&) = delete;

private:
    std::atomic_flag& held_;
};

/// A long datagram of v that was on its way to `to` will not be finished: the receiver may be filled by others.
inline void stop_filling(vi* to, const vi& v) noexcept {
    if (to != nullptr) {
        const receives_lock hold(*to);
        to->filled_by = to->filled_by == &v ? nullptr : to->filled_by;
    }
}

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// state.hpp -- what stands behind the handles.
//
//   nic ---- tags, regions                         vinic::nic, one each
//    |------ vi ---- send, receive : queue         vinic::virtual_interface
//    |        queue: ring of posted descriptors --- completer (its own, or the CQ's)
//    |------ cq : completer                        vinic::completion_queue and a FIFO of entries
//    '------ monitor                               the provider's thread: errors and notifications
//
//   Locks, in the order in which they may be taken:
//
//     connection::mutex > vi::control > nic::mutex > queue::posting > notifier's > completer::lock
//         > monitor's, the region table's and the handle tables' own
//
//   A send holds posting while vi::inside is not 0.  So a thread that waits for posting must not keep another in a
//   connection call from ending: look at inside first, under control.
//
//   The data path takes posting (Post) or the completer's lock (Done, Wait, CQDone), one of them once.
#pragma once

#include <vipl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>
#include <vinic/vinic.hpp>

#include "vipl/handle.hpp"
#include "vipl/lock.hpp"
#include "vipl/regions.hpp"

namespace vipl {

inline constexpr std::uint32_t depth = 1024;           ///< descriptors per queue
inline constexpr std::uint32_t segments_max = 252;     ///< per descriptor, the address segment among them
inline constexpr std::size_t discriminator_max = 64;   ///< bytes
inline constexpr std::size_t host_bytes = 6;           ///< of a host address
inline constexpr VIP_ULONG transfer_max = 1u << 30;    ///< bytes of one descriptor
inline constexpr VIP_ULONG cq_entries_max = 1u << 20;  ///< that may be asked for; a CQ grows beyond it
inline constexpr std::uint32_t cq_queues_first = 64;   ///< queues that a CQ serves before it is resized
inline constexpr VIP_ULONG vis_max = 65536;            ///< limits of the device, for VipQueryNic
inline constexpr VIP_ULONG cqs_max = 65536;
inline constexpr VIP_ULONG tags_max = 65536;
inline constexpr VIP_ULONG regions_max = 1u << 20;

using host_address = std::array<std::uint8_t, host_bytes>;

struct nic;
struct vi;
struct cq;
struct queue;
class monitor;
class name_table;
class notifier;

/// A posted descriptor.
struct slot {
    VIP_DESCRIPTOR* descriptor = nullptr;
    region_table::witness registered = nullptr;
    VIP_MEM_HANDLE memory = 0;             ///< region that it lies in
    std::atomic<std::uint32_t> status{0};  ///< VIP_STATUS_ bits and the marks below
    [[nodiscard]] bool writable() const noexcept { return registered->load(std::memory_order_acquire) == memory; }
    [[nodiscard]] std::uint32_t bits() const noexcept { return status.load(std::memory_order_relaxed); }
    void set(std::uint32_t now) noexcept { status.store(now, std::memory_order_relaxed); }
};
/// Marks in slot::status; all lie in VIP_STATUS_RESERVED.
inline constexpr std::uint32_t mark_over = 0x0200;       ///< its outcome is known
inline constexpr std::uint32_t mark_local = 0x0400;      ///< the device never saw it
inline constexpr std::uint32_t mark_malformed = 0x0800;  ///< the device was given something to fail on instead
inline constexpr std::uint32_t marks = mark_over | mark_local | mark_malformed;

template <class Callback>
struct notification {
    VIP_PVOID context;
    Callback handler;
};

/// An entry of a completion queue.
struct entry {
    vi* v;
    bool receive;
};

/// A pointer that a thread with a stale handle may read while it is set anew.
template <class T>
class relaxed_pointer {
public:
    relaxed_pointer& operator=(T* to) noexcept {
        there_.store(to, std::memory_order_relaxed);
        return *this;
    }
    [[nodiscard]] T* get() const noexcept { return there_.load(std::memory_order_relaxed); }
    T* operator->() const noexcept { return get(); }
    T& operator*() const noexcept { return *get(); }

private:
    std::atomic<T*> there_{nullptr};
};

/// Takes completions from one native completion queue and applies them to descriptors, under one lock.
struct completer {
    /// Takes what is there.  True: something was applied.  Under the lock.
    bool poll() noexcept;
    /// Tells sleepers that something was applied by somebody else.  Under the lock.
    void tell() noexcept {
        if (sleepers != 0) [[unlikely]] {
            native.wake();
        }
        if (notifications != 0) [[unlikely]] {
            kick();
        }
    }
    void kick() noexcept;

    spin_lock lock;
    std::uint32_t sleepers = 0;
    std::uint32_t notifications = 0;  ///< registered and not yet served
    notifier* served_by = nullptr;    ///< there while there are notifications
    std::uint32_t wanted = 1;         ///< completions to ask for at the next poll
    nic* owner = nullptr;
    cq* visible = nullptr;  ///< the CQ of the program, if it is one
    queue* only = nullptr;  ///< the queue that it belongs to, if not
    std::atomic<std::uint32_t> spin_us{20};
    vinic::completion_queue native;
    alignas(vinic::completion) std::byte batch[16 * sizeof(vinic::completion)];
};

struct queue {
    /// Room for one more; `tail` is its index.
    [[nodiscard]] bool full() const noexcept {
        return tail.load(std::memory_order_relaxed) - head.load(std::memory_order_acquire) >= depth;
    }
    [[nodiscard]] slot& at(std::uint32_t i) const noexcept { return slots[i % depth]; }
    [[nodiscard]] bool empty() const noexcept {
        return head.load(std::memory_order_acquire) == tail.load(std::memory_order_acquire);
    }
    /// Moves `completed` over what is over, in order, with an entry for each.  Under the completer's lock,
    /// as is the next.
    void advance(std::uint32_t end) noexcept;
    /// Descriptor `i` is over and the device has not seen it.
    void end_locally(std::uint32_t i, std::uint32_t bits) noexcept;

    // The poster's.
    alignas(64) spin_lock posting;
    std::atomic<std::uint32_t> tail{0};
    vi* owner = nullptr;
    relaxed_pointer<completer> done;
    std::unique_ptr<slot[]> slots;
    bool receives = false;
    // Under the completer's lock; head is read by the poster.
    alignas(64) std::atomic<std::uint32_t> head{0};
    std::uint32_t completed = 0;
    std::uint32_t entries = 0;  ///< of it in the CQ
    std::deque<notification<VIP_VI_CALLBACK>> waiting;
    completer own;
};

struct tag : object {
    nic* owner = nullptr;
    vinic::domain domain;
    std::uint32_t users = 0;  ///< under nic::mutex
};

struct vi : object {
    [[nodiscard]] VIP_VI_STATE state() const noexcept;
    [[nodiscard]] bool alive(std::uint64_t h) const noexcept { return handle.load(std::memory_order_relaxed) == h; }

    nic* owner = nullptr;
    vinic::virtual_interface native;
    // What the data path needs of the attributes: changed while nobody is in it.
    const void* tag_handle = nullptr;  ///< nullptr: matches any memory of the NIC
    VIP_ULONG transfer_bytes_max = 0;
    VIP_RELIABILITY_LEVEL level = 0;
    std::atomic<std::uint32_t> inside{0};       ///< threads in connection calls
    std::atomic<std::uint32_t> disconnects{0};  ///< how often it was disconnected
    queue send;
    queue receive;

    std::mutex control;
    VIP_VI_ATTRIBUTES attributes{};         ///< under control
    tag* protection = nullptr;              ///< under nic::mutex
    std::atomic<bool> peer_pending{false};  ///< a peer request whose outcome was not told
    std::atomic<VIP_PVOID> user_data{nullptr};
    // The monitor's view; under nic::mutex.
    bool watched = false;
    vinic::vi_statistics seen;
};

struct cq : object {
    /// Under the completer's lock.
    bool pop(entry& out) noexcept;
    void push(const entry& e) noexcept;
    /// Entries of a VI that is being destroyed vanish.
    void purge(const vi& v) noexcept;

    completer done;
    std::uint32_t users = 0;  ///< queues that report to it; under nic::mutex
    VIP_ULONG entry_count = 0;
    std::vector<entry> ring;  ///< its size is a power of two
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    std::deque<notification<VIP_CQ_CALLBACK>> waiting;
};

/// A listener that threads in VipConnectWait and unanswered requests share.
struct door {
    vinic::listener listener;
    std::uint32_t users = 0;  ///< under nic::mutex
};

struct connection : object {
    nic* owner = nullptr;
    vinic::connection_request request;
    std::string discriminator;  ///< names its door
    std::mutex mutex;           ///< comes before every other
};

struct nic : object {
    std::mutex mutex;
    vinic::nic native;
    vinic::domain open_domain;  ///< for VIs and memory without a tag
    /// The provider thread's, without any queue: asking it makes the device look for processes that died.
    vinic::completion_queue pulse;
    std::string address;
    host_address host{};
    bool strict = false;
    std::chrono::milliseconds grace{};  ///< of connection requests
    bool open = false;                  ///< under mutex
    int process = 0;
    std::vector<vi*> vis;
    std::vector<cq*> cqs;
    std::vector<tag*> tags;
    std::vector<connection*> connections;
    std::map<std::string, std::shared_ptr<door>> doors;  ///< by discriminator
    region_table regions;
    std::atomic<std::uint32_t> leaving{0};      ///< threads that destroy a VI or CQ whose handle is dead
    std::atomic<std::uint32_t> registering{0};  ///< threads that are, without the lock
    std::shared_ptr<monitor> watcher;
    std::shared_ptr<notifier> notifies;       ///< under mutex; from the first registration on
    std::shared_ptr<const name_table> names;  ///< under mutex; nullptr: not yet read
};

struct tables {
    handle_table<nic, kind::nic, 256> nics;
    handle_table<vi, kind::vi, 1u << 16> vis;
    handle_table<cq, kind::cq, 1u << 16> cqs;
    handle_table<tag, kind::tag, 1u << 14> tags;
    handle_table<connection, kind::connection, 1u << 12> connections;
    std::atomic<bool> opened{false};  ///< this program has had a NIC
};
/// Never destroyed: a program may call exit() in a handler while other threads are inside.
union eternal {
    constexpr eternal() noexcept : there{} {}
    ~eternal() {}
    tables there;
};
extern eternal eternal_tables;
[[nodiscard]] inline tables& all() noexcept { return eternal_tables.there; }

[[nodiscard]] constexpr bool is_infinite(VIP_ULONG timeout_ms) noexcept {
    return timeout_ms == VIP_INFINITE || timeout_ms == 0xFFFFFFFFu;
}
[[nodiscard]] constexpr vinic::nanoseconds duration_of(VIP_ULONG timeout_ms) noexcept {
    constexpr VIP_ULONG longest = 0xFFFFFFFFu;
    return is_infinite(timeout_ms) ? vinic::forever
                                   : std::chrono::milliseconds(timeout_ms < longest ? timeout_ms : longest);
}

// -- shared steps, each in the file that is about it ----------------------------------------------

/// memory.cc: the domain of a tag, or why not.  Under nic::mutex.
[[nodiscard]] VIP_RETURN domain_of(nic& n, VIP_PROTECTION_HANDLE handle, tag*& found, vinic::domain*& domain);
/// vi.cc: frees a VI; its handle is dead already.  Under nobody's lock.
void demolish(vi& v) noexcept;
/// cq.cc: likewise for a CQ without users.
void demolish(cq& c) noexcept;
/// vi.cc: ends the connection and completes everything that was posted.
[[nodiscard]] VIP_RETURN disconnect(vi& v) noexcept;
/// connect.cc: gives up every open request and every listener.
void close_doors(nic& n) noexcept;
/// completion.cc: sets up and ends a completer.
[[nodiscard]] bool start(completer& c, nic& n, std::uint32_t queues);
void end_sleepers(completer& c) noexcept;
/// completion.cc, cq.cc: take the oldest descriptor, or entry, if there is one.  Under the completer's lock.
[[nodiscard]] VIP_RETURN take(queue& q, VIP_DESCRIPTOR** out) noexcept;
[[nodiscard]] VIP_RETURN take_entry(cq& c, VIP_VI_HANDLE* v, VIP_BOOLEAN* receive) noexcept;

/// monitor.cc: raises an asynchronous error.
void report(nic& n, vi* v, VIP_ERROR_CODE code, VIP_DESCRIPTOR* descriptor = nullptr, VIP_ULONG operation = 0) noexcept;
/// Somebody saw that a VI may be broken: the monitor should look now.
void suspect(nic& n) noexcept;
/// A VI has become connected.
void watch(vi& v) noexcept;
/// Reports what happened to a VI since the last look; with `lost`, also that its connection is.  Under nic::mutex.
void examine(vi& v, bool lost) noexcept;

}  // namespace vipl

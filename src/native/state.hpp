// SPDX-License-Identifier: Apache-2.0
//
// state.hpp -- the private halves of the native objects: what only this process knows.
//
//   Lock order: registry > vi_state::connect_mutex > nic_state::mutex > nic_state::stalled_mutex, and
//   cq_state::attach_mutex, > the port's mutex (isolated placement) > the device's control lock.  The data path takes
//   none of them; the thread_safe attributes add one mutex per queue.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>
#include <vector>
#include <vinic/vinic.hpp>

#include "device/arena.hpp"
#include "device/hand_over.hpp"
#include "native/adoption.hpp"
#include "native/call.hpp"
#include "native/guard.hpp"
#include "native/port.hpp"

namespace vinic::detail {

struct nic_state : std::enable_shared_from_this<nic_state> {
    explicit nic_state(std::unique_ptr<device::memory> m)
        : memory(std::move(m)),
          isolated(memory->window() != nullptr ? std::make_unique<port>(*memory) : nullptr),
          held(std::make_unique<holdings>(*memory)),
          arena(held->arena),
          pages(held->pages) {}
    ~nic_state();
    nic_state(const nic_state&) = delete;
    nic_state& operator=(const nic_state&) = delete;

    /// Housekeeping, called now and then from the data path: cheap unless tick_interval has passed.
    void tick() noexcept {
        if (os::ticks() >= next_tick.load(std::memory_order_relaxed)) [[unlikely]] {
            tick_now();
        }
    }
    void tick_now() noexcept;
    void look_after_device(std::uint64_t now_ns) noexcept;
    [[nodiscard]] int start_bell() noexcept;  ///< 0 or errno
    void ring_loop() noexcept;
    [[nodiscard]] bool forked() const noexcept { return memory->forked(); }
    [[nodiscard]] error fail(errc code, std::string what, int os_errno = 0) const {
        const bool refused_memory = isolated && code == errc::out_of_memory && os_errno == 0;  // the device has a limit
        if (isolated && code == errc::peer_gone && !forked() && memory->lost()) {
            what += device::memory::lost_words;
        }
        return {code, refused_memory ? EDQUOT : os_errno, "device " + memory->address() + ": " + std::move(what)};
    }

    std::mutex mutex;
    adopt adopts_always = adopt::no;  ///< what the environment makes of registrations that do not ask
    std::unique_ptr<device::memory> memory;
    std::unique_ptr<port> isolated;  // nullptr: direct placement
    std::unique_ptr<holdings> held;
    device::arena& arena;
    adoption& pages;
    std::vector<struct vi_state*> vis;  // for deregistration
    struct unclosed_vi {
        std::uint32_t vi;
        std::uint32_t peer;
        std::uint32_t domain;
    };
    std::vector<unclosed_vi> unclosed;  // given up by the program while a stopped peer was inside
    std::vector<struct cq_state*> fd_queues;
    std::atomic<std::uint64_t> next_tick{0};
    std::mutex stalled_mutex;
    std::vector<struct vi_state*> stalled;  // handed over with a time limit
    std::atomic<bool> any_stalled{false};
    std::atomic<bool> cut_off{false};  // isolated: the device is gone, and the VIs know
    std::thread bell;
    std::atomic<bool> closing{false};
};

struct domain_state {
    std::shared_ptr<nic_state> nic;
    std::uint32_t index = 0;
    std::uint32_t id = 0;
    [[nodiscard]] bool open() const noexcept { return (id & abi::open_domain) != 0; }
    ~domain_state();
};

struct region_state {
    std::shared_ptr<domain_state> domain;
    std::uint32_t index = 0;
    std::uint32_t key = 0;
    access rights = access::none;
    enum backing backing = backing::foreign;
    enum foreign_reason foreign_reason = foreign_reason::none;
    std::vector<adoption::held_extent> extents;
    std::vector<std::shared_ptr<buffer_state>> buffers;
    bool writable = false;
    bool is_whole_space = false;
    bool open = true;
    ~region_state();
    [[nodiscard]] result<void> close();
    [[nodiscard]] result<void> set_attributes(const std::shared_ptr<domain_state>& to, access wanted);
};

struct buffer_state {
    std::shared_ptr<nic_state> nic;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    bool kept = false;  // under nic->mutex
    buffer_state(std::shared_ptr<nic_state> n, std::uint64_t at, std::uint64_t size)
        : nic(std::move(n)), offset(at), bytes(size) {}
    ~buffer_state();
};

struct vi_state;

/// A queue of a VI as its completion queue knows it: the VI's address with the kind in the low bit.
using queue_tag = std::uintptr_t;

struct cq_state : std::enable_shared_from_this<cq_state> {
    static constexpr std::uint32_t polled_max = 8;
    using leaf_slots = std::array<std::atomic<queue_tag>, 64>;

    ~cq_state();
    [[nodiscard]] std::size_t poll(std::span<completion> out) noexcept;
    [[nodiscard]] result<std::size_t> wait(std::span<completion> out, nanoseconds timeout);
    [[nodiscard]] result<bool> arm();
    [[nodiscard]] result<std::optional<wait_ticket>> prepare_wait();
    void commit_wait(wait_ticket ticket, nanoseconds timeout) noexcept;
    void wake() noexcept;
    [[nodiscard]] result<int> descriptor();
    [[nodiscard]] result<void> make_event();
    [[nodiscard]] result<void> resize(std::uint32_t queues);
    [[nodiscard]] result<std::uint32_t> attach(queue_tag tag);
    void detach(std::uint32_t bit, queue_tag tag) noexcept;
    [[nodiscard]] result<void> set_capacity(std::uint32_t queues);

    std::shared_ptr<nic_state> nic;
    device::memory* nic_memory = nullptr;
    abi::cq_entry* entry = nullptr;
    std::uint32_t index = 0;
    cq_attributes attributes;

    // -- polling ---------------------------------------------------------------------------------
    [[nodiscard]] std::size_t poll_once(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t take_polled(std::uint32_t i, std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t poll_ready(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t serve(queue_tag tag, std::span<completion> out) noexcept;
    void promote(queue_tag tag) noexcept;
    /// Arms the CQ.  False: something is ready.  After it no queue is polled directly.
    [[nodiscard]] bool arm_once() noexcept;
    [[nodiscard]] bool any_ready() const noexcept;
    [[nodiscard]] queue_tag tag_of(std::uint32_t bit) const noexcept;

    std::array<std::atomic<queue_tag>, polled_max> polled{};  // their rings are looked at directly
    std::array<std::uint32_t, polled_max> idle{};
    std::uint32_t polled_count = 0;
    std::uint32_t turn = 0;
    std::uint32_t empty_polls = 0;
    std::uint32_t hot_expected = 0;
    std::uint32_t hot_place = 0;                // its index in `polled`
    std::uint64_t empty_ticks = 0;              // when the last poll found nothing
    const abi::word32* hot_sequence = nullptr;  // the next entry of the queue that was busy last
    std::int32_t until_tick = 0;
    bool crowded = false;  ///< isolated: the device may need this core to bring what is waited for
    std::atomic<bool> forget_hot{false};
    std::atomic<std::uint64_t> spin_ticks{0};
    std::uint64_t spin_ticks_max = 0;
    alignas(64) std::atomic<std::uint32_t> inside{0};  // odd while poll runs
    std::mutex poll_mutex;                             // thread_safe only

    // -- who is attached -------------------------------------------------------------------------
    struct bits {
        std::uint64_t offset;
        std::uint32_t leaves;
    };
    std::mutex attach_mutex;
    std::atomic<std::atomic<leaf_slots*>*> slots{nullptr};
    std::vector<std::unique_ptr<std::atomic<leaf_slots*>[]>> slot_tables;  // newest last; older ones may be in use
    std::vector<std::unique_ptr<leaf_slots>> leaves;
    std::array<bits, 32> bitmaps{};  // all that producers may know; each resize adds one
    std::atomic<std::uint32_t> bitmap_count{0};
    std::vector<std::uint32_t> free_bits;
    std::uint32_t next_bit = 0;
    os::kept_fd event;      // of descriptor(): the program's to wait for, ours to write, read and close
    bool fd_armed = false;  // under nic->mutex
};

/// A send as the poller will report it.
struct send_entry {
    std::uint64_t cookie;
    std::uint32_t length;
    enum opcode opcode;
    enum status status;
    bool signalled;
    bool deferred;  // executed by the holder of the queue; the ring tells
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

struct vi_state : std::enable_shared_from_this<vi_state> {
    ~vi_state();

    // -- data path (vi_post.cc, vi_stall.cc, vi_receive.cc, vi_datagram.cc) --------------------------------
    [[nodiscard]] errc post(const work_request& w) noexcept;
    [[nodiscard]] errc post_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                 std::uint32_t immediate) noexcept;
    [[nodiscard]] bool is_plain(const segment& s, send_flag flags) const noexcept;
    [[nodiscard]] bool try_plain_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                      std::uint32_t immediate) noexcept;
    [[nodiscard]] errc post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                                  std::uint32_t immediate) noexcept;
    [[nodiscard]] bool try_plain_write(const segment& s, remote_address to, std::uint64_t cookie,
                                       send_flag flags) noexcept;
    [[nodiscard]] errc prepare(const work_request& w, device::operation& op, std::byte* inline_space) noexcept;
    [[nodiscard]] errc post_once(const device::operation& op, const work_request& w) noexcept;
    [[nodiscard]] errc post_checked(const device::operation& op, const work_request& w) noexcept;
    [[nodiscard]] errc post_datagram(const device::operation& op, const work_request& w) noexcept;
    [[nodiscard]] errc post_unconnected(std::uint64_t state, const device::operation& op,
                                        const work_request& w) noexcept;
    // Isolated placement (isolated_post.cc): the descriptor goes into the ring, the device executes it.
    [[nodiscard]] bool make_way() noexcept;
    [[nodiscard]] bool is_connected() const noexcept {
        return abi::link_of(entry->state.load_acquire()) == abi::link::connected;
    }
    [[nodiscard]] bool fits_in_line(const device::operation& op) const noexcept;
    [[nodiscard]] errc post_isolated(std::uint64_t state, const device::operation& op, const work_request& w) noexcept;
    [[nodiscard]] posted post_batch(std::span<const work_request> requests) noexcept;
    void announce() noexcept;
    [[nodiscard]] bool await_receiver() noexcept;
    [[nodiscard]] errc stall(const device::operation& op, const work_request& w) noexcept;
    /// Storage for what a descriptor has beyond its line, taken when the first such one is posted.
    [[nodiscard]] errc make_room(const device::operation& op) noexcept {
        const std::uint32_t bytes =
            op.inline_data != nullptr ? op.length : op.segment_count * static_cast<std::uint32_t>(sizeof(segment));
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
    [[nodiscard]] bool send_queue_full() const noexcept {
        return send_posted.load(std::memory_order_relaxed) - send_reported.load(std::memory_order_acquire) > send_mask;
    }
    /// The operation is over: a completion, unless it succeeded unsignalled.
    void finish(enum opcode opcode, std::uint32_t length, std::uint64_t cookie, send_flag flags,
                enum status s) noexcept;
    void push(const send_entry& e) noexcept;
    void await_return() noexcept;
    void count_unreported() noexcept;
    [[nodiscard]] errc post_receive(const segment& s, std::uint64_t cookie) noexcept;
    [[nodiscard]] posted post_receives(std::span<const receive_request> requests) noexcept;
    [[nodiscard]] bool enter_receive(std::span<const segment> segments, std::uint64_t cookie) noexcept;
    [[nodiscard]] std::uint64_t store_pieces(abi::receive_descriptor& d, std::span<const segment> segments,
                                             std::uint32_t at) noexcept;
    [[nodiscard]] errc tell_receives(std::size_t count) noexcept;
    [[nodiscard]] errc receives_posted() noexcept;
    void expire_stall(std::uint64_t now_ns) noexcept;

    // -- polling (vi_poll.cc) ----------------------------------------------------------------------
    [[nodiscard]] std::size_t take(abi::queue_kind kind, std::span<completion> out) noexcept {
        return kind == abi::receive_queue ? take_receives(out) : take_sends(out);
    }
    [[nodiscard]] std::size_t take_receives(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t take_sends(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t take_done(std::span<completion> out, bool is_isolated) noexcept;
    [[nodiscard]] bool pending(abi::queue_kind kind) const noexcept;
    /// The word that announces the next receive completion, and the value it will have.
    void next_receive(const abi::word32*& sequence, std::uint32_t& expected) const noexcept {
        const std::uint32_t at = receive_reported.load(std::memory_order_relaxed);
        sequence = &receives.slots[at & receives.mask].completion.sequence;
        expected = at + 1;
    }
    /// Reports descriptors that will never be executed; called for queues that were signalled.
    [[nodiscard]] std::size_t take_flushed(abi::queue_kind kind, std::span<completion> out) noexcept;
    [[nodiscard]] bool engines_outside() noexcept;
    void place_payload(const abi::receive_slot& slot, std::uint32_t at, completion& out) noexcept;
    void break_for_local_error() noexcept;
    void place_pieces(const abi::receive_slot& slot, std::uint32_t at, completion& out) noexcept;

    // -- control (vi.cc, connect.cc) ---------------------------------------------------------------
    void publish_attributes() noexcept;
    void lay_out(std::uint64_t rings, std::uint64_t receive_bytes);
    [[nodiscard]] result<void> begin();
    static void give_back(nic_state& nic, std::uint32_t vi, std::uint64_t rings, const vi_attributes& a) noexcept;
    void on_connected() noexcept;
    [[nodiscard]] result<void> disconnect(device::patience p = device::control_patience);
    [[nodiscard]] result<void> flush_datagrams(device::patience p);
    [[nodiscard]] bool forget_names(device::patience p) noexcept;
    void flush_posted(enum status as) noexcept;
    /// Under the control lock: the request that is open, if one is, is nobody's any more.
    void drop_request() noexcept;
    /// How the VI is linked, once an attempt that is over is taken back.  Waits for the lock until `deadline` for that.
    [[nodiscard]] abi::link settled_link(std::uint64_t deadline = 0) noexcept;
    [[nodiscard]] result<void> close(device::patience p = device::control_patience);
    [[nodiscard]] result<peer_information> finish_request(std::uint32_t request, std::uint64_t deadline);

    // -- isolated placement (isolated_vi.cc, isolated_connect.cc): what the device is told -------------
    [[nodiscard]] result<void> tell_device(abi::verb verb, const char* doing);
    [[nodiscard]] result<void> ask_device(const vi_attributes& wanted, const domain_state& in, const char* doing);
    [[nodiscard]] result<void> disconnect_isolated(device::patience p);
    [[nodiscard]] std::uint64_t next_base() const noexcept;
    [[nodiscard]] result<std::uint32_t> request_isolated(abi::verb verb, std::span<const std::byte> mail,
                                                         const std::string& doing, std::uint64_t deadline);
    [[nodiscard]] bool withdraw_isolated(std::uint32_t request);

    std::shared_ptr<nic_state> nic;
    device::memory* nic_memory = nullptr;  // nic->memory, one load nearer
    std::shared_ptr<domain_state> domain;
    std::shared_ptr<cq_state> cqs[2];
    abi::vi_entry* entry = nullptr;
    std::uint32_t index = 0;
    vi_attributes attributes;
    bool open = true;

    // Posting sends: one thread.
    alignas(64) device::route outgoing;
    bool plain_path = false;       // connected service in direct placement
    std::uint32_t bells_held = 0;  // isolated: batches under way, which ring at their end
    std::unique_ptr<send_entry[]> sends;
    std::uint32_t send_mask = 0;
    bool handed = false;
    std::uint32_t handed_next = 0;  // how far the receiver was at the last post
    std::uint32_t waited_for = 0;   // the receive descriptor that await_receiver gave up
    device::send_side queue;
    std::uint32_t posts = 0;
    std::uint32_t fetches_until = 0;  ///< isolated: behind the last read or atomic that was posted
    alignas(64) std::atomic<std::uint32_t> send_posted{0};
    std::atomic<std::uint32_t> send_reported{0};
    std::atomic_flag reporting;                       ///< isolated: held by the thread that moves send_reported
    std::atomic<std::uint64_t> stall_deadline_ns{0};  // 0: no limit runs
    std::uint32_t stall_head = 0;                     // under nic->stalled_mutex
    /// Isolated: the state word in which posts are taken; any_connection: one is being accepted, or none is needed.
    std::atomic<std::uint64_t> open_connection{abi::none64};
    static constexpr std::uint64_t any_connection = abi::none64 - 1;

    // Posting receives: one thread.
    alignas(64) device::receive_side receives;
    std::atomic<std::uint32_t> receive_posted{0};
    std::uint32_t receive_room = 0;  // bytes that the smallest of the outstanding descriptors can take
    device::route incoming;          // the peer's sends, when they were handed over
    device::send_side peer_queue;

    // Polling: one thread per completion queue.  It may run while another thread connects and sets
    // `outgoing`, so what it needs of that is here.
    alignas(64) std::atomic<std::uint32_t> receive_reported{0};
    std::uint32_t polls_for = 0;  // the domain
    bool polls_datagrams = false;
    std::uint64_t quiet_state = 0;  // in this state no engine is inside our memory any more

    // Disconnect: descriptors below these indices belong to the past.
    std::atomic<std::uint32_t> flush_limit[2]{0, 0};
    std::atomic<enum status> flush_status{status::flushed};

    std::mutex send_mutex, receive_mutex;  // thread_safe only
    std::mutex connect_mutex;
    std::atomic<std::uint32_t> pending_request = abi::none32;  // changed under the device's control lock
    std::uint64_t attempt = 0;                                 // direct: the state word of the last one to connect
    std::atomic<std::uint64_t> overdue = abi::none64;          // of one whose time ended while the lock was held
    std::uint64_t request_deadline_ns = 0;
    std::vector<std::byte> rejection;
};

struct listener_state {
    std::shared_ptr<nic_state> nic;
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
    bool is_known = false;  // isolated: to the device
    ~listener_state();
    [[nodiscard]] result<std::shared_ptr<struct request_state>> take_isolated(
        const std::shared_ptr<listener_state>& self);
};

struct request_state {
    std::shared_ptr<nic_state> nic;
    std::shared_ptr<listener_state> listener;  // destroying a listener fails its requests
    std::uint32_t index = 0, generation = 0;
    std::uint64_t ticket = 0;  // isolated
    peer_information peer;
    bool answered = false;
    ~request_state();
    [[nodiscard]] result<void> answer(vi_state* vi, std::span<const std::byte> data,
                                      device::patience p = device::control_patience);
    [[nodiscard]] result<void> answer_isolated(vi_state* vi, std::span<const std::byte> data, const char* doing);
};

}  // namespace vinic::detail

// SPDX-License-Identifier: Apache-2.0
//
// vinic.hpp -- the native interface: a virtual-interface NIC in software.
//
// A complete program (the other side calls nic::listen, listener::wait and accept):
//
//     auto nic    = vinic::nic::open("shm:demo").value();
//     auto domain = nic.create_domain().value();
//     auto buffer = nic.allocate(4096).value();
//     auto region = domain.register_memory(buffer.bytes(), vinic::access::local_write).value();
//     auto cq     = nic.create_completion_queue().value();
//     auto vi     = domain.create_vi({.send_cq = &cq, .receive_cq = &cq}).value();
//     vi.connect("server", std::chrono::seconds(5)).value();
//     (void)vi.post_send({region, 0, 64}, /*cookie*/ 7);
//     vinic::completion done[16];
//     auto n = cq.wait(done, std::chrono::seconds(1)).value();
//
// Objects, and who owns what:
//
//     nic ----> domain ----> region            (registered memory and its key)
//      |          '--------> virtual_interface (a send queue and a receive queue)
//      |----> completion_queue                 (where VIs report)
//      |----> buffer                           (memory that belongs to the device)
//      '----> listener ----> connection_request
//
//   Every object is a move-only handle.  An object keeps what it stands on alive, so handles may be destroyed in any
//   order.  Memory named by a descriptor belongs to the NIC from post until the completion is polled.
//
// Threads: all but the data path is safe from any thread.  There, one thread at a time posts sends on a VI, one posts
// receives on it, one polls a completion queue; vi_attributes and cq_attributes have a `thread_safe` that lifts this.
//
// Errors: set-up calls return result<T>; the data path returns errc and never allocates (but see hand-over in
// docs/design.md) or logs.  No call throws.  What a peer does wrong arrives as a completion.
//
// Cancellation (pthread_cancel) waits for the end of a call.  Four waits are cancellation points, and hold nothing:
// completion_queue::wait, listener::wait, virtual_interface::connect_peer_wait and nic::next_event.
#pragma once

// First, for it looks at the compiler before the standard library is included.
// clang-format off
#include <vinic/words.hpp>
// clang-format on

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Everything public of vinic's native interface.
namespace vinic {

/// Where a listener is: a name of the device's directory (1 to 63 bytes) and, below it, a
/// discriminator of 0 to 64 bytes.
struct address {
    std::string name;
    std::vector<std::byte> discriminator;
    address() = default;
    address(std::string_view n) : name(n) {}
    address(const char* n) : name(n) {}
    address(const std::string& n) : name(n) {}
    address(std::string_view n, std::span<const std::byte> d) : name(n), discriminator(d.begin(), d.end()) {}
    friend bool operator==(const address&, const address&) = default;
};

/// The number of a datagram VI, as completions and resolve() give it: slot, function and generation.
struct datagram_address {
    std::uint64_t value = 0;
    /// The function that it belongs to, as peer_information::function.  In a completion the device says so: the
    /// sender cannot pretend to be another's.
    [[nodiscard]] constexpr std::uint32_t function() const noexcept {
        return static_cast<std::uint32_t>(value >> 16 & 0xffff);
    }
    friend bool operator==(const datagram_address&, const datagram_address&) = default;
};

/// A place in a peer's memory: virtual address in the peer's process, and its key.
struct remote_address {
    std::uint64_t address = 0;
    std::uint32_t key = 0;
    [[nodiscard]] constexpr remote_address operator+(std::uint64_t bytes) const noexcept {
        return {address + bytes, key};
    }
};

class VINIC_API domain;
class VINIC_API region;
class VINIC_API nic;
class VINIC_API completion_queue;
class VINIC_API virtual_interface;
class VINIC_API connection_request;
class VINIC_API listener;

/// A piece of local registered memory.
struct segment {
    std::uint64_t address = 0;  ///< virtual address in this process
    std::uint32_t length = 0;   ///< bytes
    std::uint32_t key = 0;      ///< region::key()
    constexpr segment() = default;
    constexpr segment(std::uint64_t a, std::uint32_t n, std::uint32_t k) noexcept : address(a), length(n), key(k) {}
    segment(const void* p, std::uint32_t n, std::uint32_t k) noexcept
        : address(reinterpret_cast<std::uint64_t>(p)), length(n), key(k) {}
    inline segment(const region& r, std::uint64_t offset, std::uint32_t n) noexcept;
};

/// One finished descriptor.
struct completion {
    std::uint64_t cookie = 0;      ///< what was given to post
    std::uint64_t vi_context = 0;  ///< vi_attributes::context of the VI
    datagram_address source;       ///< receives on a datagram VI: the sender
    std::uint32_t length = 0;      ///< bytes received; bytes transferred for the initiator
    std::uint32_t immediate = 0;   ///< valid if has_immediate
    std::uint32_t vi = 0;          ///< virtual_interface::number()
    enum status status = status::success;
    enum opcode opcode = opcode::send;
    bool has_immediate = false;
};

/// One send-queue operation, for post(span).
struct work_request {
    enum opcode opcode = opcode::send;  ///< send, write, read, fetch_add or compare_swap
    send_flag flags = send_flag::none;
    std::uint32_t immediate = 0;
    std::uint64_t cookie = 0;
    std::span<const segment> segments;  ///< gather list, or scatter list of a read or atomic
    remote_address remote;              ///< write, read, atomics
    std::uint64_t operand = 0;          ///< fetch_add: addend; compare_swap: new value
    std::uint64_t compare = 0;          ///< compare_swap: expected value
    datagram_address destination;       ///< sends on a datagram VI
};

/// One receive-queue descriptor, for post_receives(span).
struct receive_request {
    std::span<const segment> segments;
    std::uint64_t cookie = 0;
};

/// How far a batch came: `count` requests were accepted; `code` says why the next was not.
struct posted {
    std::size_t count = 0;
    errc code = errc::ok;
};

struct cq_attributes {
    std::uint32_t queues_max = 16384;                      ///< send and receive queues it can serve; it never overflows
    bool thread_safe = false;                              ///< several threads may poll it at once
    nanoseconds spin_max = std::chrono::microseconds(20);  ///< how long wait() spins before it sleeps, at most
    std::uint32_t vector = 0;  ///< below nic::vectors(): by whose settings its sleepers are woken
};

struct vi_attributes {
    vinic::reliability reliability = vinic::reliability::delivery;
    vinic::service service = vinic::service::connected;
    completion_queue* send_cq = nullptr;          ///< required; lives as long as the VI
    completion_queue* receive_cq = nullptr;       ///< required; may be the same
    std::uint32_t send_depth = 64;                ///< rounded up to a power of two; 1 to 32768
    std::uint32_t receive_depth = 64;             ///< likewise
    std::uint32_t segments_max = 3;               ///< segments per descriptor; 1 to 256
    std::uint32_t inline_bytes_max = 48;          ///< 0 to 1024
    std::uint32_t transfer_bytes_max = 1u << 31;  ///< largest message; peers must agree
    /// Reliable VIs: how long a message waits for a receive descriptor.  0 breaks the connection at
    /// once (VIA), `forever` waits, anything else is a limit (InfiniBand's RNR retry).
    nanoseconds receiver_wait = forever;
    bool rdma_write = true;   ///< peers may RDMA write through this VI
    bool rdma_read = true;    ///< peers may RDMA read through this VI
    bool rdma_atomic = true;  ///< peers may run atomics through this VI
    bool thread_safe = false;
    std::uint64_t context = 0;  ///< comes back in every completion
};

/// What peers did to a VI that no completion tells, counted since it was made, and why it is in error.
struct vi_statistics {
    std::uint64_t no_descriptor = 0;        ///< messages that found no receive descriptor
    std::uint64_t too_long = 0;             ///< unreliable: messages longer than their descriptor
    std::uint64_t receiver_busy = 0;        ///< datagrams dropped because a stopped sender was inside
    std::uint64_t memory_refused = 0;       ///< unreliable: messages whose memory was refused
    std::uint64_t writes_refused = 0;       ///< RDMA writes without immediate data that were refused
    std::uint64_t reads_refused = 0;        ///< RDMA reads that were refused
    std::uint64_t atomics_refused = 0;      ///< atomics that were refused
    break_cause cause = break_cause::none;  ///< why it is in error
};

/// What completion_queue::prepare_wait() hands to commit_wait().
struct wait_ticket {
    std::uint32_t seen = 0;  ///< wake-ups until then
};

/// What the other side of a connection is.
///
/// Who it is (function, user, process) comes from the device and not from the peer.  In the isolated placement the
/// kernel told vinicd when the process connected: rely on it, rather than on a name (docs/vinicd.md, "What a name is
/// worth").  In direct placement it is what the process entered into the device file itself: as true as everything
/// else among processes that trust each other.
struct peer_information {
    vi_attributes attributes;  ///< its attributes (queues and context are not told)
    std::uint32_t process_id = 0;
    std::uint32_t vi = 0;
    std::vector<std::byte> private_data;  ///< what it sent along, up to 256 bytes
    std::uint32_t function = 0;           ///< 0: the PF, n: the VF n-1 (`vf0` is 1); direct placement: 0
    std::uint32_t user = unknown_user;    ///< effective user id of its process when it opened the nic
};

namespace detail {
struct nic_body;
struct domain_body;
struct region_body;
struct buffer_body;
struct cq_body;
struct vi_body;
struct listener_body;
struct request_body;
}  // namespace detail

// ---------------------------------------------------------------------------------------------
// Objects
// ---------------------------------------------------------------------------------------------

/// Registered memory.  Destroying it deregisters; see close() for the checked form.
class VINIC_API region {
public:
    region() noexcept = default;
    region(region&&) noexcept = default;
    region& operator=(region&&) noexcept;
    ~region();

    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }
    /// Names the region in segments and remote addresses.  Never 0 or ~0; stale keys are refused.
    [[nodiscard]] std::uint32_t key() const noexcept { return key_; }
    [[nodiscard]] std::uint64_t address() const noexcept { return address_; }
    [[nodiscard]] std::uint64_t length() const noexcept { return length_; }
    [[nodiscard]] vinic::backing backing() const noexcept;
    /// Why a part of it is foreign; `none` for native and adopted memory.
    [[nodiscard]] vinic::foreign_reason foreign_reason() const noexcept;
    [[nodiscard]] vinic::access rights() const noexcept;
    /// Where a peer finds byte `offset` of this region.
    [[nodiscard]] remote_address remote(std::uint64_t offset = 0) const noexcept { return {address_ + offset, key_}; }

    /// Moves a live region to another domain of the same nic and gives it other rights; the key stays.  On return
    /// nobody uses it under the old attributes: a transfer under way has ended, or fails where it needs a right that
    /// is gone.  errc::not_supported: writing rights for memory that was registered for reading only, or a right to
    /// atomics on foreign memory; errc::busy: as close().
    [[nodiscard]] result<void> set_attributes(const domain& to, vinic::access rights);

    /// Deregisters.  On return no engine touches the memory and adopted pages are private again with their
    /// contents; a message that was on its way is whole, or has failed.  errc::busy: a transfer that uses the
    /// region does not end (its initiator is stopped inside it), or adopted pages cannot be given back (the message
    /// says why): the key is refused, nothing else has changed, close() may be called again.
    [[nodiscard]] result<void> close();

private:
    friend class domain;
    std::shared_ptr<detail::region_body> body_;
    std::uint32_t key_ = 0;
    std::uint64_t address_ = 0;
    std::uint64_t length_ = 0;
};

inline segment::segment(const region& r, std::uint64_t offset, std::uint32_t n) noexcept
    : address(r.address() + offset), length(n), key(r.key()) {}

/// Page-aligned zeroed memory of the device.
class VINIC_API buffer {
public:
    buffer() noexcept = default;
    buffer(buffer&&) noexcept = default;
    buffer& operator=(buffer&&) noexcept = default;
    ~buffer() = default;
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    friend class nic;
    std::shared_ptr<detail::buffer_body> body_;
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Where VIs report.  One may serve many VIs; it never loses an entry.
class VINIC_API completion_queue {
public:
    completion_queue() noexcept = default;
    completion_queue(completion_queue&&) noexcept = default;
    completion_queue& operator=(completion_queue&&) noexcept = default;
    ~completion_queue() = default;
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }

    /// Takes up to out.size() completions.  Never blocks, makes no system call (but for a rare
    /// check whether peers live).  Completions of one queue come in posting order.
    [[nodiscard]] std::size_t poll(std::span<completion> out) noexcept;

    /// As poll, but waits for the first one: spins adaptively, then sleeps.  0 when time is over.
    [[nodiscard]] result<std::size_t> wait(std::span<completion> out, nanoseconds timeout);

    /// wait() in two halves, for callers that guard polling with a lock of their own: the first is called
    /// where poll() may be called.  No ticket: something is ready, poll again.
    [[nodiscard]] result<std::optional<wait_ticket>> prepare_wait();
    /// The second, without the lock: returns once a completion came after the ticket was given, after
    /// wake(), or after a while, at most `timeout`; then poll, and prepare anew.
    void commit_wait(wait_ticket ticket, nanoseconds timeout) noexcept;
    /// Ends every commit_wait() whose ticket was given before.
    void wake() noexcept;

    /// A file descriptor for epoll, readable after an armed queue got a completion.  The queue's; another one if the
    /// program has closed it (until then arm() fails).  The first call starts one thread per nic, for wake-ups.
    [[nodiscard]] result<int> fd();

    /// Clears the descriptor of fd() and asks for the next completion to make it readable.
    /// False: completions are waiting already, poll again before sleeping.
    [[nodiscard]] result<bool> arm();

    /// Changes queues_max while VIs use the queue.  errc::busy: more are attached already.
    [[nodiscard]] result<void> resize(std::uint32_t queues_max);
    [[nodiscard]] std::uint32_t queues_max() const noexcept;
    [[nodiscard]] std::uint32_t queues_attached() const noexcept;

    /// Destroys it.  errc::busy while a VI is attached.
    [[nodiscard]] result<void> close();

private:
    friend class nic;
    friend class domain;
    friend class virtual_interface;
    std::shared_ptr<detail::cq_body> body_;
};

/// A pair of queues: the virtual interface.
class VINIC_API virtual_interface {
public:
    virtual_interface() noexcept = default;
    virtual_interface(virtual_interface&&) noexcept = default;
    virtual_interface& operator=(virtual_interface&&) noexcept;
    ~virtual_interface();
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }

    // -- connection ---------------------------------------------------------------------------

    /// Connects to a listener and waits for its answer.  VI must be idle.  `data`: up to 256 bytes.
    /// Errors: no_listener at once (or when the listener is closed before it took the request), invalid_argument
    /// (time-out not positive, too much data), not_supported (datagram VI), limit_reached, rejected (error::doing
    /// carries nothing; the rejecter's private data is in rejection_data()), timed_out, peer_gone, invalid_state (also:
    /// disconnect() was called meanwhile), device_removed.  Attributes that do not fit are the acceptor's to see and to
    /// answer. Until this has returned, posted sends are refused (invalid_state), though the peer may have sent.
    [[nodiscard]] result<peer_information> connect(const address& to, nanoseconds timeout,
                                                   std::span<const std::byte> data = {});
    /// Private data that came with the last rejection, or from the peer whose attributes do not fit.
    [[nodiscard]] std::vector<std::byte> rejection_data() const;

    /// Peer-to-peer: two requests match when each one's `remote` is the other's `local`.  Returns at
    /// once with the VI in state connecting; then connect_peer_done() or connect_peer_wait(), which
    /// also see to it that the time-out ends the request.
    [[nodiscard]] result<void> connect_peer(const address& local, const address& remote, nanoseconds timeout,
                                            std::span<const std::byte> data = {});
    /// errc::not_done while pending.
    [[nodiscard]] result<peer_information> connect_peer_done();
    [[nodiscard]] result<peer_information> connect_peer_wait();

    /// Ends the connection and returns to idle from any state.  What arrived before stays, other
    /// outstanding descriptors complete as flushed, in order.  The peer goes to error.
    [[nodiscard]] result<void> disconnect();

    [[nodiscard]] vi_state state() const noexcept;
    [[nodiscard]] vi_attributes attributes() const;
    /// Changes reliability, transfer_bytes_max, receiver_wait, rdma_* and context.  Idle only.
    [[nodiscard]] result<void> set_attributes(const vi_attributes& attributes);
    /// Moves the VI to another domain of the same nic.  Idle only, with nothing posted or unpolled: what
    /// was posted before names memory of the old domain.
    [[nodiscard]] result<void> set_domain(const domain& to);
    /// What peers did to it since it was made.
    [[nodiscard]] vi_statistics statistics() const noexcept;
    [[nodiscard]] std::uint32_t number() const noexcept;
    [[nodiscard]] std::uint32_t sends_outstanding() const noexcept;     ///< posted and not yet polled
    [[nodiscard]] std::uint32_t receives_outstanding() const noexcept;  ///< posted and not yet polled

    /// Gives this datagram VI a name that nic::resolve finds.
    [[nodiscard]] result<void> bind(const address& name);
    [[nodiscard]] datagram_address local_address() const noexcept;

    // -- data path ----------------------------------------------------------------------------
    //
    // A post returns errc::ok when the descriptor was taken; how it ended is told by its
    // completion.  Anything else means that nothing was posted: invalid_state (not connected),
    // queue_full, too_many_segments, message_too_large, not_supported, concurrent_use, out_of_memory
    // (the first descriptor with more segments than fit its line finds no room for a queue of such).
    // Direct placement: a posted descriptor is executed at once by the calling thread; only a message
    // that has to wait for the receiver is handed over and executed by the receiver's next post.  A post
    // into memory whose pages are moving at that moment (a region is being registered or closed) sleeps.
    // Isolated placement: the device executes it, sooner or later.

    [[nodiscard]] errc post_receive(const segment& s, std::uint64_t cookie) noexcept;
    [[nodiscard]] errc post_receive(std::span<const segment> segments, std::uint64_t cookie) noexcept;
    [[nodiscard]] posted post_receives(std::span<const receive_request> requests) noexcept;

    [[nodiscard]] errc post_send(const segment& s, std::uint64_t cookie, send_flag flags = send_flag::none,
                                 std::uint32_t immediate = 0) noexcept;
    [[nodiscard]] errc post_send(std::span<const segment> gather, std::uint64_t cookie,
                                 send_flag flags = send_flag::none, std::uint32_t immediate = 0) noexcept;
    /// Datagram VIs only.
    [[nodiscard]] errc send_to(datagram_address destination, std::span<const segment> gather, std::uint64_t cookie,
                               send_flag flags = send_flag::none, std::uint32_t immediate = 0) noexcept;
    /// Aligned words of 2, 4 and 8 bytes are seen whole and in ascending order, as those of reads and receives are;
    /// where the memory they go to is foreign (see backing) the kernel copies, and promises neither.
    [[nodiscard]] errc post_write(const segment& s, remote_address to, std::uint64_t cookie,
                                  send_flag flags = send_flag::none, std::uint32_t immediate = 0) noexcept;
    [[nodiscard]] errc post_write(std::span<const segment> gather, remote_address to, std::uint64_t cookie,
                                  send_flag flags = send_flag::none, std::uint32_t immediate = 0) noexcept;
    [[nodiscard]] errc post_read(const segment& s, remote_address from, std::uint64_t cookie,
                                 send_flag flags = send_flag::none) noexcept;
    [[nodiscard]] errc post_read(std::span<const segment> scatter, remote_address from, std::uint64_t cookie,
                                 send_flag flags = send_flag::none) noexcept;
    /// Adds to the 64-bit word at `at` (8-byte aligned, atomic against the CPUs too); the value
    /// before goes to `old`, 8 bytes long.
    [[nodiscard]] errc post_fetch_add(const segment& old, remote_address at, std::uint64_t addend, std::uint64_t cookie,
                                      send_flag flags = send_flag::none) noexcept;
    [[nodiscard]] errc post_compare_swap(const segment& old, remote_address at, std::uint64_t expected,
                                         std::uint64_t desired, std::uint64_t cookie,
                                         send_flag flags = send_flag::none) noexcept;
    /// Several operations in order; stops at the first that is refused.
    [[nodiscard]] posted post(std::span<const work_request> requests) noexcept;

    /// Destroys the VI: disconnects first; completions not yet polled vanish.
    [[nodiscard]] result<void> close();

private:
    friend class domain;
    friend class connection_request;
    std::shared_ptr<detail::vi_body> body_;
};

/// A protection domain: memory and VIs must carry the same one.
class VINIC_API domain {
public:
    domain() noexcept = default;
    domain(domain&&) noexcept = default;
    domain& operator=(domain&&) noexcept = default;
    ~domain() = default;
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }

    /// Registers memory of this process, any alignment and kind.  The memory must stay mapped until
    /// the region is closed.  The same range may be registered any number of times.  No page is touched, and
    /// the range's length does not matter, unless its adoption is asked for: that copies it, while other threads
    /// that write to it wait.
    /// Errors: invalid_argument (empty range, wraps round, not mapped), limit_reached, out_of_memory; not_supported:
    /// a right to atomics on memory of which a part is foreign (the message says why it is).
    [[nodiscard]] result<region> register_memory(std::span<const std::byte> bytes, access rights,
                                                 const registration& how = {});
    /// The whole address space as one region: address 0, every byte this process has or will have.
    [[nodiscard]] result<region> register_address_space(access rights);

    [[nodiscard]] result<virtual_interface> create_vi(const vi_attributes& attributes);
    /// errc::busy while a region or a VI of this domain exists.
    [[nodiscard]] result<void> close();

private:
    friend class nic;
    friend class region;
    friend class virtual_interface;
    std::shared_ptr<detail::domain_body> body_;
};

/// A connection that a client asks for.  Destroying it unanswered rejects it.
class VINIC_API connection_request {
public:
    connection_request() noexcept = default;
    connection_request(connection_request&&) noexcept = default;
    connection_request& operator=(connection_request&&) noexcept = default;
    ~connection_request() = default;
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }

    [[nodiscard]] const peer_information& peer() const noexcept;
    /// Connects `vi` (idle) with the requester.  attribute_mismatch leaves the request open, so that
    /// attributes can be changed and accept tried again.  peer_gone: the requester gave up.
    [[nodiscard]] result<void> accept(virtual_interface& vi, std::span<const std::byte> data = {});
    [[nodiscard]] result<void> reject(std::span<const std::byte> data = {});

private:
    friend class listener;
    std::shared_ptr<detail::request_body> body_;
};

class VINIC_API listener {
public:
    listener() noexcept = default;
    listener(listener&&) noexcept = default;
    listener& operator=(listener&&) noexcept = default;
    ~listener() = default;
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }
    /// The next request, oldest first.  timed_out when none comes; device_removed when the device's file has been
    /// removed, so that none will: connections that exist go on.
    [[nodiscard]] result<connection_request> wait(nanoseconds timeout);

private:
    friend class nic;
    std::shared_ptr<detail::listener_body> body_;
};

/// What a function of the isolated placement is given.
struct service_level {
    std::uint64_t guarantee_bytes_per_second = 0;  ///< whatever others do; 0: nothing
    std::uint64_t cap_bytes_per_second = 0;        ///< 0: none
    std::uint32_t weight = 0;                      ///< its share of what is left, 1 to 10000
    std::uint32_t priority = 0;                    ///< a higher class is served first, 0 to 7
    friend bool operator==(const service_level&, const service_level&) = default;
};

/// What nic::next_event() returns.
struct device_event {
    device_event_kind kind = device_event_kind::service_changed;  ///< what happens
    service_level service;                                        ///< in force from then on
    std::uint64_t lost = 0;                                       ///< events before this one that came and went unread
    nanoseconds time_ns{0};                                       ///< CLOCK_MONOTONIC
};

/// An open device.
class VINIC_API nic {
public:
    nic() noexcept = default;
    nic(nic&&) noexcept = default;
    nic& operator=(nic&&) noexcept = default;
    ~nic() = default;
    [[nodiscard]] explicit operator bool() const noexcept { return body_ != nullptr; }

    /// Opens the device `shm:NAME`, and makes it when nobody has it open.  NAME: 1 to 63 of [A-Za-z0-9._-].  The last
    /// process that closes removes the device file; one left behind by SIGKILL is taken over.  A file that somebody
    /// else could have written is not opened (permission_denied); see open_options::group.
    ///
    /// Set-up calls that have no time-out wait 10 s at most for a process of the device that is stopped in the middle
    /// of one, and return `busy` with its number, at once from then on; those that have one return timed_out, and so
    /// does open() after 10 s, if one is stopped while it opens or leaves, or vinicd is.  Let it go on (kill -CONT) or
    /// end it.  Destructors wait a second; what they could not free is freed when this process leaves the device.
    ///
    /// Or a function of the isolated placement's device: `vinicd:PATH`, PATH being the socket of a running vinicd (at
    /// most 107 bytes, no '#'), and behind it `#pf` or `#vfN` (default `#vf0`).  The user who listens there must be
    /// root, this process' own user, or one who is named: `#vfN,user=NAME`, `#user=NAME`, or VINIC_VINICD_USER in the
    /// environment (errc::permission_denied; docs/vinicd.md, "Who is believed").  Processes that open the same function
    /// trust each other as those of one device file do, and nobody else.  Names are known to all functions.  `options`
    /// stay empty.  When vinicd ends or resets the function, connections break (peer_died) and set-up calls return
    /// errc::peer_gone: close the nic, and open it anew.
    [[nodiscard]] static result<nic> open(std::string_view device_address, const open_options& options = {});

    [[nodiscard]] result<domain> create_domain();
    /// A domain whose VIs may use every region of this nic, and whose regions serve every VI of it, whatever
    /// the domain of the other is.
    [[nodiscard]] result<domain> create_open_domain();
    [[nodiscard]] result<completion_queue> create_completion_queue(const cq_attributes& attributes = {});
    /// Memory of the device, rounded up to whole pages: the native backing.
    [[nodiscard]] result<buffer> allocate(std::size_t bytes);

    /// Completion vectors, numbered from 0: the function's, which all its processes share.  Direct placement has one,
    /// which always wakes at once.
    [[nodiscard]] std::uint32_t vectors() const noexcept;
    /// Changes a vector at once, for every process of the function; what waits in it is delivered, unless it is
    /// masked now.  A reset of the function takes the settings back.  A vector delays wake-ups only: poll() finds
    /// every completion at once, and a thread that sleeps in wait() or commit_wait() looks every 10 ms by itself.
    /// Errors: invalid_argument (no such vector, settings beyond their limits), not_supported (direct placement).
    [[nodiscard]] result<void> set_vector(std::uint32_t index, const vector_settings& settings);
    /// errc::invalid_argument: no such vector.
    [[nodiscard]] result<vector_status> vector(std::uint32_t index) const;

    /// Errors: name_in_use when that address has a listener; device_removed (a client that looks for the name finds
    /// another device, or none).
    [[nodiscard]] result<listener> listen(const address& at);
    /// Finds a datagram VI by the name given to bind.
    [[nodiscard]] result<datagram_address> resolve(const address& name);
    /// Names that have a listener or a bound datagram VI.
    [[nodiscard]] result<std::vector<address>> names();
    /// The next thing that the device says about this nic's function since it was opened; each is told once, to
    /// whichever thread asks.  The device keeps 16 and waits for nobody.  Errors: timed_out; peer_gone: the device is,
    /// or has reset the function, and everything was read; not_supported (direct placement: there is no device).
    [[nodiscard]] result<device_event> next_event(nanoseconds timeout);
    /// What the function gets now.  errc::not_supported: direct placement.
    [[nodiscard]] result<service_level> current_service_level() const;
    /// Whether the device reaches foreign memory of this process.  In isolated placement it does for its own user's
    /// processes only; others register native and adopted memory.
    [[nodiscard]] bool reaches_foreign_memory() const noexcept;
    [[nodiscard]] const std::string& device_address() const noexcept;

private:
    std::shared_ptr<detail::nic_body> body_;
};

}  // namespace vinic

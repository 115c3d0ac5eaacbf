// SPDX-License-Identifier: Apache-2.0
//
// words.hpp -- what the native interface and the NIC behind it both speak of: errors, statuses, rights, settings.
//
// Programs include <vinic/vinic.hpp>.
#pragma once

// One error instead of many; the header that does not exist ends the compiler there.
#if __cplusplus > 202002L
#include <version>
#endif
#if !defined(__cpp_lib_expected)
#error "vinic needs C++23 with std::expected: compile with -std=c++23 and g++ 12 or newer, or clang++ 19 or newer"
#include <vinic/stopped_by_the_error_above>
#endif

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>

// What is exchanged are the standard library's strings and vectors.  A program that is compiled with others than the
// library was asks for names that the library does not have, and the linker tells which: nothing is ever called with
// the wrong ones.  In the usual case no name has such a tag.
#if defined(_GLIBCXX_DEBUG)
#define VINIC_API __attribute__((visibility("default"), abi_tag("compiled_with_GLIBCXX_DEBUG")))
#elif defined(_GLIBCXX_USE_CXX11_ABI) && !_GLIBCXX_USE_CXX11_ABI
#define VINIC_API __attribute__((visibility("default"), abi_tag("compiled_without_CXX11_ABI")))
#else
#define VINIC_API __attribute__((visibility("default")))
#endif

namespace vinic {

// ---------------------------------------------------------------------------------------------
// Errors
// ---------------------------------------------------------------------------------------------

/// Why a call failed.  The numbers are part of the ABI and never change.
enum class errc : std::int32_t {
    ok = 0,                   ///< success
    invalid_argument = 1,     ///< a parameter is outside what the call accepts
    invalid_handle = 2,       ///< the handle is empty, moved from, or its object is gone
    unknown_address = 3,      ///< no such device: the address is neither shm:NAME nor vinicd:PATH of a running one
    permission_denied = 4,    ///< the operating system refuses access, or the device file is not believed
    version_mismatch = 5,     ///< the device file was made by another version of vinic
    out_of_memory = 6,        ///< no room in the device, in its directory's file system or in memory
    limit_reached = 7,        ///< a table of the device is full
    invalid_state = 8,        ///< the VI is in a state in which this call makes no sense
    busy = 9,                 ///< the object, or the device's control lock, is in use by somebody
    no_listener = 10,         ///< nobody listens at that address
    timed_out = 11,           ///< the time given to the call is over
    rejected = 12,            ///< the other side refused the connection
    attribute_mismatch = 13,  ///< the two VIs' attributes do not fit together
    queue_full = 14,          ///< as many descriptors are outstanding as the queue is deep
    too_many_segments = 15,   ///< more segments than vi_attributes::segments_max
    message_too_large = 16,   ///< more bytes than vi_attributes::transfer_bytes_max (or inline_bytes_max)
    not_supported = 17,       ///< this kind of VI does not offer the operation
    peer_gone = 18,           ///< the other side has disconnected or died
    forked = 19,              ///< the handle belongs to the parent process
    not_done = 20,            ///< the operation is still in progress
    os_failure = 21,          ///< a system call failed; error::os_errno says how
    name_in_use = 22,         ///< somebody listens at that address already
    concurrent_use = 23,      ///< two threads use one queue that is not thread_safe
    device_removed = 24,      ///< the device's file was removed while it was open: nobody can open it any more
};

/// A short stable name, such as "no_listener".
[[nodiscard]] VINIC_API const char* name(errc code) noexcept;

/// One sentence that says what the code means and what to do about it.
[[nodiscard]] VINIC_API const char* describe(errc code) noexcept;

/// What a failed set-up call says.
struct error {
    errc code = errc::ok;
    int os_errno = 0;   ///< the operating system's errno, 0 where there is none
    std::string doing;  ///< what was being done, with the names involved
    /// "doing: sentence with the cure (operating system's words)".
    [[nodiscard]] VINIC_API std::string message() const;
};

template <class T>
using result = std::expected<T, error>;

using nanoseconds = std::chrono::nanoseconds;

/// No time limit.
inline constexpr nanoseconds forever = nanoseconds::max();

// ---------------------------------------------------------------------------------------------
// Words
// ---------------------------------------------------------------------------------------------

/// Rights of a region.  Reading it locally is always allowed.
enum class access : std::uint32_t {
    none = 0,
    local_write = 1,    ///< receives, RDMA reads and atomics may put data here
    remote_write = 2,   ///< peers may RDMA write here
    remote_read = 4,    ///< peers may RDMA read here
    remote_atomic = 8,  ///< peers may run atomics here; not on foreign memory
    all = 15,
};
[[nodiscard]] constexpr access operator|(access a, access b) noexcept {
    return static_cast<access>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
[[nodiscard]] constexpr bool has(access set, access right) noexcept {
    return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(right)) == static_cast<std::uint32_t>(right);
}

/// How the device reaches a region, reported by region::backing().
enum class backing : std::uint8_t {
    native = 0,   ///< lies in the device's own memory: shared by construction
    adopted = 1,  ///< private pages that were moved into the device's memory in place, as was asked
    foreign = 2,  ///< reached with process_vm_readv/writev
    mixed = 3,    ///< a part is native or adopted, the rest is foreign
};

/// Whether registering may move the program's pages into the device's memory, in place.
enum class adopt : std::uint8_t {
    no = 0,    ///< no page moves: the memory stays what it is
    safe = 1,  ///< if nobody can notice (docs/memory.md says what that takes); it stays foreign otherwise
    /// All private anonymous pages, also those that are shared with other memory at its ends, whatever their
    /// properties, and no matter who else holds on to them: the caller knows.
    force = 2,
};

/// How memory is registered, beyond its rights.
struct registration {
    enum adopt adopt = adopt::no;  ///< VINIC_ADOPT=1 in the environment at nic::open makes `safe` of `no`
};

/// Why a region, or a part of it, is foreign; reported by region::foreign_reason().
enum class foreign_reason : std::uint8_t {
    none = 0,            ///< no part of it is
    not_asked = 1,       ///< its registration did not ask for adoption
    shares_pages = 2,    ///< it does not begin and end at a page, and only whole pages of its own move
    not_private = 3,     ///< not all of it is private, anonymous, readable, writable and not executable
    has_properties = 4,  ///< locked, advised, with a policy or a protection key: a move would lose that
    holds_thread = 5,    ///< a thread's stack or control block is in it
    may_be_pinned = 6,   ///< the process has something open that may hold on to pages
    overlapped = 7,      ///< another open region overlaps it
    out_of_room = 8,     ///< the device has no room for it
    too_many = 9,        ///< as many ranges are adopted as may be
    cannot_look = 10,    ///< what lies there cannot be seen: no /proc, or no descriptor
    cannot_hold = 11,    ///< writers cannot be held meanwhile: no userfaultfd, or a disk
    failed = 12,         ///< a system call failed
};

/// VIA's three levels ("Virtual Interface Architecture Specification 1.0", section 2.4).
enum class reliability : std::uint8_t {
    unreliable = 0,  ///< a message that finds no receive descriptor is dropped and counted
    delivery = 1,    ///< errors break the connection
    reception = 2,   ///< as delivery; a completed send is in the receiver's memory
};

/// Whether a VI talks to one peer or to any.
enum class service : std::uint8_t {
    connected = 0,
    datagram = 1,  ///< connectionless and unreliable; send_to() names the destination
};

enum class vi_state : std::uint8_t { idle = 1, connecting = 2, connected = 3, error = 4 };

/// Why a VI is in state error.
enum class break_cause : std::uint8_t {
    none = 0,  ///< it is not
    local_error = 1,
    remote_error = 2,
    remote_disconnect = 3,
    peer_died = 4,
};

/// What a completion reports on.
enum class opcode : std::uint8_t {
    send = 0,
    write = 1,
    read = 2,
    fetch_add = 3,
    compare_swap = 4,
    receive = 5,
    receive_write = 6,  ///< a receive descriptor consumed by a peer's RDMA write with immediate data
};

/// How a descriptor ended.  The numbers are part of the ABI.
enum class status : std::uint8_t {
    success = 0,
    local_protection = 1,    ///< a local segment's key, bounds, rights or domain is wrong
    local_length = 2,        ///< the arriving message is longer than this receive descriptor
    remote_protection = 3,   ///< the peer's region refused: key, bounds, rights, domain or VI rights
    remote_length = 4,       ///< the peer's receive descriptor is too small for the message
    remote_descriptor = 5,   ///< the peer's receive descriptor names memory that is no longer valid
    receiver_not_ready = 6,  ///< the peer had no receive descriptor (in time)
    bad_alignment = 7,       ///< an atomic's remote address is not a multiple of 8
    unreachable_memory = 8,  ///< foreign memory the engine cannot reach (see docs/memory.md)
    flushed = 9,             ///< the VI was disconnected before this descriptor was executed
    connection_lost = 10,    ///< the peer's process died before this descriptor was executed
};

inline constexpr std::size_t status_count = 11;

[[nodiscard]] VINIC_API const char* name(status s) noexcept;
[[nodiscard]] VINIC_API const char* name(opcode o) noexcept;
[[nodiscard]] VINIC_API const char* name(backing b) noexcept;
[[nodiscard]] VINIC_API const char* name(foreign_reason r) noexcept;
/// A sentence about what to do, as for errors.
[[nodiscard]] VINIC_API const char* describe(foreign_reason r) noexcept;
[[nodiscard]] VINIC_API const char* name(reliability r) noexcept;
[[nodiscard]] VINIC_API const char* name(vi_state s) noexcept;
[[nodiscard]] VINIC_API const char* name(break_cause c) noexcept;

/// What the device tells the users of a function.
enum class device_event_kind : std::uint8_t {
    service_changed = 1,   ///< the administrator has set what the function gets
    reset_imminent = 2,    ///< connections are about to break; it can be opened anew then, unless it broke rules
    removal_imminent = 3,  ///< likewise, and the function goes
    device_stopping = 4,   ///< what is posted is done first, if the device's patience lasts
};
[[nodiscard]] VINIC_API const char* name(device_event_kind kind) noexcept;

/// Options of one posted operation, combined with |.
enum class send_flag : std::uint8_t {
    none = 0,
    immediate = 1,    ///< carry 32 bits of immediate data (send and write; consumes a receive)
    unsignalled = 2,  ///< no completion when it succeeds; errors are always reported
    inlined = 4,      ///< copy the payload at post: no key needed, the buffer is free at once
    fence = 8,        ///< start after all earlier reads and atomics of this queue are complete; here a
                      ///< queue is executed in order anyway, so every operation is fenced
};
[[nodiscard]] constexpr send_flag operator|(send_flag a, send_flag b) noexcept {
    return static_cast<send_flag>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}
[[nodiscard]] constexpr bool has(send_flag set, send_flag f) noexcept {
    return (static_cast<std::uint8_t>(set) & static_cast<std::uint8_t>(f)) != 0;
}

// ---------------------------------------------------------------------------------------------
// Settings
// ---------------------------------------------------------------------------------------------

/// How a completion vector wakes the sleepers on its completion queues.  With a period, the first completion that a
/// thread sleeps for does not wake it at once, but when the period is over or `count` completions have come, together
/// with those of the vector's other queues: fewer wake-ups for later ones.
struct vector_settings {
    bool masked = false;      ///< nobody is woken; those who would have been are woken when it is unmasked
    std::uint32_t count = 0;  ///< at most 65535; 0: the period alone counts.  More than 1 needs a period
    nanoseconds period{0};    ///< at most 1 s; 0: at once
    friend bool operator==(const vector_settings&, const vector_settings&) = default;
};

/// What nic::vector() returns.
struct vector_status {
    vector_settings settings;   ///< in force
    std::uint32_t pending = 0;  ///< completion queues to be told of, some of which may have been polled meanwhile
    friend bool operator==(const vector_status&, const vector_status&) = default;
};

struct open_options {
    /// Where the device file lies; default $VINIC_SHM_DIR, then /dev/shm.
    std::string directory = {};
    /// The device is shared with the users of this group: mode 0660 instead of 0600.  Without it a device file is
    /// believed only if it is this user's own and nobody else's; with it, only if it is of exactly this group.
    std::string group = {};
    /// Addresses that the device may grow into, in every process that opens it: the process that makes the device
    /// decides.  Whole chunks of 64 MiB, 512 MiB to 256 GiB; default $VINIC_SHM_SPAN (as in 16G), then 64 GiB or, if
    /// that is more, what the file system holds.
    std::uint64_t span_bytes = 0;
};

/// No user is known.
inline constexpr std::uint32_t unknown_user = ~std::uint32_t{0};

/// vinic's version, "major.minor.patch".
[[nodiscard]] VINIC_API const char* version() noexcept;

}  // namespace vinic

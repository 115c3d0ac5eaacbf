// SPDX-License-Identifier: Apache-2.0
//
// device.hpp -- the NIC of the isolated placement, as the program that houses it sees it.
//
//   The program owns sockets, configuration and logs; the device owns functions, their windows, and the
//   threads that serve them: `options.scheduling.engines` engines, and one for the mailboxes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>
#include <vinic/words.hpp>

#include "abi/function_name.hpp"
#include "controller/scheduler.hpp"
#include "controller/window.hpp"
#include "os/file.hpp"

namespace vinic::controller {

using abi::function_name;
using abi::function_number;

struct function_options {
    entitlement quality;
    std::uint64_t window_bytes = 4ULL << 30;  ///< a power of two, at least 512 MiB; sparse: what is used is taken
    std::uint32_t vis_max = 4096;             ///< at most 65536
    std::uint32_t regions_max = 65536;        ///< at most 1048576
    std::uint32_t contexts_max = 64;          ///< processes at a time, at most 64
    std::uint32_t vectors = 4;                ///< completion vectors, at most 64
    bool enabled = true;
    std::uint64_t memory_bytes = 0;  ///< what it may hold, old windows included; 0: a window's size

    [[nodiscard]] std::uint64_t memory() const noexcept { return memory_bytes != 0 ? memory_bytes : window_bytes; }
};

inline constexpr std::size_t prefixes_max = 64;  ///< of names, per function

struct device_options {
    std::uint32_t functions = 8;  ///< VFs; the PF comes in addition
    function_options defaults;    ///< of every function
    scheduler_options scheduling;
    std::uint32_t vis_total = 131072;     ///< of all functions together, 1 to 257 * 65536
    bool foreign_memory = true;           ///< reach memory outside windows with process_vm_readv/writev
    std::uint64_t lease_ns = 10'000;      ///< a lease ends when so much time is over; 0: by bytes and messages only
    std::uint64_t idle_spin_ns = 50'000;  ///< how long an engine without work looks before it sleeps
    /// How long it sleeps at most.  A client that stands still between taking `armed` and its kick takes the kicks of
    /// its function's others along.
    std::uint64_t sleep_ns = 20'000'000;
    bool yield = false;  ///< give the core away between looks: fewer cores than pollers
    /// Malformed descriptors and ignored requests of a function in a second, above which it is disabled and reset;
    /// what a library of this version never produces.  0: never.
    std::uint32_t violations_per_second = 1000;
    std::uint32_t verbs_per_second = 200'000;  ///< per function; above it requests wait
    /// How long what a process had posted when it left may go on its way.
    std::uint64_t last_words_ns = 10'000'000;
    /// How long processes that have a window open may look at it when the function went to another tenant.
    std::uint64_t farewell_ns = 1'000'000'000;
};

/// Monotone since the function was made; a reset keeps them.
struct function_counters {
    std::uint64_t tx_messages = 0;
    std::uint64_t tx_bytes = 0;
    std::uint64_t rx_messages = 0;
    std::uint64_t rx_bytes = 0;
    std::uint64_t rx_no_descriptor_drops = 0;
    std::uint64_t rx_unknown_destination_drops = 0;
    std::uint64_t protection_errors = 0;  ///< its memory was refused, to its own descriptors or to a peer
    std::uint64_t malformed_descriptors = 0;
    std::uint64_t foreign_copies = 0;
    std::uint64_t doorbells = 0;        ///< VIs found in doorbell pages
    std::uint64_t empty_doorbells = 0;  ///< of these: nothing was posted; and marks that led to no VI
    std::uint64_t mailbox_requests = 0;
    std::uint64_t mailbox_refusals = 0;  ///< requests that ended with an error, or were ignored
    std::uint64_t resets = 0;
    std::uint64_t memory_refusals = 0;  ///< what was not done because it would take more than the memory limit
    scheduling_counters scheduling;
};

struct function_status {
    std::uint32_t number = 0;  ///< 0 = PF
    std::string name;          ///< "pf", "vf0", ...
    function_options options;
    uid_t owner = 0;
    std::uint32_t epoch = 0;
    std::uint32_t contexts = 0;
    std::uint32_t vis = 0;
    std::uint32_t vis_connected = 0;
    std::uint32_t regions = 0;
    std::uint64_t memory_bytes = 0;          ///< that it holds
    std::uint64_t memory_retired_bytes = 0;  ///< of these: in windows that are being given back
    std::vector<vector_status> vectors;
    function_counters counters;
};

enum class event_kind : std::uint8_t {
    attached,    ///< a process opened the function
    detached,    ///< it closed it
    died,        ///< it went without closing
    reset,       ///< function-level reset
    changed,     ///< rates, quotas, rights or registers were set
    misbehaved,  ///< malformed descriptors or forged requests beyond a threshold: the function was quiesced
    added,       ///< a VF came, as if new
    removed,     ///< a VF went: its users were cut off
};

struct event {
    std::uint64_t sequence = 0;
    std::uint64_t time_ns = 0;  ///< CLOCK_MONOTONIC
    event_kind kind = event_kind::attached;
    std::uint32_t function = 0;
    std::uint32_t context = 0;
    std::uint32_t process_id = 0;
    std::string text;
};

struct credentials {
    pid_t process = 0;
    uid_t user = 0;
    gid_t group = 0;
};

/// What a client is sent: the device may let go of its own meanwhile.
struct attachment {
    shared_fd window;
    os::unique_fd doorbell;
    os::unique_fd mailbox;
    std::uint64_t window_bytes = 0;
    std::uint32_t epoch = 0;
};

/// Thread-safe.  Errors are vinic's: code, errno, sentence.
class device {
public:
    /// Makes all windows; no thread runs yet.
    [[nodiscard]] static result<std::unique_ptr<device>> create(const device_options& options);
    device(const device&) = delete;
    device& operator=(const device&) = delete;
    /// Stops; clients see a dead device.
    ~device();

    [[nodiscard]] result<void> start();
    /// Takes no new work and returns when what was posted is done, or after the time.
    void drain(nanoseconds at_most);
    void stop() noexcept;

    // -- clients --------------------------------------------------------------------------------
    /// Whether the caller may use it is for the program to decide, before.  errc::busy: what was there before is just
    /// being cleared away.
    [[nodiscard]] result<attachment> attach(std::uint32_t function, uid_t user);
    /// The client to which attach() gave this epoch's window has gone without entering: if nobody uses it, nobody will.
    void forsake(std::uint32_t function, std::uint32_t epoch);
    /// Begins to serve context `context` of the window that attach() gave at `epoch`.  errc::busy: the context is
    /// in use, or the window was replaced meanwhile: attach again.  Returns the context's epoch.
    [[nodiscard]] result<std::uint32_t> enter(std::uint32_t function, std::uint32_t epoch, std::uint32_t context,
                                              const credentials& who);
    /// The connection of the context that enter() called `context_epoch` is gone: it is reset, other contexts go on.
    /// Returns at once; an event tells when it is over.
    void leave(std::uint32_t function, std::uint32_t context, std::uint32_t context_epoch, bool died);

    // -- administration -------------------------------------------------------------------------
    // `by` says who asked for a change, in words: the text of its event.
    /// The PF included, and VFs that were removed: numbers are below it.
    [[nodiscard]] std::uint32_t functions() const noexcept;
    /// Takes one VF away while the others run: cut off as by a reset, its window's memory is given back, and every
    /// call with its number ends with errc::unknown_address until it is added.  Returns at once; its guarantee and its
    /// reserved queues are free then.
    [[nodiscard]] result<void> remove(std::uint32_t function, const std::string& by = {});
    /// Brings it back as if new: counters are 0, nobody may know its memory, it has bus master.  Refused as
    /// set_entitlement(), or errc::busy, it is still being taken away: it stays away.
    [[nodiscard]] result<void> add(std::uint32_t function, const entitlement& s = {}, const std::string& by = {});
    [[nodiscard]] bool has(std::uint32_t function) const;
    [[nodiscard]] result<function_status> status(std::uint32_t function) const;
    /// Its service and what it may hold from now on (0: a window's size); it keeps what it has.  Both are checked
    /// before either is changed.  One event, if one is new or `by` says what else is: rights are the program's affair.
    /// errc::invalid_argument: outside its limits, or guarantees beyond what the device moves.
    [[nodiscard]] result<void> set(std::uint32_t function, const entitlement& s, std::uint64_t memory_bytes,
                                   const std::string& by = {});
    /// One of them, the other stays.
    [[nodiscard]] result<void> set_entitlement(std::uint32_t function, const entitlement& s,
                                               const std::string& by = {});
    [[nodiscard]] result<void> set_memory(std::uint32_t function, std::uint64_t bytes, const std::string& by = {});
    /// Only this function, and others that were given the same, may use names that begin with one of these; the longest
    /// prefix that fits decides.  A function that has such a name and may not loses it: its listener is closed.
    /// Connections stay.  Reset and removal leave it as it is.  errc::invalid_argument: more than prefixes_max, or one
    /// that no name has.
    [[nodiscard]] result<void> give_names(std::uint32_t function, const std::vector<std::string>& prefixes,
                                          const std::string& by = {});
    /// Function-level reset: contexts are cut off, clients that attached before do not enter any more, and those that
    /// attach next get memory that nobody else maps; settings and counters stay.  A function that was disabled because
    /// it misbehaved is enabled again.  Returns at once; until it is over, which an event tells, nobody attaches.
    [[nodiscard]] result<void> reset(std::uint32_t function, const std::string& by = {});
    /// A reset because the function goes to another tenant: the clients of the old one have a second to say farewell to
    /// its window.
    [[nodiscard]] result<void> end_tenancy(std::uint32_t function, const std::string& by = {});
    /// Returns when all that has left, was reset or removed is cleared away.  Not for a thread that serves somebody.
    void settle();
    /// 4096 bytes of the function's configuration space.
    [[nodiscard]] result<std::vector<std::byte>> configuration(std::uint32_t function) const;
    /// Writes 1, 2 or 4 bytes of it, as a driver of that function would: a VF without bus master moves nothing
    /// until it has it again, one without MSI-X, or with all vectors masked, wakes nobody, a function-level reset is
    /// reset().  Registers of the PF act on all VFs: those are told, too.
    [[nodiscard]] result<void> configure(std::uint32_t function, std::uint32_t offset, std::uint32_t width,
                                         std::uint32_t value, const std::string& by = {});
    [[nodiscard]] const device_options& options() const noexcept;
    /// Called from the device's threads for each event, until the device is destroyed; set before start().
    void on_event(std::function<void(const event&)> handler);

    struct state;

private:
    explicit device(std::unique_ptr<state> s) noexcept;
    std::unique_ptr<state> state_;
};

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// lease.hpp -- what an engine does with a VI during a lease: fetch, check, move, complete.
//
//   Everything a client wrote is copied once, then checked, then used.  A long message is moved in as many
//   leases as it takes; what is left of it waits in vi::pending.
#pragma once

#include <functional>

#include "controller/space.hpp"
#include "rules/operations.hpp"

namespace vinic::controller {

using rules::outcome;

/// A descriptor that was fetched, and how far it has come.  Big: never zeroed as a whole.
struct transfer : rules::message, rules::progress<place> {
    std::uint16_t receive_count;
    std::optional<std::uint64_t> claim;  ///< of a receiver with a table: what will be told of the buffer
    abi::segment receive_segments[rules::segments_limit];
    rules::message_room room;
};

/// How a lease ended.
struct lease_end {
    enum class why : std::uint8_t {
        empty,   ///< nothing more is posted
        more,    ///< the lease is used up
        waits,   ///< the receiver is not ready; nothing was done for the message at the head
        failed,  ///< the message at the head ended with `how`, and the connection breaks
        broken,  ///< the connection broke meanwhile
    };
    why reason = why::empty;
    enum status how = status::success;
    bool receiver_off = false;                      ///< waits: for the receiver's function, which may not move anything
    rules::fault fault = rules::fault::own_memory;  ///< failed: why
    std::uint64_t bytes = 0;
    std::uint32_t descriptors = 0;
    function* receiver = nullptr;  ///< to which `received_bytes` were sent
    std::uint64_t received_bytes = 0;
    std::uint64_t foreign_copies = 0;  ///< pieces that took a system call
};

/// Not thread-safe: one per engine.
class lease_runner {
public:
    /// `functions`: by number.
    lease_runner(function_list functions, const device_options& options);
    ~lease_runner();
    lease_runner(const lease_runner&) = delete;
    lease_runner& operator=(const lease_runner&) = delete;

    /// Called once in each lease that turns out to be long, by the engine in the middle of it.
    void on_long_lease(std::function<void()> call) { on_long_lease_ = std::move(call); }
    /// Serves v, whose lease the caller holds.  0 bytes: no limit.
    [[nodiscard]] lease_end run(vi& v, std::uint32_t bytes_max, std::uint32_t descriptors_max) noexcept;
    /// Ends the message at the head of v with `how`.
    static void finish(vi& v, enum status how) noexcept;

private:
    static constexpr std::uint64_t no_lease_limit = ~std::uint64_t{0};
    static constexpr std::uint64_t block_least = 4 << 10;  ///< moved before the first look at the clock
    struct engine;
    struct choosing_engine;

    /// Whether so many pages more may be touched in f's window that may not be there.
    [[nodiscard]] bool may_make(function& f, std::uint32_t pages) noexcept;
    [[nodiscard]] bool fetch(const vi& v, transfer& t) const noexcept;
    [[nodiscard]] bool fits(const vi& v, const transfer& t) const noexcept;
    [[nodiscard]] outcome execute(vi& v, transfer& t) noexcept;
    [[nodiscard]] static bool take_receive(const vi& to, transfer& t) noexcept;
    [[nodiscard]] outcome datagram(vi& v, transfer& t) noexcept;
    [[nodiscard]] outcome deliver(vi& v, vi& to, transfer& t) noexcept;
    [[nodiscard]] moved move(const place& to, const place& from, std::uint64_t& n, rules::word_copy& words) noexcept;
    /// Whether anybody wants to know the time in a lease.
    [[nodiscard]] bool is_timed() const noexcept { return lease_ns_ != 0 || on_long_lease_ != nullptr; }
    void count_foreign(const place* to, const place* from) noexcept;
    void look_after(std::uint64_t bytes) noexcept;
    void notice(std::uint64_t now_ns) noexcept;
    [[nodiscard]] bool is_over() noexcept;
    [[nodiscard]] bool keep(vi& v) noexcept;
    static void release(const vi& to, transfer& t) noexcept;
    [[nodiscard]] outcome drop_unkept(const vi& v, const transfer& t) noexcept;
    [[nodiscard]] outcome end(const vi& v, vi* to, rules::fault f) noexcept;
    void complete(vi& to, const rules::receipt& r, bool tells, std::uint64_t telling) noexcept;

    function_list functions_;
    std::vector<memory_allowance> allowances_;  ///< by function
    bool foreign_memory_;
    std::uint64_t lease_ns_;
    std::unique_ptr<transfer> scratch_;
    std::uint64_t lease_left_ = 0;  ///< bytes
    std::uint64_t end_ns_ = 0;      ///< of the lease
    std::uint32_t pieces_ = 0;      ///< moved in it
    std::uint64_t long_ns_ = 0;     ///< from when it is long; none64: that has been told
    std::uint64_t looked_ns_ = 0;   ///< at the clock
    std::function<void()> on_long_lease_;
    std::uint64_t block_ = 0;  ///< bytes of a piece that are moved before the next look
    lease_end tally_;
    std::uint64_t rx_messages_ = 0;
};

/// Monotone, cheap, in nanoseconds.
[[nodiscard]] std::uint64_t clock_ns() noexcept;

}  // namespace vinic::controller

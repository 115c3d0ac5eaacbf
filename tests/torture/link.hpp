// SPDX-License-Identifier: Apache-2.0
//
// link.hpp -- one connection of a participant: what it sends, and how it checks what it gets.
//
//   area of a link in the participant's memory
//     words      two 64-bit words for the peer's atomics (always device memory)
//     mailbox    8 blocks that the peer's RDMA writes fill, in turn
//     receives   a ring of message buffers
//     sends      a ring of message buffers
//
// A message carries {link, sequence, length} and bytes made from them.  Sends and writes with immediate data share one
// sequence, since both take a receive descriptor: the receiver must see 0, 1, 2, ...
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <vinic/vinic.hpp>

#include "torture/ledger.hpp"
#include "torture/random.hpp"

namespace torture {

inline constexpr std::size_t message_bytes_max = 9 << 10;
inline constexpr std::uint32_t send_slots = 32;
inline constexpr std::uint32_t receive_slots = 32;
inline constexpr std::uint32_t mailbox_blocks = 8;
inline constexpr std::size_t mailbox_block_bytes = 1 << 10;
inline constexpr std::size_t mailbox_bytes = mailbox_blocks * mailbox_block_bytes;
inline constexpr std::size_t area_bytes = mailbox_bytes + (send_slots + receive_slots) * message_bytes_max;
inline constexpr std::size_t pattern_bytes = 4096;

/// What each side tells the other when it connects.
struct introduction {
    std::uint64_t id;
    std::uint32_t record;
    std::uint32_t seat;
    std::uint32_t incarnation;
    std::uint32_t words_key;
    std::uint32_t memory_key;
    std::uint32_t reserved;
    std::uint64_t words_address;
    std::uint64_t mailbox_address;
    std::uint64_t pattern_address;  ///< pattern_bytes made from the seat and its incarnation
};

/// Memory of one link.
struct area {
    std::uint32_t index = 0;
    const vinic::region* words_region = nullptr;
    const vinic::region* memory_region = nullptr;
    std::uint64_t* words = nullptr;  ///< [0] fetch-add, [1] compare-swap by the peer; [2], [3] results of our own
    std::byte* memory = nullptr;
    [[nodiscard]] std::byte* mailbox(std::uint64_t block) const {
        return memory + block % mailbox_blocks * mailbox_block_bytes;
    }
    [[nodiscard]] std::byte* receive_slot(std::uint64_t i) const {
        return memory + mailbox_bytes + i % receive_slots * message_bytes_max;
    }
    [[nodiscard]] std::byte* send_slot(std::uint64_t i) const {
        return memory + mailbox_bytes + (receive_slots + i % send_slots) * message_bytes_max;
    }
};

void make_pattern(std::span<std::byte> bytes, std::uint64_t seed) noexcept;
[[nodiscard]] bool is_pattern(std::span<const std::byte> bytes, std::uint64_t seed) noexcept;
[[nodiscard]] constexpr std::uint64_t pattern_seed(std::uint32_t seat, std::uint32_t incarnation) noexcept {
    return std::uint64_t{seat} << 32 | incarnation;
}

class link {
public:
    enum class state : std::uint8_t { opening, open, closing, over };

    link(ledger& book, std::uint32_t seat, const area& where, std::uint32_t record, std::uint64_t id, int side);
    link(const link&) = delete;
    link& operator=(const link&) = delete;

    /// Fills the ring of receives; before connecting and after a slow phase.
    void post_receives();
    /// Posts up to `count` operations chosen at random.
    void work(random& r, std::uint64_t count);
    /// One completion of this link's VI.
    void take(const vinic::completion& c);
    /// Ends the connection from this side, or goes on ending it; state over when everything is accounted for.
    void end();
    /// Waits with receives, so that the peer's messages queue up.
    void be_slow(std::chrono::steady_clock::time_point until) noexcept { slow_until_ = until; }

    [[nodiscard]] state now() const noexcept { return state_; }
    void opened(const introduction& peer) noexcept;
    /// The connection never came to be.
    void refused() noexcept;
    [[nodiscard]] bool quiet() const noexcept { return pending_.empty(); }
    [[nodiscard]] std::uint64_t messages_posted() const noexcept { return next_sequence_; }
    [[nodiscard]] introduction introduce(std::uint32_t incarnation, std::uint64_t pattern_address) const noexcept;
    [[nodiscard]] const area& place() const noexcept { return area_; }

    vinic::virtual_interface vi;
    bool reliable = true;
    bool limited = false;  ///< messages wait for the receiver only for a limited time

private:
    enum class kind : std::uint8_t { message, read, add, swap };
    struct operation {
        std::uint64_t number;
        std::uint64_t sequence;  ///< messages: their sequence; swaps: the value expected
        kind what;
        bool signalled;
    };

    void post_message(random& r);
    void post_other(random& r);
    [[nodiscard]] bool posted(vinic::errc code, const operation& o);
    void take_send(const vinic::completion& c);
    void take_receive(const vinic::completion& c);
    void finished(const operation& o);
    [[nodiscard]] bool check_block(std::uint64_t sequence, std::uint32_t length) const noexcept;
    [[nodiscard]] bool acceptable(enum vinic::status s) const noexcept;
    void complain(const char* what, std::uint64_t a = 0, std::uint64_t b = 0) const noexcept;
    side_record& mine() const noexcept { return record_.side[side_]; }

    ledger& book_;
    link_record& record_;
    area area_;
    std::uint32_t seat_;
    std::uint32_t record_index_;
    std::uint64_t id_;
    int side_;
    state state_ = state::opening;
    introduction peer_{};
    std::deque<operation> pending_;
    std::uint64_t next_number_ = 0;
    std::uint64_t next_sequence_ = 0;
    std::uint64_t next_expected_ = 0;  ///< sequence of the next message from the peer
    std::uint64_t receives_posted_ = 0;
    std::uint64_t receives_taken_ = 0;
    std::uint64_t swaps_ = 0;    ///< value of the peer's second word
    bool sends_broken_ = false;  ///< a completion has told so
    bool receives_broken_ = false;
    std::uint64_t first_failure_ = 0;  ///< the first send that failed and how: cookie << 8 | status
    std::chrono::steady_clock::time_point slow_until_{};
    std::chrono::steady_clock::time_point ending_since_{};
};

}  // namespace torture

// SPDX-License-Identifier: Apache-2.0
//
// vi.hpp -- a virtual interface and a completion queue as processes share them.
//
//   A VI's entry, one writer per line on the data path:
//
//     line 0-1  identity      owner, when the VI is idle              read by the peer
//     line 2    connection    whoever connects or breaks it           read by owner and peer
//     line 3    notify        the owner's poller                      read by the peer at each message
//     line 4    executing     the owner's posting thread              read by deregistration, break
//     line 5    hand-over     sender and receiver, only while a message waits; and `receives`, which
//                             the owner writes at each post and a sender reads when it knows of no more
//     line 6-11 counters      the owner; one line that peers write
//
//   Rings, in a chunk of the owner:
//
//     receive slots      two lines each   descriptor: written by the owner at post_receive, read by
//                                         the peer; completion: written by the peer, read by the owner
//     send descriptors   one line each    only what is handed over; written by the owner
//     extra segments     16 bytes each    beyond the 3 (receive) or 2 (send) that fit the line
//
//   Life of a small message, A to B:   A knows from B.receives that slot i is posted and that it has room
//   -- one line moves for all that was posted since A last looked.  A writes B.slot[i].completion with the
//   payload, sequence i+1 last -- one line moves.  Nothing else is shared, and no locked instruction runs.
//   A longer message goes where B.slot[i].descriptor says -- one more line.
#pragma once

#include "abi/layout.hpp"

namespace vinic::abi {

/// A segment as it lies in a ring.
struct segment {
    std::uint64_t address;
    std::uint32_t length;
    std::uint32_t key;
};
static_assert(sizeof(segment) == 16);

inline constexpr std::uint32_t receive_segments_in_line = 3;
inline constexpr std::uint32_t send_segments_in_line = 2;
inline constexpr std::uint32_t payload_in_completion = 48;  ///< datagrams: the source's address comes first, 40 remain

/// Posted when sequence == index + 1.
struct receive_descriptor {
    word32 sequence;
    std::uint16_t segment_count;
    std::uint16_t reserved_;
    std::uint64_t cookie;  ///< for the owner's poller only
    segment segments[receive_segments_in_line];
};
static_assert(sizeof(receive_descriptor) == line_size);

enum receive_flag : std::uint8_t {
    has_immediate = 1,
    payload_inside = 2,  ///< the bytes lie in `payload`; the poller places them
    from_write = 4,      ///< RDMA write with immediate
};

/// Arrived when sequence == index + 1.
struct receive_completion {
    word32 sequence;
    std::uint32_t length;
    std::uint32_t immediate;
    std::uint8_t status;
    std::uint8_t flags;
    std::uint16_t reserved_;
    std::uint8_t payload[payload_in_completion];  ///< behind a word, of kinds that tell one: datagrams, the source
};
static_assert(sizeof(receive_completion) == line_size);

/// Descriptor and completion side by side: processors fetch lines in pairs, and this way the second
/// line is one that the same message needs, not the next message's.
struct alignas(2 * line_size) receive_slot {
    receive_descriptor descriptor;
    receive_completion completion;
};
static_assert(sizeof(receive_slot) == 2 * line_size);

/// A send-queue operation that waits for the receiver.  Done when done == index + 1.
struct send_descriptor {
    word32 done;
    std::uint8_t opcode;
    std::uint8_t flags;
    std::uint8_t status;
    std::uint8_t lap;  ///< isolated placement: posted when it is lap_of(index); see window.hpp
    std::uint32_t immediate;
    std::uint16_t segment_count;
    std::uint16_t inline_bytes;  ///< payload in the extra area instead of segments
    std::uint64_t remote_address;
    std::uint32_t remote_key;
    std::uint32_t length;
    segment segments[send_segments_in_line];  ///< atomics: operand and compare in segments[1]
};
static_assert(sizeof(send_descriptor) == line_size);

/// What a send queue needs beside its ring: bytes per descriptor for what the line cannot hold.
[[nodiscard]] constexpr std::uint32_t send_extra_bytes(std::uint32_t segments_max,
                                                       std::uint32_t inline_bytes_max) noexcept {
    constexpr std::uint32_t in_line = send_segments_in_line * sizeof(segment);
    const std::uint32_t segment_bytes = segments_max * static_cast<std::uint32_t>(sizeof(segment));
    const std::uint32_t most = segment_bytes > inline_bytes_max ? segment_bytes : inline_bytes_max;
    return most > in_line ? (most - in_line + 15) / 16 * 16 : 0;
}

/// The same of a receive queue, in segments.
[[nodiscard]] constexpr std::uint32_t receive_extra_segments(std::uint32_t segments_max) noexcept {
    return segments_max > receive_segments_in_line ? segments_max - receive_segments_in_line : 0;
}

/// datagram_address = generation << 32 | function << 16 | index.  Function 0: direct placement.
constexpr std::uint64_t make_datagram_address(std::uint32_t index, std::uint32_t function, std::uint32_t generation) {
    return std::uint64_t{generation} << 32 | std::uint64_t{function} << 16 | index;
}
constexpr std::uint32_t index_of_address(std::uint64_t a) { return static_cast<std::uint32_t>(a & 0xffff); }
constexpr std::uint32_t function_of_address(std::uint64_t a) { return static_cast<std::uint32_t>(a >> 16 & 0xffff); }
constexpr std::uint32_t generation_of_address(std::uint64_t a) { return static_cast<std::uint32_t>(a >> 32); }

// -- the entry ------------------------------------------------------------------------------------

/// Low byte of vi_entry::state; numbers as in vinic::vi_state.
enum class link : std::uint32_t { none = 0, idle = 1, connecting = 2, connected = 3, error = 4 };

/// Why a VI is in error; second byte of vi_entry::state.
enum class break_reason : std::uint32_t {
    none = 0,
    local_error = 1,
    remote_error = 2,
    remote_disconnect = 3,
    peer_died = 4
};

/// state = epoch << 32 | reason << 8 | link.  The epoch counts connections, so that a late break
/// cannot hit the next one.
constexpr std::uint64_t make_state(std::uint32_t epoch, link l, break_reason r = break_reason::none) {
    return std::uint64_t{epoch} << 32 | std::uint64_t{static_cast<std::uint32_t>(r)} << 8 |
           static_cast<std::uint32_t>(l);
}
constexpr link link_of(std::uint64_t state) { return static_cast<link>(state & 0xff); }
constexpr break_reason reason_of(std::uint64_t state) { return static_cast<break_reason>(state >> 8 & 0xff); }
constexpr std::uint32_t epoch_of(std::uint64_t state) { return static_cast<std::uint32_t>(state >> 32); }

/// hand_over = produced << 32 | first << 8 | holder.  See docs/protocols.md.  `first`, 24 bits of it, is the index of
/// the descriptor at the head of a handed queue: with each that is executed the word is another one.
enum class queue_holder : std::uint32_t { owner = 0, handed = 1, peer = 2 };
constexpr std::uint64_t make_hand_over(std::uint32_t produced, queue_holder e, std::uint32_t first = 0) {
    return std::uint64_t{produced} << 32 | first << 8 | static_cast<std::uint32_t>(e);
}
constexpr queue_holder holder_of(std::uint64_t h) { return static_cast<queue_holder>(h & 0xff); }
constexpr std::uint32_t first_of(std::uint64_t h) { return static_cast<std::uint32_t>(h) >> 8; }
constexpr std::uint32_t produced_of(std::uint64_t h) { return static_cast<std::uint32_t>(h >> 32); }

enum vi_flag : std::uint32_t {
    allow_write = 1,
    allow_read = 2,
    allow_atomic = 4,
    is_datagram = 8,
};

/// The two queues of a VI; index of notify, cq, cq_bit.
enum queue_kind : std::uint32_t { send_queue = 0, receive_queue = 1 };

/// receives = posted << 32 | room: receive descriptors below index `posted` are posted, and each that is
/// not yet reported has room for `room` bytes at least.
constexpr std::uint64_t make_receives(std::uint32_t posted, std::uint32_t room) {
    return std::uint64_t{posted} << 32 | room;
}
constexpr std::uint32_t posted_of(std::uint64_t receives) { return static_cast<std::uint32_t>(receives >> 32); }
constexpr std::uint32_t room_of(std::uint64_t receives) { return static_cast<std::uint32_t>(receives); }

/// Index of vi_entry::executing: which of the owner's threads is inside somebody's memory.
enum engine_kind : std::uint32_t { posting = 0, draining = 1, placing = 2, engine_kinds };

/// Written by the owner's posting thread (tx_) and polling thread (rx_, completions).
enum counter : std::uint32_t {
    tx_send_messages,
    tx_send_bytes,
    tx_write_messages,
    tx_write_bytes,
    tx_read_messages,
    tx_read_bytes,
    tx_atomic_messages,
    tx_handed_over,
    tx_foreign_copies,
    tx_refused_posts,
    tx_datagram_drops,
    rx_messages,
    rx_bytes,
    rx_posted,
    tx_status_first,                         // one per status
    rx_status_first = tx_status_first + 12,  // one per status
    counter_count = rx_status_first + 12,
};
static_assert(counter_count == 38);

/// What did not get into a VI, or into memory behind it: counted by the sender.
enum drop : std::uint32_t {
    rx_no_descriptor,
    rx_too_long,
    rx_busy,
    rx_protection,
    dropped_kinds,  ///< up to here a message was dropped; from here on why it was refused, dropped or not
    rx_refused_writes = dropped_kinds,
    rx_refused_reads,
    rx_refused_atomics,
    drop_count,
};
static_assert(drop_count == 7);

struct vi_entry {
    // line 0-1
    word32 owner;  ///< process index + 1, 0 = free
    word32 generation;
    word32 domain;
    word32 flags;
    word32 reliability;
    word32 transfer_bytes_max;
    word64 receiver_wait_ns;  ///< none64 = for ever
    word32 send_depth;
    word32 receive_depth;
    word32 segments_max;
    word32 inline_bytes_max;
    word32 cq[2];
    word32 cq_bit[2];
    word64 receive_ring;  ///< offsets of the rings
    word64 send_ring;
    word64 receive_extra;
    word64 send_extra;
    word64 context;
    word32 kind;        ///< rules::receiver_kind, 0: its buffers lie in the ring
    word32 kind_bytes;  ///< of the kind's table
    word64 kind_table;  ///< its offset
    std::uint64_t reserved0_;
    // line 2
    alignas(line_size) word64 state;
    word32 peer;               ///< index of the connected VI
    word32 peer_epoch;         ///< its epoch
    word32 receive_attention;  ///< 1: the peer's send queue was handed over to us
    word32 receive_base;       ///< index of the first receive descriptor of this connection
    word32 watched;            ///< isolated placement: 1 = the device looks at the send ring itself, no doorbell needed
    // line 3
    alignas(line_size) word32 notify[2];  ///< per queue: 1 = whoever completes marks the CQ's ready bit
    // line 4
    alignas(line_size) word32 executing[3];  ///< odd while inside memory; see engine_kind
    // line 5
    alignas(line_size) word64 hand_over;
    word32 send_next;     ///< next send descriptor to execute
    word32 receive_next;  ///< next receive descriptor to fill: handed along with the queue;
                          ///< datagram VIs: under receive_lock
    word32 receive_lock;  ///< datagram VIs: process index + 1 of the sender inside
    word64 receives;      ///< make_receives
    // line 6-11
    alignas(line_size) word64 counters[counter_count];
    alignas(line_size) word64 drops[drop_count];  ///< written by peers
    word64 pad_;
};
static_assert(sizeof(vi_entry) == 768);
static_assert(offsetof(vi_entry, state) == 128 && offsetof(vi_entry, notify) == 192);
static_assert(offsetof(vi_entry, executing) == 256 && offsetof(vi_entry, hand_over) == 320);
static_assert(offsetof(vi_entry, receives) == 344);
static_assert(offsetof(vi_entry, counters) == 384 && offsetof(vi_entry, drops) == 704);

// -- completion queue ---------------------------------------------------------------------------

/// The ready bits of a CQ lie at an offset of the device file: summary_words(leaves) words, then
/// `leaves` leaf words.  Bit b of leaf l is queue l * 64 + b; a summary bit stands for a leaf.
constexpr std::uint32_t summary_words(std::uint32_t leaves) { return (leaves + 63) / 64; }
/// Of a queue, in its leaf; or of a leaf, in its summary word.
constexpr std::uint64_t ready_bit(std::uint32_t number) { return std::uint64_t{1} << (number % 64); }

/// Offset and size in one word, because both change at once: the offset is a multiple of 64, the
/// size a power of two.
constexpr std::uint64_t make_bitmap(std::uint64_t offset, std::uint32_t leaves_log2) { return offset | leaves_log2; }
constexpr std::uint64_t bitmap_offset(std::uint64_t bitmap) { return bitmap & ~std::uint64_t{63}; }
constexpr std::uint32_t bitmap_leaves_log2(std::uint64_t bitmap) { return static_cast<std::uint32_t>(bitmap & 63); }
constexpr std::uint32_t bitmap_leaves(std::uint64_t bitmap) { return 1u << bitmap_leaves_log2(bitmap); }
/// What a bitmap of so many leaves takes.
constexpr std::uint64_t bitmap_bytes(std::uint32_t leaves) {
    return std::uint64_t{summary_words(leaves) + leaves} * sizeof(word64);
}
inline constexpr std::uint32_t bitmap_leaves_log2_max = 12;
static_assert(std::uint64_t{2} * vi_count <= std::uint64_t{64} << bitmap_leaves_log2_max);  // both queues of each VI

struct cq_entry {
    word32 owner;  ///< process index + 1, 0 = free
    word32 generation;
    word64 bitmap;  ///< make_bitmap, 0 = none
    word32 attached;
    word32 queues_max;
    word32 bell;                      ///< 1: also ring the process' bell (fd)
    word32 vector;                    ///< isolated placement: the completion vector that it belongs to, else 0
    alignas(line_size) word32 armed;  ///< 1: the owner sleeps or wants its fd written
    word32 wakes;                     ///< futex
};
static_assert(sizeof(cq_entry) == 128);

inline constexpr std::uint64_t vis_offset = align_up(cqs_offset + cq_count * sizeof(cq_entry), page_size);
inline constexpr std::uint64_t tables_end = vis_offset + std::uint64_t{vi_count} * sizeof(vi_entry);
inline constexpr std::uint32_t first_chunk = static_cast<std::uint32_t>(align_up(tables_end, chunk_size) / chunk_size);
static_assert(first_chunk <= 4);

/// At the end of the room before the first chunk: a bit for every page of the file.
inline constexpr std::uint64_t native_bytes_per_chunk = chunk_size / page_size / 8;
inline constexpr std::uint64_t native_pages_offset = first_chunk * chunk_size - chunk_count * native_bytes_per_chunk;
static_assert(tables_end <= native_pages_offset);

}  // namespace vinic::abi

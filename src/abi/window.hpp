// SPDX-License-Identifier: Apache-2.0
//
// window.hpp -- a function's window in the isolated placement: the one object that its clients map.
//
//   A window has the shape of a device file (layout.hpp): the processes of one tenant keep their tables,
//   rings and buffers in it as they would in the file of a device of their own.  What it does not hold is
//   anything the NIC has to trust: connections, rights, positions are the device's private state, told
//   through the mailbox.  In the room between the tables and the first chunk lie
//
//     identity page        written by the device: which function, which epoch, which contexts it serves
//     context areas        one per process: a mailbox page and three doorbell pages (doorbell.hpp)
//
//   A *context* is one open nic of one process; its number is that of its process entry.
//
//   Life of a message, VI a of window A to VI b of window B:
//
//     A: send_descriptor i of a's send ring, `lap` last; then a's doorbell bit
//     device: copies descriptor i once, checks it against its private tables; takes b's next receive slot,
//             copies and checks that; moves the bytes from A's window to B's; writes b's receive_completion
//             (sequence last) and marks b's completion queue; then status and `done` of descriptor i
//     B: polls its ring as it would in direct placement
//
//   The device writes in a window: identity page, mailbox responses, doorbell words, send_descriptor::status
//   and done, receive_slot::completion, vi_entry::state, watched, receive_attention and the counters of
//   peers' doings, request_entry's answers, name_entry::arrivals, completion queues' ready bits and wake-ups,
//   and the bytes that messages bring.  It believes nothing that it reads there.
#pragma once

#include "abi/notices.hpp"
#include "abi/vi.hpp"

namespace vinic::abi {

inline constexpr std::uint32_t window_version = 5;
inline constexpr std::uint64_t window_magic = 0x3177'6369'6e69'76ULL;  // "vinicw1"

inline constexpr std::uint32_t context_count = 64;        ///< processes that may use one function at a time
inline constexpr std::uint32_t function_count_max = 257;  ///< the PF is function 0, VF i is function i + 1

inline constexpr std::uint32_t vectors_max = 64;  ///< completion vectors of a function

/// Windows have this many chunks at least: tables and control area lie before first_chunk.
inline constexpr std::uint32_t window_chunks_least = 8;

// -- identity -----------------------------------------------------------------------------------

enum class device_state : std::uint32_t { running = 1, resetting = 2, stopped = 3 };

/// Read-only for clients, by convention; the device keeps the truth and publishes it anew.
struct identity_page {
    word64 magic;
    word32 version;
    word32 function;  ///< 0 = PF
    word32 epoch;     ///< counts resets of this function; everything of an earlier epoch is void
    word32 state;     ///< device_state
    word64 window_bytes;
    word32 contexts_max;
    word32 vis_max;  ///< VIs that the function may have at a time
    word32 regions_max;
    word32 vectors;                                          ///< completion vectors, 1 to vectors_max
    word64 memory_bytes;                                     ///< that the function may hold, no matter who touched it
    alignas(line_size) word32 context_epoch[context_count];  ///< 0 = the device serves no such context any more:
                                                             ///< nothing of it is touched from now on
    notice_board notices;
};
static_assert(sizeof(identity_page) <= page_size);

// -- mailbox ------------------------------------------------------------------------------------

/// One request at a time.  The client fills `request`, stores its sequence (the last one + 1) last and writes
/// to the mailbox' event descriptor; the device fills `response` likewise and wakes the futex on
/// response.sequence.  A request whose sequence is not the last one + 1 is ignored and counted.
struct alignas(line_size) mail_line {
    word32 sequence;
    std::uint32_t code;  ///< request: verb; response: vinic::errc
    std::uint32_t payload_bytes;
    std::uint32_t reserved_;
    std::uint64_t value[6];
};
static_assert(sizeof(mail_line) == line_size);

inline constexpr std::size_t mail_payload_bytes = 1024;

struct mailbox {
    mail_line request;
    mail_line response;
    std::uint8_t request_payload[mail_payload_bytes];
    std::uint8_t response_payload[mail_payload_bytes];
};
static_assert(sizeof(mailbox) <= page_size);

/// What a mailbox is asked.  `v` are the request's values, `r` the response's.  A `base` is where a new connection
/// starts in a VI's rings: index of its next send descriptor << 32 | index of its first receive descriptor.
enum class verb : std::uint32_t {
    create_vi = 1,          ///< v0 VI; payload vi_description.  The VI becomes idle (connected: a datagram VI)
    destroy_vi = 2,         ///< v0 VI.  On return the device touches nothing of it
    change_vi = 3,          ///< v0 VI; payload vi_description.  Idle only
    register_region = 4,    ///< v0 key, v1 domain, v2 rights, v3 address, v4 length, v5 offset or none64
    deregister_region = 5,  ///< v0 key.  On return no engine uses the memory
    change_region = 6,      ///< v0 key, v1 domain, v2 rights.  On return no engine uses the old ones
    quiesce = 7,            ///< returns when every engine has left what it was doing when the request came
    listen = 8,             ///< v0 name entry of the window, whose arrivals are bumped; payload address_key
    unlisten = 9,           ///< v0 name entry.  Pending requests end as request_stage::closed
    bind = 10,              ///< v0 VI; payload address_key
    resolve = 11,           ///< payload address_key -> r0 datagram address
    names = 12,    ///< payload the last address_key that is known, nothing at first -> r0 1: there are more, r1 count;
                   ///< payload address_key[count]
    connect = 13,  ///< v0 VI, v1 base, v2 request entry of the window; payload connect_mail
    connect_peer = 14,  ///< v0 VI, v1 base, v2 request entry; payload peer_mail
    give_up = 15,       ///< v0 VI -> errc::ok: the request is withdrawn, VI idle; errc::invalid_state: settled already
    take_request = 16,  ///< v0 name entry -> r0 ticket; payload taken_mail.  errc::not_done: none is pending
    accept = 17,        ///< v0 ticket, v1 VI, v2 base; payload answer_mail.  errc::attribute_mismatch leaves it open
    reject = 18,        ///< v0 ticket; payload answer_mail
    disconnect = 19,    ///< v0 VI, v1 base -> r0 the state word it had before.  VI idle (a datagram VI stays connected:
                        ///< its receives begin at the base now); on return nothing posted before is touched
    break_link = 20,    ///< v0 VI, v1 state word: breaks that connection as a local error
    vector = 21,        ///< v0 vector, v1 vector_flag, v2 completions, v3 nanoseconds of moderation -> r0 completion
                        ///< queues that wait in it, r1 vector_flag, r2 and r3 as v2 and v3.  On return no wake-up of
                        ///< a vector that is masked now is on its way
};

enum vector_flag : std::uint64_t {
    change_vector = 1,  ///< request: not only to be told
    vector_masked = 2,
};

struct vi_description {
    std::uint32_t domain;
    std::uint32_t flags;  ///< vi_flag
    std::uint32_t reliability;
    std::uint32_t transfer_bytes_max;
    std::uint64_t receiver_wait_ns;
    std::uint32_t send_depth;
    std::uint32_t receive_depth;
    std::uint32_t segments_max;
    std::uint32_t inline_bytes_max;
    std::uint32_t generation;
    std::uint32_t cq[2];
    std::uint32_t cq_bit[2];
    std::uint32_t kind;  ///< rules::receiver_kind
    std::uint64_t receive_ring;
    std::uint64_t send_ring;
    std::uint64_t kind_table;  ///< change_vi may set it
    std::uint64_t kind_bytes;
};
static_assert(sizeof(vi_description) == 96);

struct connect_mail {
    address_key at;
    std::uint32_t data_bytes;
    std::uint8_t data[private_data_bytes_max];
};

struct peer_mail {
    address_key local;
    address_key remote;
    std::uint32_t data_bytes;
    std::uint8_t data[private_data_bytes_max];
};

struct taken_mail {
    peer_description peer;
    std::uint32_t data_bytes;
    std::uint8_t data[private_data_bytes_max];
};

struct answer_mail {
    std::uint32_t data_bytes;
    std::uint8_t data[private_data_bytes_max];
};
static_assert(sizeof(peer_mail) <= mail_payload_bytes);

// -- positions ----------------------------------------------------------------------------------

inline constexpr std::uint64_t context_bytes = 4 * page_size;  ///< mailbox page, three doorbell pages
inline constexpr std::uint64_t identity_offset = align_up(tables_end, 1 << 20);
inline constexpr std::uint64_t contexts_offset = identity_offset + page_size;
inline constexpr std::uint64_t control_end = contexts_offset + context_count * context_bytes;
static_assert(control_end <= native_pages_offset && first_chunk < window_chunks_least);

constexpr std::uint64_t mailbox_offset(std::uint32_t context) { return contexts_offset + context * context_bytes; }
constexpr std::uint64_t doorbell_offset(std::uint32_t context) { return mailbox_offset(context) + page_size; }
inline constexpr std::uint64_t doorbell_bytes = 3 * page_size;

/// send_descriptor::lap of descriptor `index` in a ring of 2^depth_log2: differs from lap to lap, and is never
/// what a zeroed ring holds in the first one.
constexpr std::uint8_t lap_of(std::uint32_t index, std::uint32_t depth_log2) {
    return static_cast<std::uint8_t>((index >> depth_log2) + 1);
}

// -- how a client gets its window -----------------------------------------------------------------

/// Packets of the device's socket (SOCK_SEQPACKET).  attach_request -> attach_reply with three descriptors: the
/// window, the doorbell's and the mailbox' event descriptor.  Then enter_request once a process entry is locked
/// -> enter_reply; from there on the mailbox of that context works, until the connection is closed.
/// A packet that begins with '{' is a request of the administration in JSON instead.
enum class packet : std::uint32_t { attach = 1, enter = 2, leave = 3 };

struct attach_request {
    std::uint64_t magic;  ///< window_magic
    std::uint32_t version;
    std::uint32_t kind;  ///< packet::attach
    std::uint32_t function;
    std::uint32_t reserved_;
};
struct attach_reply {
    std::uint32_t code;  ///< vinic::errc; anything but ok comes without descriptors
    std::uint32_t version;
    std::uint32_t function;
    std::uint32_t epoch;
    std::uint64_t window_bytes;
    std::uint32_t process_id;  ///< of the device, which reaches foreign memory
    std::uint32_t foreign;     ///< 1: it does
    char why[112];             ///< of a refusal, in words that end with a zero byte; may be empty
};
struct enter_request {
    std::uint32_t kind;  ///< packet::enter
    std::uint32_t context;
};
/// Said before an orderly close; the connection ends with it.  A client that just hangs up may have died.
struct leave_notice {
    std::uint32_t kind;  ///< packet::leave
    std::uint32_t context;
};
struct enter_reply {
    std::uint32_t code;  ///< vinic::errc; busy: the device still serves that context, take another
    std::uint32_t context_epoch;
};

}  // namespace vinic::abi

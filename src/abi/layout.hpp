// SPDX-License-Identifier: Apache-2.0
//
// layout.hpp -- where everything lies in the device file, and the tables of the control plane.
//
//   One sparse file, as long as what has been taken of it; positions are offsets from its start.  Every process maps
//   its span: the addresses that it may grow into.
//
//     0          header            64 KiB    magic, version, lock, high-water marks of the tables
//     +          chunk owners                which process owns which 64 MiB of the file
//     +          processes                   one entry per open nic
//     +          domains, regions, queues (CQs), VIs, names, requests
//     +          native pages                one bit per page of the file: a buffer's
//     chunk 4..  chunks                      rings, buffers and adopted pages of the owning process
//
//   Who may write: an entry's owner, or whoever holds the header's lock.  Words that the data path
//   touches are marked in vi.hpp.  Space below a table's high-water mark is backed
//   (fallocate), so touching it cannot fail; above it nobody looks.
//
//   Crash rule: an entry belongs to the process named in `owner`.  Everything else that could be
//   out of step (use counts, cursors) is derived and can be recomputed from the owners.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "abi/word.hpp"

namespace vinic::abi {

inline constexpr std::uint64_t magic = 0x3130'6369'6e69'76ULL;  // "vinic01", stored last
inline constexpr std::uint32_t layout_version = 4;

inline constexpr std::uint64_t page_size = 4096;
inline constexpr std::uint64_t chunk_size = 64ULL << 20;
inline constexpr std::uint32_t chunk_count = 4096;
inline constexpr std::uint64_t file_size = chunk_size * chunk_count;  // 256 GiB: the largest span
inline constexpr std::uint64_t span_least = 8 * chunk_size;
inline constexpr std::uint64_t span_usual = 64ULL << 30;

inline constexpr std::uint32_t process_count = 1024;
inline constexpr std::uint32_t domain_count = 65536;
inline constexpr std::uint32_t region_count = 1u << 20;
inline constexpr std::uint32_t cq_count = 131072;
inline constexpr std::uint32_t vi_count = 65536;
inline constexpr std::uint32_t name_count = 16384;
inline constexpr std::uint32_t request_count = 4096;

inline constexpr std::size_t name_bytes_max = 63;
inline constexpr std::size_t discriminator_bytes_max = 64;
inline constexpr std::size_t private_data_bytes_max = 256;

/// No owner, no VI, no offset.
inline constexpr std::uint32_t none32 = ~std::uint32_t{0};
inline constexpr std::uint64_t none64 = ~std::uint64_t{0};

// -- processes ----------------------------------------------------------------------------------

enum class process_state : std::uint32_t {
    free = 0,
    live = 1,
    leaving = 2,  ///< closed or dead; its chunks wait until no engine can be inside them
};

/// One open nic.  Alive as long as the byte lock `1 + index` of the file is held.
struct process_entry {
    word32 state;
    word32 generation;  ///< counts the entry's users
    word32 pid;
    word32 bell;           ///< futex: bumped to wake the forwarding thread of completion_queue::fd()
    word64 start_time;     ///< field 22 of /proc/PID/stat, with pid a unique name
    word64 pid_namespace;  ///< inode of /proc/self/ns/pid: a pid means nothing elsewhere
    // Which virtual addresses of this process lie in the file: rules/extents.hpp.
    word64 base;     ///< where it maps the file; native_pages tells of its buffers
    word64 adopted;  ///< its table of adopted pages, packed: place, length, generation; 0: none
    word32 user;     ///< effective user id + 1, 0 = not told
    std::uint32_t reserved_;
    char command[32];
    std::uint8_t pad_[128 - 88];
};
static_assert(sizeof(process_entry) == 128);

/// `bytes` bytes at virtual address `address` of the owner lie at `offset` of the file.
struct extent {
    word64 address;
    word64 bytes;
    word64 offset;
};

// -- protection ---------------------------------------------------------------------------------

/// A domain's id is index | generation << 16, never 0; generations have 15 bits.  With the highest bit it is the open
/// domain of a process, and the rest is that process' owner word: its VIs match every region of that owner, and its
/// regions every VI.
inline constexpr std::uint32_t open_domain = 0x8000'0000u;
static_assert(domain_count == 1u << 16);
struct domain_entry {
    word32 owner;  ///< process index + 1, 0 = free
    word32 id;
    word32 generation;
    std::uint32_t reserved_;
};
static_assert(sizeof(domain_entry) == 16);

/// key = index << 8 | generation (1 to 254, so that no key is 0 or ~0).
struct region_entry {
    word32 key;    ///< 0 = no region; the one word that makes it valid, stored last
    word32 owner;  ///< process index + 1, 0 = free
    word64 address;
    word64 length;
    word64 offset;  ///< file offset of `address`, or none64: look the address up in the extents
    word32 domain;
    word32 rights;
    word32 backing;
    word32 generation;
    word32 foreign_reason;
    std::uint8_t pad_[12];
};
static_assert(sizeof(region_entry) == line_size);

// -- names and connection requests ----------------------------------------------------------------

/// A name of the directory and a discriminator below it.
struct address_key {
    std::uint16_t name_bytes;
    std::uint16_t discriminator_bytes;
    char name[name_bytes_max + 1];
    std::uint8_t discriminator[discriminator_bytes_max];
};
static_assert(sizeof(address_key) == 132);

enum class name_kind : std::uint32_t { listener = 1, datagram = 2 };

struct name_entry {
    word32 owner;  ///< process index + 1, 0 = free
    word32 generation;
    word32 kind;
    word32 arrivals;  ///< futex: bumped with each request
    word64 target;    ///< datagram: the address
    address_key at;
    std::uint8_t pad_[256 - 24 - 132];
};
static_assert(sizeof(name_entry) == 256);

enum class request_stage : std::uint32_t {
    pending = 1,  ///< waits for the listener (or for its peer-to-peer counterpart)
    taken = 2,    ///< the listener's program holds it
    accepted = 3,
    rejected = 4,
    failed = 5,    ///< the listener's process died
    mismatch = 6,  ///< peer-to-peer only: the counterpart's attributes do not fit
    closed = 7,    ///< listener closed by its program, which had not taken the request
};

/// What a peer is told about a VI, where it cannot look into the VI's entry: in the isolated placement.
struct peer_description {
    std::uint32_t vi;
    std::uint32_t process_id;
    std::uint32_t flags;
    std::uint32_t reliability;
    std::uint64_t receiver_wait_ns;
    std::uint32_t transfer_bytes_max;
    std::uint32_t send_depth;
    std::uint32_t receive_depth;
    std::uint32_t segments_max;
    std::uint32_t inline_bytes_max;
    std::uint32_t function;
    std::uint32_t user;
    std::uint32_t reserved_;
};
static_assert(sizeof(peer_description) == 56);

/// A VI that wants to be connected.  Freed by its owner, the requester.
struct request_entry {
    word32 owner;  ///< process index + 1, 0 = free
    word32 generation;
    word32 state;  ///< request_stage; futex
    word32 vi;     ///< the requester's
    word32 name;   ///< index of the listener, none32 for peer-to-peer
    word32 name_generation;
    word64 order;                ///< oldest first
    address_key local;           ///< peer-to-peer
    address_key remote;          ///< peer-to-peer
    std::uint16_t data_bytes;    ///< private data of the requester
    std::uint16_t answer_bytes;  ///< private data of the answer
    std::uint32_t peer_vi;       ///< the answering VI
    std::uint8_t data[private_data_bytes_max];
    std::uint8_t answer[private_data_bytes_max];
    peer_description peer;  ///< the answering VI, by whoever connected the two
    std::uint8_t pad_[1024 - 32 - 264 - 8 - 512 - sizeof(peer_description)];
};
static_assert(sizeof(request_entry) == 1024);

// -- header -------------------------------------------------------------------------------------

/// A table's derived numbers, all under the lock.
struct table_marks {
    word32 backed;  ///< entries that have storage
    word32 used;
    word32 cursor;  ///< where the next search starts
    std::uint32_t reserved_;
};

enum table : std::uint32_t { domains, regions, cqs, vis, names, requests, table_kinds };

struct device_header {
    word64 magic;  ///< stored last, so that nobody sees half a device
    word32 version;
    word32 fence;  ///< 1: processes without membarrier share the device, light sides fence
    word64 created_ns;
    word64 span;   ///< bytes of address space, whole chunks; a window's is its file's length
    word64 claim;  ///< the magic number from the first write on: what is left of a device that was never finished
    alignas(line_size) word32 lock;          ///< 0 free, else process index + 1, | lock_waiters
    word32 lock_breaks;                      ///< how often a dead holder's lock was broken
    alignas(line_size) word64 last_scan_ns;  ///< when somebody last looked for dead processes
    word64 order;                            ///< next request_entry::order
    word64 deaths;                           ///< processes found dead
    word64 openings;                         ///< bumped by whoever holds byte 0, before mapping: by pwrite
    word64 opener;                           ///< and the process number of the holder
    alignas(line_size) table_marks marks[table_kinds];
    word32 processes_backed;
    /// What destroyed VIs counted, so that device totals never go back.
    alignas(line_size) word64 retired[64];
};

// -- positions ----------------------------------------------------------------------------------

constexpr std::uint64_t align_up(std::uint64_t v, std::uint64_t a) { return (v + a - 1) / a * a; }

inline constexpr std::uint64_t chunk_owners_offset = 64 << 10;
inline constexpr std::uint64_t processes_offset = align_up(chunk_owners_offset + chunk_count * 4, page_size);
inline constexpr std::uint64_t domains_offset = processes_offset + process_count * sizeof(process_entry);
inline constexpr std::uint64_t regions_offset = domains_offset + domain_count * sizeof(domain_entry);
inline constexpr std::uint64_t names_offset = regions_offset + region_count * sizeof(region_entry);
inline constexpr std::uint64_t requests_offset = names_offset + name_count * sizeof(name_entry);
inline constexpr std::uint64_t cqs_offset = requests_offset + request_count * sizeof(request_entry);

inline constexpr std::uint32_t lock_waiters = 0x8000'0000u;

static_assert(sizeof(device_header) <= chunk_owners_offset);
static_assert(std::is_trivially_copyable_v<device_header> && std::is_standard_layout_v<device_header>);

}  // namespace vinic::abi

// SPDX-License-Identifier: Apache-2.0
//
// isolation_client.hpp -- a tenant of a vinicd without the library: words in a window, packets on a socket.
//
//   What it can do is what a hostile tenant can do: descriptors, doorbells and requests that the library would never
//   let through.  Rings lie one after the other from the first chunk on, payload from data_offset on; addresses in
//   regions are offsets of the window, so that both ends of a connection know them.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "abi/doorbell.hpp"

namespace vinic::bench {

/// Rights 15: everything.  All of a tenant's payload space.
inline constexpr std::uint32_t everything_key = 77 << 8 | 9;
inline constexpr std::uint64_t rings_offset = abi::first_chunk * abi::chunk_size;
inline constexpr std::uint64_t data_offset = rings_offset + (512ULL << 20);

struct vi_shape {
    std::uint32_t depth = 64;  ///< of both queues; a power of two
    std::uint32_t segments_max = 2;
    bool reliable = true;  ///< false: a bad descriptor ends alone, the connection bears it
    std::uint64_t receiver_wait_ns = abi::none64;
};

class tenant;

/// A VI of a tenant.
class raw_vi {
public:
    raw_vi(tenant& owner, std::uint32_t number, const vi_shape& shape);
    [[nodiscard]] std::uint32_t number() const { return number_; }
    /// Whether a descriptor may be posted that does not overwrite one which is not done.
    [[nodiscard]] bool has_room() const;
    /// Puts a descriptor into the ring; ring() tells the device.
    void put(const abi::send_descriptor& d);
    /// The extra segments of the next descriptor.
    [[nodiscard]] std::span<abi::segment> next_extra() const;
    void ring();
    /// Posts a receive if the slot is free: not posted yet, or filled.
    bool put_receive(std::span<const abi::segment> segments);
    void ring_receives();
    [[nodiscard]] abi::send_descriptor& slot(std::uint32_t i) const { return sends_[i & (shape_.depth - 1)]; }
    [[nodiscard]] abi::receive_slot& receive(std::uint32_t i) const { return receives_[i & (shape_.depth - 1)]; }
    [[nodiscard]] std::uint32_t sent() const { return sent_; }
    [[nodiscard]] abi::vi_entry& entry() const { return entry_; }
    [[nodiscard]] abi::link link() const { return abi::link_of(entry_.state.load_acquire()); }
    /// Peer-to-peer, with a VI of the same or another tenant.
    void connect(raw_vi& peer);

private:
    tenant& owner_;
    std::uint32_t number_;
    vi_shape shape_;
    std::uint32_t depth_log2_;
    std::uint32_t extra_segments_;  ///< of a send descriptor, beyond its line
    std::uint32_t receive_extra_segments_;
    abi::vi_entry& entry_;
    abi::send_descriptor* sends_;
    abi::receive_slot* receives_;
    abi::segment* send_extra_;
    abi::segment* receive_extra_;
    std::uint32_t sent_ = 0;
    std::uint32_t received_ = 0;
};

class tenant {
public:
    /// `path` is the socket of a vinicd, function 0 its PF.  Enters that many contexts, from 0 on.
    tenant(const std::string& path, std::uint32_t function, std::uint32_t contexts = 1);
    tenant(const tenant&) = delete;
    tenant& operator=(const tenant&) = delete;
    ~tenant();

    template <class T>
    [[nodiscard]] T* at(std::uint64_t offset) const {
        return reinterpret_cast<T*>(base_ + offset);
    }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint32_t function() const { return function_; }
    [[nodiscard]] std::uint32_t contexts() const { return static_cast<std::uint32_t>(requests_.size()); }
    [[nodiscard]] int window() const { return window_; }

    // -- mailbox --------------------------------------------------------------------------------
    struct answer {
        std::uint32_t code = 0;  ///< vinic::errc
        std::array<std::uint64_t, 6> r{};
    };
    void ask(std::uint32_t context, abi::verb verb, std::array<std::uint64_t, 6> v,
             std::span<const std::byte> payload = {});
    /// Throws after ten seconds, or when the device has let the context go.
    answer await(std::uint32_t context);
    answer call(abi::verb verb, std::array<std::uint64_t, 6> v, std::span<const std::byte> payload = {}) {
        ask(0, verb, v, payload);
        return await(0);
    }
    void kick_mailbox() const;
    /// The device no longer serves the context.
    [[nodiscard]] bool is_cut_off() const;

    // -- objects --------------------------------------------------------------------------------
    /// A new VI of context 0.
    raw_vi& make_vi(const vi_shape& shape);
    void register_region(std::uint32_t key, std::uint64_t offset, std::uint64_t length);
    /// Ring space: never given back.
    [[nodiscard]] std::uint64_t take(std::uint64_t bytes);

    // -- doorbells ------------------------------------------------------------------------------
    void ring(std::uint32_t context, std::uint32_t vi) const;
    [[nodiscard]] abi::word64& bell(std::uint32_t context, std::uint32_t (*offset)(std::uint32_t, std::uint32_t),
                                    std::uint32_t number) const;
    void kick_doorbell() const;

private:
    void enter(const std::string& path, std::uint32_t context);
    void let_go();

    std::uint32_t function_;
    std::uint64_t bytes_ = 0;
    std::byte* base_ = nullptr;
    int window_ = -1;
    int doorbell_ = -1;
    int mailbox_ = -1;
    std::vector<int> sockets_;
    std::vector<std::uint32_t> requests_;  ///< last sequence of each context's mailbox
    std::uint64_t taken_ = rings_offset;
    std::deque<raw_vi> vis_;
};

/// A SOCK_SEQPACKET connection to a vinicd.
[[nodiscard]] int connect_socket(const std::string& path);

/// Throws what went wrong.
[[noreturn]] void broken(const std::string& what);

}  // namespace vinic::bench

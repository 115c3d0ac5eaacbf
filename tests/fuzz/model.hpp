// SPDX-License-Identifier: Apache-2.0
//
// model.hpp -- what vinic promises, as a program that only computes.
//
//   A script runs in one thread, and a posted descriptor is executed at once or by the receiver's next post.  So
//   everything is determined: the status of every descriptor, and every byte of memory.  The model says what they
//   must be; runner.cc makes the real calls and compares.
//
//     post -> sent (executed, or pending behind the one that waits)  --> completion, in order
//     post_receive -> received (waiting -> arrived | flushed)        --> completion, in order
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "memory.hpp"

namespace fuzz {

struct region_model {
    int device = 0;
    int domain = 0;
    std::uint32_t key = 0;
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    bool whole_space = false;
    vinic::access rights = vinic::access::none;
    vinic::backing backing = vinic::backing::foreign;
};

/// A work request that keeps what it points to.
struct request {
    vinic::work_request work;
    std::vector<vinic::segment> segments;
    bool by_send_to = false;
    [[nodiscard]] std::uint64_t bytes() const;
};

struct sent {
    request what;
    cells inline_payload;
    bool done = false;
    bool deferred = false;  ///< went through the queue that the receiver executes
    vinic::status status = vinic::status::success;
    [[nodiscard]] bool signalled() const { return !vinic::has(what.work.flags, vinic::send_flag::unsignalled); }
    [[nodiscard]] bool silent() const { return done && status == vinic::status::success && !signalled(); }
};

struct received {
    std::vector<vinic::segment> segments;
    std::uint64_t cookie = 0;
    bool done = false;
    bool to_place = false;  ///< the payload travels in the completion and is placed by the poll
    vinic::status status = vinic::status::success;
    vinic::opcode opcode = vinic::opcode::receive;
    bool has_immediate = false;
    std::uint32_t immediate = 0;
    std::uint32_t length = 0;
    std::uint64_t source = 0;
    std::uint64_t link = 0;  ///< the connection it arrived by
    cells payload;
};

/// A request of connect_peer.
struct peer_request {
    enum class state { pending, accepted, mismatch };
    vinic::address local;
    vinic::address remote;
    std::uint64_t order = 0;
    bool expired = false;
    state is = state::pending;
    std::vector<std::byte> data;
    std::vector<std::byte> answer;
};

struct vi_model {
    std::uint64_t context = 0;  ///< names it in completions; unique in a script
    std::uint32_t number = 0;
    int device = 0;
    int nic = 0;
    int domain = 0;
    int send_cq = 0;
    int receive_cq = 0;
    bool open = true;
    vinic::vi_attributes attributes;
    std::uint64_t datagram = 0;  ///< its local_address, 0 for connected VIs
    vinic::vi_state state = vinic::vi_state::idle;
    bool established = false;  ///< the side that connected knows it: posts go through
    std::uint64_t link = 0;    ///< number of the connection
    vi_model* peer = nullptr;
    std::optional<peer_request> asking;
    std::deque<sent> sends;         ///< posted and not reported
    std::deque<received> receives;  ///< posted and not reported

    [[nodiscard]] bool reliable() const { return attributes.reliability != vinic::reliability::unreliable; }
    [[nodiscard]] bool is_datagram() const { return attributes.service == vinic::service::datagram; }
    [[nodiscard]] received* next_waiting();
    /// Sends that certainly take room of the queue, and those that may.
    [[nodiscard]] std::size_t sends_least() const;
    [[nodiscard]] std::size_t sends_most() const { return sends.size(); }
    [[nodiscard]] bool send_ready() const;
    [[nodiscard]] bool receive_ready() const { return !receives.empty() && receives.front().done; }
};

using codes = std::set<vinic::errc>;

class model {
public:
    memory bytes;
    std::vector<region_model> regions;  ///< those that are registered
    std::vector<std::unique_ptr<vi_model>> vis;

    [[nodiscard]] vi_model* find(std::uint64_t context);

    /// What post may answer; empty: it must take the request.
    [[nodiscard]] codes refusals(const vi_model& v, const request& r) const;
    void post(vi_model& v, const request& r);
    [[nodiscard]] codes refusals(const vi_model& v, std::span<const vinic::segment> segments) const;
    void post_receive(vi_model& v, std::span<const vinic::segment> segments, std::uint64_t cookie);

    void connect(vi_model& a, vi_model& b);
    /// `v` has learnt that it is connected.
    void establish(vi_model& v);
    void disconnect(vi_model& v);
    /// The message at the head of v's queue has waited long enough.
    void expire(vi_model& v);

    /// A completion was reported: throws if it is not the one that was due.
    void report(int cq, const vinic::completion& c);
    [[nodiscard]] bool available(int cq) const;
    /// Whether an atomic's outcome on this memory is certain; others are not posted.
    [[nodiscard]] bool atomic_is_certain(int device, std::uint32_t key, std::uint64_t address);
    [[nodiscard]] const region_model* find_region(int device, std::uint32_t key) const;

private:
    const region_model* allowed(int device, int domain, std::uint32_t key, std::uint64_t address, std::uint64_t length,
                                vinic::access rights) const;
    [[nodiscard]] bool allowed_all(const vi_model& v, std::span<const vinic::segment> segments,
                                   vinic::access rights) const;
    /// Reads a gather list up to the first piece that does not exist; false if there is one.
    [[nodiscard]] bool gather(const sent& s, cells& to);
    /// Whether a receiver's list is found wrong before the gather list, of which so many bytes exist, is.
    [[nodiscard]] bool refused_first(const vi_model& v, const received& r, std::uint64_t left, std::uint64_t existing);
    /// True: executed.  False: it has to wait for a receive descriptor.
    [[nodiscard]] bool execute(vi_model& v, sent& s);
    [[nodiscard]] bool execute_send(vi_model& v, vi_model& to, sent& s);
    [[nodiscard]] bool execute_write(vi_model& v, vi_model& to, sent& s);
    void execute_read(vi_model& v, vi_model& to, sent& s);
    void execute_atomic(vi_model& v, vi_model& to, sent& s);
    /// `executor`: the nic that runs the operation; `owner`: the one whose memory it is.
    [[nodiscard]] bool reachable_by_atomics(int executor, int owner, const region_model& r, std::uint64_t address);
    static void arrive(const vi_model& v, const sent& s, received& r, vinic::status status);
    enum class scattered { all, refused, unreachable };
    [[nodiscard]] scattered scatter(const vi_model& v, std::span<const vinic::segment> segments,
                                    std::span<const cell> payload);
    void fail(vi_model& v, sent& s, vinic::status status);
    void break_connection(vi_model& v);
    void flush(vi_model& v, bool receives);
    void drain(vi_model& receiver);
    void report_send(vi_model& v, const vinic::completion& c);
    void report_receive(vi_model& v, const vinic::completion& c);

    std::uint64_t links_ = 0;
};

}  // namespace fuzz

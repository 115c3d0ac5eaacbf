// SPDX-License-Identifier: Apache-2.0
//
// side.hpp -- this side of a scenario: an endpoint of which every step may fail once, connected with the peer.
#pragma once

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "faults/peer.hpp"
#include "faults/scene.hpp"

namespace faults {

/// The rights that foreign memory can have.
inline constexpr auto but_for_atomics =
    vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read;

/// This side: an endpoint whose every step may fail once.
class side {
public:
    static constexpr std::size_t memory_bytes = 256 << 10;
    static constexpr std::size_t outgoing = 0;         ///< what is sent
    static constexpr std::size_t incoming = 64 << 10;  ///< what is received
    static constexpr std::size_t free_at = 128 << 10;  ///< what the scenario likes

    explicit side(scene& s)
        : s_(s),
          nic(s.open()),
          domain(s.attempt("making a domain", [&] { return nic.create_domain(); })),
          cq(s.attempt("making a completion queue", [&] { return nic.create_completion_queue(); })),
          buffer(s.attempt("allocating", [&] { return nic.allocate(memory_bytes); })),
          memory(s.attempt("registering", [&] { return domain.register_memory(buffer.bytes(), vinic::access::all); })),
          vi(s.attempt("making a VI", [&] { return domain.create_vi({.send_cq = &cq, .receive_cq = &cq}); })) {}

    void connect() {
        (void)s_.attempt("connecting", [&] { return vi.connect(peer_name, multi::patience); });
        s_.demand(vi.state() == vinic::vi_state::connected, "it is connected");
    }
    [[nodiscard]] vinic::segment at(std::size_t offset, std::size_t n) const {
        return {memory, offset, static_cast<std::uint32_t>(n)};
    }
    [[nodiscard]] std::span<std::byte> bytes(std::size_t offset, std::size_t n) const {
        return buffer.bytes().subspan(offset, n);
    }
    /// The next completion.  An error of waiting is no end: it is waited for again.
    vinic::completion next() {
        std::array<vinic::completion, 1> done;
        const std::size_t n = s_.attempt("waiting", [&] { return cq.wait(done, multi::patience); });
        s_.demand(n == 1, "a completion comes");
        return done[0];
    }
    /// Sends n bytes from `outgoing` and receives the answer to `incoming`; how long that is, or nothing where a fault
    /// has broken the connection.
    std::optional<std::size_t> exchange(std::size_t n) {
        if (!s_.succeeded(vi.post_receive(at(incoming, message_bytes_max), 1), "posting a receive") ||
            !s_.succeeded(vi.post_send(at(outgoing, n), 2), "posting a send")) {
            return std::nullopt;
        }
        std::optional<std::size_t> received;
        for (int i = 0; i < 2; ++i) {
            const vinic::completion c = next();
            if (!s_.succeeded(c.status, c.cookie == 1 ? "receiving" : "sending")) {
                return std::nullopt;
            }
            received = c.cookie == 1 ? c.length : received;
        }
        return received;
    }
    /// Asks the peer; nothing where a fault has broken the connection.
    std::optional<answer> ask(const request& r) {
        std::memcpy(bytes(outgoing, sizeof r).data(), &r, sizeof r);
        if (!exchange(sizeof r)) {
            return std::nullopt;
        }
        answer a;
        std::memcpy(&a, bytes(incoming, sizeof a).data(), sizeof a);
        return a;
    }
    /// One operation of this side's send queue; false where a fault has broken the connection.
    bool done(vinic::errc posted, std::string_view what) {
        return s_.succeeded(posted, what) && s_.succeeded(next().status, what);
    }

private:
    scene& s_;

public:
    vinic::nic nic;
    vinic::domain domain;
    vinic::completion_queue cq;
    vinic::buffer buffer;
    vinic::region memory;
    vinic::virtual_interface vi;
};

}  // namespace faults

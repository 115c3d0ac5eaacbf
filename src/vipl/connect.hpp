// SPDX-License-Identifier: Apache-2.0
//
// connect.hpp -- VIPL's network addresses, and what the two sides of a connection tell each other.
#pragma once

#include <span>
#include <string>

#include "vipl/state.hpp"

namespace vipl {

/// Host address and discriminator, byte for byte, without any alignment.
[[nodiscard]] std::string discriminator_of(const VIP_NET_ADDRESS& a);
/// A whole address: a host address of ours and a discriminator that is not too long.
[[nodiscard]] bool is_complete(const VIP_NET_ADDRESS* a) noexcept;
/// An address that can be shown to the other side, whatever its host address is.
[[nodiscard]] bool is_tellable(const VIP_NET_ADDRESS* a) noexcept;
[[nodiscard]] std::string native_name(std::span<const std::uint8_t, host_bytes> host);
[[nodiscard]] vinic::address native_address(const VIP_NET_ADDRESS& a);

/// Private data of a request or an answer.
class greeting {
public:
    greeting(const VIP_VI_ATTRIBUTES& attributes, const VIP_NET_ADDRESS* local) noexcept;
    /// What came; all zero if it is not of VIPL's making.
    explicit greeting(std::span<const std::byte> data) noexcept;
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span(&wire_, 1)); }
    void write_address(VIP_NET_ADDRESS& to) const noexcept;
    /// Level, transfer size and quality of service of the sender.
    [[nodiscard]] VIP_VI_ATTRIBUTES attributes() const noexcept;

    static constexpr std::size_t host_bytes_max = 16;

private:
    struct wire {
        char magic[4];
        std::uint16_t level;
        std::uint8_t host_bytes;
        std::uint8_t discriminator_bytes;
        std::uint64_t quality_of_service;
        std::uint64_t transfer_bytes_max;
        std::uint8_t address[host_bytes_max + discriminator_max];  // host, then discriminator
    };
    static_assert(sizeof(wire) <= 256, "the native interface carries that much");
    wire wire_{};
};

/// The attributes of the other side, as VIPL shows them.
[[nodiscard]] VIP_VI_ATTRIBUTES attributes_of(const vinic::peer_information& peer, const greeting& theirs) noexcept;
/// Why two VIs may not be connected.
[[nodiscard]] VIP_RETURN compare(const VIP_VI_ATTRIBUTES& a, const VIP_VI_ATTRIBUTES& b) noexcept;

/// Asks `to` for a connection.  While nobody waits there, again and again, for as long as the NIC's grace and the
/// time-out allow and vi::disconnects has this value: there are programs that start in any order.
[[nodiscard]] vinic::result<vinic::peer_information> ask(vi& v, std::uint32_t disconnects, const vinic::address& to,
                                                         VIP_ULONG timeout_ms, std::span<const std::byte> data);

}  // namespace vipl

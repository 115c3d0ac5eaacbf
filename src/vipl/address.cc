// SPDX-License-Identifier: Apache-2.0
//
// address.cc -- from VIPL addresses and attributes to native ones and back; connect.hpp declares them.
#include <algorithm>
#include <cstring>

#include "vipl/connect.hpp"

namespace vipl {

namespace {

constexpr char greeting_magic[4] = {'V', 'I', 'P', '1'};

const std::uint8_t* bytes_of(const VIP_NET_ADDRESS& a) noexcept { return a.HostAddress; }

}  // namespace

std::string discriminator_of(const VIP_NET_ADDRESS& a) {
    return {reinterpret_cast<const char*>(bytes_of(a)) + a.HostAddressLen, a.DiscriminatorLen};
}

bool is_complete(const VIP_NET_ADDRESS* a) noexcept {
    return a != nullptr && a->HostAddressLen == host_bytes && a->DiscriminatorLen <= discriminator_max;
}

bool is_tellable(const VIP_NET_ADDRESS* a) noexcept {
    return a != nullptr && a->HostAddressLen <= greeting::host_bytes_max && a->DiscriminatorLen <= discriminator_max;
}

std::string native_name(std::span<const std::uint8_t, host_bytes> host) {
    constexpr char digits[] = "0123456789abcdef";
    std::string name = "vipl-";
    for (const std::uint8_t byte : host) {
        name += digits[byte >> 4];
        name += digits[byte & 15];
    }
    return name;
}

vinic::address native_address(const VIP_NET_ADDRESS& a) {
    const std::span<const std::uint8_t, host_bytes> host(bytes_of(a), host_bytes);
    return {native_name(host), std::as_bytes(std::span(bytes_of(a) + host_bytes, a.DiscriminatorLen))};
}

greeting::greeting(const VIP_VI_ATTRIBUTES& attributes, const VIP_NET_ADDRESS* local) noexcept {
    std::memcpy(wire_.magic, greeting_magic, sizeof wire_.magic);
    wire_.level = attributes.ReliabilityLevel;
    wire_.quality_of_service = reinterpret_cast<std::uint64_t>(attributes.QoS);
    wire_.transfer_bytes_max = attributes.MaxTransferSize;
    if (local != nullptr) {
        wire_.host_bytes = static_cast<std::uint8_t>(local->HostAddressLen);
        wire_.discriminator_bytes = static_cast<std::uint8_t>(local->DiscriminatorLen);
        std::memcpy(wire_.address, bytes_of(*local), std::size_t{wire_.host_bytes} + wire_.discriminator_bytes);
    }
}

greeting::greeting(std::span<const std::byte> data) noexcept {
    if (data.size() != sizeof wire_) {
        return;
    }
    std::memcpy(&wire_, data.data(), sizeof wire_);
    if (std::memcmp(wire_.magic, greeting_magic, sizeof wire_.magic) != 0 || wire_.host_bytes > host_bytes_max ||
        wire_.discriminator_bytes > discriminator_max) {
        wire_ = {};
    }
}

void greeting::write_address(VIP_NET_ADDRESS& to) const noexcept {
    // Programs give room for a host address of NicAddressLen bytes; a client may have told a longer one.
    const std::size_t host = std::min<std::size_t>(wire_.host_bytes, host_bytes);
    to.HostAddressLen = static_cast<VIP_UINT16>(host);
    to.DiscriminatorLen = wire_.discriminator_bytes;
    auto* const bytes = reinterpret_cast<std::uint8_t*>(&to) + offsetof(VIP_NET_ADDRESS, HostAddress);
    std::memcpy(bytes, wire_.address, host);
    std::memcpy(bytes + host, wire_.address + wire_.host_bytes, wire_.discriminator_bytes);
}

VIP_VI_ATTRIBUTES greeting::attributes() const noexcept {
    VIP_VI_ATTRIBUTES a{};
    a.ReliabilityLevel = wire_.level;
    a.MaxTransferSize = wire_.transfer_bytes_max;
    a.QoS = reinterpret_cast<VIP_QOS>(wire_.quality_of_service);
    return a;
}

VIP_VI_ATTRIBUTES attributes_of(const vinic::peer_information& peer, const greeting& theirs) noexcept {
    VIP_VI_ATTRIBUTES a{};
    a.ReliabilityLevel = peer.attributes.reliability == vinic::reliability::unreliable ? VIP_SERVICE_UNRELIABLE
                         : peer.attributes.reliability == vinic::reliability::delivery ? VIP_SERVICE_RELIABLE_DELIVERY
                                                                                       : VIP_SERVICE_RELIABLE_RECEPTION;
    a.MaxTransferSize = peer.attributes.transfer_bytes_max;
    a.QoS = theirs.attributes().QoS;
    a.EnableRdmaWrite = peer.attributes.rdma_write ? VIP_TRUE : VIP_FALSE;
    a.EnableRdmaRead = peer.attributes.rdma_read ? VIP_TRUE : VIP_FALSE;
    return a;
}

VIP_RETURN compare(const VIP_VI_ATTRIBUTES& a, const VIP_VI_ATTRIBUTES& b) noexcept {
    if (a.ReliabilityLevel != b.ReliabilityLevel) {
        return VIP_INVALID_RELIABILITY_LEVEL;
    }
    if (a.MaxTransferSize != b.MaxTransferSize) {
        return VIP_INVALID_MTU;
    }
    return a.QoS != b.QoS ? VIP_INVALID_QOS : VIP_SUCCESS;
}

}  // namespace vipl

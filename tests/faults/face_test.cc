// SPDX-License-Identifier: Apache-2.0
//
// face_test.cc -- the VIPL face while system calls fail below it.
#include <vipl.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "faults/scene.hpp"

namespace faults {
namespace {

constexpr std::size_t memory_bytes = 32 << 10;
constexpr VIP_ULONG patience_ms = 30'000;

/// The call succeeds, or a fault is the reason that it does not and it succeeds when it is made again.
template <class Call>
void attempt(scene& s, std::string_view what, Call call) {
    if (!s.succeeded(call() == VIP_SUCCESS, what)) {
        const VIP_RETURN again = call();
        s.demand(again == VIP_SUCCESS, std::string(what) + " works when nothing fails: " + std::to_string(again));
    }
}

/// A VI, its memory and what they need.
class face_side {
public:
    explicit face_side(scene& s) : s_(s) {
        attempt(s, "opening", [&] { return VipOpenNic("/dev/test", &nic); });
        attempt(s, "a tag", [&] { return VipCreatePtag(nic, &tag); });
        VIP_MEM_ATTRIBUTES rights{tag, VIP_TRUE, VIP_TRUE};
        attempt(s, "registering", [&] { return VipRegisterMem(nic, memory.data(), memory_bytes, &rights, &handle); });
        VIP_VI_ATTRIBUTES attributes{};
        attributes.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
        attributes.MaxTransferSize = 4096;
        attributes.Ptag = tag;
        attempt(s, "a completion queue", [&] { return VipCreateCQ(nic, 64, &cq); });
        attempt(s, "a VI", [&] { return VipCreateVi(nic, &attributes, nullptr, cq, &vi); });
    }
    face_side(const face_side&) = delete;
    face_side& operator=(const face_side&) = delete;
    ~face_side() {
        attempt(s_, "disconnecting", [&] { return VipDisconnect(vi); });
        VIP_DESCRIPTOR* left = nullptr;
        while (VipRecvDone(vi, &left) != VIP_NOT_DONE && left != nullptr) {
        }
        attempt(s_, "destroying the VI", [&] { return VipDestroyVi(vi); });
        attempt(s_, "destroying the queue", [&] { return VipDestroyCQ(cq); });
        attempt(s_, "deregistering", [&] { return VipDeregisterMem(nic, memory.data(), handle); });
        attempt(s_, "destroying the tag", [&] { return VipDestroyPtag(nic, tag); });
        attempt(s_, "closing", [&] { return VipCloseNic(nic); });
    }
    VIP_DESCRIPTOR* describe(std::uint32_t n) {
        auto* d = reinterpret_cast<VIP_DESCRIPTOR*>(memory.data());
        std::memset(d, 0, sizeof *d);
        d->CS.SegCount = 1;
        d->CS.Length = n;
        d->DS[0].Local = {{.Address = memory.data() + 4096}, handle, n};
        return d;
    }
    void ask_for(std::uint32_t me, std::uint32_t other) {
        const auto address = [&](std::uint32_t discriminator) {
            VIP_NIC_ATTRIBUTES about;
            std::array<std::uint64_t, 16> room{};
            auto* to = reinterpret_cast<VIP_NET_ADDRESS*>(room.data());
            s_.demand(VipQueryNic(nic, &about) == VIP_SUCCESS, "a nic can be asked");
            to->HostAddressLen = about.NicAddressLen;
            to->DiscriminatorLen = sizeof discriminator;
            std::memcpy(to->HostAddress, about.LocalNicAddress, about.NicAddressLen);
            std::memcpy(to->HostAddress + about.NicAddressLen, &discriminator, sizeof discriminator);
            return room;
        };
        auto from = address(me);
        auto to = address(other);
        attempt(s_, "asking for a connection", [&] {
            return VipConnectPeerRequest(vi, reinterpret_cast<VIP_NET_ADDRESS*>(from.data()),
                                         reinterpret_cast<VIP_NET_ADDRESS*>(to.data()), patience_ms);
        });
    }

private:
    scene& s_;

public:
    alignas(4096) std::array<std::byte, memory_bytes> memory{};
    VIP_NIC_HANDLE nic = nullptr;
    VIP_PROTECTION_HANDLE tag = nullptr;
    VIP_MEM_HANDLE handle = 0;
    VIP_CQ_HANDLE cq = nullptr;
    VIP_VI_HANDLE vi = nullptr;
};

TEST(every_vipl_fault, of_a_whole_connection_is_told_and_leaves_nothing) {
    with_every_fault(
        [](scene& s) {
            ::setenv("VINIC_SHM_DIR", s.where().path().c_str(), 1);
            face_side a(s);
            face_side b(s);
            VIP_DESCRIPTOR* receive = b.describe(4096);
            attempt(s, "posting a receive", [&] { return VipPostRecv(b.vi, receive, b.handle); });
            a.ask_for(1, 2);
            b.ask_for(2, 1);
            VIP_VI_ATTRIBUTES about;
            attempt(s, "connecting", [&] { return VipConnectPeerWait(a.vi, &about); });
            attempt(s, "connecting", [&] { return VipConnectPeerWait(b.vi, &about); });
            VIP_DESCRIPTOR* send = a.describe(4096);
            multi::fill(std::span(a.memory).subspan(4096, 4096), 7);
            attempt(s, "posting a send", [&] { return VipPostSend(a.vi, send, a.handle); });
            VIP_DESCRIPTOR* done = nullptr;
            const auto moved = [&](VIP_RETURN how, const VIP_DESCRIPTOR* d) {
                return s.succeeded(how == VIP_SUCCESS && (d->CS.Status & VIP_STATUS_ERROR_MASK) == 0, "a transfer");
            };
            if (!moved(VipSendWait(a.vi, patience_ms, &done), send)) {
                return;
            }
            VIP_VI_HANDLE whose = nullptr;
            VIP_BOOLEAN is_receive = VIP_FALSE;
            attempt(s, "waiting", [&] { return VipCQWait(b.cq, patience_ms, &whose, &is_receive); });
            if (moved(VipRecvDone(b.vi, &done), receive)) {
                s.demand(multi::first_difference(std::span(b.memory).subspan(4096, 4096), 7) == 4096,
                         "the bytes are those that were sent");
            }
        },
        {.makes_threads = true});
}

}  // namespace
}  // namespace faults

// SPDX-License-Identifier: Apache-2.0
//
// smoke_test.cc -- two NIC handles in one process: connect, send, receive, RDMA write, flush, disconnect.
#include <gtest/gtest.h>
#include <vipl.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr VIP_ULONG patience_ms = 30000;

struct address {
    alignas(8) std::array<char, 128> bytes{};
    VIP_NET_ADDRESS* get() { return reinterpret_cast<VIP_NET_ADDRESS*>(bytes.data()); }
};

/// One side: a NIC handle, registered memory, and a VI.
struct side {
    explicit side(VIP_RELIABILITY_LEVEL level) {
        EXPECT_EQ(VipOpenNic("/dev/vipl_smoke", &nic), VIP_SUCCESS);
        EXPECT_EQ(VipCreatePtag(nic, &tag), VIP_SUCCESS);
        memory = static_cast<char*>(std::aligned_alloc(4096, bytes));
        std::memset(memory, 0, bytes);
        VIP_MEM_ATTRIBUTES rights{tag, VIP_TRUE, VIP_TRUE};
        EXPECT_EQ(VipRegisterMem(nic, memory, bytes, &rights, &handle), VIP_SUCCESS);
        VIP_VI_ATTRIBUTES attributes{};
        attributes.ReliabilityLevel = level;
        attributes.MaxTransferSize = 32768;
        attributes.Ptag = tag;
        attributes.EnableRdmaWrite = VIP_TRUE;
        EXPECT_EQ(VipCreateVi(nic, &attributes, nullptr, nullptr, &vi), VIP_SUCCESS);
    }
    side(const side&) = delete;
    side& operator=(const side&) = delete;
    ~side() {
        EXPECT_EQ(VipDestroyVi(vi), VIP_SUCCESS);
        EXPECT_EQ(VipDeregisterMem(nic, memory, handle), VIP_SUCCESS);
        EXPECT_EQ(VipDestroyPtag(nic, tag), VIP_SUCCESS);
        EXPECT_EQ(VipCloseNic(nic), VIP_SUCCESS);
        std::free(memory);
    }
    void name(address& to, std::uint32_t discriminator) const {
        VIP_NIC_ATTRIBUTES about;
        EXPECT_EQ(VipQueryNic(nic, &about), VIP_SUCCESS);
        to.get()->HostAddressLen = about.NicAddressLen;
        to.get()->DiscriminatorLen = sizeof discriminator;
        std::memcpy(to.get()->HostAddress, about.LocalNicAddress, about.NicAddressLen);
        std::memcpy(to.get()->HostAddress + about.NicAddressLen, &discriminator, sizeof discriminator);
    }
    VIP_DESCRIPTOR* descriptor(std::size_t i) { return reinterpret_cast<VIP_DESCRIPTOR*>(memory + i * 64); }
    char* buffer(std::size_t i) { return memory + 16384 + i * 256; }
    /// A descriptor of one data segment.
    VIP_DESCRIPTOR* fill(std::size_t i, std::uint16_t control, std::uint32_t length) {
        VIP_DESCRIPTOR* d = descriptor(i);
        std::memset(d, 0, sizeof *d);
        d->CS.SegCount = 1;
        d->CS.Control = control;
        d->CS.Length = length;
        d->DS[0].Local = {{.Address = buffer(i)}, handle, length};
        return d;
    }

    static constexpr std::size_t bytes = 65536;
    VIP_NIC_HANDLE nic = nullptr;
    VIP_PROTECTION_HANDLE tag = nullptr;
    VIP_MEM_HANDLE handle = 0;
    VIP_VI_HANDLE vi = nullptr;
    char* memory = nullptr;
};

void connect(side& client, side& server) {
    address from;
    address to;
    client.name(from, 1);
    server.name(to, 2);
    std::thread accepting([&] {
        address remote;
        VIP_VI_ATTRIBUTES about;
        VIP_CONN_HANDLE request = nullptr;
        ASSERT_EQ(VipConnectWait(server.nic, to.get(), patience_ms, remote.get(), &about, &request), VIP_SUCCESS);
        EXPECT_EQ(std::memcmp(remote.bytes.data(), from.bytes.data(), 4 + 6 + 4), 0);
        EXPECT_EQ(about.MaxTransferSize, 32768u);
        EXPECT_EQ(VipConnectAccept(request, server.vi), VIP_SUCCESS);
    });
    VIP_VI_ATTRIBUTES about;
    VIP_RETURN r = VIP_NO_MATCH;
    while ((r = VipConnectRequest(client.vi, from.get(), to.get(), patience_ms, &about)) == VIP_NO_MATCH) {
        std::this_thread::yield();
    }
    EXPECT_EQ(r, VIP_SUCCESS);
    accepting.join();
}

class smoke : public testing::TestWithParam<int> {
protected:
    smoke() {
        const char* base = std::getenv("TMPDIR");
        std::string name = std::string(base != nullptr ? base : "/tmp") + "/vipl_smoke.XXXXXX";
        directory_ = ::mkdtemp(name.data());
        ::setenv("VINIC_SHM_DIR", directory_.c_str(), 1);
    }
    ~smoke() override {
        EXPECT_TRUE(std::filesystem::is_empty(directory_));
        std::filesystem::remove_all(directory_);
    }

private:
    std::string directory_;
};

TEST_P(smoke, a_connection_lives_from_the_first_receive_to_the_last_flush) {
    side client(static_cast<VIP_RELIABILITY_LEVEL>(GetParam()));
    side server(static_cast<VIP_RELIABILITY_LEVEL>(GetParam()));
    VIP_DESCRIPTOR* done = nullptr;

    // Receives may be posted before there is a connection.
    ASSERT_EQ(VipPostRecv(server.vi, server.fill(0, 0, 64), server.handle), VIP_SUCCESS);
    ASSERT_EQ(VipPostRecv(server.vi, server.fill(1, 0, 64), server.handle), VIP_SUCCESS);
    ASSERT_EQ(VipRecvDone(server.vi, &done), VIP_NOT_DONE);
    connect(client, server);

    VIP_DESCRIPTOR* send = client.fill(0, VIP_CONTROL_IMMEDIATE, 64);
    std::strcpy(client.buffer(0), "hello");
    send->CS.ImmediateData = 0xdeadbeef;
    ASSERT_EQ(VipPostSend(client.vi, send, client.handle), VIP_SUCCESS);
    ASSERT_EQ(VipSendWait(client.vi, patience_ms, &done), VIP_SUCCESS);
    EXPECT_EQ(done, send);
    EXPECT_EQ(send->CS.Status, std::uint32_t{VIP_STATUS_DONE | VIP_STATUS_OP_SEND});
    ASSERT_EQ(VipRecvWait(server.vi, patience_ms, &done), VIP_SUCCESS);
    EXPECT_EQ(done, server.descriptor(0));
    EXPECT_STREQ(server.buffer(0), "hello");
    EXPECT_EQ(done->CS.Length, 64u);
    EXPECT_EQ(done->CS.ImmediateData, 0xdeadbeef);
    EXPECT_EQ(done->CS.Status, std::uint32_t{VIP_STATUS_DONE | VIP_STATUS_OP_RECEIVE | VIP_STATUS_IMMEDIATE});

    VIP_DESCRIPTOR* write = client.fill(2, VIP_CONTROL_OP_RDMAWRITE, 64);
    write->CS.SegCount = 2;
    write->DS[1] = write->DS[0];
    write->DS[0].Remote = {{.Address = server.buffer(9)}, server.handle, 0};
    std::strcpy(client.buffer(2), "written");
    ASSERT_EQ(VipPostSend(client.vi, write, client.handle), VIP_SUCCESS);
    ASSERT_EQ(VipSendWait(client.vi, patience_ms, &done), VIP_SUCCESS);
    EXPECT_STREQ(server.buffer(9), "written");

    EXPECT_EQ(VipDisconnect(client.vi), VIP_SUCCESS);
    VIP_VI_STATE state = VIP_STATE_CONNECTED;
    VIP_VI_ATTRIBUTES about;
    VIP_BOOLEAN send_empty = VIP_FALSE;
    VIP_BOOLEAN receive_empty = VIP_TRUE;
    while (state == VIP_STATE_CONNECTED) {
        ASSERT_EQ(VipQueryVi(server.vi, &state, &about, &send_empty, &receive_empty), VIP_SUCCESS);
    }
    EXPECT_EQ(state, VIP_STATE_ERROR);
    EXPECT_EQ(receive_empty, VIP_FALSE);
    EXPECT_EQ(VipDestroyVi(server.vi), VIP_INVALID_STATE);
    EXPECT_EQ(VipDisconnect(server.vi), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyVi(server.vi), VIP_ERROR_RESOURCE);
    ASSERT_EQ(VipRecvDone(server.vi, &done), VIP_DESCRIPTOR_ERROR);
    EXPECT_EQ(done, server.descriptor(1));
    EXPECT_EQ(done->CS.Status, std::uint32_t{VIP_STATUS_DONE | VIP_STATUS_OP_RECEIVE | VIP_STATUS_DESC_FLUSHED_ERROR});
    ASSERT_EQ(VipRecvDone(server.vi, &done), VIP_DESCRIPTOR_ERROR);
    EXPECT_EQ(done, nullptr);
}

INSTANTIATE_TEST_SUITE_P(levels, smoke,
                         testing::Values(VIP_SERVICE_UNRELIABLE, VIP_SERVICE_RELIABLE_DELIVERY,
                                         VIP_SERVICE_RELIABLE_RECEPTION));

}  // namespace

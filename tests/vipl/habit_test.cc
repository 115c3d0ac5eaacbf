// SPDX-License-Identifier: Apache-2.0
//
// habit_test.cc -- what programs that were written for other providers are used to: memory without attributes, receives
// that say more than there is, counting NICs, servers that come later.
#include <cstring>
#include <memory>

#include "fixture.hpp"

namespace vipl_test {
namespace {

// -- memory without attributes ------------------------------------------------------------------

TEST(memory_without_attributes, has_no_tag_and_no_rdma) {
    nic n;
    std::vector<char> bytes(100);
    VIP_MEM_HANDLE h = 0;
    ASSERT_EQ(VipRegisterMem(n, bytes.data(), bytes.size(), nullptr, &h), VIP_SUCCESS);
    VIP_MEM_ATTRIBUTES a{wild_handle(), VIP_TRUE, VIP_TRUE};
    ASSERT_EQ(VipQueryMem(n, bytes.data(), h, &a), VIP_SUCCESS);
    EXPECT_EQ(a.Ptag, nullptr);
    EXPECT_EQ(a.EnableRdmaWrite, VIP_FALSE);
    EXPECT_EQ(a.EnableRdmaRead, VIP_FALSE);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data(), h), VIP_SUCCESS);
}

TEST(memory_without_attributes, is_refused_in_strict_mode) {
    const with_environment strict("VINIC_VIPL_STRICT", "1");
    nic n;
    std::vector<char> bytes(100);
    VIP_MEM_HANDLE h = 7;
    EXPECT_EQ(VipRegisterMem(n, bytes.data(), bytes.size(), nullptr, &h), VIP_INVALID_PTAG);
    EXPECT_EQ(h, 0u);
}

/// Two connected VIs with tags, and memory of the left one's NIC without.
class tagless_memory : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    tagless_memory() {
        must(VipRegisterMem(linked.left_nic, there.get(), bytes, nullptr, &handle));
        must(VipRegisterMem(linked.right_nic, there.get(), bytes, nullptr, &handle_of_right));
    }
    [[nodiscard]] piece at(std::size_t offset, std::uint32_t n, VIP_MEM_HANDLE h) const {
        return {there.get() + offset, n, h};
    }

    static constexpr std::size_t bytes = 8192;
    pair linked{at_level(GetParam())};
    std::unique_ptr<char[]> there = std::make_unique<char[]>(bytes);
    VIP_MEM_HANDLE handle = 0;
    VIP_MEM_HANDLE handle_of_right = 0;
};

TEST_P(tagless_memory, serves_a_vi_with_a_tag) {
    for (const std::uint32_t n : {8u, 2000u}) {
        fill({there.get(), n}, n);
        VIP_DESCRIPTOR* r = linked.right.post_receive(linked.right.write(0, 0, {at(4096, n, handle_of_right)}));
        VIP_DESCRIPTOR* s = linked.left.post_send(linked.left.write(0, 0, {at(0, n, handle)}));
        EXPECT_EQ(linked.left.finish_send(s), done_send);
        EXPECT_EQ(linked.right.finish_receive(r), done_receive);
        EXPECT_TRUE(matches({there.get() + 4096, n}, n));
    }
}

TEST_P(tagless_memory, holds_descriptors_of_a_vi_with_a_tag) {
    auto* d = reinterpret_cast<VIP_DESCRIPTOR*>((reinterpret_cast<std::uintptr_t>(there.get()) + 63) / 64 * 64);
    linked.left.write(d, 0, {});
    VIP_DESCRIPTOR* r = linked.right.post_receive(linked.right.write(0, 0, {}));
    ASSERT_EQ(VipPostSend(linked.left.vi, d, handle), VIP_SUCCESS);
    EXPECT_EQ(linked.left.finish_send(d), done_send);
    EXPECT_EQ(linked.right.finish_receive(r), done_receive);
}

TEST_P(tagless_memory, of_another_nic_handle_does_not_serve) {
    linked.right.post_receive(linked.right.write(0, 0, {linked.right.at(0, 64)}));
    VIP_DESCRIPTOR* s = linked.left.post_send(linked.left.write(0, 0, {at(0, 8, handle_of_right)}));
    EXPECT_EQ(linked.left.finish_send(s), done_send | VIP_STATUS_PROTECTION_ERROR);
}

TEST_P(tagless_memory, is_no_target_of_rdma_unless_it_was_made_one) {
    const piece target = at(0, 8, handle_of_right);
    VIP_DESCRIPTOR* s =
        linked.left.post_send(linked.left.write_rdma(0, VIP_CONTROL_OP_RDMAWRITE, target, {linked.left.at(0, 8)}));
    const std::uint32_t status = linked.left.finish_send(s);
    EXPECT_EQ(status, GetParam() == VIP_SERVICE_UNRELIABLE ? done_write : done_write | VIP_STATUS_RDMA_PROT_ERROR);
    EXPECT_EQ(there[0], 0);
}

VIPL_ALL_LEVELS(tagless_memory);

// -- a receive that says more than there is ------------------------------------------------------

class long_receive : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {};

TEST_P(long_receive, that_reaches_past_its_region_takes_what_fits) {
    pair linked(at_level(GetParam()));
    endpoint& right = linked.right;
    VIP_MEM_ATTRIBUTES rights{right.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE half = 0;
    must(VipRegisterMem(linked.right_nic, right.buffer(0), 8192, &rights, &half));
    VIP_DESCRIPTOR* r = nullptr;
    for (const std::uint32_t n : {4u, 100u, 4096u}) {
        fill(linked.left.bytes(0, n), n);
        r = right.post_receive(right.write(0, 0, {piece{right.buffer(4096), 32768, half}}));
        VIP_DESCRIPTOR* s = linked.left.post_send(linked.left.write(0, 0, {linked.left.at(0, n)}));
        EXPECT_EQ(linked.left.finish_send(s), done_send);
        EXPECT_EQ(right.finish_receive(r), done_receive);
        EXPECT_EQ(r->CS.Length, n);
        EXPECT_TRUE(matches(right.bytes(4096, n), n));
    }
    r = right.post_receive(right.write(0, 0, {piece{right.buffer(4096), 32768, half}}));
    linked.left.post_send(linked.left.write(0, 0, {linked.left.at(0, 4097)}));
    EXPECT_EQ(right.finish_receive(r), done_receive | VIP_STATUS_PROTECTION_ERROR) << "one byte too many";
    must(VipDeregisterMem(linked.right_nic, right.buffer(0), half));
}

VIPL_ALL_LEVELS(long_receive);

// -- names of NICs -------------------------------------------------------------------------------

/// How many NICs a program finds that counts them.
int counted(const char* prefix) {
    int n = 0;
    for (; n < 100; ++n) {
        VIP_NIC_HANDLE handle = nullptr;
        if (const VIP_RETURN r = VipOpenNic((prefix + std::to_string(n)).c_str(), &handle); r != VIP_SUCCESS) {
            EXPECT_EQ(r, VIP_INVALID_PARAMETER);
            EXPECT_EQ(handle, nullptr);
            break;
        }
        EXPECT_EQ(VipCloseNic(handle), VIP_SUCCESS);
    }
    return n;
}

TEST(names_of_nics, come_to_an_end) {
    EXPECT_EQ(counted("VINIC"), 1);
    EXPECT_EQ(counted("/dev/clanvi"), 1);
    const with_environment chosen("VINIC_VIPL_DEVICE", device_is_given() ? ::getenv("VINIC_VIPL_DEVICE") : "shm:one");
    EXPECT_EQ(counted("VINIC"), 1) << "one device for all of them is one NIC";
}

TEST(names_of_nics, are_those_of_the_list) {
    const with_environment list("VINIC_VIPL_NICS", " VINIC0; VINIC1 ;;/dev/eth7");
    EXPECT_EQ(counted("VINIC"), 2);
    EXPECT_EQ(counted("/dev/clanvi"), 0) << "not even the first";
    const nic by_path("eth7");
    VIP_NIC_HANDLE handle = nullptr;
    EXPECT_EQ(VipOpenNic("VINIC", &handle), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipOpenNic("", &handle), VIP_INVALID_PARAMETER);
}

TEST(names_of_nics, are_all_there_are_if_the_list_says_so) {
    const with_environment list("VINIC_VIPL_NICS", "*");
    EXPECT_EQ(counted("VINIC"), 100);
}

TEST(names_of_nics, stand_for_the_devices_that_the_list_gives_them) {
    if (device_is_given()) {
        GTEST_SKIP() << "names do not choose the device here";
    }
    const with_environment list("VINIC_VIPL_NICS", "a=shm:first;b = second ; c;*=rest");
    EXPECT_STREQ(nic("/dev/a").attributes().Name, "shm:first");
    EXPECT_STREQ(nic("b").attributes().Name, "shm:second");
    EXPECT_STREQ(nic("c").attributes().Name, "shm:c");
    const with_environment chosen("VINIC_VIPL_DEVICE", "shm:chosen");
    EXPECT_STREQ(nic("a").attributes().Name, "shm:first") << "the list is about this one";
    EXPECT_STREQ(nic("c").attributes().Name, "shm:chosen");
}

TEST(names_of_nics, that_are_addresses_open_what_they_name) {
    if (device_is_given()) {
        GTEST_SKIP() << "names do not choose the device here";
    }
    EXPECT_STREQ(nic("shm:some7").attributes().Name, "shm:some7");
    const nic first("/dev/clanvi0");
    const nic again(first.attributes().Name);
    EXPECT_STREQ(first.attributes().Name, again.attributes().Name) << "what VipQueryNic says can be opened";
    EXPECT_EQ(first.address("").host(), again.address("").host());
}

// -- a server that comes later ---------------------------------------------------------------------

/// A client VI, and an address at which nobody waits.
class grace : public testing::Test {
protected:
    /// Requests a connection; how that ended.
    VIP_RETURN request(nic& n, const endpoint& e, VIP_ULONG timeout_ms) {
        net_address at = n.address(discriminator);
        VIP_VI_ATTRIBUTES a;
        return VipConnectRequest(e.vi, at.get(), at.get(), timeout_ms, &a);
    }
    /// Takes one request and accepts it, having waited until somebody has asked in vain, or may have.
    void serve(nic& n, endpoint& e) {
        net_address at = n.address(discriminator);
        net_address from;
        VIP_VI_ATTRIBUTES a;
        VIP_CONN_HANDLE connection = nullptr;
        must(VipConnectWait(n, at.get(), patience_ms, from.get(), &a, &connection));
        must(VipConnectAccept(connection, e.vi));
    }
    const std::string discriminator = fresh_discriminator();
};

TEST_F(grace, is_not_given_unless_it_is_asked_for) {
    nic n;
    endpoint e(n);
    EXPECT_EQ(request(n, e, VIP_INFINITE), VIP_NO_MATCH);
}

TEST_F(grace, is_given_to_a_client_that_starts_first) {
    const with_environment asked("VINIC_VIPL_CONNECT_GRACE", "10min");
    nic n;
    endpoint client(n);
    endpoint server(n);
    std::atomic<bool> begun{false};
    std::thread asking([&] {
        begun = true;
        EXPECT_EQ(request(n, client, VIP_INFINITE), VIP_SUCCESS);
    });
    EXPECT_TRUE(comes_true([&] { return begun.load(); }));
    std::this_thread::sleep_for(quiet_time);  // nothing tells that it has asked in vain; either way it must succeed
    serve(n, server);
    asking.join();
    EXPECT_EQ(client.state(), VIP_STATE_CONNECTED);
}

TEST_F(grace, ends) {
    const with_environment asked("VINIC_VIPL_CONNECT_GRACE", "30ms");
    nic n;
    endpoint e(n);
    EXPECT_EQ(request(n, e, VIP_INFINITE), VIP_NO_MATCH);
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
}

TEST_F(grace, is_never_longer_than_the_time_out_of_the_call) {
    const with_environment asked("VINIC_VIPL_CONNECT_GRACE", "100min");
    nic n;
    endpoint e(n);
    EXPECT_EQ(request(n, e, 30), VIP_NO_MATCH);
    EXPECT_EQ(request(n, e, 0), VIP_INVALID_PARAMETER);
}

TEST_F(grace, is_ended_by_a_disconnect_and_by_closing) {
    const with_environment asked("VINIC_VIPL_CONNECT_GRACE", "100min");
    nic n;
    endpoint e(n);
    std::atomic<VIP_RETURN> ended{VIP_NOT_DONE};
    std::thread asking([&] { ended = request(n, e, VIP_INFINITE); });
    EXPECT_TRUE(comes_true([&] { return VipDisconnect(e.vi) != VIP_SUCCESS || ended != VIP_NOT_DONE; }));
    asking.join();
    EXPECT_EQ(ended, VIP_INVALID_STATE);
    auto another = std::make_unique<nic>();
    endpoint f(*another);
    net_address at = another->address(discriminator);  // of a nic that is closed nothing can be asked
    std::thread asking_too([&] {
        VIP_VI_ATTRIBUTES a;
        const VIP_RETURN r = VipConnectRequest(f.vi, at.get(), at.get(), VIP_INFINITE, &a);
        EXPECT_TRUE(r == VIP_INVALID_STATE || r == VIP_INVALID_PARAMETER) << r;
    });
    std::this_thread::sleep_for(quiet_time);  // whether it asks already or not, it comes back
    another->close();
    asking_too.join();
}

TEST_F(grace, wants_a_unit) {
    for (const char* wrong : {"5", "ms", "-1s", "5 s", "1h", "99999999999s", "1.5s"}) {
        const with_environment asked("VINIC_VIPL_CONNECT_GRACE", wrong);
        VIP_NIC_HANDLE handle = wild_handle();
        testing::internal::CaptureStderr();
        EXPECT_EQ(VipOpenNic(nic::default_device, &handle), VIP_ERROR_RESOURCE) << wrong;
        EXPECT_NE(testing::internal::GetCapturedStderr().find("VINIC_VIPL_CONNECT_GRACE"), std::string::npos);
        EXPECT_EQ(handle, nullptr);
    }
}

}  // namespace
}  // namespace vipl_test

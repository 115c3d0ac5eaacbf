// SPDX-License-Identifier: Apache-2.0
//
// nic_test.cc -- opening, closing and querying NIC handles; management information; the extensions that are not VIs'.
#include <cstring>
#include <filesystem>
#include <set>

#include "fixture.hpp"

namespace vipl_test {
namespace {

TEST(nic, open_wants_a_name_and_a_place_for_the_handle) {
    VIP_NIC_HANDLE handle = wild_handle();
    EXPECT_EQ(VipOpenNic(nullptr, &handle), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipOpenNic("", &handle), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipOpenNic("/dev/", &handle), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipOpenNic("/dev/vipl_test", nullptr), VIP_INVALID_PARAMETER);
    ASSERT_EQ(VipOpenNic("/dev/vipl_test", &handle), VIP_SUCCESS);
    EXPECT_NE(handle, nullptr);
    EXPECT_EQ(VipCloseNic(handle), VIP_SUCCESS);
}

TEST(nic, open_of_a_device_that_cannot_be_is_a_resource_error) {
    const with_environment nowhere(device_is_given() ? "VINIC_VIPL_DEVICE" : "VINIC_SHM_DIR",
                                   device_is_given() ? "vinicd:/nonexistent/vinic" : "/nonexistent/vinic");
    VIP_NIC_HANDLE handle = wild_handle();
    testing::internal::CaptureStderr();
    EXPECT_EQ(VipOpenNic("clanvi0", &handle), VIP_ERROR_RESOURCE);
    EXPECT_NE(testing::internal::GetCapturedStderr(), "") << "a line says why";
    EXPECT_EQ(handle, nullptr);
}

TEST(nic, every_open_gives_a_handle_of_its_own) {
    const nic first;
    const nic second;
    const nic third;
    EXPECT_EQ((std::set<VIP_NIC_HANDLE>{first.handle, second.handle, third.handle}).size(), 3u);
    EXPECT_EQ(first.address("x").host(), second.address("x").host()) << "they are one NIC";
}

TEST(nic, a_handle_is_dead_after_close) {
    VIP_NIC_HANDLE handle = nullptr;
    VIP_NIC_ATTRIBUTES a;
    ASSERT_EQ(VipOpenNic(nic::default_device, &handle), VIP_SUCCESS);
    EXPECT_EQ(VipCloseNic(handle), VIP_SUCCESS);
    EXPECT_EQ(VipCloseNic(handle), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryNic(handle, &a), VIP_INVALID_PARAMETER);
    nic later;
    EXPECT_NE(later.handle, handle) << "not reused at once";
    EXPECT_EQ(VipQueryNic(handle, &a), VIP_INVALID_PARAMETER);
}

TEST(nic, close_takes_everything_along) {
    nic keeper;  // so that the device lives
    nic n;
    completion_queue there(keeper);
    VIP_CQ_HANDLE cq = nullptr;
    must(VipCreateCQ(n, 8, &cq));
    endpoint_options options;
    options.receive_cq = cq;
    endpoint e(n, options);
    endpoint peer(keeper);
    connect(peer, e);
    e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    n.close();
    VIP_DESCRIPTOR* d = nullptr;
    VIP_VI_HANDLE v = nullptr;
    VIP_BOOLEAN receive = VIP_FALSE;
    VIP_MEM_ATTRIBUTES memory{};
    EXPECT_EQ(VipRecvDone(e.vi, &d), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyVi(e.vi), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQDone(cq, &v, &receive), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyCQ(cq), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyPtag(keeper, e.tag), VIP_INVALID_PTAG);
    EXPECT_EQ(VipQueryMem(keeper, e.buffer(), e.memory, &memory), VIP_INVALID_PARAMETER);
    EXPECT_TRUE(peer.comes_to(VIP_STATE_ERROR));
}

TEST(nic, close_ends_the_waits_of_other_threads) {
    nic keeper;
    nic n;
    completion_queue unused(keeper);
    VIP_CQ_HANDLE cq = nullptr;
    must(VipCreateCQ(n, 8, &cq));
    endpoint e(n);
    endpoint peer(keeper);
    connect(peer, e);
    e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    std::atomic<int> started{0};
    std::thread on_receive([&] {
        VIP_DESCRIPTOR* d = nullptr;
        ++started;
        // Closing ends the connection first: a flushed descriptor may be what the thread is told.
        const VIP_RETURN r = VipRecvWait(e.vi, VIP_INFINITE, &d);
        EXPECT_TRUE(r == VIP_INVALID_PARAMETER || r == VIP_DESCRIPTOR_ERROR) << r;
    });
    std::thread on_cq([&] {
        cq_entry entry;
        ++started;
        EXPECT_EQ(VipCQWait(cq, VIP_INFINITE, &entry.vi, &entry.receive), VIP_INVALID_PARAMETER);
    });
    net_address here = n.address(fresh_discriminator());
    std::thread on_connection([&] {
        net_address remote;
        VIP_VI_ATTRIBUTES a;
        VIP_CONN_HANDLE request = nullptr;
        ++started;
        EXPECT_EQ(VipConnectWait(n, here.get(), VIP_INFINITE, remote.get(), &a, &request), VIP_INVALID_PARAMETER);
    });
    ASSERT_TRUE(comes_true([&] { return started == 3; }));
    std::this_thread::sleep_for(quiet_time);
    n.close();
    on_receive.join();
    on_cq.join();
    on_connection.join();
}

TEST(nic, query_tells_what_clients_rely_on) {
    nic n("/dev/clanvi0");
    const VIP_NIC_ATTRIBUTES a = n.attributes();
    EXPECT_EQ(std::string(a.Name).empty(), false);
    if (!device_is_given()) {
        EXPECT_STREQ(a.Name, "shm:clanvi0");
    }
    EXPECT_EQ(a.NicAddressLen, 6u);
    EXPECT_NE(a.LocalNicAddress, nullptr);
    EXPECT_EQ(a.ThreadSafe, VIP_TRUE);
    EXPECT_GE(a.MaxDiscriminatorLen, 16u);
    EXPECT_GE(a.MaxTransferSize, 65472u);
    EXPECT_GE(a.MaxCQEntries, 1024u);
    EXPECT_GE(a.MaxDescriptorsPerQueue, 1024u);
    EXPECT_GE(a.MaxSegmentsPerDesc, 252u);
    EXPECT_GE(a.MaxRegisterBytes, a.MaxRegisterBlockBytes);
    EXPECT_GE(a.MaxRegisterBlockBytes, a.MaxTransferSize);
    EXPECT_LE(a.NativeMTU, a.MaxTransferSize);
    EXPECT_GT(a.NativeMTU, 0u);
    EXPECT_GT(a.MaxRegisterRegions, 0u);
    EXPECT_GT(a.MaxVI, 0u);
    EXPECT_GT(a.MaxCQ, 0u);
    EXPECT_GT(a.MaxPtags, 0u);
    EXPECT_NE(a.HardwareVersion, 0u);
    EXPECT_NE(a.ProviderVersion, 0u);
    EXPECT_EQ(a.ReliabilityLevelSupport, VIP_BASE_SERVICES);
    EXPECT_EQ(a.RDMAReadSupport, VIP_SERVICE_RELIABLE_DELIVERY | VIP_SERVICE_RELIABLE_RECEPTION);
}

TEST(nic, query_refuses_what_it_cannot_answer) {
    nic n;
    VIP_NIC_ATTRIBUTES a;
    EXPECT_EQ(VipQueryNic(n, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryNic(nullptr, &a), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryNic(wild_handle(), &a), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryNic(&a, &a), VIP_INVALID_PARAMETER) << "a pointer to something else";
    EXPECT_EQ(VipQueryNic(n, &a), VIP_SUCCESS);
}

TEST(nic, the_last_component_names_the_device) {
    if (device_is_given()) {
        GTEST_SKIP() << "names do not choose the device here";
    }
    const nic a("/dev/via_eth0");
    const nic b("via_eth0");
    const nic other("/dev/via_lo");
    EXPECT_STREQ(a.attributes().Name, "shm:via_eth0");
    EXPECT_STREQ(b.attributes().Name, "shm:via_eth0");
    EXPECT_STREQ(other.attributes().Name, "shm:via_lo");
    EXPECT_EQ(a.address("").host(), b.address("").host());
    EXPECT_NE(a.address("").host(), other.address("").host());
}

TEST(nic, any_name_is_some_device) {
    if (device_is_given()) {
        GTEST_SKIP() << "names do not choose the device here";
    }
    const std::string long_name(300, 'n');
    const std::string another_long_name = long_name + "x";
    std::set<std::string> devices;
    for (const std::string& name :
         {std::string("/dev/a b"), std::string("/dev/a_b"), std::string("/dev/a\tb"), std::string(".."),
          std::string("."), long_name, another_long_name, std::string("/dev/\xc3\xa4\xff")}) {
        const nic n(name.c_str());
        devices.insert(n.attributes().Name);
        EXPECT_LT(std::strlen(n.attributes().Name), 64u);
    }
    EXPECT_EQ(devices.size(), 8u) << "two names do not become one";
}

TEST(nic, the_environment_chooses_the_device) {
    const with_environment chosen("VINIC_VIPL_DEVICE", "shm:elsewhere");
    const nic n("/dev/clanvi0");
    EXPECT_STREQ(n.attributes().Name, "shm:elsewhere");
}

TEST(nic, the_environment_chooses_the_host_address) {
    const with_environment table("VINIC_VIPL_HOSTS", "node7=02:11:22:33:44:55");
    const with_environment chosen("VINIC_VIPL_HOST", "node7");
    const nic n;
    EXPECT_EQ(n.address("").host(), "\x02\x11\x22\x33\x44\x55");
}

TEST(nic, an_unknown_host_of_its_own_is_a_resource_error) {
    const with_environment chosen("VINIC_VIPL_HOST", "no such host");
    VIP_NIC_HANDLE handle = wild_handle();
    testing::internal::CaptureStderr();
    EXPECT_EQ(VipOpenNic(nic::default_device, &handle), VIP_ERROR_RESOURCE);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("no such host"), std::string::npos);
    EXPECT_EQ(handle, nullptr);
}

TEST(nic, may_have_many_handles_at_once) {
    std::vector<std::unique_ptr<nic>> all;
    for (int i = 0; i < 40; ++i) {
        all.push_back(std::make_unique<nic>());
    }
    EXPECT_EQ(all.front()->address("").host(), all.back()->address("").host());
}

// -- management information -------------------------------------------------------------------

TEST(management, autodiscovery_counts_and_lists_addresses) {
    const with_environment table("VINIC_VIPL_HOSTS",
                                 "one=02:00:00:00:00:01;two=02:00:00:00:00:02;uno=02:00:00:00:00:01");
    nic n;
    VIP_AUTODISCOVERY_LIST list{};
    ASSERT_EQ(VipQuerySystemManagementInfo(n, VIP_SMI_AUTODISCOVERY, &list), VIP_SUCCESS);
    ASSERT_EQ(list.NumAdAddrs, 3u) << "this NIC and two hosts";
    EXPECT_EQ(list.NumberOfHops, 1u);

    net_address room[3];
    VIP_NET_ADDRESS* pointers[3] = {room[0].get(), room[1].get(), room[2].get()};
    list.ADAddrArray = pointers;
    ASSERT_EQ(VipQuerySystemManagementInfo(n, VIP_SMI_AUTODISCOVERY, &list), VIP_SUCCESS);
    std::set<std::string> hosts;
    for (const net_address& a : room) {
        hosts.insert(a.host());
    }
    EXPECT_EQ(hosts, (std::set<std::string>{n.address("").host(), std::string("\x02\0\0\0\0\x01", 6),
                                            std::string("\x02\0\0\0\0\x02", 6)}));

    list.NumAdAddrs = 1;
    EXPECT_EQ(VipQuerySystemManagementInfo(n, VIP_SMI_AUTODISCOVERY, &list), VIP_ERROR_RESOURCE);
    EXPECT_EQ(list.NumAdAddrs, 3u);
}

TEST(management, refuses_other_information) {
    nic n;
    VIP_AUTODISCOVERY_LIST list{};
    EXPECT_EQ(VipQuerySystemManagementInfo(n, 99, &list), VIP_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(VipQuerySystemManagementInfo(n, VIP_SMI_AUTODISCOVERY, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQuerySystemManagementInfo(nullptr, VIP_SMI_AUTODISCOVERY, &list), VIP_INVALID_PARAMETER);
}

// -- error callback and extensions ------------------------------------------------------------

TEST(management, error_callback_wants_a_nic) {
    nic n;
    const auto handler = [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {};
    EXPECT_EQ(VipErrorCallback(nullptr, nullptr, handler), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipErrorCallback(wild_handle(), nullptr, handler), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipErrorCallback(n, nullptr, handler), VIP_SUCCESS);
    EXPECT_EQ(VipErrorCallback(n, nullptr, nullptr), VIP_SUCCESS) << "back to the default";
}

TEST(extensions, tagged_completion_queues_are_not_offered) {
    nic n;
    const completion_queue cq(n);
    VIP_EVENT_HANDLE event = nullptr;
    EXPECT_EQ(VipAddTagCQ(cq, &event, 1, 0), VIP_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(VipRemoveTagCQ(cq, event, 1), VIP_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(VipAddTagCQ(nullptr, &event, 1, 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRemoveTagCQ(wild_handle(), event, 1), VIP_INVALID_PARAMETER);
}

TEST(extensions, sends_are_never_deferred) {
    nic n;
    const endpoint e(n);
    VIP_BOOLEAN deferred = VIP_TRUE;
    EXPECT_EQ(VipPostDeferredSends(e.vi, VIP_TRUE, &deferred), VIP_SUCCESS);
    EXPECT_EQ(deferred, VIP_FALSE);
    EXPECT_EQ(VipPostDeferredSends(e.vi, VIP_TRUE, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipPostDeferredSends(nullptr, VIP_TRUE, &deferred), VIP_INVALID_PARAMETER);
}

}  // namespace
}  // namespace vipl_test

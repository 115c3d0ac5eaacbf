// SPDX-License-Identifier: Apache-2.0
//
// vipl_cancel_test.cc -- as C programs end their threads: pthread_cancel while one sits in a call of VIPL, pthread_exit
// in a handler that VIPL calls.
#include <pthread.h>

#include <atomic>

#include "victim.hpp"
#include "vipl/fixture.hpp"

namespace vipl_test {
namespace {

using tests::comes_back;
using tests::end_inside;

void expect_message(pair& p) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
}

TEST(vipl_cancel, is_held_back_in_calls) {
    EXPECT_TRUE(comes_back([] {
        nic n;
        must(VipNSInit(n, nullptr));
        completion_queue cq(n);
        endpoint e(n);
        must(VipNSShutdown(n));
    }));
    pair p;
    // Takes without a nap, which would be a cancellation point of the test's.
    const auto taken = [](auto take, VIP_VI_HANDLE vi) {
        const auto end = std::chrono::steady_clock::now() + patience;
        VIP_DESCRIPTOR* done = nullptr;
        while (take(vi, &done) == VIP_NOT_DONE && std::chrono::steady_clock::now() < end) {
            std::this_thread::yield();
        }
        return done;
    };
    EXPECT_TRUE(comes_back([&] {
        for (int i = 0; i < 100; ++i) {
            VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
            VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
            EXPECT_EQ(taken(VipRecvDone, p.right.vi), r);
            EXPECT_EQ(taken(VipSendDone, p.left.vi), s);
        }
        must(VipDisconnect(p.left.vi));
    }));
}

TEST(vipl_cancel, is_held_back_while_a_server_is_waited_for_that_starts_later) {
    const with_environment patience("VINIC_VIPL_CONNECT_GRACE", "50ms");
    nic n;
    endpoint e(n);
    net_address nobody = n.address(fresh_discriminator());
    net_address mine = n.address(fresh_discriminator());
    EXPECT_TRUE(comes_back([&] {
        VIP_VI_ATTRIBUTES theirs{};
        EXPECT_EQ(VipConnectRequest(e.vi, mine.get(), nobody.get(), 10'000, &theirs), VIP_NO_MATCH);
    }));
}

TEST(vipl_cancel, ends_waits_for_descriptors_and_the_next_one_gets_them) {
    pair p;
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    end_inside([&] {
        VIP_DESCRIPTOR* d = nullptr;
        (void)VipRecvWait(p.right.vi, VIP_INFINITE, &d);
    });
    end_inside([&] {
        VIP_DESCRIPTOR* d = nullptr;
        (void)VipRecvWait(p.right.vi, 60'000, &d);
    });
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    EXPECT_EQ(p.right.finish_receive(r), done_receive);
}

TEST(vipl_cancel, ends_waits_on_completion_queues) {
    nic n;
    completion_queue cq(n);
    end_inside([&] {
        VIP_VI_HANDLE v = nullptr;
        VIP_BOOLEAN receive = VIP_FALSE;
        (void)VipCQWait(cq, VIP_INFINITE, &v, &receive);
    });
    VIP_VI_HANDLE v = nullptr;
    VIP_BOOLEAN receive = VIP_FALSE;
    EXPECT_EQ(VipCQWait(cq, 1, &v, &receive), VIP_TIMEOUT);
}

TEST(vipl_cancel, ends_waits_for_connections_and_nobody_is_found_there_then) {
    nic n;
    endpoint e(n);
    net_address here = n.address(fresh_discriminator());
    end_inside([&] {
        net_address from;
        VIP_VI_ATTRIBUTES theirs{};
        VIP_CONN_HANDLE request = nullptr;
        (void)VipConnectWait(n, here.get(), VIP_INFINITE, from.get(), &theirs, &request);
    });
    VIP_VI_ATTRIBUTES theirs{};
    net_address mine = n.address(fresh_discriminator());
    EXPECT_EQ(VipConnectRequest(e.vi, mine.get(), here.get(), 10'000, &theirs), VIP_NO_MATCH)
        << "the listener has gone with the thread";
}

TEST(vipl_cancel, ends_waits_for_peers_and_the_request_stays) {
    nic n;
    endpoint a(n);
    endpoint b(n);
    net_address one = n.address(fresh_discriminator());
    net_address other = n.address(fresh_discriminator());
    must(VipConnectPeerRequest(a.vi, one.get(), other.get(), 60'000));
    end_inside([&] {
        VIP_VI_ATTRIBUTES theirs{};
        (void)VipConnectPeerWait(a.vi, &theirs);
    });
    must(VipConnectPeerRequest(b.vi, other.get(), one.get(), 60'000));
    VIP_VI_ATTRIBUTES theirs{};
    EXPECT_EQ(VipConnectPeerWait(a.vi, &theirs), VIP_SUCCESS);
    EXPECT_EQ(VipConnectPeerWait(b.vi, &theirs), VIP_SUCCESS);
}

// -- handlers -----------------------------------------------------------------------------------

std::atomic<int> handled{0};

TEST(vipl_cancel, a_thread_that_an_error_handler_ends_is_replaced) {
    pair p;
    handled = 0;
    must(VipErrorCallback(p.left_nic, nullptr, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {
        ++handled;
        ::pthread_exit(nullptr);
    }));
    for (int i = 1; i <= 3; ++i) {
        EXPECT_EQ(VipPostSend(p.left.vi, p.left.descriptor(0), 0), VIP_SUCCESS) << "a bad memory handle is told later";
        EXPECT_TRUE(comes_true([&] { return handled == i; })) << i;
    }
    expect_message(p);
}

TEST(vipl_cancel, a_thread_that_a_notification_ends_is_replaced) {
    pair p;
    handled = 0;
    for (int i = 1; i <= 3; ++i) {
        must(VipRecvNotify(p.right.vi, nullptr, [](VIP_PVOID, VIP_NIC_HANDLE, VIP_VI_HANDLE, VIP_DESCRIPTOR*) {
            ++handled;
            ::pthread_exit(nullptr);
        }));
        p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 64)}));
        EXPECT_EQ(p.left.finish_send(s), done_send);
        EXPECT_TRUE(comes_true([&] { return handled == i; })) << i;
    }
}

TEST(vipl_cancel, a_handler_that_is_cancelled_returns_first) {
    pair p;
    handled = 0;
    must(VipErrorCallback(p.left_nic, nullptr, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {
        (void)::pthread_cancel(::pthread_self());
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // would be a cancellation point
        ++handled;
    }));
    for (int i = 1; i <= 3; ++i) {
        EXPECT_EQ(VipPostSend(p.left.vi, p.left.descriptor(0), 0), VIP_SUCCESS);
        EXPECT_TRUE(comes_true([&] { return handled == i; })) << i;
    }
}

}  // namespace
}  // namespace vipl_test

// SPDX-License-Identifier: Apache-2.0
//
// cq_test.cc -- completion queues.
#include <map>
#include <memory>

#include "fixture.hpp"

namespace vipl_test {
namespace {

class cq : public testing::Test {
protected:
    [[nodiscard]] static endpoint_options both(VIP_CQ_HANDLE handle) {
        endpoint_options o;
        o.send_cq = o.receive_cq = handle;
        return o;
    }
    [[nodiscard]] static testing::AssertionResult is_empty(VIP_CQ_HANDLE handle) {
        VIP_VI_HANDLE v = wild_handle();
        VIP_BOOLEAN receive = VIP_FALSE;
        const VIP_RETURN r = VipCQDone(handle, &v, &receive);
        return r == VIP_NOT_DONE && v == nullptr ? testing::AssertionSuccess()
                                                 : testing::AssertionFailure() << testing::PrintToString(r);
    }
    nic here;
    nic there;
};

TEST_F(cq, is_created_resized_and_destroyed_within_its_limits) {
    VIP_CQ_HANDLE c = wild_handle();
    const VIP_ULONG most = here.attributes().MaxCQEntries;
    EXPECT_EQ(VipCreateCQ(nullptr, 8, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateCQ(wild_handle(), 8, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateCQ(here, 8, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateCQ(here, 0, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreateCQ(here, most + 1, &c), VIP_ERROR_RESOURCE);
    EXPECT_EQ(c, nullptr);
    ASSERT_EQ(VipCreateCQ(here, most, &c), VIP_SUCCESS);
    EXPECT_EQ(VipResizeCQ(c, 1), VIP_SUCCESS);
    EXPECT_EQ(VipResizeCQ(c, 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipResizeCQ(c, most + 1), VIP_ERROR_RESOURCE);
    EXPECT_EQ(VipResizeCQ(nullptr, 1), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyCQ(nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyCQ(wild_handle()), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyCQ(c), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyCQ(c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipResizeCQ(c, 8), VIP_INVALID_PARAMETER);
}

TEST_F(cq, that_is_empty_says_so_and_ends_a_wait_in_time) {
    const completion_queue c(here);
    VIP_VI_HANDLE v = wild_handle();
    VIP_BOOLEAN receive = VIP_FALSE;
    EXPECT_TRUE(is_empty(c));
    EXPECT_EQ(VipCQWait(c, 0, &v, &receive), VIP_TIMEOUT);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(VipCQWait(c, 30, &v, &receive), VIP_TIMEOUT);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 30ms);
    EXPECT_EQ(v, nullptr);
    EXPECT_EQ(VipCQDone(c, nullptr, &receive), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQDone(c, &v, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQWait(c, 0, nullptr, &receive), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQWait(c, 0, &v, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQDone(wild_handle(), &v, &receive), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQWait(wild_handle(), VIP_INFINITE, &v, &receive), VIP_INVALID_PARAMETER);
}

TEST_F(cq, an_entry_is_not_the_descriptor) {
    const completion_queue c(here);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(e, peer);
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {e.at(0, 64)}));
    VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {peer.at(0, 8)}));
    EXPECT_EQ(peer.finish_send(s), done_send);
    EXPECT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
    EXPECT_TRUE(is_empty(c)) << "one entry for one descriptor";
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_EQ(VipRecvDone(e.vi, &d), VIP_SUCCESS) << "the descriptor is there when the entry is";
    EXPECT_EQ(d, r);
    peer.post_receive(peer.write(1, 0, {peer.at(0, 64)}));
    s = e.post_send(e.write(1, 0, {e.at(0, 8)}));
    EXPECT_EQ(next_entry(c), (cq_entry{e.vi, VIP_FALSE}));
    EXPECT_EQ(VipSendDone(e.vi, &d), VIP_SUCCESS);
    EXPECT_EQ(d, s);
}

TEST_F(cq, is_busy_while_a_vi_uses_it) {
    VIP_CQ_HANDLE c = nullptr;
    must(VipCreateCQ(here, 8, &c));
    for (const bool receives : {true, false}) {
        endpoint_options o;
        (receives ? o.receive_cq : o.send_cq) = c;
        const endpoint e(here, o);
        EXPECT_EQ(VipDestroyCQ(c), VIP_ERROR_RESOURCE);
    }
    EXPECT_EQ(VipDestroyCQ(c), VIP_SUCCESS);
}

TEST_F(cq, errors_and_flushed_descriptors_make_entries) {
    const completion_queue c(here);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(e, peer);
    e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    e.post_receive(e.write(1, 0, {e.at(0, 8)}));
    must(VipDisconnect(e.vi));
    VIP_DESCRIPTOR* s = e.post_send(e.write(2, 0, {e.at(0, 8)}));  // idle: flushed at once
    EXPECT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
    EXPECT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
    EXPECT_EQ(next_entry(c), (cq_entry{e.vi, VIP_FALSE}));
    EXPECT_EQ(e.finish_send(s), done_send | VIP_STATUS_DESC_FLUSHED_ERROR);
    EXPECT_EQ(e.drain(), 2u);
    EXPECT_TRUE(is_empty(c));
}

TEST_F(cq, entries_of_a_vi_come_in_the_order_of_completion) {
    const completion_queue c(here);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(e, peer);
    VIP_DESCRIPTOR* d = nullptr;
    std::vector<bool> wanted;
    for (std::size_t i = 0; i < 40; ++i) {
        if (i % 3 == 0) {
            peer.post_receive(peer.write(i, 0, {peer.at(0, 8)}));
            e.post_send(e.write(i, 0, {e.at(0, 8)}));
        } else {
            e.post_receive(e.write(i, 0, {e.at(0, 8)}));
            peer.post_send(peer.write(i, 0, {peer.at(0, 8)}));
            ASSERT_EQ(peer.finish_send(peer.descriptor(i)), done_send);
        }
        const cq_entry entry = next_entry(c);
        ASSERT_EQ(entry, (cq_entry{e.vi, i % 3 != 0}));
        ASSERT_EQ((i % 3 != 0 ? VipRecvDone : VipSendDone)(e.vi, &d), VIP_SUCCESS);
        ASSERT_EQ(d, e.descriptor(i));
    }
}

TEST_F(cq, never_loses_an_entry_however_small_it_was_asked_for) {
    const completion_queue c(here, 1);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(e, peer);
    constexpr std::size_t count = 1000;
    for (std::size_t i = 0; i < count; ++i) {
        e.post_receive(e.write(i, 0, {e.at(0, 8)}));
    }
    for (std::size_t i = 0; i < count; ++i) {
        peer.post_send(peer.write(i, 0, {peer.at(0, 8)}));
        ASSERT_EQ(peer.finish_send(peer.descriptor(i)), done_send);
    }
    for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
        VIP_DESCRIPTOR* d = nullptr;
        ASSERT_EQ(VipRecvDone(e.vi, &d), VIP_SUCCESS);
        ASSERT_EQ(d, e.descriptor(i));
    }
    EXPECT_TRUE(is_empty(c));
}

TEST_F(cq, serves_several_vis) {
    constexpr std::size_t count = 40;  // more queues than a small native queue would serve
    const completion_queue c(here, 16);
    std::vector<std::unique_ptr<endpoint>> served;
    std::vector<std::unique_ptr<endpoint>> peers;
    std::map<VIP_VI_HANDLE, std::size_t> index;
    for (std::size_t i = 0; i < count; ++i) {
        served.push_back(std::make_unique<endpoint>(here, both(c)));
        peers.push_back(std::make_unique<endpoint>(there));
        index[served.back()->vi] = i;
        for (std::size_t k = 0; k <= i % 5; ++k) {
            served.back()->post_receive(served.back()->write(k, 0, {served.back()->at(0, 64)}));
        }
        connect(*peers.back(), *served.back());
    }
    std::size_t sent = 0;
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t k = 0; k <= i % 5; ++k, ++sent) {
            VIP_DESCRIPTOR* s = peers[i]->write(0, VIP_CONTROL_IMMEDIATE, {}, static_cast<std::uint32_t>(i * 10 + k));
            peers[i]->post_send(s);
            ASSERT_EQ(peers[i]->finish_send(s), done_send);
        }
    }
    std::map<std::size_t, std::uint32_t> next;
    for (; sent != 0; --sent) {
        const cq_entry entry = next_entry(c);
        ASSERT_EQ(entry.receive, VIP_TRUE);
        ASSERT_TRUE(index.contains(entry.vi));
        const std::size_t i = index[entry.vi];
        VIP_DESCRIPTOR* d = nullptr;
        ASSERT_EQ(VipRecvDone(entry.vi, &d), VIP_SUCCESS);
        ASSERT_EQ(d->CS.ImmediateData, i * 10 + next[i]++);
    }
    EXPECT_TRUE(is_empty(c));
}

TEST_F(cq, may_be_resized_under_load) {
    const completion_queue c(here, 4);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(e, peer);
    constexpr std::size_t count = 3000;
    for (std::size_t i = 0; i < 500; ++i) {
        e.post_receive(e.write(i, 0, {e.at(0, 8)}));
    }
    std::atomic<bool> finished{false};
    std::thread resizing([&] {
        for (VIP_ULONG n = 1; !finished; n = n % 500 + 32) {
            ASSERT_EQ(VipResizeCQ(c, n), VIP_SUCCESS);
            std::this_thread::sleep_for(50us);
        }
    });
    std::thread sending([&] {
        for (std::uint32_t i = 0; i < count; ++i) {
            // A credit for each message: the receiver's index, which it writes to our memory.
            (void)comes_true(
                [&] { return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(peer.buffer())).load() + 500 > i; });
            VIP_DESCRIPTOR* s = peer.post_send(peer.write(i % 1000, VIP_CONTROL_IMMEDIATE, {}, i));
            ASSERT_EQ(peer.finish_send(s), done_send);
        }
    });
    for (std::uint32_t i = 0; i < count; ++i) {
        VIP_DESCRIPTOR* d = nullptr;
        ASSERT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
        ASSERT_EQ(VipRecvDone(e.vi, &d), VIP_SUCCESS);
        ASSERT_EQ(d->CS.ImmediateData, i);
        e.post_receive(e.write(d, 0, {}));
        std::atomic_ref(*reinterpret_cast<std::uint64_t*>(peer.buffer())).store(i);
    }
    finished = true;
    resizing.join();
    sending.join();
}

TEST_F(cq, entries_of_destroyed_vis_vanish) {
    const completion_queue c(here);
    auto doomed = std::make_unique<endpoint>(here, both(c));
    endpoint stays(here, both(c));
    endpoint peer(there);
    connect(peer, *doomed);
    for (std::size_t i = 0; i < 4; ++i) {
        doomed->post_receive(doomed->write(i, 0, {doomed->at(0, 8)}));
    }
    VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
    ASSERT_EQ(peer.finish_send(s), done_send);
    stays.post_send(stays.write(0, 0, {}));  // flushed at once: an entry between those of the other
    must(VipDisconnect(doomed->vi));
    EXPECT_EQ(doomed->drain(), 4u) << "by Done alone, entries stay";
    doomed.reset();
    endpoint next(here, both(c));  // may take the place of the one that went
    EXPECT_EQ(next_entry(c), (cq_entry{stays.vi, VIP_FALSE}));
    EXPECT_TRUE(is_empty(c));
}

TEST_F(cq, stale_entries_do_no_harm) {
    const completion_queue c(here);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(peer, e);
    for (int round = 0; round < 3000; ++round) {
        e.post_receive(e.write(0, 0, {e.at(0, 8)}));
        VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
        ASSERT_EQ(peer.finish_send(s), done_send);
        ASSERT_EQ(e.finish_receive(e.descriptor(0)), done_receive) << "taken without its entry";
    }
    // Entries may lead to nothing, but one that comes for a new descriptor is behind them.
    e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
    ASSERT_EQ(peer.finish_send(s), done_send);
    VIP_DESCRIPTOR* d = nullptr;
    while (d == nullptr) {
        ASSERT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
        (void)VipRecvDone(e.vi, &d);
    }
    EXPECT_EQ(d, e.descriptor(0));
}

TEST_F(cq, wait_on_a_queue_that_has_one_is_allowed) {
    const completion_queue c(here);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(peer, e);
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    std::thread sending([&] {
        std::this_thread::sleep_for(quiet_time);
        VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
        EXPECT_EQ(peer.finish_send(s), done_send);
    });
    EXPECT_EQ(e.finish_receive(r), done_receive);
    sending.join();
    EXPECT_EQ(next_entry(c), (cq_entry{e.vi, VIP_TRUE}));
}

TEST_F(cq, may_be_one_for_sends_and_another_for_receives) {
    const completion_queue sends(here);
    const completion_queue receives(here);
    endpoint_options o;
    o.send_cq = sends;
    o.receive_cq = receives;
    endpoint e(here, o);
    endpoint peer(there);
    connect(peer, e);
    e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    peer.post_receive(peer.write(1, 0, {peer.at(0, 8)}));
    VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
    ASSERT_EQ(peer.finish_send(s), done_send);
    e.post_send(e.write(1, 0, {}));
    EXPECT_EQ(next_entry(sends), (cq_entry{e.vi, VIP_FALSE}));
    EXPECT_EQ(next_entry(receives), (cq_entry{e.vi, VIP_TRUE}));
    EXPECT_TRUE(is_empty(sends));
    EXPECT_TRUE(is_empty(receives));
}

TEST_F(cq, wait_wakes_up) {
    const completion_queue c(here);
    endpoint e(here, both(c));
    endpoint peer(there);
    connect(peer, e);
    e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    for (std::size_t i = 0; i < 3; ++i) {
        std::thread sending([&] {
            std::this_thread::sleep_for(quiet_time);
            VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
            EXPECT_EQ(peer.finish_send(s), done_send);
        });
        cq_entry entry;
        EXPECT_EQ(VipCQWait(c, VIP_INFINITE, &entry.vi, &entry.receive), VIP_SUCCESS);
        EXPECT_EQ(entry, (cq_entry{e.vi, VIP_TRUE}));
        EXPECT_EQ(e.finish_receive(e.descriptor(0)), done_receive);
        sending.join();
        e.post_receive(e.write(0, 0, {e.at(0, 8)}));
    }
}

}  // namespace
}  // namespace vipl_test

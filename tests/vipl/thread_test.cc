// SPDX-License-Identifier: Apache-2.0
//
// thread_test.cc -- several threads in one process: on one VI, one completion queue, one NIC handle, several handles.
#include <future>
#include <memory>
#include <set>

#include "fixture.hpp"

namespace vipl_test {
namespace {

class threads : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {};
VIPL_ALL_LEVELS(threads);

/// Done in one thread returns although another sits in Wait.
TEST_P(threads, done_does_not_block_behind_wait) {
    pair p(at_level(GetParam()));
    p.right.post_receive(p.right.write(0, 0, {}));
    std::atomic<bool> waits{false};
    std::thread waiting([&] {
        VIP_DESCRIPTOR* d = nullptr;
        waits = true;
        EXPECT_EQ(VipRecvWait(p.right.vi, patience_ms, &d), VIP_SUCCESS);
        EXPECT_EQ(d, p.right.descriptor(0));
    });
    ASSERT_TRUE(comes_true([&] { return waits.load(); }));
    std::this_thread::sleep_for(quiet_time);
    for (int i = 0; i < 1000; ++i) {
        VIP_DESCRIPTOR* d = nullptr;
        ASSERT_EQ(VipRecvDone(p.right.vi, &d), VIP_NOT_DONE);
        ASSERT_EQ(VipSendDone(p.right.vi, &d), VIP_DESCRIPTOR_ERROR);
    }
    p.right.post_receive(p.right.write(1, 0, {}));  // posting is no matter either
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {}));
    EXPECT_EQ(p.left.finish_send(s), done_send);
    waiting.join();
}

/// Each descriptor is returned once, whoever asks; several post at the same time.
TEST_P(threads, post_to_one_vi_and_take_from_one) {
    pair p(at_level(GetParam()));
    constexpr std::size_t posters = 3;
    constexpr std::size_t takers = 3;
    constexpr std::size_t each = 300;
    constexpr std::size_t count = posters * each;
    for (std::size_t i = 0; i < count; ++i) {
        p.right.post_receive(p.right.write(i, 0, {}));
    }
    std::vector<std::thread> all;
    for (std::size_t t = 0; t < posters; ++t) {
        all.emplace_back([&, t] {
            for (std::size_t i = t * each; i < (t + 1) * each; ++i) {
                p.left.post_send(p.left.write(i, VIP_CONTROL_IMMEDIATE, {}, static_cast<std::uint32_t>(i)));
            }
        });
    }
    std::mutex mutex;
    std::set<std::uint32_t> numbers;
    std::atomic<std::size_t> taken{0};
    for (std::size_t t = 0; t < takers; ++t) {
        all.emplace_back([&, t] {
            while (taken.load() < count) {
                VIP_DESCRIPTOR* d = nullptr;
                const VIP_RETURN r = t == 0 ? VipRecvDone(p.right.vi, &d) : VipRecvWait(p.right.vi, 5, &d);
                if (r == VIP_SUCCESS) {
                    const std::lock_guard hold(mutex);
                    ASSERT_TRUE(numbers.insert(d->CS.ImmediateData).second);
                    ++taken;
                } else {
                    ASSERT_TRUE(r == VIP_NOT_DONE || r == VIP_TIMEOUT || (r == VIP_DESCRIPTOR_ERROR && d == nullptr));
                }
            }
        });
    }
    for (std::thread& t : all) {
        t.join();
    }
    EXPECT_EQ(numbers.size(), count);
    EXPECT_EQ(p.left.drain(), count);
}

/// Pairs of threads with VIs of their own on one NIC handle per side.
TEST_P(threads, use_many_vis_of_one_handle) {
    nic left;
    nic right;
    std::vector<std::thread> all;
    for (int t = 0; t < 4; ++t) {
        all.emplace_back([&] {
            endpoint a(left, at_level(GetParam()));
            endpoint b(right, at_level(GetParam()));
            for (int round = 0; round < 5; ++round) {
                connect(a, b);
                for (std::uint32_t i = 0; i < 50; ++i) {
                    VIP_DESCRIPTOR* r = b.post_receive(b.write(0, 0, {b.at(0, 1024)}));
                    fill(a.bytes(0, 1000), i);
                    VIP_DESCRIPTOR* s = a.post_send(a.write(0, 0, {a.at(0, 1000)}));
                    ASSERT_EQ(a.finish_send(s), done_send);
                    ASSERT_EQ(b.finish_receive(r), done_receive);
                    ASSERT_TRUE(matches(b.bytes(0, 1000), i));
                }
                ASSERT_EQ(VipDisconnect(a.vi), VIP_SUCCESS);
                ASSERT_EQ(VipDisconnect(b.vi), VIP_SUCCESS);
            }
        });
    }
    for (std::thread& t : all) {
        t.join();
    }
}

/// Several threads serve one completion queue: each entry goes to one of them.
TEST_P(threads, serve_one_completion_queue_together) {
    nic here;
    nic there;
    const completion_queue cq(here);
    constexpr std::size_t clients = 4;
    constexpr std::uint32_t each = 200;
    std::vector<std::unique_ptr<endpoint>> served;
    std::vector<std::unique_ptr<endpoint>> peers;
    for (std::size_t i = 0; i < clients; ++i) {
        endpoint_options o = at_level(GetParam());
        o.receive_cq = cq;
        served.push_back(std::make_unique<endpoint>(here, o));
        peers.push_back(std::make_unique<endpoint>(there, at_level(GetParam())));
        for (std::size_t k = 0; k < each; ++k) {
            served[i]->post_receive(served[i]->write(k, 0, {}));
        }
        connect(*peers[i], *served[i]);
    }
    std::atomic<std::size_t> received{0};
    std::atomic<std::uint64_t> sum{0};
    std::vector<std::thread> all;
    for (std::size_t t = 0; t < 3; ++t) {
        all.emplace_back([&] {
            while (received.load() < clients * each) {
                cq_entry e;
                const VIP_RETURN r = VipCQWait(cq, 5, &e.vi, &e.receive);
                ASSERT_TRUE(r == VIP_SUCCESS || r == VIP_TIMEOUT);
                if (r == VIP_SUCCESS) {
                    VIP_DESCRIPTOR* d = nullptr;
                    ASSERT_EQ(VipRecvDone(e.vi, &d), VIP_SUCCESS) << "there is a descriptor for each entry";
                    sum += d->CS.ImmediateData;
                    ++received;
                }
            }
        });
    }
    for (std::size_t i = 0; i < clients; ++i) {
        all.emplace_back([&, i] {
            for (std::uint32_t k = 0; k < each; ++k) {
                VIP_DESCRIPTOR* s = peers[i]->post_send(peers[i]->write(0, VIP_CONTROL_IMMEDIATE, {}, k));
                ASSERT_EQ(peers[i]->finish_send(s), done_send);
            }
        });
    }
    for (std::thread& t : all) {
        t.join();
    }
    EXPECT_EQ(received, clients * each);
    EXPECT_EQ(sum, std::uint64_t{clients} * each * (each - 1) / 2);
}

/// Everything that has no VI: opened, made and destroyed by everybody at once.
TEST(threads_of_one_process, objects_come_and_go) {
    nic shared;
    std::vector<std::thread> all;
    for (int t = 0; t < 4; ++t) {
        all.emplace_back([&, t] {
            std::vector<char> bytes(5000);
            for (int i = 0; i < 30; ++i) {
                nic own;
                VIP_PROTECTION_HANDLE tag = nullptr;
                VIP_MEM_HANDLE memory = 0;
                VIP_CQ_HANDLE cq = nullptr;
                VIP_VI_HANDLE vi = nullptr;
                VIP_NIC_HANDLE n = (i + t) % 2 == 0 ? shared.handle : own.handle;
                must(VipCreatePtag(n, &tag));
                VIP_MEM_ATTRIBUTES rights{tag, VIP_TRUE, VIP_FALSE};
                must(VipRegisterMem(n, bytes.data(), bytes.size(), &rights, &memory));
                must(VipCreateCQ(n, 8, &cq));
                VIP_VI_ATTRIBUTES a{};
                a.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
                a.MaxTransferSize = 100;
                a.Ptag = tag;
                must(VipCreateVi(n, &a, cq, cq, &vi));
                char name[] = "localhost";
                net_address found;
                must(VipNSGetHostByName(n, name, found.get(), 0));
                must(VipDestroyVi(vi));
                must(VipDestroyCQ(cq));
                must(VipDeregisterMem(n, bytes.data(), memory));
                must(VipDestroyPtag(n, tag));
            }
        });
    }
    for (std::thread& t : all) {
        t.join();
    }
}

/// A handle that dies in one thread while others use it: they get an answer, and nothing breaks.
TEST(threads_of_one_process, a_vi_is_destroyed_under_the_feet_of_others) {
    nic n;
    for (int round = 0; round < 30; ++round) {
        auto e = std::make_unique<endpoint>(n);
        std::vector<std::thread> all;
        const VIP_VI_HANDLE vi = e->vi;
        VIP_DESCRIPTOR* own = e->write(0, 0, {});
        const VIP_MEM_HANDLE memory = e->memory;
        for (int t = 0; t < 3; ++t) {
            all.emplace_back([&, t] {
                for (;;) {
                    VIP_DESCRIPTOR* d = nullptr;
                    VIP_VI_STATE state;
                    VIP_VI_ATTRIBUTES a;
                    VIP_BOOLEAN empty;
                    VIP_RETURN r = VIP_SUCCESS;
                    if (t == 0) {
                        r = VipQueryVi(vi, &state, &a, &empty, &empty);
                    } else if (t == 1) {
                        r = VipPostSend(vi, own, memory);
                        while (r == VIP_SUCCESS && VipSendDone(vi, &d) == VIP_DESCRIPTOR_ERROR && d == nullptr) {
                            std::this_thread::yield();
                        }
                    } else {
                        r = VipRecvWait(vi, 1, &d);
                    }
                    if (r == VIP_INVALID_PARAMETER) {
                        return;
                    }
                }
            });
        }
        std::this_thread::sleep_for(std::chrono::microseconds(50 * round));
        EXPECT_TRUE(comes_true([&] {
            (void)VipDisconnect(vi);
            return VipDestroyVi(vi) == VIP_SUCCESS;
        }));
        e->vi = nullptr;
        for (std::thread& t : all) {
            t.join();
        }
    }
}

/// Memory is registered and deregistered by one thread while others send from other memory.
TEST(threads_of_one_process, registration_does_not_disturb_transfers) {
    pair p(at_level(VIP_SERVICE_RELIABLE_RECEPTION));
    std::atomic<bool> finished{false};
    std::thread registering([&] {
        std::vector<char> bytes(100000);
        VIP_MEM_ATTRIBUTES rights{p.left.tag, VIP_TRUE, VIP_TRUE};
        while (!finished) {
            VIP_MEM_HANDLE h = 0;
            ASSERT_EQ(VipRegisterMem(p.left_nic, bytes.data(), bytes.size(), &rights, &h), VIP_SUCCESS);
            ASSERT_EQ(VipSetMemAttributes(p.left_nic, bytes.data(), h, &rights), VIP_SUCCESS);
            ASSERT_EQ(VipDeregisterMem(p.left_nic, bytes.data(), h), VIP_SUCCESS);
        }
    });
    for (std::uint32_t i = 0; i < 500; ++i) {
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 1000)}));
        fill(p.left.bytes(0, 1000), i);
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 1000)}));
        ASSERT_EQ(p.left.finish_send(s), done_send);
        ASSERT_EQ(p.right.finish_receive(r), done_receive);
        ASSERT_TRUE(matches(p.right.bytes(0, 1000), i));
    }
    finished = true;
    registering.join();
}

}  // namespace
}  // namespace vipl_test

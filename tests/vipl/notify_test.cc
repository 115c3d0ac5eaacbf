// SPDX-License-Identifier: Apache-2.0
//
// notify_test.cc -- VipSendNotify, VipRecvNotify, VipCQNotify: one call for each registration, in order.
#include <memory>

#include "fixture.hpp"

namespace vipl_test {
namespace {

/// What handlers were called with.
class calls {
public:
    struct call {
        int context;
        VIP_NIC_HANDLE nic;
        VIP_VI_HANDLE vi;
        VIP_DESCRIPTOR* descriptor;
        VIP_BOOLEAN receive;
    };
    struct registration {
        calls* all;
        int number;
    };
    VIP_PVOID context(int number) {
        registrations_.push_back(std::make_unique<registration>(registration{this, number}));
        return registrations_.back().get();
    }
    static void of_vi(VIP_PVOID context, VIP_NIC_HANDLE n, VIP_VI_HANDLE v, VIP_DESCRIPTOR* d) {
        const auto& r = *static_cast<registration*>(context);
        r.all->add({r.number, n, v, d, VIP_FALSE});
    }
    static void of_cq(VIP_PVOID context, VIP_NIC_HANDLE n, VIP_VI_HANDLE v, VIP_BOOLEAN receive) {
        const auto& r = *static_cast<registration*>(context);
        r.all->add({r.number, n, v, nullptr, receive});
    }
    [[nodiscard]] std::vector<call> wait_for(std::size_t n) {
        std::unique_lock hold(mutex_);
        if (!changed_.wait_for(hold, patience, [&] { return seen_.size() >= n; })) {
            throw std::runtime_error("no call of a handler");
        }
        return seen_;
    }
    [[nodiscard]] std::size_t count() {
        const std::lock_guard hold(mutex_);
        return seen_.size();
    }

private:
    void add(const call& c) {
        const std::lock_guard hold(mutex_);
        seen_.push_back(c);
        changed_.notify_all();
    }
    std::vector<std::unique_ptr<registration>> registrations_;
    std::vector<call> seen_;
    std::mutex mutex_;
    std::condition_variable changed_;
};

class notify : public testing::Test {
protected:
    void send(std::uint32_t immediate = 0) {
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(2000, VIP_CONTROL_IMMEDIATE, {}, immediate));
        ASSERT_EQ(p.left.finish_send(s), done_send);
    }
    calls heard;
    pair p;
};

TEST_F(notify, refuses_bad_parameters) {
    const completion_queue c(p.left_nic);
    endpoint_options o;
    o.send_cq = o.receive_cq = c;
    const endpoint bound(p.left_nic, o);
    for (auto* function : {&VipSendNotify, &VipRecvNotify}) {
        EXPECT_EQ(function(nullptr, nullptr, &calls::of_vi), VIP_INVALID_PARAMETER);
        EXPECT_EQ(function(wild_handle(), nullptr, &calls::of_vi), VIP_INVALID_PARAMETER);
        EXPECT_EQ(function(p.left.vi, nullptr, nullptr), VIP_INVALID_PARAMETER);
        EXPECT_EQ(function(bound.vi, nullptr, &calls::of_vi), VIP_INVALID_PARAMETER) << "a queue that has a CQ";
    }
    EXPECT_EQ(VipCQNotify(nullptr, nullptr, &calls::of_cq), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQNotify(wild_handle(), nullptr, &calls::of_cq), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCQNotify(c, nullptr, nullptr), VIP_INVALID_PARAMETER);
}

TEST_F(notify, tells_of_a_receive_that_is_done_already) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {}));
    send();
    ASSERT_EQ(VipRecvNotify(p.right.vi, heard.context(7), &calls::of_vi), VIP_SUCCESS);
    const calls::call c = heard.wait_for(1)[0];
    EXPECT_EQ(c.context, 7);
    EXPECT_EQ(c.nic, p.right_nic.handle);
    EXPECT_EQ(c.vi, p.right.vi);
    EXPECT_EQ(c.descriptor, r);
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_EQ(VipRecvDone(p.right.vi, &d), VIP_DESCRIPTOR_ERROR) << "it has left the queue";
    EXPECT_EQ(d, nullptr);
}

TEST_F(notify, tells_once_of_a_receive_that_is_done_later) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {}));
    VIP_DESCRIPTOR* second = p.right.post_receive(p.right.write(1, 0, {}));
    ASSERT_EQ(VipRecvNotify(p.right.vi, heard.context(1), &calls::of_vi), VIP_SUCCESS);
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(heard.count(), 0u);
    send();
    EXPECT_EQ(heard.wait_for(1)[0].descriptor, r);
    send();
    EXPECT_EQ(p.right.finish_receive(second), done_receive | VIP_STATUS_IMMEDIATE) << "the next one is the program's";
    EXPECT_EQ(heard.count(), 1u);
}

TEST_F(notify, may_be_registered_before_anything_is_posted) {
    ASSERT_EQ(VipRecvNotify(p.right.vi, heard.context(1), &calls::of_vi), VIP_SUCCESS);
    std::this_thread::sleep_for(quiet_time);
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {}));
    send();
    EXPECT_EQ(heard.wait_for(1)[0].descriptor, r);
}

TEST_F(notify, registrations_queue_up) {
    constexpr std::size_t count = 50;
    for (std::size_t i = 0; i < count; ++i) {
        p.right.post_receive(p.right.write(i, 0, {}));
        must(VipRecvNotify(p.right.vi, heard.context(static_cast<int>(i)), &calls::of_vi));
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        send(i);
    }
    const auto seen = heard.wait_for(count);
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(seen[i].context, static_cast<int>(i));
        EXPECT_EQ(seen[i].descriptor, p.right.descriptor(i));
        EXPECT_EQ(seen[i].descriptor->CS.ImmediateData, i);
    }
}

TEST_F(notify, tells_of_sends) {
    p.right.post_receive(p.right.write(0, 0, {}));
    must(VipSendNotify(p.left.vi, heard.context(3), &calls::of_vi));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {}));
    const calls::call c = heard.wait_for(1)[0];
    EXPECT_EQ(c.descriptor, s);
    EXPECT_EQ(c.vi, p.left.vi);
    EXPECT_EQ(s->CS.Status, done_send);
}

TEST_F(notify, tells_of_errors_too) {
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {}));
    must(VipRecvNotify(p.right.vi, heard.context(1), &calls::of_vi));
    must(VipDisconnect(p.left.vi));
    EXPECT_EQ(heard.wait_for(1)[0].descriptor, r);
    EXPECT_EQ(r->CS.Status, done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
}

TEST_F(notify, tells_of_entries_in_a_completion_queue) {
    const completion_queue c(p.right_nic);
    endpoint_options o;
    o.send_cq = o.receive_cq = c;
    endpoint e(p.right_nic, o);
    endpoint peer(p.left_nic);
    connect(peer, e);
    must(VipCQNotify(c, heard.context(1), &calls::of_cq));
    must(VipCQNotify(c, heard.context(2), &calls::of_cq));
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(heard.count(), 0u);
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {}));
    VIP_DESCRIPTOR* s = peer.post_send(peer.write(0, 0, {}));
    ASSERT_EQ(peer.finish_send(s), done_send);
    const calls::call first = heard.wait_for(1)[0];
    EXPECT_EQ(first.context, 1);
    EXPECT_EQ(first.nic, p.right_nic.handle);
    EXPECT_EQ(first.vi, e.vi);
    EXPECT_EQ(first.receive, VIP_TRUE);
    EXPECT_EQ(e.finish_receive(r), done_receive) << "the descriptor is still to be taken";
    cq_entry entry;
    EXPECT_EQ(VipCQDone(c, &entry.vi, &entry.receive), VIP_NOT_DONE) << "the entry is not";
    must(VipDisconnect(e.vi));
    s = e.post_send(e.write(1, 0, {}));
    const calls::call second = heard.wait_for(2)[1];
    EXPECT_EQ(second.context, 2);
    EXPECT_EQ(second.receive, VIP_FALSE);
    EXPECT_EQ(e.finish_send(s), done_send | VIP_STATUS_DESC_FLUSHED_ERROR);
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(heard.count(), 2u);
}

TEST_F(notify, is_cancelled_by_destroying_the_completion_queue) {
    VIP_CQ_HANDLE c = nullptr;
    must(VipCreateCQ(p.left_nic, 8, &c));
    for (int i = 0; i < 5; ++i) {
        must(VipCQNotify(c, heard.context(i), &calls::of_cq));
    }
    EXPECT_EQ(VipDestroyCQ(c), VIP_SUCCESS);
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(heard.count(), 0u);
}

TEST_F(notify, is_cancelled_by_destroying_the_vi) {
    {
        const endpoint e(p.left_nic);
        must(VipRecvNotify(e.vi, heard.context(1), &calls::of_vi));
        must(VipSendNotify(e.vi, heard.context(2), &calls::of_vi));
    }
    const endpoint another(p.left_nic);  // perhaps at the same place
    VIP_DESCRIPTOR* s = another.post_send(another.write(0, 0, {}));
    EXPECT_EQ(another.finish_send(s), done_send | VIP_STATUS_DESC_FLUSHED_ERROR);
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(heard.count(), 0u);
}

TEST_F(notify, is_cancelled_by_closing_the_nic) {
    nic n;
    const endpoint e(n);
    must(VipRecvNotify(e.vi, heard.context(1), &calls::of_vi));
    n.close();
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(heard.count(), 0u);
}

TEST_F(notify, a_handler_may_call_anything) {
    struct context {
        endpoint* e;
        std::atomic<int> left{100};
        static void handle(VIP_PVOID in, VIP_NIC_HANDLE, VIP_VI_HANDLE v, VIP_DESCRIPTOR* d) {
            auto& c = *static_cast<context*>(in);
            // Registers itself again and posts the descriptor again, as a server would.
            EXPECT_EQ(d->CS.Status, done_receive | VIP_STATUS_IMMEDIATE);
            if (c.left.fetch_sub(1) > 1) {
                EXPECT_EQ(VipPostRecv(v, c.e->write(d, 0, {}), c.e->memory), VIP_SUCCESS);
                EXPECT_EQ(VipRecvNotify(v, in, &context::handle), VIP_SUCCESS);
            }
        }
    } c{&p.right, {100}};
    for (std::size_t i = 0; i < 4; ++i) {
        p.right.post_receive(p.right.write(i, 0, {}));
    }
    must(VipRecvNotify(p.right.vi, &c, &context::handle));
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(comes_true([&] { return c.left.load() > 100 - i - 3; }));
        ASSERT_TRUE(comes_true([&] { return c.left.load() <= 100 - i + 2; }));
        send();
    }
    EXPECT_TRUE(comes_true([&] { return c.left == 0; }));
}

TEST_F(notify, a_handler_may_destroy_what_it_was_called_for) {
    struct context {
        VIP_VI_HANDLE vi;
        std::atomic<bool> finished{false};
    };
    auto e = std::make_unique<endpoint>(p.left_nic);
    context c{e->vi, {}};
    must(VipSendNotify(e->vi, &c, [](VIP_PVOID in, VIP_NIC_HANDLE, VIP_VI_HANDLE v, VIP_DESCRIPTOR*) {
        auto& there = *static_cast<context*>(in);
        EXPECT_EQ(VipDisconnect(v), VIP_SUCCESS);
        EXPECT_EQ(VipDestroyVi(v), VIP_SUCCESS);
        there.finished = true;
    }));
    e->post_send(e->write(0, 0, {}));
    ASSERT_TRUE(comes_true([&] { return c.finished.load(); }));
    EXPECT_EQ(VipDestroyVi(e->vi), VIP_INVALID_PARAMETER);
    e->vi = nullptr;
}

}  // namespace
}  // namespace vipl_test

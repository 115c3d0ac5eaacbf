// SPDX-License-Identifier: Apache-2.0
//
// stall_test.cc -- a sender that waits for its receiver with a limit, and posts at the moment when the limit ends.
#include <future>
#include <optional>
#include <thread>

#include "direct/device_file.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

namespace abi = vinic::abi;

struct waiting {
    explicit waiting(vinic::nanoseconds limit = 10ms) : limit_of_left(limit) {}

    vinic::nanoseconds limit_of_left;
    directory d;
    vinic::nic sender = d.open();
    vinic::nic receiver = d.open();
    vinic::domain from = must(sender.create_domain());
    vinic::domain to = must(receiver.create_domain());
    vinic::buffer buffer = must(receiver.allocate(4096));
    vinic::region region = must(to.register_memory(buffer.bytes(), vinic::access::local_write));
    vinic::completion_queue sends = must(sender.create_completion_queue());
    vinic::completion_queue receives = must(receiver.create_completion_queue());
    vinic::virtual_interface left =
        must(from.create_vi({.send_cq = &sends, .receive_cq = &sends, .receiver_wait = limit_of_left}));
    vinic::virtual_interface right = must(to.create_vi({.send_cq = &receives, .receive_cq = &receives}));

    void connect() {
        must(left.connect_peer("left", "right", patience));
        must(right.connect_peer("right", "left", patience));
        must(left.connect_peer_wait());
        must(right.connect_peer_wait());
    }
    [[nodiscard]] vinic::errc post(std::uint64_t cookie) {
        return left.post_send(std::span<const vinic::segment>(), cookie);
    }
    [[nodiscard]] vinic::completion next_send() {
        vinic::completion done;
        while (sends.poll({&done, 1}) == 0) {
            std::this_thread::yield();
        }
        return done;
    }
};

/// The thread that ends the wait breaks the connection under the control plane's lock, which it does not wait for: it
/// polls.
TEST(stall, ends_when_the_lock_is_to_be_had_and_polling_goes_on_meanwhile) {
    waiting w;
    w.connect();
    const auto third =
        must(vinic::direct::device_file::open("shm:test", w.d.options(), vinic::tables::memory::role::participant));
    must(w.post(0));  // nothing is posted there: it waits
    std::optional<vinic::tables::control_lock> hold(*third);
    ASSERT_TRUE(*hold);
    vinic::completion done;
    for (const auto end = steady::now() + 100ms; steady::now() < end;) {
        ASSERT_EQ(w.sends.poll({&done, 1}), 0u);
    }
    EXPECT_EQ(w.left.state(), vinic::vi_state::connected);
    hold.reset();
    done = w.next_send();
    EXPECT_EQ(done.cookie, 0u);
    EXPECT_EQ(done.status, vinic::status::receiver_not_ready);
    EXPECT_EQ(w.left.state(), vinic::vi_state::error);
}

/// A fellow of the device scribbles over what waits: it is found when the receiver comes to it, and ends there.
TEST(stall, of_a_descriptor_that_nobody_could_have_posted_ends_with_the_connection) {
    waiting w(vinic::forever);
    w.connect();
    must(w.post(0));
    must(w.post(1));
    const auto third =
        must(vinic::direct::device_file::open("shm:test", w.d.options(), vinic::tables::memory::role::participant));
    third->at<abi::send_descriptor>(third->vi(w.left.number()).send_ring.load_relaxed())->segment_count = 0xffff;
    must(w.right.post_receive({w.region, 0, 64}, 7));
    EXPECT_EQ(w.next_send().status, vinic::status::local_protection);
    EXPECT_EQ(w.next_send().status, vinic::status::flushed);
    EXPECT_EQ(w.left.state(), vinic::vi_state::error);
}

/// Receiver and sender post about when the limit ends: both messages arrive, or neither does.
TEST(stall, what_is_posted_while_the_wait_ends_does_not_overtake_the_message_that_failed) {
    waiting w;
    int failed = 0;
    for (int round = 0; round < 40; ++round) {
        w.connect();
        must(w.post(0));
        auto posted = std::async(std::launch::async, [&] {
            std::this_thread::sleep_for(9ms + std::chrono::microseconds(round * 50));
            must(w.right.post_receive({w.region, 0, 64}, 7));
            must(w.right.post_receive({w.region, 0, 64}, 8));
            return w.post(1);
        });
        const vinic::completion first = w.next_send();
        EXPECT_EQ(first.cookie, 0u);
        EXPECT_EQ(posted.get(), vinic::errc::ok);
        const vinic::completion second = w.next_send();
        EXPECT_EQ(second.cookie, 1u);
        const bool well = first.status == vinic::status::success;
        failed += well ? 0 : 1;
        EXPECT_EQ(first.status, well ? vinic::status::success : vinic::status::receiver_not_ready);
        EXPECT_EQ(second.status, well ? vinic::status::success : vinic::status::flushed);
        for (int i = 0; i < 2; ++i) {
            vinic::completion each;
            ASSERT_EQ(must(w.receives.wait({&each, 1}, patience)), 1u);
            EXPECT_EQ(each.status, well ? vinic::status::success : vinic::status::flushed);
        }
        must(w.right.disconnect());
        must(w.left.disconnect());
    }
    std::printf("%d of 40 failed\n", failed);
}

}  // namespace
}  // namespace multi

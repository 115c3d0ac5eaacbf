// SPDX-License-Identifier: Apache-2.0
//
// stall_test.cc -- a sender that waits for its receiver with a limit, and posts at the moment when the limit ends.
#include <algorithm>
#include <future>
#include <optional>
#include <thread>

#include "device/memory.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

namespace abi = vinic::abi;

/// Whoever ends the wait breaks the connection under the control plane's lock, which somebody else may hold: here
/// the test, so that there is all the time of the world between both.
TEST(stall, what_is_posted_while_the_wait_ends_does_not_overtake_the_message_that_failed) {
    directory d;
    auto sender = d.open();
    auto receiver = d.open();
    auto from = must(sender.create_domain());
    auto to = must(receiver.create_domain());
    auto buffer = must(receiver.allocate(4096));
    auto region = must(to.register_memory(buffer.bytes(), vinic::access::local_write));
    auto sends = must(sender.create_completion_queue());
    auto receives = must(receiver.create_completion_queue());
    auto left = must(from.create_vi({.send_cq = &sends, .receive_cq = &sends, .receiver_wait = 20ms}));
    auto right = must(to.create_vi({.send_cq = &receives, .receive_cq = &receives}));
    must(left.connect_peer("left", "right", patience));
    must(right.connect_peer("right", "left", patience));
    must(left.connect_peer_wait());
    must(right.connect_peer_wait());
    const auto post = [&](std::uint64_t cookie) { return left.post_send(std::span<const vinic::segment>(), cookie); };
    const auto third =
        must(vinic::device::memory::open("shm:test", d.options(), vinic::device::memory::role::participant));
    const abi::vi_entry& entry = third->vi(left.number());

    must(post(0));  // nothing is posted there: it waits
    ASSERT_EQ(abi::executor_of(entry.hand_over.load_acquire()), abi::executor::handed);
    std::optional<vinic::device::control_lock> hold(*third);
    const auto next_send = [&] {
        vinic::completion done;
        while (sends.poll({&done, 1}) == 0) {
            std::this_thread::yield();
        }
        return done;
    };
    auto ended = std::async(std::launch::async, next_send);
    const auto until = steady::now() + patience;
    while (abi::executor_of(entry.hand_over.load_acquire()) != abi::executor::owner && steady::now() < until) {
        std::this_thread::yield();
    }
    must(right.post_receive({region, 0, 64}, 7));
    auto posted = std::async(std::launch::async, post, 1);
    vinic::completion arrived;
    bool overtaken = false;
    for (const auto end = steady::now() + 50ms; steady::now() < end && !overtaken;) {
        overtaken = receives.poll({&arrived, 1}) != 0;
    }
    hold.reset();
    ASSERT_FALSE(overtaken) << "message 1 arrived, and message 0 did not";

    const vinic::completion first = ended.get();
    EXPECT_EQ(first.cookie, 0u);
    EXPECT_EQ(first.status, vinic::status::receiver_not_ready);
    EXPECT_EQ(posted.get(), vinic::errc::ok);
    const vinic::completion second = next_send();
    EXPECT_EQ(second.cookie, 1u);
    EXPECT_EQ(second.status, vinic::status::flushed);
    ASSERT_EQ(must(receives.wait({&arrived, 1}, patience)), 1u);
    EXPECT_EQ(arrived.cookie, 7u);
    EXPECT_EQ(arrived.status, vinic::status::flushed);
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// reconnect_test.cc -- the end of one connection must not reach into another one, earlier or later.
#include <array>
#include <chrono>

#include "multi/fixture.hpp"

namespace multi {
namespace {

/// A process that connects, sends `count` numbered messages, and waits for the word to end.
process client(const directory& d, std::uint64_t count) {
    return process([&d, count](channel& parent) {
        endpoint me(d.open());
        parent.hear("connect");
        me.connect_to("survivor");
        for (std::uint64_t i = 0; i < count; ++i) {
            fill(me.bytes(i * 128, 128), i);
            must(me.vi.post_send(me.at(i * 128, 128), i));
            require(me.next().status == vinic::status::success, "the message is delivered");
        }
        parent.say("sent");
        parent.hear("disconnect");
        must(me.vi.disconnect());
        parent.say("gone");
        parent.hear("end");
    });
}

/// Receives posted for an earlier connection and never polled must not hide what the next one brings.
TEST(connection, that_follows_another_one_keeps_its_messages_when_the_peer_disconnects) {
    directory d;
    process peer = client(d, 2);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    {
        endpoint other(d.open());
        std::thread first([&] { other.connect_to("survivor"); });
        me.accept_from(listener);
        first.join();
        for (std::uint64_t i = 0; i < 4; ++i) {
            must(me.vi.post_receive(me.at(i * 128, 128), i));
        }
        must(me.vi.disconnect());  // receives 0 to 3 are flushed, and not polled yet
    }
    for (std::uint64_t i = 4; i < 8; ++i) {
        must(me.vi.post_receive(me.at(i * 128, 128), i));
    }
    peer.say("connect");
    me.accept_from(listener);
    peer.hear("sent");
    peer.say("disconnect");
    peer.hear("gone");
    EXPECT_TRUE(comes_true([&] { return me.vi.state() == vinic::vi_state::error; }));
    const std::vector<vinic::completion> done = me.next_batch(8);
    for (std::uint64_t i = 0; i < 8; ++i) {
        const vinic::completion& c = done[i];
        EXPECT_EQ(c.cookie, i);
        const bool arrived = i == 4 || i == 5;
        EXPECT_EQ(c.status, arrived ? vinic::status::success : vinic::status::flushed) << "receive " << i;
        if (arrived) {
            EXPECT_TRUE(matches(me.bytes(i * 128, 128), i - 4));
        }
    }
    peer.say("end");
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(connection, that_follows_another_one_keeps_its_messages_when_this_side_disconnects) {
    directory d;
    process peer = client(d, 2);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    for (std::uint64_t i = 0; i < 2; ++i) {
        must(me.vi.post_receive(me.at(i * 128, 128), i));
    }
    {
        endpoint other(d.open());
        std::thread first([&] { other.connect_to("survivor"); });
        me.accept_from(listener);
        first.join();
        must(me.vi.disconnect());
    }
    for (std::uint64_t i = 2; i < 6; ++i) {
        must(me.vi.post_receive(me.at(i * 128, 128), i));
    }
    peer.say("connect");
    me.accept_from(listener);
    peer.hear("sent");
    must(me.vi.disconnect());
    const std::vector<vinic::completion> done = me.next_batch(6);
    for (std::uint64_t i = 0; i < 6; ++i) {
        const vinic::completion& c = done[i];
        EXPECT_EQ(c.cookie, i);
        EXPECT_EQ(c.status, i == 2 || i == 3 ? vinic::status::success : vinic::status::flushed) << "receive " << i;
    }
    peer.say("disconnect");
    peer.hear("gone");
    peer.say("end");
    EXPECT_EQ(peer.exit_code(), 0);
}

/// The survivor of a connection looks back at its peer's place in the table when it flushes or disconnects.  By then
/// somebody else may live there.
class entry_of_a_dead_peer : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(survivor, entry_of_a_dead_peer, testing::Values(false, true),
                         [](const auto& i) { return i.param ? "polls" : "disconnects"; });

TEST_P(entry_of_a_dead_peer, may_serve_a_new_connection_undisturbed) {
    const bool polls = GetParam();
    directory d;
    process victim = client(d, 0);
    process successor([&](channel& parent) {
        const std::uint64_t place = parent.hear_number();
        endpoint me(d.open());
        std::vector<vinic::virtual_interface> others;
        // The place is free once the dead one has been cleared away, which a vinicd does in its own time.
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (me.vi.number() != place && std::chrono::steady_clock::now() < end) {
            if (others.size() == 100) {
                others.clear();
            }
            others.push_back(std::move(me.vi));
            me.vi = me.another_vi();
        }
        require(me.vi.number() == place, "a new VI takes the dead one's place");
        me.connect_to("fresh");
        parent.say("connected");
        parent.hear("look");
        require(me.vi.state() == vinic::vi_state::connected, "the new connection lives");
        parent.say("alive");
        parent.hear("end");
    });
    process server([&](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("fresh"));
        parent.say("listening");
        me.accept_from(listener);
        parent.hear("look");
        require(me.vi.state() == vinic::vi_state::connected, "the new connection lives");
        parent.say("alive");
        parent.hear("end");
    });
    server.hear("listening");
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    victim.say("connect");
    auto request = must(listener.wait(patience));
    const std::uint32_t place = request.peer().vi;
    must(request.accept(me.vi));
    must(me.vi.post_receive(me.at(0, 64), 1));
    victim.hear("sent");
    victim.kill_now();
    successor.say_number(place);  // opening the device buries the dead
    successor.hear("connected");
    if (polls) {
        EXPECT_EQ(me.next().status, vinic::status::connection_lost);
    } else {
        must(me.vi.disconnect());
    }
    // Both look before either may leave.
    successor.say("look");
    server.say("look");
    successor.hear("alive");
    server.hear("alive");
    successor.say("end");
    server.say("end");
    EXPECT_EQ(successor.exit_code(), 0);
    EXPECT_EQ(server.exit_code(), 0);
}

TEST(connection, can_be_made_and_broken_many_times_by_kill_on_one_vi) {
    directory d;
    constexpr int rounds = 30;
    // All clients are forked before the device is opened here.
    std::vector<process> clients;
    for (int i = 0; i < rounds; ++i) {
        clients.push_back(client(d, 3));
    }
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    for (int i = 0; i < rounds; ++i) {
        SCOPED_TRACE(i);
        for (std::uint64_t k = 0; k < 5; ++k) {
            must(me.vi.post_receive(me.at(k * 128, 128), k));
        }
        process& c = clients[static_cast<std::size_t>(i)];
        c.say("connect");
        me.accept_from(listener);
        c.hear("sent");
        c.kill_now();
        for (std::uint64_t k = 0; k < 5; ++k) {
            const vinic::completion done = me.next();
            EXPECT_EQ(done.cookie, k);
            EXPECT_EQ(done.status, k < 3 ? vinic::status::success : vinic::status::connection_lost);
        }
        must(me.vi.disconnect());
        EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
    }
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// death_test.cc -- a peer is killed: whoever waits, polls, posts, connects, listens or accepts learns of it.
//
// The design promises 100 ms; the tests print what was measured and only insist on `generous_ms`.
#include <algorithm>
#include <array>
#include <cstdio>

#include "multi/fixture.hpp"

namespace multi {
namespace {

void report(const char* who, double ms) {
    std::printf("%s learnt of the death after %.2f ms\n", who, ms);
    testing::Test::RecordProperty("detection_us", static_cast<int>(ms * 1000));
    EXPECT_LT(ms, generous_ms);
}

bool is_end(const vinic::completion& c) {
    return c.status == vinic::status::connection_lost || c.status == vinic::status::flushed;
}

/// A server that accepts one connection with posted receives and then does what it is told.
process idle_server(const directory& d, std::uint32_t receives = 64) {
    return process([&d, receives](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("victim"));
        for (std::uint32_t i = 0; i < receives; ++i) {
            must(me.vi.post_receive(me.at(0, 64), i));
        }
        parent.say(to_words(me.memory.remote(1024)));
        me.accept_from(listener);
        parent.say("ready");
        (void)parent.hear();
    });
}

/// Connects `me` with the victim and says where its memory is.
vinic::remote_address meet(endpoint& me, process& victim) {
    const vinic::remote_address there = remote_from(victim.hear());
    me.connect_to("victim");
    victim.hear("ready");
    return there;
}

TEST(killed_peer, wakes_a_peer_that_waits) {
    directory d;
    process victim = idle_server(d);
    endpoint me(d.open());
    (void)meet(me, victim);
    for (std::uint64_t i = 0; i < 8; ++i) {
        must(me.vi.post_receive(me.at(i * 64, 64), i));
    }
    steady::time_point killed;
    std::thread killer([&] {
        std::this_thread::sleep_for(100ms);  // me sleeps by now
        killed = steady::now();
        victim.kill_now();
    });
    const vinic::completion first = me.next();
    const double ms = milliseconds_since(killed);
    killer.join();
    report("a waiting peer", ms);
    EXPECT_EQ(first.cookie, 0u);
    EXPECT_EQ(first.status, vinic::status::connection_lost);
    for (std::uint64_t i = 1; i < 8; ++i) {
        const vinic::completion c = me.next();
        EXPECT_EQ(c.cookie, i);
        EXPECT_EQ(c.status, vinic::status::connection_lost);
    }
    EXPECT_EQ(me.vi.state(), vinic::vi_state::error);
    must(me.vi.disconnect());
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
}

TEST(killed_peer, ends_the_receives_of_a_peer_that_polls) {
    directory d;
    process victim = idle_server(d);
    endpoint me(d.open());
    (void)meet(me, victim);
    must(me.vi.post_receive(me.at(0, 64), 7));
    std::array<vinic::completion, 4> done;
    for (int i = 0; i < 100'000; ++i) {
        ASSERT_EQ(me.cq.poll(done), 0u);
    }
    victim.kill_now();
    const auto killed = steady::now();
    std::size_t n = 0;
    while (n == 0 && steady::now() - killed < patience) {
        n = me.cq.poll(done);
    }
    report("a polling peer", milliseconds_since(killed));
    ASSERT_EQ(n, 1u);
    EXPECT_EQ(done[0].cookie, 7u);
    EXPECT_EQ(done[0].status, vinic::status::connection_lost);
}

TEST(killed_peer, stops_a_peer_that_only_posts_writes) {
    directory d;
    process victim = idle_server(d);
    endpoint me(d.open());
    const vinic::remote_address there = meet(me, victim);
    victim.kill_now();
    const auto killed = steady::now();
    auto posted = vinic::errc::ok;
    while (me.vi.state() == vinic::vi_state::connected && posted == vinic::errc::ok &&
           steady::now() - killed < patience) {
        posted = me.vi.post_write(me.at(0, 64), there, 1, vinic::send_flag::unsignalled);
    }
    report("a posting peer", milliseconds_since(killed));
    ASSERT_EQ(me.vi.state(), vinic::vi_state::error);
    if (posted != vinic::errc::queue_full) {  // of a queue that is full of writes which have failed
        must(posted);
        must(me.vi.post_write(me.at(0, 64), there, 2, vinic::send_flag::unsignalled));
    }
    const vinic::completion c = me.next();
    EXPECT_EQ(c.status, vinic::status::connection_lost);
}

TEST(killed_peer, ends_sends_that_waited_for_its_receives_in_order) {
    directory d;
    process victim = idle_server(d, 3);
    endpoint me(d.open());
    (void)meet(me, victim);
    for (std::uint64_t i = 0; i < 20; ++i) {
        must(me.vi.post_send(me.at(0, 64), i));
    }
    for (std::uint64_t i = 0; i < 3; ++i) {
        const vinic::completion c = me.next();
        EXPECT_EQ(c.cookie, i);
        EXPECT_EQ(c.status, vinic::status::success);
    }
    victim.kill_now();
    const auto killed = steady::now();
    for (std::uint64_t i = 3; i < 20; ++i) {
        const vinic::completion c = me.next();
        EXPECT_EQ(c.cookie, i);
        EXPECT_EQ(c.status, vinic::status::connection_lost);
    }
    report("a sender in the receiver-not-ready state", milliseconds_since(killed));
}

TEST(killed_peer, that_had_handed_over_messages_leaves_its_receiver_free) {
    directory d;
    process sender([&](channel& parent) {
        endpoint me(d.open());
        parent.hear("connect");
        me.connect_to("survivor");
        for (std::uint64_t i = 0; i < 40; ++i) {
            fill(me.bytes(i * 100, 100), i);
            must(me.vi.post_send(me.at(i * 100, 100), i));
        }
        parent.say("posted");
        (void)parent.hear();
    });
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    sender.say("connect");
    me.accept_from(listener);
    sender.hear("posted");
    for (std::uint64_t i = 0; i < 10; ++i) {
        must(me.vi.post_receive(me.at(i * 128, 128), i));
    }
    EXPECT_TRUE(comes_true([&] { return first_difference(me.bytes(9 * 128, 100), 9) == 100; }));
    sender.kill_now();
    for (std::uint64_t i = 10; i < 20; ++i) {
        must(me.vi.post_receive(me.at(i * 128, 128), i));
    }
    bool ended = false;
    std::uint64_t arrived = 0;
    for (std::uint64_t i = 0; i < 20; ++i) {
        const vinic::completion c = me.next();
        EXPECT_EQ(c.cookie, i);
        if (c.status == vinic::status::success) {
            EXPECT_FALSE(ended) << "a message came after the end";
            EXPECT_TRUE(matches(me.bytes(i * 128, 100), i));
            ++arrived;
        } else {
            EXPECT_TRUE(is_end(c)) << vinic::name(c.status);
            ended = true;
        }
    }
    EXPECT_GE(arrived, 10u) << "these had arrived while it lived";
}

TEST(killed_peer, frees_a_client_whose_request_nobody_had_looked_at) {
    directory d;
    process victim([&](channel& parent) {
        auto nic = d.open();
        auto listener = must(nic.listen("victim"));
        parent.say("listening");
        (void)parent.hear();
    });
    endpoint me(d.open());
    victim.hear("listening");
    steady::time_point killed;
    std::thread killer([&] {
        std::this_thread::sleep_for(50ms);
        killed = steady::now();
        victim.kill_now();
    });
    const auto outcome = me.vi.connect("victim", patience);
    const double ms = milliseconds_since(killed);
    killer.join();
    report("a client in connect()", ms);
    EXPECT_EQ(code_of(outcome), vinic::errc::peer_gone);
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(code_of(me.vi.connect("victim", patience)), vinic::errc::no_listener);
}

TEST(killed_peer, frees_a_client_whose_request_it_had_taken) {
    directory d;
    process victim([&](channel& parent) {
        auto nic = d.open();
        auto listener = must(nic.listen("victim"));
        parent.say("listening");
        auto request = must(listener.wait(patience));
        parent.say("taken");
        (void)parent.hear();
    });
    endpoint me(d.open());
    victim.hear("listening");
    steady::time_point killed;
    std::thread killer([&] {
        victim.hear("taken");
        killed = steady::now();
        victim.kill_now();
    });
    const auto outcome = me.vi.connect("victim", patience);
    const double ms = milliseconds_since(killed);
    killer.join();
    report("a client whose request was taken", ms);
    EXPECT_EQ(code_of(outcome), vinic::errc::peer_gone);
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
}

TEST(killed_peer, does_not_hold_up_a_listener) {
    directory d;
    const auto client = [&](channel& parent) {
        endpoint me(d.open());
        parent.hear("connect");
        parent.say("connecting");
        me.connect_to("survivor");
        parent.say("connected");
        (void)parent.hear();
    };
    process first(client);
    process second(client);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    first.say("connect");
    first.hear("connecting");
    EXPECT_TRUE(comes_true([&] { return count(d).requests == 1; }));
    first.kill_now();
    // Nobody but the dead one asks: wait runs out its time.  A device of its own hears of the death a moment later.
    if (d.is_isolated()) {
        EXPECT_TRUE(comes_true([&] { return code_of(listener.wait(200ms)) == vinic::errc::timed_out; }));
    } else {
        EXPECT_EQ(code_of(listener.wait(200ms)), vinic::errc::timed_out);
    }
    second.say("connect");
    auto request = must(listener.wait(patience));
    EXPECT_EQ(request.peer().process_id, static_cast<std::uint32_t>(second.pid()));
    must(request.accept(me.vi));
    second.hear("connecting");
    second.hear("connected");
    second.say("end");
    EXPECT_EQ(second.exit_code(), 0);
}

TEST(killed_peer, between_wait_and_accept_is_reported_and_leaves_the_vi_usable) {
    directory d;
    const auto client = [&](channel& parent, const char* name) {
        endpoint me(d.open());
        const auto sign_of_life = must(me.nic.listen(name));
        parent.hear("connect");
        me.connect_to("survivor");
        must(me.vi.post_send(me.at(0, 8), 1));
        (void)parent.hear();
    };
    process first([&](channel& parent) { client(parent, "first"); });
    process second([&](channel& parent) { client(parent, "second"); });
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    first.say("connect");
    auto request = must(listener.wait(patience));
    first.kill_now();
    if (d.is_isolated()) {  // the device hears of the death a moment later, and takes all that was the dead one's
        EXPECT_TRUE(comes_true([&] {
            const auto names = must(me.nic.names());
            return std::ranges::find(names, vinic::address("first")) == names.end();
        }));
    }
    EXPECT_EQ(code_of(request.accept(me.vi)), vinic::errc::peer_gone);
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
    must(me.vi.post_receive(me.at(0, 8), 5));
    second.say("connect");
    me.accept_from(listener);
    const vinic::completion c = me.next();
    EXPECT_EQ(c.cookie, 5u);
    EXPECT_EQ(c.status, vinic::status::success);
    second.say("end");
    EXPECT_EQ(second.exit_code(), 0);
}

constexpr std::uint64_t window = 32;
constexpr std::size_t stream_bytes = 512;

/// Sends numbered messages until it is asked for their count.
void stream_out(const directory& d, channel& parent) {
    endpoint me(d.open());
    parent.hear("connect");
    me.connect_to("stream");
    std::uint64_t sent = 0;
    std::array<vinic::completion, window> done;
    for (; !parent.has_word(); ++sent) {
        const std::size_t at = sent % window * stream_bytes;
        fill(me.bytes(at, stream_bytes), sent);
        must(me.vi.post_send(me.at(at, stream_bytes), sent));
        for (std::size_t n = must(me.cq.wait(done, patience)); n-- > 0;) {
            require(done[n].status == vinic::status::success, "the stream goes on");
        }
    }
    parent.hear("count");
    parent.say_number(sent);
    parent.hear("end");
}

/// Receives and checks them.
void stream_in(const directory& d, channel& parent) {
    endpoint me(d.open());
    auto listener = must(me.nic.listen("stream"));
    for (std::uint64_t i = 0; i < window; ++i) {
        must(me.vi.post_receive(me.at(i * stream_bytes, stream_bytes), i));
    }
    parent.say("listening");
    me.accept_from(listener);
    std::uint64_t received = 0;
    const auto receive = [&](auto for_so_long) {
        std::array<vinic::completion, 1> done;
        if (must(me.cq.wait(done, for_so_long)) == 0) {
            return false;
        }
        require(done[0].status == vinic::status::success,
                std::string("the stream goes on: ") + vinic::name(done[0].status));
        require(done[0].cookie == received, "receives complete in order");
        const std::size_t at = received % window * stream_bytes;
        require(first_difference(me.bytes(at, stream_bytes), received) == stream_bytes, "with the right bytes");
        must(me.vi.post_receive(me.at(at, stream_bytes), received + window));
        ++received;
        return true;
    };
    while (!parent.has_word()) {
        (void)receive(10ms);
    }
    const std::uint64_t sent = parent.hear_number();
    while (received < sent) {
        require(receive(patience), "what was sent arrives");
    }
    require(!receive(50ms), "and nothing else");
}

/// Makes a connection with itself and waits for its end.
void be_short_lived(const directory& d, channel& parent) {
    endpoint me(d.open());
    endpoint other(d.open());
    auto listener = me.listen_at_name_of_the_dead("short lived");
    std::thread server([&] { me.accept_from(listener); });
    other.connect_to("short lived");
    server.join();
    parent.say("ready");
    (void)parent.hear();
}

TEST(killed_peer, does_not_disturb_other_connections_of_the_device) {
    directory d;
    process sender([&](channel& parent) { stream_out(d, parent); });
    process receiver([&](channel& parent) { stream_in(d, parent); });
    receiver.hear("listening");
    sender.say("connect");
    for (int i = 0; i < 20; ++i) {
        process victim([&](channel& parent) { be_short_lived(d, parent); });
        victim.hear("ready");
        victim.kill_now();
    }
    std::this_thread::sleep_for(50ms);
    sender.say("count");
    const std::uint64_t sent = sender.hear_number();
    receiver.say_number(sent);
    EXPECT_GT(sent, 0u);
    EXPECT_EQ(receiver.exit_code(), 0);
    sender.say("end");
    EXPECT_EQ(sender.exit_code(), 0);
    d.leftovers_expected();  // of the last victim, if nobody found it dead before everybody left
}

}  // namespace
}  // namespace multi

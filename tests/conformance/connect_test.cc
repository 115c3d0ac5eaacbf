// SPDX-License-Identifier: Apache-2.0
//
// connect_test.cc -- client and server: accept, reject, time-outs, attributes that must match, private data.
#include <unistd.h>

#include <memory>

#include "fixture.hpp"

namespace conformance {
namespace {

/// Two endpoints that are not connected yet, and a listener on the second one's device.
class client_server : public with_handles {
protected:
    vinic::nic first = open_device();
    vinic::nic second = GetParam() == handles::two ? open_other_device() : vinic::nic{};
    vinic::nic& server_nic = GetParam() == handles::two ? second : first;
    endpoint client{first, {}};
    endpoint server{server_nic, {}};
    vinic::address name = fresh_address();
    vinic::listener listener = must(server_nic.listen(name));

    /// Starts to connect the client; get() says how it ended.
    auto connecting(std::vector<std::byte> data = {}, vinic::nanoseconds timeout = patience) {
        return in_thread([this, data = std::move(data), timeout] { return client.vi.connect(name, timeout, data); });
    }
    vinic::connection_request next_request() { return must(listener.wait(patience)); }
    void expect_messages_flow() {
        fill(client.bytes(0, 500), 1);
        ASSERT_EQ(server.vi.post_receive(server.at(0, 500), 1), vinic::errc::ok);
        ASSERT_EQ(client.vi.post_send(client.at(0, 500), 2), vinic::errc::ok);
        EXPECT_EQ(next(server.receives).status, vinic::status::success);
        EXPECT_EQ(next(client.sends).status, vinic::status::success);
        EXPECT_TRUE(matches(server.bytes(0, 500), 1));
    }
};

TEST_P(client_server, connect_when_the_server_accepts) {
    auto outcome = connecting();
    auto request = next_request();
    EXPECT_EQ(server.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::connecting);
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::ok);
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::ok);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::connected);
    EXPECT_EQ(server.vi.state(), vinic::vi_state::connected);
    expect_messages_flow();
}

TEST_P(client_server, tell_each_other_who_they_are) {
    const auto to_server = pattern(256, 1);
    const auto to_client = pattern(256, 2);
    auto outcome = connecting(to_server);
    auto request = next_request();
    EXPECT_EQ(request.peer().private_data, to_server);
    EXPECT_EQ(request.peer().vi, client.vi.number());
    EXPECT_EQ(request.peer().attributes.reliability, vinic::reliability::delivery);
    EXPECT_EQ(request.peer().attributes.transfer_bytes_max, client.vi.attributes().transfer_bytes_max);
    EXPECT_EQ(request.peer().process_id, static_cast<std::uint32_t>(::getpid()));
    must(request.accept(server.vi, to_client));
    const auto peer = must(outcome.get());
    EXPECT_EQ(peer.private_data, to_client);
    EXPECT_EQ(peer.vi, server.vi.number());
    EXPECT_EQ(peer.process_id, static_cast<std::uint32_t>(::getpid()));
    EXPECT_EQ(peer.attributes.reliability, vinic::reliability::delivery);
}

TEST_P(client_server, may_say_nothing) {
    auto outcome = connecting();
    auto request = next_request();
    EXPECT_TRUE(request.peer().private_data.empty());
    must(request.accept(server.vi));
    EXPECT_TRUE(must(outcome.get()).private_data.empty());
}

TEST_P(client_server, may_not_say_more_than_256_bytes) {
    const auto too_long = pattern(257, 3);
    EXPECT_EQ(code_of(client.vi.connect(name, patience, too_long)), vinic::errc::invalid_argument);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
    auto outcome = connecting();
    auto request = next_request();
    EXPECT_EQ(code_of(request.accept(server.vi, too_long)), vinic::errc::invalid_argument);
    EXPECT_EQ(server.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(code_of(request.reject(too_long)), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::ok) << "the request is still open";
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::ok);
}

TEST_P(client_server, do_not_connect_when_the_server_rejects_and_its_reason_arrives) {
    const auto reason = pattern(256, 4);
    EXPECT_TRUE(client.vi.rejection_data().empty());
    auto outcome = connecting();
    must(next_request().reject(reason));
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::rejected);
    EXPECT_EQ(client.vi.rejection_data(), reason);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
    auto second_try = connecting();
    must(next_request().accept(server.vi));
    EXPECT_EQ(code_of(second_try.get()), vinic::errc::ok) << "a rejected VI may try again";
    expect_messages_flow();
}

TEST_P(client_server, do_not_connect_when_the_request_is_dropped_unanswered) {
    auto outcome = connecting();
    {
        const auto request = next_request();
    }
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::rejected);
    EXPECT_TRUE(client.vi.rejection_data().empty());
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
}

TEST_P(client_server, do_not_hang_when_the_listener_goes_away) {
    auto outcome = connecting();
    EXPECT_TRUE(comes_to(client.vi, vinic::vi_state::connecting));
    listener = vinic::listener{};
    const auto ended = code_of(outcome.get());
    EXPECT_TRUE(ended == vinic::errc::rejected || ended == vinic::errc::no_listener || ended == vinic::errc::peer_gone)
        << vinic::name(ended);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
}

TEST_P(client_server, hear_at_once_that_nobody_listens) {
    // The time limit is for ever: an implementation that waits for a listener never ends.
    EXPECT_EQ(code_of(client.vi.connect(fresh_address(), vinic::forever)), vinic::errc::no_listener);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
}

TEST_P(client_server, are_told_when_the_time_is_over_and_the_late_answer_finds_nobody) {
    EXPECT_EQ(code_of(client.vi.connect(name, 30ms)), vinic::errc::timed_out);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
    // What is left of the request is either not told any more or found out when it is answered.
    auto late = listener.wait(quiet_time);
    if (late) {
        EXPECT_EQ(code_of(late->accept(server.vi)), vinic::errc::peer_gone);
        EXPECT_EQ(server.vi.state(), vinic::vi_state::idle);
    } else {
        EXPECT_EQ(late.error().code, vinic::errc::timed_out);
    }
    auto outcome = connecting();
    EXPECT_EQ(code_of(next_request().accept(server.vi)), vinic::errc::ok);
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::ok);
    expect_messages_flow();
}

TEST_P(client_server, need_some_time_to_connect) {
    // As in VIPL, where a time-out of zero is an invalid parameter: it could only ever be over already.
    for (const auto none : {0ns, -1ns}) {
        EXPECT_EQ(code_of(client.vi.connect(name, none)), vinic::errc::invalid_argument);
        EXPECT_EQ(code_of(client.vi.connect_peer(name, name, none)), vinic::errc::invalid_argument);
    }
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(code_of(listener.wait(0ns)), vinic::errc::timed_out) << "no request was made";
}

TEST_P(client_server, find_a_request_gone_when_its_client_is_disconnected) {
    // disconnect() returns to idle from any state, so it ends the connecting that another thread waits for: long
    // before that one's time is over.
    auto outcome = connecting({}, 2 * patience);
    auto request = next_request();
    auto leaving = in_thread([&] { return client.vi.disconnect(); });
    EXPECT_EQ(outcome.wait_for(patience), std::future_status::ready);
    EXPECT_EQ(code_of(leaving.get()), vinic::errc::ok);
    EXPECT_NE(code_of(outcome.get()), vinic::errc::ok);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::peer_gone);
    EXPECT_EQ(server.vi.state(), vinic::vi_state::idle);
}

TEST_P(client_server, find_no_request_when_none_comes) {
    EXPECT_EQ(code_of(listener.wait(1ms)), vinic::errc::timed_out);
    EXPECT_EQ(code_of(listener.wait(0ns)), vinic::errc::timed_out);
}

TEST_P(client_server, connect_only_idle_vis) {
    auto outcome = connecting();
    must(next_request().accept(server.vi));
    must(outcome.get());
    EXPECT_EQ(code_of(client.vi.connect(name, patience)), vinic::errc::invalid_state);
    EXPECT_EQ(code_of(client.vi.connect_peer(name, name, patience)), vinic::errc::invalid_state);
    endpoint late(first, {});
    auto late_outcome = in_thread([&] { return late.vi.connect(name, patience); });
    auto request = next_request();
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::invalid_state) << "it is connected already";
    endpoint spare(server_nic, {});
    EXPECT_EQ(code_of(request.accept(spare.vi)), vinic::errc::ok) << "and another VI takes the request";
    EXPECT_EQ(code_of(late_outcome.get()), vinic::errc::ok);
    expect_messages_flow();
}

TEST_P(client_server, answer_a_request_once) {
    auto outcome = connecting();
    auto request = next_request();
    must(request.accept(server.vi));
    must(outcome.get());
    endpoint spare(server_nic, {});
    EXPECT_NE(code_of(request.accept(spare.vi)), vinic::errc::ok);
    EXPECT_NE(code_of(request.reject()), vinic::errc::ok);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::connected);
}

TEST_P(client_server, must_have_the_same_reliability_level) {
    auto attributes = server.vi.attributes();
    attributes.reliability = vinic::reliability::reception;
    must(server.vi.set_attributes(attributes));
    auto outcome = connecting();
    auto request = next_request();
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::attribute_mismatch);
    EXPECT_EQ(server.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::connecting) << "the client is told nothing";
    attributes.reliability = request.peer().attributes.reliability;
    must(server.vi.set_attributes(attributes));
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::ok);
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::ok);
    expect_messages_flow();
}

TEST_P(client_server, must_have_the_same_largest_transfer) {
    auto attributes = server.vi.attributes();
    attributes.transfer_bytes_max = 4096;
    must(server.vi.set_attributes(attributes));
    auto outcome = connecting();
    auto request = next_request();
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::attribute_mismatch);
    must(request.reject(pattern(3, 3)));
    EXPECT_EQ(code_of(outcome.get()), vinic::errc::rejected);
    EXPECT_EQ(client.vi.rejection_data(), pattern(3, 3));
}

TEST_P(client_server, may_differ_in_everything_else) {
    endpoint_options other;
    other.attributes.send_depth = 2;
    other.attributes.receive_depth = 1024;
    other.attributes.segments_max = 16;
    other.attributes.inline_bytes_max = 0;
    other.attributes.receiver_wait = 0ns;
    other.attributes.rdma_write = false;
    other.attributes.context = 1;
    endpoint unlike(server_nic, other);
    auto outcome = connecting();
    EXPECT_EQ(code_of(next_request().accept(unlike.vi)), vinic::errc::ok);
    const auto peer = must(outcome.get());
    EXPECT_FALSE(peer.attributes.rdma_write);
    EXPECT_TRUE(peer.attributes.rdma_read);
}

TEST_P(client_server, meet_at_the_discriminator_that_matches_byte_for_byte) {
    std::vector<vinic::listener> listeners;
    std::vector<vinic::address> names;
    for (const unsigned bytes : {1u, 2u, 8u, 64u}) {
        const auto discriminator = pattern(bytes, 1);
        names.emplace_back(name.name, discriminator);
        listeners.push_back(must(server_nic.listen(names.back())));
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto outcome = in_thread([&] { return client.vi.connect(names[i], patience); });
        auto request = must(listeners[i].wait(patience));
        must(request.accept(server.vi));
        EXPECT_EQ(code_of(outcome.get()), vinic::errc::ok) << i;
        must(client.vi.disconnect());
        must(server.vi.disconnect());
    }
    const auto unlike = pattern(8, 2);
    EXPECT_EQ(code_of(client.vi.connect({name.name, unlike}, patience)), vinic::errc::no_listener);
    EXPECT_EQ(code_of(listener.wait(0ns)), vinic::errc::timed_out) << "nothing went to the bare name";
}

TEST_P(client_server, are_served_in_the_order_in_which_they_came) {
    constexpr std::size_t clients = 8;
    std::vector<std::unique_ptr<endpoint>> waiting;
    std::vector<std::future<vinic::result<vinic::peer_information>>> outcomes;
    for (std::size_t i = 0; i < clients; ++i) {
        waiting.push_back(std::make_unique<endpoint>(first, endpoint_options{}));
        auto& made = *waiting.back();
        outcomes.push_back(in_thread([&, i] { return made.vi.connect(name, patience, pattern(i + 1, 0)); }));
        ASSERT_TRUE(comes_to(made.vi, vinic::vi_state::connecting));
    }
    std::vector<std::unique_ptr<endpoint>> serving;
    for (std::size_t i = 0; i < clients; ++i) {
        serving.push_back(std::make_unique<endpoint>(server_nic, endpoint_options{}));
        auto request = next_request();
        EXPECT_EQ(request.peer().private_data, pattern(i + 1, 0));
        must(request.accept(serving.back()->vi));
    }
    for (auto& outcome : outcomes) EXPECT_EQ(code_of(outcome.get()), vinic::errc::ok);
}

TEST_P(client_server, may_be_the_same_process_and_the_same_domain) {
    vinic::vi_attributes attributes;
    attributes.send_cq = &client.sends;
    attributes.receive_cq = &client.receives;
    auto twin = must(client.domain.create_vi(attributes));
    connect(first, client.vi, twin);
    ASSERT_EQ(twin.post_receive(client.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(client.vi.post_send(client.at(8, 8), 2), vinic::errc::ok);
    EXPECT_EQ(next(client.receives).vi, twin.number());
}

TEST_P(client_server, connect_from_many_threads_at_once) {
    constexpr std::size_t clients = 6;
    constexpr int rounds = 15;
    std::vector<std::future<int>> outcomes;
    for (std::size_t i = 0; i < clients; ++i) {
        outcomes.push_back(in_thread([&] {
            endpoint one(first, {});
            int connected = 0;
            for (int round = 0; round < rounds; ++round) {
                connected += one.vi.connect(name, patience) ? 1 : 0;
                must(one.vi.disconnect());
            }
            return connected;
        }));
    }
    for (std::size_t i = 0; i < clients * rounds; ++i) {
        endpoint one(server_nic, {});
        auto request = next_request();
        must(request.accept(one.vi));
        ASSERT_TRUE(comes_to(one.vi, vinic::vi_state::error)) << "every client leaves at once";
    }
    for (auto& outcome : outcomes) EXPECT_EQ(outcome.get(), rounds);
}

CONFORMANCE_BOTH_WAYS(client_server);

}  // namespace
}  // namespace conformance

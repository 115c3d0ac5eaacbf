// SPDX-License-Identifier: Apache-2.0
//
// datagram_test.cc -- connectionless VIs: names, sending to any address, what is dropped, and what they do not offer.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::status;

endpoint_options datagrams() {
    auto options = with(vinic::reliability::unreliable);
    options.attributes.service = vinic::service::datagram;
    return options;
}

class datagram : public with_handles {
protected:
    vinic::nic first = open_device();
    vinic::nic second = GetParam() == handles::two ? open_other_device() : vinic::nic{};
    vinic::nic& other_nic = GetParam() == handles::two ? second : first;
    endpoint left{first, datagrams()};
    endpoint right{other_nic, datagrams()};

    static errc send(endpoint& from, vinic::datagram_address to, std::size_t offset, std::size_t bytes,
                     std::uint64_t cookie) {
        const vinic::segment piece = from.at(offset, bytes);
        return from.vi.send_to(to, {&piece, 1}, cookie);
    }
};

TEST_P(datagram, is_found_by_the_name_it_was_bound_to) {
    const auto name = fresh_address();
    EXPECT_EQ(code_of(first.resolve(name)), errc::no_listener) << "nobody has this name yet";
    must(right.vi.bind(name));
    EXPECT_EQ(must(first.resolve(name)), right.vi.local_address());
    EXPECT_EQ(must(other_nic.resolve(name)), right.vi.local_address());
    const auto names = must(first.names());
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end());
}

TEST_P(datagram, names_are_freed_with_their_vi) {
    const auto name = fresh_address();
    {
        endpoint short_lived(first, datagrams());
        must(short_lived.vi.bind(name));
        EXPECT_EQ(code_of(left.vi.bind(name)), errc::name_in_use);
        EXPECT_EQ(code_of(first.listen(name)), errc::name_in_use) << "one directory of names";
    }
    EXPECT_EQ(code_of(first.resolve(name)), errc::no_listener);
    EXPECT_EQ(code_of(left.vi.bind(name)), errc::ok);
    EXPECT_EQ(must(first.resolve(name)), left.vi.local_address());
}

TEST_P(datagram, names_must_be_of_the_allowed_lengths) {
    const std::string long_name(64, 'x');
    EXPECT_EQ(code_of(left.vi.bind("")), errc::invalid_argument);
    EXPECT_EQ(code_of(left.vi.bind(std::string_view(long_name))), errc::invalid_argument);
    EXPECT_EQ(code_of(first.resolve("")), errc::invalid_argument);
    EXPECT_EQ(code_of(first.resolve(std::string_view(long_name))), errc::invalid_argument);
}

TEST_P(datagram, addresses_differ) { EXPECT_NE(left.vi.local_address(), right.vi.local_address()); }

TEST_P(datagram, arrives_with_its_senders_address_to_which_an_answer_can_be_sent) {
    fill(left.bytes(0, 1000), 1);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 2000), 7), errc::ok);
    ASSERT_EQ(send(left, right.vi.local_address(), 0, 1000, 8), errc::ok);
    const auto received = next(right.receives);
    EXPECT_EQ(received.status, status::success);
    EXPECT_EQ(received.cookie, 7u);
    EXPECT_EQ(received.length, 1000u);
    EXPECT_EQ(received.source, left.vi.local_address());
    EXPECT_TRUE(matches(right.bytes(0, 1000), 1));
    const auto sent = next(left.sends);
    EXPECT_EQ(sent.status, status::success);
    EXPECT_EQ(sent.cookie, 8u);
    ASSERT_EQ(left.vi.post_receive(left.at(4096, 100), 9), errc::ok);
    ASSERT_EQ(send(right, received.source, 0, 100, 10), errc::ok);
    EXPECT_EQ(next(left.receives).source, right.vi.local_address());
    EXPECT_TRUE(matches(left.bytes(4096, 100), 1));
}

TEST_P(datagram, of_every_size_arrives_whole_with_immediate_data) {
    for (const std::size_t bytes : {0u, 1u, 47u, 48u, 49u, 64u, 100u, 1500u, 4096u, 30000u}) {
        fill(left.bytes(0, bytes), 4);
        const vinic::segment pieces[] = {left.at(0, bytes / 3), left.at(bytes / 3, bytes - bytes / 3)};
        ASSERT_EQ(right.vi.post_receive(right.at(0, 30000), 1), errc::ok);
        ASSERT_EQ(left.vi.send_to(right.vi.local_address(), pieces, 2, vinic::send_flag::immediate, 0xcafe0000u),
                  errc::ok);
        const auto received = next(right.receives);
        EXPECT_EQ(received.length, bytes);
        EXPECT_EQ(received.immediate, 0xcafe0000u);
        EXPECT_TRUE(received.has_immediate);
        EXPECT_TRUE(matches(right.bytes(0, bytes), 4));
        EXPECT_EQ(next(left.sends).status, status::success);
    }
}

TEST_P(datagram, can_be_posted_in_a_batch_to_several_destinations) {
    endpoint third(first, datagrams());
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), errc::ok);
    ASSERT_EQ(third.vi.post_receive(third.at(0, 8), 2), errc::ok);
    const vinic::segment piece = left.at(0, 8);
    vinic::work_request requests[2];
    for (auto& request : requests) request.segments = {&piece, 1};
    requests[0].destination = right.vi.local_address();
    requests[1].destination = third.vi.local_address();
    EXPECT_EQ(left.vi.post(requests).count, 2u);
    EXPECT_EQ(next(right.receives).cookie, 1u);
    EXPECT_EQ(next(third.receives).cookie, 2u);
}

TEST_P(datagram, to_oneself_arrives) {
    ASSERT_EQ(left.vi.post_receive(left.at(100, 8), 1), errc::ok);
    ASSERT_EQ(send(left, left.vi.local_address(), 0, 8, 2), errc::ok);
    EXPECT_EQ(next(left.receives).source, left.vi.local_address());
}

TEST_P(datagram, without_a_receive_is_dropped_and_the_sender_hears_nothing) {
    ASSERT_EQ(send(left, right.vi.local_address(), 0, 8, 1), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 2), errc::ok);
    EXPECT_TRUE(is_quiet(right.receives));
    ASSERT_EQ(send(left, right.vi.local_address(), 0, 8, 3), errc::ok);
    EXPECT_EQ(next(right.receives).status, status::success) << "the next one arrives";
}

TEST_P(datagram, larger_than_the_receive_is_an_error_there_and_none_at_the_sender) {
    fill(right.bytes(8, 8), 1);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), errc::ok);
    ASSERT_EQ(send(left, right.vi.local_address(), 0, 9, 2), errc::ok);
    EXPECT_EQ(next(right.receives).status, status::local_length);
    EXPECT_EQ(next(left.sends).status, status::success);
    EXPECT_TRUE(matches(right.bytes(8, 8), 1));
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 3), errc::ok);
    ASSERT_EQ(send(left, right.vi.local_address(), 0, 8, 4), errc::ok);
    EXPECT_EQ(next(right.receives).status, status::success) << "a datagram VI has no connection to break";
}

TEST_P(datagram, to_a_destination_that_is_gone_is_dropped) {
    vinic::datagram_address gone;
    {
        const endpoint short_lived(other_nic, datagrams());
        gone = short_lived.vi.local_address();
    }
    // Somebody who took the place in the table must not get what was meant for the dead.
    auto attributes = right.vi.attributes();
    attributes.send_cq = attributes.receive_cq = &right.receives;
    attributes.send_depth = attributes.receive_depth = 1;
    std::vector<vinic::virtual_interface> successors;
    for (int i = 0; i < 500; ++i) {
        successors.push_back(must(right.domain.create_vi(attributes)));
        ASSERT_NE(successors.back().local_address(), gone);
        ASSERT_EQ(successors.back().post_receive(right.at(0, 8), 1), errc::ok);
    }
    ASSERT_EQ(send(left, gone, 0, 8, 1), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success) << "unreliable: the sender is not told";
    EXPECT_TRUE(is_quiet(right.receives));
    ASSERT_EQ(send(left, successors.back().local_address(), 0, 8, 1), errc::ok);
    EXPECT_EQ(next(right.receives).vi, successors.back().number());
}

TEST_P(datagram, to_an_address_that_never_was_is_dropped_and_to_none_is_refused) {
    pair connected_vis;
    ASSERT_EQ(connected_vis.right.vi.post_receive(connected_vis.right.at(0, 8), 1), errc::ok);
    for (const std::uint64_t nonsense :
         {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x7fffffff00000000},
          std::uint64_t{connected_vis.right.vi.number()}, connected_vis.right.vi.local_address().value}) {
        if (nonsense == 0)
            continue;
        ASSERT_EQ(send(left, {nonsense}, 0, 8, 1), errc::ok);
        EXPECT_EQ(next(left.sends).status, status::success) << nonsense;
    }
    EXPECT_TRUE(is_quiet(connected_vis.right.receives)) << "a connected VI takes no datagrams";
}

TEST_P(datagram, from_bad_local_memory_is_an_error_of_that_descriptor_alone) {
    ASSERT_EQ(right.vi.post_receive(right.at(0, 8), 1), errc::ok);
    const vinic::segment wrong(left.memory.address(), 8, 0);
    ASSERT_EQ(left.vi.send_to(right.vi.local_address(), {&wrong, 1}, 1), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::local_protection);
    ASSERT_EQ(send(left, right.vi.local_address(), 0, 8, 2), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success);
    EXPECT_EQ(next(right.receives).status, status::success);
}

TEST_P(datagram, vis_offer_nothing_that_needs_a_connection) {
    EXPECT_EQ(code_of(left.vi.connect(fresh_address(), patience)), errc::not_supported);
    EXPECT_EQ(code_of(left.vi.connect_peer(fresh_address(), fresh_address(), patience)), errc::not_supported);
    const errc without_destination = left.vi.post_send(left.at(0, 8), 1);
    EXPECT_TRUE(without_destination == errc::not_supported || without_destination == errc::invalid_argument)
        << vinic::name(without_destination);
    EXPECT_EQ(left.vi.post_write(left.at(0, 8), right.remote(), 1), errc::not_supported);
    EXPECT_EQ(left.vi.post_read(left.at(0, 8), right.remote(), 1), errc::not_supported);
    EXPECT_EQ(left.vi.post_fetch_add(left.at(0, 8), right.remote(), 1, 1), errc::not_supported);
    EXPECT_EQ(left.vi.post_compare_swap(left.at(0, 8), right.remote(), 1, 1, 1), errc::not_supported);
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
    EXPECT_TRUE(is_quiet(left.sends));
}

TEST_P(datagram, vis_cannot_accept_a_connection) {
    const auto name = fresh_address();
    auto listener = must(first.listen(name));
    endpoint client(first, {});
    auto outcome = in_thread([&] { return client.vi.connect(name, patience); });
    auto request = must(listener.wait(patience));
    EXPECT_NE(code_of(request.accept(left.vi)), errc::ok);
    must(request.reject());
    EXPECT_EQ(code_of(outcome.get()), errc::rejected);
}

TEST_P(datagram, outstanding_receives_are_flushed_by_disconnect_and_the_vi_goes_on) {
    ASSERT_EQ(left.vi.post_receive(left.at(0, 8), 1), errc::ok);
    must(left.vi.disconnect());
    EXPECT_EQ(next(left.receives).status, status::flushed);
    ASSERT_EQ(left.vi.post_receive(left.at(0, 8), 2), errc::ok);
    ASSERT_EQ(send(right, left.vi.local_address(), 0, 8, 3), errc::ok);
    EXPECT_EQ(next(left.receives).status, status::success);
}

TEST_P(datagram, from_many_senders_at_once_arrive_whole_and_in_each_senders_order) {
    constexpr std::size_t senders = 4;
    constexpr std::uint64_t each = 4000;
    auto options = datagrams();
    options.attributes.receive_depth = 1024;
    endpoint server(other_nic, options);
    for (std::uint64_t i = 0; i < 1024; ++i) ASSERT_EQ(server.vi.post_receive(server.at(i * 32, 16), i), errc::ok);
    std::atomic<std::size_t> running = senders;
    std::vector<std::future<void>> workers;
    std::mutex mutex;
    std::set<std::uint64_t> sources;
    for (std::size_t t = 0; t < senders; ++t) {
        workers.push_back(in_thread([&] {
            endpoint client(first, datagrams());
            {
                const std::lock_guard lock(mutex);
                sources.insert(client.vi.local_address().value);
            }
            for (std::uint64_t i = 1; i <= each; ++i) {
                client.word(0).store(i);
                client.word(8).store(client.vi.local_address().value);
                if (send(client, server.vi.local_address(), 0, 16, i) != errc::ok)
                    break;
                if (next(client.sends).status != status::success)
                    break;
            }
            --running;
        }));
    }
    std::map<std::uint64_t, std::uint64_t> last;
    std::uint64_t arrived = 0;
    while (true) {
        const bool all_sent = running == 0;
        vinic::completion done[32];
        const std::size_t count = server.receives.poll(done);
        for (std::size_t k = 0; k < count; ++k) {
            ASSERT_EQ(done[k].status, status::success);
            const std::uint64_t cookie = done[k].cookie;
            const std::uint64_t number = server.word(cookie * 32).load();
            ASSERT_EQ(server.word(cookie * 32 + 8).load(), done[k].source.value) << "two datagrams in one receive";
            ASSERT_GT(number, last[done[k].source.value]) << "repeated or out of order";
            last[done[k].source.value] = number;
            ++arrived;
            ASSERT_EQ(server.vi.post_receive(server.at(cookie * 32, 16), cookie), errc::ok);
        }
        if (all_sent && count == 0)
            break;
    }
    for (auto& worker : workers) worker.get();
    EXPECT_GE(arrived, 1024u) << "as many as there were receives at the start";
    EXPECT_LE(arrived, senders * each);
    for (const auto& [source, number] : last) EXPECT_EQ(sources.count(source), 1u);
}

CONFORMANCE_BOTH_WAYS(datagram);

}  // namespace
}  // namespace conformance

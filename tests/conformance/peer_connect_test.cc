// SPDX-License-Identifier: Apache-2.0
//
// peer_connect_test.cc -- peer-to-peer connections: two requests match when each one's remote is the other's local.
#include "fixture.hpp"

namespace conformance {
namespace {

class peers : public with_handles {
protected:
    vinic::nic first = open_device();
    vinic::nic second = GetParam() == handles::two ? open_other_device() : vinic::nic{};
    vinic::nic& other_nic = GetParam() == handles::two ? second : first;
    endpoint left{first, {}};
    endpoint right{other_nic, {}};
    vinic::address here = fresh_address("here");
    vinic::address there = fresh_address("there");
};

TEST_P(peers, connect_when_both_have_asked) {
    must(left.vi.connect_peer(here, there, patience, pattern(256, 1)));
    EXPECT_EQ(left.vi.state(), vinic::vi_state::connecting);
    EXPECT_EQ(code_of(left.vi.connect_peer_done()), vinic::errc::not_done);
    must(right.vi.connect_peer(there, here, patience, pattern(256, 2)));
    const auto seen_by_left = must(left.vi.connect_peer_wait());
    const auto seen_by_right = must(right.vi.connect_peer_wait());
    EXPECT_EQ(seen_by_left.private_data, pattern(256, 2));
    EXPECT_EQ(seen_by_right.private_data, pattern(256, 1));
    EXPECT_EQ(seen_by_left.vi, right.vi.number());
    EXPECT_EQ(seen_by_right.vi, left.vi.number());
    EXPECT_EQ(left.vi.state(), vinic::vi_state::connected);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::connected);
    ASSERT_EQ(left.vi.post_receive(left.at(0, 64), 1), vinic::errc::ok);
    ASSERT_EQ(right.vi.post_send(right.at(0, 64), 2), vinic::errc::ok);
    EXPECT_EQ(next(left.receives).status, vinic::status::success);
}

TEST_P(peers, hear_of_it_by_asking_too) {
    must(left.vi.connect_peer(here, there, patience));
    must(right.vi.connect_peer(there, here, patience));
    EXPECT_TRUE(comes_true([&] { return left.vi.connect_peer_done().has_value(); }));
    EXPECT_TRUE(comes_true([&] { return right.vi.connect_peer_done().has_value(); }));
    EXPECT_EQ(left.vi.state(), vinic::vi_state::connected);
}

TEST_P(peers, break_on_a_message_that_cannot_be_placed_before_both_have_heard) {
    arena storage(other_nic, memory_kind::device, 4096);
    vinic::region memory = must(right.domain.register_memory(storage.bytes(), vinic::access::all));
    ASSERT_EQ(right.vi.post_receive({memory, 0, 64}, 1), vinic::errc::ok);
    must(right.vi.connect_peer(there, here, patience));
    must(left.vi.connect_peer(here, there, patience));
    must(left.vi.connect_peer_wait());
    ASSERT_EQ(left.vi.post_send(left.at(0, 32), 2), vinic::errc::ok);
    must(memory.close());
    EXPECT_EQ(next(right.receives).status, vinic::status::local_protection);
    EXPECT_TRUE(comes_to(right.vi, vinic::vi_state::error));
    EXPECT_TRUE(comes_to(left.vi, vinic::vi_state::error));
}

TEST_P(peers, that_wait_in_two_threads_meet) {
    for (int round = 0; round < 20; ++round) {
        auto other = in_thread([&] {
            must(right.vi.connect_peer(there, here, patience));
            return right.vi.connect_peer_wait();
        });
        must(left.vi.connect_peer(here, there, patience));
        EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::ok);
        EXPECT_EQ(code_of(other.get()), vinic::errc::ok);
        must(left.vi.disconnect());
        must(right.vi.disconnect());
    }
}

TEST_P(peers, may_both_use_one_name) {
    must(left.vi.connect_peer(here, here, patience));
    must(right.vi.connect_peer(here, here, patience));
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::ok);
    EXPECT_EQ(code_of(right.vi.connect_peer_wait()), vinic::errc::ok);
}

TEST_P(peers, whose_names_do_not_mirror_each_other_do_not_meet) {
    must(left.vi.connect_peer(here, there, 50ms));
    must(right.vi.connect_peer(here, there, 50ms));
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::timed_out);
    EXPECT_EQ(code_of(right.vi.connect_peer_wait()), vinic::errc::timed_out);
    EXPECT_EQ(left.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::idle);
}

TEST_P(peers, with_different_discriminators_do_not_meet) {
    const auto one = pattern(8, 1);
    const auto two = pattern(8, 2);
    must(left.vi.connect_peer({here.name, one}, {there.name, one}, 50ms));
    must(right.vi.connect_peer({there.name, one}, {here.name, two}, 50ms));
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::timed_out);
    must(right.vi.disconnect());
    must(left.vi.connect_peer({here.name, one}, {there.name, one}, patience));
    must(right.vi.connect_peer({there.name, one}, {here.name, one}, patience));
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::ok);
}

TEST_P(peers, are_not_found_by_clients_and_do_not_answer_them) {
    must(left.vi.connect_peer(here, there, patience));
    EXPECT_EQ(code_of(right.vi.connect(here, patience)), vinic::errc::no_listener);
    must(left.vi.disconnect());
}

TEST_P(peers, with_unlike_attributes_are_both_refused) {
    auto attributes = right.vi.attributes();
    attributes.reliability = vinic::reliability::unreliable;
    must(right.vi.set_attributes(attributes));
    must(left.vi.connect_peer(here, there, patience));
    // Whoever comes second may hear of it from the call itself.
    const auto second_request = right.vi.connect_peer(there, here, patience);
    const auto seen_by_right = second_request ? code_of(right.vi.connect_peer_wait()) : code_of(second_request);
    EXPECT_EQ(seen_by_right, vinic::errc::attribute_mismatch);
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::attribute_mismatch);
    EXPECT_EQ(left.vi.state(), vinic::vi_state::idle);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::idle);
}

TEST_P(peers, may_give_up_and_try_again) {
    must(left.vi.connect_peer(here, there, patience));
    must(left.vi.disconnect());
    EXPECT_EQ(left.vi.state(), vinic::vi_state::idle);
    must(right.vi.connect_peer(there, here, 30ms));
    EXPECT_EQ(code_of(right.vi.connect_peer_wait()), vinic::errc::timed_out) << "it met a request that was withdrawn";
    must(left.vi.connect_peer(here, there, patience));
    must(right.vi.connect_peer(there, here, patience));
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::ok);
    EXPECT_EQ(code_of(right.vi.connect_peer_wait()), vinic::errc::ok);
}

TEST_P(peers, that_were_destroyed_are_not_met) {
    {
        endpoint short_lived(first, {});
        must(short_lived.vi.connect_peer(here, there, patience));
    }
    must(right.vi.connect_peer(there, here, 30ms));
    EXPECT_EQ(code_of(right.vi.connect_peer_wait()), vinic::errc::timed_out);
}

TEST_P(peers, that_never_asked_have_nothing_to_wait_for) {
    EXPECT_EQ(code_of(left.vi.connect_peer_done()), vinic::errc::invalid_state);
    EXPECT_EQ(code_of(left.vi.connect_peer_wait()), vinic::errc::invalid_state);
}

TEST_P(peers, may_not_say_more_than_256_bytes_nor_have_bad_names) {
    EXPECT_EQ(code_of(left.vi.connect_peer(here, there, patience, pattern(257, 1))), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(left.vi.connect_peer("", there, patience)), vinic::errc::invalid_argument);
    const std::string long_name(64, 'x');
    EXPECT_EQ(code_of(left.vi.connect_peer(here, std::string_view(long_name), patience)),
              vinic::errc::invalid_argument);
    EXPECT_EQ(left.vi.state(), vinic::vi_state::idle);
}

CONFORMANCE_BOTH_WAYS(peers);

}  // namespace
}  // namespace conformance

// SPDX-License-Identifier: Apache-2.0
//
// receiver_ready_test.cc -- a message that finds no receive descriptor, per reliability level and waiting policy.
//
//     unreliable                dropped; the sender's descriptor succeeds, the connection stays
//     reliable, wait nothing    the connection breaks at once (VIA)
//     reliable, wait a limit    waits, then the connection breaks (InfiniBand's receiver-not-ready retry)
//     reliable, wait for ever   waits until the receiver posts; then the message arrives although the sender makes
//                               no further call, and everything posted behind it follows in order
#include <cstring>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::status;

TEST(unreliable_sender, hears_nothing_of_messages_that_find_no_descriptor) {
    pair linked(with(vinic::reliability::unreliable));
    auto& left = linked.left;
    auto& right = linked.right;
    fill(left.bytes(0, 64), 1);
    for (std::uint64_t i = 0; i < 10; ++i) {
        ASSERT_EQ(left.vi.post_send(left.at(0, 64), i), errc::ok);
        EXPECT_EQ(next(left.sends).status, status::success);
    }
    EXPECT_EQ(left.vi.state(), vinic::vi_state::connected);
    EXPECT_EQ(right.vi.state(), vinic::vi_state::connected);
    ASSERT_EQ(right.vi.post_receive(right.at(0, 64), 1), errc::ok);
    EXPECT_TRUE(is_quiet(right.receives)) << "what was dropped does not come later";
    fill(left.bytes(0, 64), 2);
    ASSERT_EQ(left.vi.post_send(left.at(0, 64), 99), errc::ok);
    EXPECT_EQ(next(right.receives).status, status::success);
    EXPECT_TRUE(matches(right.bytes(0, 64), 2));
}

class reliable_sender : public testing::TestWithParam<vinic::reliability> {
protected:
    static void expect_broken(pair& linked) {
        EXPECT_TRUE(comes_to(linked.left.vi, vinic::vi_state::error));
        EXPECT_TRUE(comes_to(linked.right.vi, vinic::vi_state::error));
        ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 8), 9), errc::ok);
        EXPECT_EQ(next(linked.left.sends).status, status::flushed);
    }
};

TEST_P(reliable_sender, that_waits_for_nothing_breaks_the_connection) {
    pair linked(with(GetParam(), 0ns));
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 1), errc::ok);
    const auto done = next(linked.left.sends);
    EXPECT_EQ(done.status, status::receiver_not_ready);
    EXPECT_EQ(done.cookie, 1u);
    expect_broken(linked);
}

TEST_P(reliable_sender, that_waits_for_nothing_gets_through_as_long_as_receives_are_posted) {
    pair linked(with(GetParam(), 0ns));
    for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 64), i), errc::ok);
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), i), errc::ok);
    for (std::uint64_t i = 0; i < 4; ++i) {
        EXPECT_EQ(next(linked.left.sends).status, status::success);
        EXPECT_EQ(next(linked.right.receives).status, status::success);
    }
    EXPECT_EQ(next(linked.left.sends).status, status::receiver_not_ready) << "the fifth";
    expect_broken(linked);
}

TEST_P(reliable_sender, that_waits_a_limit_breaks_the_connection_after_it_and_not_before) {
    constexpr auto limit = 50ms;
    pair linked(with(GetParam(), limit));
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 1), errc::ok);
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 2), errc::ok);
    EXPECT_EQ(linked.left.vi.state(), vinic::vi_state::connected);
    const auto done = next(linked.left.sends);
    EXPECT_GE(std::chrono::steady_clock::now() - start, limit);
    EXPECT_EQ(done.cookie, 1u);
    EXPECT_EQ(done.status, status::receiver_not_ready);
    const auto behind = next(linked.left.sends);
    EXPECT_EQ(behind.cookie, 2u);
    EXPECT_EQ(behind.status, status::flushed);
    expect_broken(linked);
}

TEST_P(reliable_sender, that_waits_a_limit_notices_its_end_by_polling_alone) {
    pair linked(with(GetParam(), 30ms));
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 1), errc::ok);
    vinic::completion done;
    EXPECT_TRUE(comes_true([&] { return linked.left.sends.poll({&done, 1}) == 1; }));
    EXPECT_EQ(done.status, status::receiver_not_ready);
    expect_broken(linked);
}

TEST_P(reliable_sender, that_waits_a_limit_is_flushed_where_the_receiver_went_before_it) {
    constexpr auto limit = 100ms;
    for (bool goes = false, ended = false; !ended;) {
        pair linked(with(GetParam(), limit));
        const auto start = std::chrono::steady_clock::now();
        ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 1), errc::ok);
        if (goes)
            must(linked.right.vi.disconnect());
        if (std::chrono::steady_clock::now() - start >= limit)
            continue;  // a busy machine: once more
        std::this_thread::sleep_until(start + 2 * limit);
        // Calls on another queue of the same handle notice that the time is over, before anybody looks at the message.
        vinic::completion none;
        for (int i = 0; i < 10'000; ++i) ASSERT_EQ(linked.left.receives.poll({&none, 1}), 0u);
        EXPECT_EQ(next(linked.left.sends).status, goes ? status::flushed : status::receiver_not_ready);
        EXPECT_TRUE(comes_to(linked.left.vi, vinic::vi_state::error));
        EXPECT_EQ(linked.left.vi.statistics().cause,
                  goes ? vinic::break_cause::remote_disconnect : vinic::break_cause::local_error);
        EXPECT_EQ(linked.right.vi.statistics().no_descriptor, goes ? 0u : 1u);
        ended = std::exchange(goes, true);
    }
}

TEST_P(reliable_sender, that_waits_a_limit_gets_through_to_a_receiver_in_time) {
    pair linked(with(GetParam(), patience));
    fill(linked.left.bytes(0, 64), 3);
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 1), errc::ok);
    EXPECT_TRUE(is_quiet(linked.left.sends));
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 64), 2), errc::ok);
    EXPECT_EQ(next(linked.right.receives).status, status::success);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    EXPECT_TRUE(matches(linked.right.bytes(0, 64), 3));
}

TEST_P(reliable_sender, that_waits_a_limit_has_it_anew_for_every_message) {
    constexpr auto limit = 300ms;
    // Four messages that wait for a third of it each.  Where a busy machine makes one wait for all of it, the message
    // is rightly refused: then once more.
    for (;;) {
        pair linked(with(GetParam(), limit));
        std::uint64_t sent = 0;
        for (; sent < 4; ++sent) {
            const auto start = std::chrono::steady_clock::now();
            ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), sent), errc::ok);
            std::this_thread::sleep_for(limit / 3);
            ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 64), sent), errc::ok);
            const auto done = next(linked.left.sends);
            if (std::chrono::steady_clock::now() - start >= limit) {
                break;
            }
            EXPECT_EQ(done.status, status::success);
            EXPECT_EQ(done.cookie, sent);
            EXPECT_EQ(next(linked.right.receives).cookie, sent);
        }
        if (sent == 4) {
            return;
        }
    }
}

TEST_P(reliable_sender, that_waits_for_ever_gets_through_without_another_call) {
    pair linked(with(GetParam()));
    fill(linked.left.bytes(0, 30000), 4);
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 30000), 1), errc::ok);
    EXPECT_TRUE(is_quiet(linked.right.receives));
    // From here on nothing is called on the left side until the message has arrived on the right.
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 30000), 2), errc::ok);
    const auto done = next(linked.right.receives);
    EXPECT_EQ(done.status, status::success);
    EXPECT_EQ(done.length, 30000u);
    EXPECT_TRUE(matches(linked.right.bytes(0, 30000), 4));
    EXPECT_EQ(next(linked.left.sends).status, status::success);
}

TEST_P(reliable_sender, that_waits_keeps_the_order_of_everything_behind) {
    pair linked(with(GetParam()));
    auto& left = linked.left;
    auto& right = linked.right;
    fill(left.bytes(0, 640), 5);
    left.word(4096).store(41);
    right.word(8192).store(700);
    fill(right.bytes(12288, 64), 6);
    ASSERT_EQ(left.vi.post_send(left.at(0, 64), 0), errc::ok);
    ASSERT_EQ(left.vi.post_write(left.at(64, 64), right.remote(1024), 1), errc::ok);
    ASSERT_EQ(left.vi.post_fetch_add(left.at(4096, 8), right.remote(8192), 7, 2), errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(128, 64), 3, vinic::send_flag::immediate, 33), errc::ok);
    ASSERT_EQ(left.vi.post_read(left.at(2048, 64), right.remote(12288), 4), errc::ok);
    EXPECT_TRUE(is_quiet(left.sends));
    EXPECT_TRUE(all_are(right.bytes(1024, 64), std::byte{0})) << "a write overtook the send in front of it";
    EXPECT_EQ(right.word(8192).load(), 700u);

    ASSERT_EQ(right.vi.post_receive(right.at(0, 64), 10), errc::ok);
    EXPECT_EQ(next(right.receives).cookie, 10u);
    for (std::uint64_t i = 0; i < 3; ++i) {
        const auto done = next(left.sends);
        EXPECT_EQ(done.cookie, i);
        EXPECT_EQ(done.status, status::success);
    }
    EXPECT_TRUE(matches(right.bytes(0, 64), 5));
    EXPECT_EQ(right.word(8192).load(), 707u);
    EXPECT_EQ(left.word(4096).load(), 700u);
    EXPECT_TRUE(is_quiet(left.sends)) << "the second send waits again";

    ASSERT_EQ(right.vi.post_receive(right.at(512, 64), 11), errc::ok);
    const auto received = next(right.receives);
    EXPECT_EQ(received.cookie, 11u);
    EXPECT_EQ(received.immediate, 33u);
    EXPECT_EQ(next(left.sends).cookie, 3u);
    EXPECT_EQ(next(left.sends).cookie, 4u);
    EXPECT_TRUE(matches(left.bytes(2048, 64), 6));
}

TEST_P(reliable_sender, that_waits_keeps_long_lists_inline_data_and_wide_operands) {
    auto options = with(GetParam());
    options.attributes.segments_max = 256;
    options.attributes.inline_bytes_max = 1024;
    pair linked(options);
    auto& left = linked.left;
    auto& right = linked.right;
    constexpr std::uint64_t wide = 0xfedcba9876543210u;
    right.word(40000).store(wide);
    fill(left.bytes(0, 5120), 7);
    std::vector<vinic::segment> gather;
    std::vector<vinic::segment> scatter;
    for (std::size_t i = 0; i < 256; ++i) {
        gather.push_back(left.at(20 * i, 20));
        scatter.push_back(right.at(10000 + 20 * (255 - i), 20));
    }
    auto payload = pattern(1024, 8);
    const vinic::segment halves[] = {{payload.data(), 500, 0}, {payload.data() + 500, 524, 0}};
    ASSERT_EQ(left.vi.post_send(gather, 1), errc::ok);
    ASSERT_EQ(left.vi.post_compare_swap(left.at(50000, 8), right.remote(40000), wide, ~wide, 2), errc::ok);
    ASSERT_EQ(left.vi.post_send(halves, 3, vinic::send_flag::inlined), errc::ok);
    ASSERT_EQ(left.vi.post_write(halves, right.remote(30000), 4, vinic::send_flag::inlined), errc::ok);
    std::fill(payload.begin(), payload.end(), std::byte{0});
    ASSERT_EQ(right.vi.post_receive(scatter, 10), errc::ok);
    ASSERT_EQ(right.vi.post_receive(right.at(20000, 1024), 11), errc::ok);
    const auto received = next(right.receives, 2);
    EXPECT_EQ(received[0].length, 5120u);
    EXPECT_EQ(received[1].length, 1024u);
    for (const auto& done : next(left.sends, 4)) EXPECT_EQ(done.status, status::success);
    for (std::size_t i = 0; i < 256; ++i)
        ASSERT_EQ(std::memcmp(left.bytes(20 * i, 20).data(), right.bytes(10000 + 20 * (255 - i), 20).data(), 20), 0)
            << i;
    EXPECT_EQ(left.word(50000).load(), wide);
    EXPECT_EQ(right.word(40000).load(), ~wide);
    EXPECT_TRUE(matches(right.bytes(20000, 1024), 8));
    EXPECT_TRUE(matches(right.bytes(30000, 1024), 8));
}

TEST_P(reliable_sender, that_waits_fills_its_queue_and_is_emptied_by_the_receiver) {
    auto options = with(GetParam());
    options.attributes.send_depth = 8;
    pair linked(options);
    auto& left = linked.left;
    auto& right = linked.right;
    for (std::uint64_t i = 0; i < 8; ++i) {
        left.word(8 * i).store(i + 1000);
        ASSERT_EQ(left.vi.post_send(left.at(8 * i, 8), i), errc::ok);
    }
    EXPECT_EQ(left.vi.post_send(left.at(0, 8), 8), errc::queue_full);
    EXPECT_EQ(left.vi.sends_outstanding(), 8u);
    for (std::uint64_t i = 0; i < 8; ++i) {
        ASSERT_EQ(right.vi.post_receive(right.at(0, 8), i), errc::ok);
        EXPECT_EQ(next(right.receives).cookie, i);
        EXPECT_EQ(right.word(0).load(), i + 1000);
    }
    for (std::uint64_t i = 0; i < 8; ++i) EXPECT_EQ(next(left.sends).cookie, i);
}

TEST_P(reliable_sender, that_waits_is_served_by_a_batch_of_receives) {
    pair linked(with(GetParam()));
    for (std::uint64_t i = 0; i < 10; ++i) ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 8), i), errc::ok);
    const vinic::segment place = linked.right.at(0, 8);
    std::vector<vinic::receive_request> receives(6);
    for (std::uint64_t i = 0; i < 6; ++i) receives[i] = {{&place, 1}, i};
    EXPECT_EQ(linked.right.vi.post_receives(receives).count, 6u);
    for (std::uint64_t i = 0; i < 6; ++i) EXPECT_EQ(next(linked.right.receives).cookie, i);
    for (std::uint64_t i = 0; i < 6; ++i) EXPECT_EQ(next(linked.left.sends).cookie, i);
    EXPECT_TRUE(is_quiet(linked.left.sends));
    EXPECT_EQ(linked.left.vi.sends_outstanding(), 4u);
}

TEST_P(reliable_sender, that_waits_and_its_peer_that_waits_too_both_get_through) {
    pair linked(with(GetParam()));
    for (endpoint* side : {&linked.left, &linked.right}) {
        for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(side->vi.post_send(side->at(0, 100), i), errc::ok);
    }
    for (endpoint* side : {&linked.left, &linked.right}) {
        for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(side->vi.post_receive(side->at(1024, 100), i), errc::ok);
    }
    for (endpoint* side : {&linked.left, &linked.right}) {
        for (const auto& done : next(side->receives, 4)) EXPECT_EQ(done.status, status::success);
        for (const auto& done : next(side->sends, 4)) EXPECT_EQ(done.status, status::success);
    }
}

TEST_P(reliable_sender, that_waits_with_immediate_data_in_a_write_gets_through_too) {
    pair linked(with(GetParam()));
    fill(linked.left.bytes(0, 100), 8);
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 100), linked.right.remote(1000), 1,
                                        vinic::send_flag::immediate, 77),
              errc::ok);
    EXPECT_TRUE(is_quiet(linked.left.sends));
    ASSERT_EQ(linked.right.vi.post_receive(std::span<const vinic::segment>{}, 2), errc::ok);
    const auto done = next(linked.right.receives);
    EXPECT_EQ(done.opcode, vinic::opcode::receive_write);
    EXPECT_EQ(done.immediate, 77u);
    EXPECT_TRUE(matches(linked.right.bytes(1000, 100), 8));
    EXPECT_EQ(next(linked.left.sends).status, status::success);
}

TEST_P(reliable_sender, that_sleeps_in_wait_is_woken_by_the_receivers_post) {
    pair linked(with(GetParam()), handles::two);
    for (std::uint64_t round = 0; round < 20; ++round) {
        auto sender = in_thread([&] {
            EXPECT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), round), errc::ok);
            return next(linked.left.sends);
        });
        if (round % 2 == 0)
            std::this_thread::sleep_for(2ms);  // the sender sleeps in some rounds, spins in others
        ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 64), round), errc::ok);
        EXPECT_EQ(next(linked.right.receives).cookie, round);
        EXPECT_EQ(sender.get().cookie, round);
    }
}

TEST_P(reliable_sender, that_waits_finds_a_receive_that_is_too_small) {
    pair linked(with(GetParam()));
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 1), errc::ok);
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 64), 2), errc::ok);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 63), 3), errc::ok);
    EXPECT_EQ(next(linked.right.receives).status, status::local_length);
    EXPECT_EQ(next(linked.left.sends).status, status::remote_length);
    EXPECT_EQ(next(linked.left.sends).status, status::flushed);
    expect_broken(linked);
}

INSTANTIATE_TEST_SUITE_P(level, reliable_sender,
                         testing::Values(vinic::reliability::delivery, vinic::reliability::reception), level_name);

TEST(reception, completes_a_send_only_when_the_data_is_in_the_receivers_memory) {
    pair linked(with(vinic::reliability::reception));
    for (std::uint32_t i = 0; i < 200; ++i) {
        const std::size_t bytes = 1 + 97 * (i % 100);
        fill(linked.left.bytes(0, bytes), i);
        ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, bytes), i), errc::ok);
        ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, bytes), i), errc::ok);
        ASSERT_EQ(next(linked.left.sends).status, status::success);
        // Looked at before the receiver has polled anything, whatever the size: this is what sets the level apart.
        ASSERT_TRUE(matches(linked.right.bytes(0, bytes), i)) << bytes << " bytes";
        ASSERT_EQ(next(linked.right.receives).status, status::success);
        ASSERT_TRUE(matches(linked.right.bytes(0, bytes), i));
    }
}

}  // namespace
}  // namespace conformance

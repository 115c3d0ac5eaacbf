// SPDX-License-Identifier: Apache-2.0
//
// notices_test.cc -- what the device writes for everybody who uses a function, and that it reads none of it.
#include <gtest/gtest.h>

#include <memory>

#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t my_function = 2;

struct notice_board : testing::Test {
    notice_board() {
        device_options o;
        o.functions = 3;
        o.yield = true;
        nic = device::create(o).value();
        EXPECT_TRUE(nic->start());
    }
    std::unique_ptr<device> nic;
};

abi::notice_board& board_of(const raw_client& c) { return c.at<abi::identity_page>(abi::identity_offset)->notices; }

/// What line the n-th notice left, or nothing if it is another's.
std::optional<abi::notice_words> notice(const raw_client& c, std::uint32_t n) {
    abi::notice_words w{};
    return board_of(c).line[(n - 1) % abi::notices_kept].read(n, w) ? std::optional(w) : std::nullopt;
}

abi::notice_words in_force(const raw_client& c) {
    abi::notice_words w{};
    EXPECT_TRUE(board_of(c).in_force.read(board_of(c).in_force.sequence.load_acquire(), w));
    return w;
}

constexpr auto as_number = [](abi::notice n) { return static_cast<std::uint32_t>(n); };

TEST_F(notice_board, says_from_the_start_what_is_in_force) {
    ASSERT_TRUE(nic->set_entitlement(my_function, {.guarantee = 1000, .cap = 2000, .weight = 3, .priority = 4}));
    ASSERT_TRUE(nic->reset(my_function));
    nic->settle();
    const raw_client c(*nic, my_function, 0);
    EXPECT_EQ(board_of(c).count.load_acquire(), 0u);  // of before it came nobody needs to know
    const auto w = in_force(c);
    EXPECT_EQ(w.guarantee, 1000u);
    EXPECT_EQ(w.cap, 2000u);
    EXPECT_EQ(w.weight, 3u);
    EXPECT_EQ(w.priority, 4u);
}

TEST_F(notice_board, tells_of_a_change_to_its_function_only) {
    const raw_client c(*nic, my_function, 0);
    const raw_client other(*nic, 1, 0);
    ASSERT_TRUE(nic->set_entitlement(my_function, {.guarantee = 5, .cap = 6, .weight = 7, .priority = 1}));
    EXPECT_EQ(board_of(c).count.load_acquire(), 1u);
    const auto w = notice(c, 1);
    ASSERT_TRUE(w);
    EXPECT_EQ(w->kind, as_number(abi::notice::service_changed));
    EXPECT_GT(w->time_ns, 0u);
    EXPECT_EQ(w->guarantee, 5u);
    EXPECT_EQ(w->cap, 6u);
    EXPECT_EQ(w->weight, 7u);
    EXPECT_EQ(w->priority, 1u);
    EXPECT_EQ(in_force(c).weight, 7u);
    EXPECT_EQ(board_of(other).count.load_acquire(), 0u);
    EXPECT_EQ(in_force(other).weight, 1u);
    // The same again is no news, and what is refused is none either.
    ASSERT_TRUE(nic->set_entitlement(my_function, {.guarantee = 5, .cap = 6, .weight = 7, .priority = 1}));
    EXPECT_FALSE(nic->set_entitlement(my_function, {.weight = 0}));
    EXPECT_EQ(board_of(c).count.load_acquire(), 1u);
}

TEST_F(notice_board, keeps_the_last_sixteen) {
    const raw_client c(*nic, my_function, 0);
    for (std::uint32_t i = 1; i <= 40; ++i) {
        ASSERT_TRUE(nic->set_entitlement(my_function, {.weight = 100 + i}));
    }
    EXPECT_EQ(board_of(c).count.load_acquire(), 40u);
    EXPECT_FALSE(notice(c, 24));
    for (std::uint32_t i = 25; i <= 40; ++i) {
        ASSERT_TRUE(notice(c, i)) << i;
        EXPECT_EQ(notice(c, i)->weight, 100 + i);
    }
}

TEST_F(notice_board, tells_of_reset_removal_and_the_end_before_they_happen) {
    raw_client gone(*nic, my_function, 0);
    gone.hold_entry();
    ASSERT_TRUE(nic->reset(my_function));
    nic->settle();
    ASSERT_TRUE(notice(gone, 1));
    EXPECT_EQ(notice(gone, 1)->kind, as_number(abi::notice::reset_imminent));
    raw_client away(*nic, my_function, 0);
    away.hold_entry();
    EXPECT_EQ(board_of(away).count.load_acquire(), 0u);
    ASSERT_TRUE(nic->remove(my_function));
    nic->settle();
    ASSERT_TRUE(notice(away, 1));
    EXPECT_EQ(notice(away, 1)->kind, as_number(abi::notice::removal_imminent));
    EXPECT_EQ(board_of(away).count.load_acquire(), 1u);  // that it gets nothing any more is no news
    EXPECT_EQ(board_of(gone).count.load_acquire(), 1u);  // nor is anything where nobody is served
    const raw_client last(*nic, 1, 0);
    nic->drain(nanoseconds(0));
    nic->stop();
    EXPECT_EQ(board_of(last).count.load_acquire(), 1u);  // once
    ASSERT_TRUE(notice(last, 1));
    EXPECT_EQ(notice(last, 1)->kind, as_number(abi::notice::device_stopping));
}

TEST_F(notice_board, that_is_scribbled_over_misleads_no_other_function) {
    const raw_client c(*nic, my_function, 0);
    const raw_client other(*nic, 1, 0);
    for (std::uint32_t i = 0; i < 100; ++i) {
        std::memset(static_cast<void*>(&board_of(c)), static_cast<int>(i * 37 % 256), sizeof(abi::notice_board));
        ASSERT_TRUE(nic->set_entitlement(my_function, {.weight = 1 + i + 1}));
        ASSERT_TRUE(nic->set_entitlement(1, {.weight = 1 + i + 1}));
        // The device counts for itself.
        ASSERT_EQ(board_of(c).count.load_acquire(), i + 1);
        ASSERT_TRUE(notice(c, i + 1));
        ASSERT_EQ(in_force(c).weight, i + 2);
        ASSERT_EQ(board_of(other).count.load_acquire(), i + 1);
        ASSERT_EQ(in_force(other).weight, i + 2);
    }
    EXPECT_EQ(nic->status(my_function)->options.quality.weight, 101u);
}

TEST_F(notice_board, tells_a_function_that_breaks_the_rules_before_it_is_cut_off) {
    device_options o;
    o.functions = 1;
    o.yield = true;
    o.violations_per_second = 2;
    const auto strict = device::create(o).value();
    ASSERT_TRUE(strict->start());
    raw_client c(*strict, 1, 0);
    c.hold_entry();  // or what it is told is gone with its window before it looks
    abi::mailbox& box = *c.at<abi::mailbox>(abi::mailbox_offset(0));
    const std::uint64_t end = os::now_ns() + 20'000'000'000;
    for (std::uint32_t i = 2; board_of(c).count.load_acquire() == 0 && os::now_ns() < end; ++i) {
        box.request.sequence.store_release(i * 1000);  // forged: not the next one
        std::this_thread::yield();
    }
    ASSERT_TRUE(notice(c, 1));
    EXPECT_EQ(notice(c, 1)->kind, as_number(abi::notice::reset_imminent));
}

}  // namespace
}  // namespace vinic::controller

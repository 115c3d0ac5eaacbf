// SPDX-License-Identifier: Apache-2.0
//
// presence_test.cc -- VFs come and go one at a time, and the others do not notice.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "controller/configuration_registers.hpp"
#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t guest = 3;

struct presence : testing::Test {
    presence() {
        device_options o;
        o.functions = 4;
        o.scheduling.engines = 2;
        o.yield = true;
        nic = device::create(o).value();
        nic->on_event([this](const event& e) {
            added += e.kind == event_kind::added ? 1 : 0;
            removed += e.kind == event_kind::removed ? 1 : 0;
        });
        EXPECT_TRUE(nic->start());
    }
    [[nodiscard]] errc attaching(std::uint32_t function) const {
        const auto a = nic->attach(function, ::getuid());
        return a ? errc::ok : a.error().code;
    }
    std::atomic<int> added = 0;
    std::atomic<int> removed = 0;
    std::unique_ptr<device> nic;
};

/// VI `vi` of two clients, connected.
void pair_up(raw_client& a, raw_client& b, std::uint32_t vi) {
    for (raw_client* each : {&a, &b}) {
        ASSERT_EQ(each->register_all(region_key), errc::ok);
        ASSERT_EQ(each->create(vi), errc::ok);
    }
    ASSERT_EQ(raw_client::connect(a, vi, b, vi), errc::ok);
}

void exchange(raw_client& a, raw_client& b, std::uint32_t vi, std::byte mark) {
    a.data(0, 4096).front() = mark;
    const std::uint32_t r = b.post_receive(vi, region_key, 1 << 20, 4096);
    const std::uint32_t s = a.post(vi, opcode::send, region_key, 0, 4096);
    ASSERT_EQ(a.await_send(vi, s), status::success);
    const auto c = b.await_receive(vi, r);
    ASSERT_TRUE(c);
    ASSERT_EQ(c->status, static_cast<std::uint8_t>(status::success));
    ASSERT_EQ(b.data(1 << 20, 1).front(), mark);
}

TEST_F(presence, a_function_that_was_removed_is_nowhere) {
    ASSERT_TRUE(nic->remove(guest));
    nic->settle();
    EXPECT_FALSE(nic->has(guest));
    EXPECT_TRUE(nic->has(guest + 1));
    EXPECT_EQ(nic->functions(), 5u);  // numbers stay
    EXPECT_EQ(attaching(guest), errc::unknown_address);
    EXPECT_EQ(nic->enter(guest, 1, 0, {}).error().code, errc::unknown_address);
    EXPECT_EQ(nic->status(guest).error().code, errc::unknown_address);
    EXPECT_EQ(nic->status(guest).error().doing, "function vf2 was removed");
    EXPECT_EQ(nic->reset(guest).error().code, errc::unknown_address);
    EXPECT_EQ(nic->set_entitlement(guest, {}).error().code, errc::unknown_address);
    EXPECT_EQ(nic->configuration(guest).error().code, errc::unknown_address);
    EXPECT_EQ(nic->configure(guest, pci::command_status, 2, 0).error().code, errc::unknown_address);
    EXPECT_EQ(nic->remove(guest).error().code, errc::unknown_address);
    EXPECT_EQ(removed.load(), 1);
    EXPECT_EQ(attaching(guest + 1), errc::ok);
    nic->stop();  // has no window to write to
}

TEST_F(presence, the_pf_stays_and_what_is_there_is_not_added) {
    EXPECT_EQ(nic->remove(0).error().code, errc::invalid_argument);
    EXPECT_TRUE(nic->has(0));
    EXPECT_EQ(nic->remove(5).error().code, errc::unknown_address);
    EXPECT_EQ(nic->add(5).error().code, errc::unknown_address);
    EXPECT_FALSE(nic->has(5));
    EXPECT_EQ(nic->add(guest).error().code, errc::invalid_state);
    EXPECT_EQ(added.load() + removed.load(), 0);
}

TEST_F(presence, a_function_that_is_added_is_as_if_new) {
    std::uint32_t epoch = 0;
    {
        raw_client a(*nic, guest, 0);
        raw_client b(*nic, 1, 0);
        pair_up(a, b, 2);
        exchange(a, b, 2, std::byte{1});
        epoch = nic->status(guest)->epoch;
        EXPECT_GT(nic->status(guest)->counters.tx_messages, 0u);
        EXPECT_GT(nic->status(guest)->counters.scheduling.grants, 0u);
        ASSERT_TRUE(nic->remove(guest));
        nic->settle();
        EXPECT_TRUE(b.await_link(2, abi::link::error));
    }
    ASSERT_TRUE(nic->add(guest, {.weight = 7}));
    EXPECT_EQ(added.load(), 1);
    const auto s = nic->status(guest).value();
    EXPECT_NE(s.epoch, epoch);
    EXPECT_EQ(s.contexts + s.vis + s.regions, 0u);
    EXPECT_EQ(s.options.quality.weight, 7u);
    EXPECT_EQ(s.counters.tx_messages + s.counters.tx_bytes + s.counters.mailbox_requests + s.counters.doorbells, 0u);
    EXPECT_EQ(s.counters.scheduling.grants + s.counters.scheduling.bytes, 0u);
    raw_client a(*nic, guest, 0);
    raw_client b(*nic, 1, 1);
    EXPECT_EQ(a.data(0, 1).front(), std::byte{0});
    pair_up(a, b, 2);
    exchange(a, b, 2, std::byte{2});
    EXPECT_EQ(nic->status(guest)->counters.tx_messages, 1u);
}

TEST_F(presence, an_old_epoch_does_not_enter_the_new_one) {
    const auto before = nic->attach(guest, ::getuid()).value();
    ASSERT_TRUE(nic->remove(guest));
    nic->settle();
    ASSERT_TRUE(nic->add(guest));
    EXPECT_EQ(nic->enter(guest, before.epoch, 0, {}).error().code, errc::busy);
    const auto now = nic->attach(guest, ::getuid()).value();
    EXPECT_TRUE(nic->enter(guest, now.epoch, 0, {}));
}

TEST_F(presence, its_guarantee_is_free_for_others_and_it_stays_away_without_one) {
    const std::uint64_t all = nic->options().scheduling.bytes_per_second * nic->options().scheduling.engines;
    ASSERT_TRUE(nic->set_entitlement(guest, {.guarantee = all}));
    EXPECT_EQ(nic->set_entitlement(1, {.guarantee = all}).error().code, errc::invalid_argument);
    ASSERT_TRUE(nic->remove(guest));
    nic->settle();
    ASSERT_TRUE(nic->set_entitlement(1, {.guarantee = all}));
    EXPECT_EQ(nic->add(guest, {.guarantee = all}).error().code, errc::invalid_argument);
    EXPECT_FALSE(nic->has(guest));
    EXPECT_EQ(attaching(guest), errc::unknown_address);
    EXPECT_TRUE(nic->add(guest));
    EXPECT_EQ(attaching(guest), errc::ok);
}

TEST_F(presence, a_reset_of_the_pfs_vfs_does_not_bring_it_back) {
    ASSERT_TRUE(nic->remove(guest));
    nic->settle();
    constexpr std::uint32_t control = pci::sriov + pci::sriov_control;
    ASSERT_TRUE(nic->configure(0, control, 2, 0));
    ASSERT_TRUE(nic->configure(0, control, 2, pci::sriov_enable | pci::sriov_memory));
    EXPECT_FALSE(nic->has(guest));
    EXPECT_EQ(attaching(guest), errc::unknown_address);
}

/// One VF goes and comes 200 times while two others exchange messages, and its own clients are in the middle of some.
TEST_F(presence, others_do_not_notice) {
    raw_client a(*nic, 1, 0);
    raw_client b(*nic, 2, 0);
    pair_up(a, b, 1);
    std::atomic<std::uint64_t> exchanged = 0;
    std::jthread victims([&](const std::stop_token& enough) {
        while (!enough.stop_requested() && !testing::Test::HasFatalFailure()) {
            exchange(a, b, 1, static_cast<std::byte>(exchanged + 1));
            ++exchanged;
        }
    });
    raw_client other(*nic, 4, 0);
    ASSERT_EQ(other.register_all(region_key), errc::ok);
    const std::uint64_t before = exchanged;
    std::uint64_t cut_off = 0;
    for (std::uint32_t round = 0; round < 200 && !HasFailure(); ++round) {
        const auto leaving = std::make_unique<raw_client>(*nic, guest, round % 64);
        const std::uint32_t vi = round % 256;
        ASSERT_EQ(leaving->register_all(region_key), errc::ok);
        ASSERT_EQ(leaving->create(vi), errc::ok);
        ASSERT_EQ(other.create(vi), errc::ok);
        ASSERT_EQ(raw_client::connect(*leaving, vi, other, vi), errc::ok);
        // One message is under way in each direction, or waits for a receiver that never comes.
        std::uint32_t sent = 0;
        if (round % 2 == 0) {
            leaving->post_receive(vi, region_key, 0, 8 << 20);
        }
        for (std::uint32_t i = 0; i < 4; ++i) {
            sent = other.post(vi, opcode::send, region_key, 0, 8 << 20);
        }
        ASSERT_TRUE(nic->remove(guest));
        nic->settle();
        ASSERT_TRUE(other.await_link(vi, abi::link::error)) << round;
        // The library flushes what is left; the device has let go of it.
        cut_off += other.send_slot(vi, sent).done.load_acquire() != sent + 1 ||
                           other.send_slot(vi, sent).status != static_cast<std::uint8_t>(status::success)
                       ? 1U
                       : 0U;
        ASSERT_EQ(other.call(abi::verb::destroy_vi, {vi}).code, errc::ok);
        ASSERT_TRUE(nic->add(guest));
    }
    victims.request_stop();
    victims.join();
    EXPECT_EQ(cut_off, 200u);  // the last of four cannot have arrived: there was one receive at most
    EXPECT_GT(exchanged, before);
    EXPECT_EQ(a.link_of(1), abi::link::connected);
    EXPECT_EQ(nic->status(1)->counters.protection_errors, 0u);
    EXPECT_EQ(added.load(), 200);
}

TEST_F(presence, its_guarantee_is_free_at_once_although_it_is_still_being_taken_away) {
    const std::uint64_t all = nic->options().scheduling.bytes_per_second * nic->options().scheduling.engines;
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(nic->set_entitlement(guest, {.guarantee = all}));
        const raw_client user(*nic, guest, 0);
        ASSERT_TRUE(nic->remove(guest));
        ASSERT_TRUE(nic->set_entitlement(1, {.guarantee = all})) << i;
        ASSERT_TRUE(nic->set_entitlement(1, {}));
        nic->settle();
        ASSERT_TRUE(nic->add(guest));
    }
}

TEST_F(presence, service_and_memory_are_set_together_or_not_at_all) {
    const auto before = nic->status(guest)->options;
    EXPECT_FALSE(nic->set(guest, {.weight = 7}, 1 << 20)) << "too little memory";
    EXPECT_FALSE(nic->set(guest, {.guarantee = ~std::uint64_t{0}}, 64ULL << 20)) << "too much guaranteed";
    EXPECT_EQ(nic->status(guest)->options.quality, before.quality);
    EXPECT_EQ(nic->status(guest)->options.memory_bytes, before.memory_bytes);
    ASSERT_TRUE(nic->set(guest, {.weight = 7}, 64ULL << 20));
    EXPECT_EQ(nic->status(guest)->options.quality.weight, 7u);
    EXPECT_EQ(nic->status(guest)->options.memory_bytes, 64ULL << 20);
}

}  // namespace
}  // namespace vinic::controller

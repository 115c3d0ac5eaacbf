// SPDX-License-Identifier: Apache-2.0
//
// notification_test.cc -- masks, moderation and MSI-X of a running device, seen by clients that sleep.
#include <gtest/gtest.h>

#include <random>

#include "controller/configuration_registers.hpp"
#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint64_t hang_ns = 20'000'000'000;

/// A receiver whose ready bits and wake-ups are looked at as its library would.
struct Receiver {
    Receiver(device& d, std::uint32_t function, std::uint32_t context) : client(d, function, context) {
        EXPECT_EQ(client.register_all(region_key), errc::ok);
        auto description = raw_client::description(vi_number);
        description.cq[abi::receive_queue] = cq;
        EXPECT_EQ(client.create(vi_number, description), errc::ok);
        entry().bitmap.store_release(abi::make_bitmap(raw_client::data_offset + (16 << 20), 0));
        client.entry(vi_number).notify[abi::receive_queue].store_release(1);
    }
    [[nodiscard]] abi::cq_entry& entry() const { return client.at<abi::cq_entry>(abi::cqs_offset)[cq]; }
    [[nodiscard]] abi::word64& summary() const {
        return *client.at<abi::word64>(abi::bitmap_offset(entry().bitmap.load_relaxed()));
    }
    [[nodiscard]] std::uint32_t wakes() const { return entry().wakes.load_acquire(); }
    void arm() const {
        summary().store_release(0);
        entry().armed.store_release(1);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    [[nodiscard]] bool await_wakes(std::uint32_t n) const {
        const std::uint64_t end = os::now_ns() + hang_ns;
        while (wakes() < n) {
            if (os::now_ns() > end) {
                return false;
            }
            std::this_thread::yield();
        }
        return true;
    }
    errc set(std::uint64_t vector, std::uint64_t flags, std::uint64_t count = 0, std::uint64_t period_ns = 0) {
        return client.call(abi::verb::vector, {vector, flags | abi::change_vector, count, period_ns}).code;
    }
    [[nodiscard]] std::uint64_t pending(std::uint64_t vector) { return client.call(abi::verb::vector, {vector}).r[0]; }

    static constexpr std::uint32_t cq = 11;
    raw_client client;
};

struct notification : testing::TestWithParam<std::uint32_t> {
    notification() {
        device_options o;
        o.functions = 3;
        o.scheduling.engines = GetParam();
        o.yield = true;
        nic = device::create(o).value();
        EXPECT_TRUE(nic->start());
        sender.emplace(*nic, 1, 0);
        receiver.emplace(*nic, 2, 5);
        EXPECT_EQ(sender->register_all(region_key), errc::ok);
        EXPECT_EQ(sender->create(vi_number), errc::ok);
        EXPECT_EQ(raw_client::connect(*sender, vi_number, receiver->client, vi_number), errc::ok);
    }
    /// On return the message is there, and so is a wake-up that comes at once.
    void send() {
        const std::uint32_t r = receiver->client.post_receive(vi_number, region_key, 0, 64);
        ASSERT_EQ(sender->await_send(vi_number, sender->post(vi_number, opcode::send, region_key, 0, 8)),
                  status::success);
        ASSERT_TRUE(receiver->client.await_receive(vi_number, r));
        ASSERT_EQ(receiver->client.call(abi::verb::quiesce, {}).code, errc::ok);
    }
    void configure(std::uint32_t offset, std::uint32_t value) { ASSERT_TRUE(nic->configure(2, offset, 2, value)); }

    std::unique_ptr<device> nic;
    std::optional<raw_client> sender;
    std::optional<Receiver> receiver;
};

TEST_P(notification, a_masked_vector_is_pending_and_unmasking_delivers) {
    receiver->entry().vector.store_release(2);
    receiver->arm();
    send();
    EXPECT_EQ(receiver->wakes(), 1u) << "open";
    ASSERT_EQ(receiver->set(1, abi::vector_masked), errc::ok);
    receiver->arm();
    send();
    EXPECT_EQ(receiver->wakes(), 2u) << "the mask of another vector";
    ASSERT_EQ(receiver->set(2, abi::vector_masked), errc::ok);
    receiver->arm();
    send();
    send();
    EXPECT_EQ(receiver->wakes(), 2u);
    EXPECT_EQ(receiver->entry().armed.load_acquire(), 1u);
    EXPECT_EQ(receiver->pending(2), 1u);
    EXPECT_EQ(nic->status(2)->vectors[2], (vector_status{{true, 0, nanoseconds(0)}, 1}));
    EXPECT_EQ(receiver->pending(1), 0u);
    ASSERT_EQ(receiver->set(2, 0), errc::ok);
    EXPECT_EQ(receiver->wakes(), 3u) << "delivered on unmask, before the request is answered";
    EXPECT_EQ(receiver->entry().armed.load_acquire(), 0u);
    EXPECT_EQ(receiver->pending(2), 0u);
    ASSERT_EQ(receiver->set(2, 0), errc::ok);
    EXPECT_EQ(receiver->wakes(), 3u) << "once";
}

TEST_P(notification, a_queue_that_nobody_sleeps_on_is_not_pending) {
    ASSERT_EQ(receiver->set(0, abi::vector_masked), errc::ok);
    send();
    EXPECT_EQ(receiver->pending(0), 0u);
    EXPECT_EQ(receiver->summary().load_acquire(), 1u) << "its ready bit says it";
    ASSERT_EQ(receiver->set(0, 0), errc::ok);
    EXPECT_EQ(receiver->wakes(), 0u);
}

TEST_P(notification, msi_x_mask_enable_and_bus_master_hold_all_vectors_of_their_function) {
    const std::uint32_t control = pci::msix + 2;
    const struct {
        std::uint32_t offset;
        std::uint32_t closed;
        std::uint32_t open;
    } ways[] = {{control, pci::msix_enable | pci::msix_mask_all, pci::msix_enable},
                {control, 0, pci::msix_enable},
                {pci::command_status, 0, pci::command_bus_master}};
    std::uint32_t woken = 0;
    for (const auto& way : ways) {
        SCOPED_TRACE(way.closed);
        receiver->arm();
        if (way.offset == control) {
            configure(way.offset, way.closed);
            send();
        } else {
            // Nothing is moved without bus master: the break of a connection is what there is to tell.
            configure(way.offset, way.closed);
            ASSERT_EQ(sender->call(abi::verb::disconnect, {vi_number, sender->base_of(vi_number)}).code, errc::ok);
            ASSERT_TRUE(receiver->client.await_link(vi_number, abi::link::error));
            ASSERT_EQ(receiver->client.call(abi::verb::quiesce, {}).code, errc::ok);
        }
        EXPECT_EQ(receiver->wakes(), woken);
        EXPECT_EQ(receiver->pending(0), 1u);
        configure(way.offset, way.open);
        EXPECT_EQ(receiver->wakes(), ++woken);
        EXPECT_EQ(receiver->pending(0), 0u);
    }
}

TEST_P(notification, a_period_delays_the_wake_up_and_never_swallows_it) {
    constexpr std::uint64_t period_ns = 20'000'000;
    ASSERT_EQ(receiver->set(0, 0, 0, period_ns), errc::ok);
    for (std::uint32_t i = 1; i <= 5; ++i) {
        receiver->arm();
        const std::uint64_t begun = os::now_ns();
        send();
        ASSERT_TRUE(receiver->await_wakes(i));
        EXPECT_GE(os::now_ns() - begun, period_ns * 9 / 10);
        EXPECT_EQ(receiver->wakes(), i);
    }
}

TEST_P(notification, a_count_ends_the_period) {
    ASSERT_EQ(receiver->set(0, 0, 3, 1'000'000'000), errc::ok);
    receiver->arm();
    const std::uint64_t begun = os::now_ns();
    send();
    send();
    const std::uint32_t after_two = receiver->wakes();
    if (os::now_ns() - begun < 900'000'000) {
        EXPECT_EQ(after_two, 0u);
    }
    send();
    EXPECT_EQ(receiver->wakes(), 1u);
}

TEST_P(notification, garbage_in_the_window_or_the_request_reaches_nothing) {
    for (const std::uint32_t vector : {4u, 64u, 1u << 31, ~0u}) {
        receiver->entry().vector.store_release(vector);
        const std::uint32_t before = receiver->wakes();
        receiver->arm();
        send();
        EXPECT_EQ(receiver->wakes(), before + 1) << "vector 0, which is open";
        ASSERT_EQ(receiver->set(0, abi::vector_masked), errc::ok);
        receiver->arm();
        send();
        EXPECT_EQ(receiver->wakes(), before + 1);
        EXPECT_EQ(receiver->pending(0), 1u);
        ASSERT_EQ(receiver->set(0, 0), errc::ok);
        EXPECT_EQ(receiver->wakes(), before + 2);
    }
    EXPECT_EQ(receiver->set(4, 0), errc::invalid_argument);
    EXPECT_EQ(receiver->set(1ULL << 32, 0), errc::invalid_argument);
    EXPECT_EQ(receiver->client.call(abi::verb::vector, {4}).code, errc::invalid_argument);
    EXPECT_EQ(receiver->set(0, 0, 2), errc::invalid_argument);
    EXPECT_EQ(receiver->set(0, 0, 1ULL << 32, 1000), errc::invalid_argument);
    EXPECT_EQ(receiver->set(0, 0, 0, ~0ULL), errc::invalid_argument);
    const auto now = receiver->client.call(abi::verb::vector, {0});
    EXPECT_TRUE(now.r[1] == 0 && now.r[2] == 0 && now.r[3] == 0);
    EXPECT_EQ(receiver->client.at<abi::identity_page>(abi::identity_offset)->vectors.load_acquire(), 4u);
}

TEST_P(notification, a_client_that_leaves_takes_along_what_waits_for_it) {
    raw_client sibling(*nic, 2, 0);
    ASSERT_EQ(receiver->set(1, abi::vector_masked), errc::ok);
    receiver->entry().vector.store_release(1);
    receiver->arm();
    send();
    EXPECT_EQ(sibling.call(abi::verb::vector, {1}).r[0], 1u) << "a sibling sees the same vectors";
    receiver.reset();
    const auto left = sibling.call(abi::verb::vector, {1});
    EXPECT_EQ(left.r[0], 0u);
    EXPECT_EQ(left.r[1], std::uint64_t{abi::vector_masked}) << "the function is still in use";
}

TEST_P(notification, a_break_while_all_engines_sleep_is_told_when_its_period_is_over) {
    ASSERT_EQ(receiver->set(0, 0, 0, 3'000'000), errc::ok);
    receiver->arm();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_EQ(sender->call(abi::verb::disconnect, {vi_number, sender->base_of(vi_number)}).code, errc::ok);
    EXPECT_TRUE(receiver->await_wakes(1));
}

TEST_P(notification, a_reset_and_a_new_tenant_begin_with_open_vectors) {
    for (const bool by_reset : {true, false}) {
        ASSERT_EQ(receiver->set(1, abi::vector_masked, 3, 1000), errc::ok);
        if (by_reset) {
            ASSERT_TRUE(nic->reset(2));
            nic->settle();
            EXPECT_EQ(nic->status(2)->vectors[1], vector_status{});
        }
        receiver.reset();
        receiver.emplace(*nic, 2, 5);
        EXPECT_EQ(nic->status(2)->vectors[1], vector_status{});
    }
}

TEST_P(notification, a_function_that_was_removed_comes_back_with_open_vectors) {
    ASSERT_EQ(receiver->set(0, abi::vector_masked), errc::ok);
    receiver->arm();
    send();
    receiver.reset();
    ASSERT_TRUE(nic->remove(2));
    nic->settle();
    ASSERT_TRUE(nic->add(2, {}));
    EXPECT_EQ(nic->status(2)->vectors[0], vector_status{});
    receiver.emplace(*nic, 2, 5);
    ASSERT_EQ(sender->call(abi::verb::disconnect, {vi_number, sender->base_of(vi_number)}).code, errc::ok);
    ASSERT_EQ(raw_client::connect(*sender, vi_number, receiver->client, vi_number), errc::ok);
    receiver->arm();
    send();
    EXPECT_EQ(receiver->wakes(), 1u);
}

/// Whatever is set meanwhile, sleepers are woken: none looks by itself here.
TEST_P(notification, no_wake_up_is_lost_while_settings_change) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    raw_client other(*nic, 2, 6);
    std::atomic<bool> over{false};
    std::jthread administrator([&] {
        std::mt19937_64 r(seed);
        while (!over.load()) {
            const std::uint64_t period_ns = r() % 3 == 0 ? 0 : 1 + r() % 200'000;
            const std::uint64_t masked = r() % 2 == 0 ? std::uint64_t{abi::vector_masked} : 0;
            const auto set = [&](std::uint64_t flags) {
                EXPECT_EQ(other
                              .call(abi::verb::vector,
                                    {0, abi::change_vector | flags, period_ns == 0 ? 0 : r() % 4, period_ns})
                              .code,
                          errc::ok);
            };
            set(masked);
            if (r() % 4 == 0) {
                EXPECT_TRUE(
                    nic->configure(2, pci::msix + 2, 2, r() % 2 == 0 ? 0 : pci::msix_enable | pci::msix_mask_all));
                EXPECT_TRUE(nic->configure(2, pci::msix + 2, 2, pci::msix_enable));
            }
            set(0);
            std::this_thread::sleep_for(std::chrono::microseconds(r() % 300));
        }
    });
    struct ending {
        std::atomic<bool>& over;
        ~ending() { over.store(true); }
    } const ends{over};  // however this does; then the thread is joined
    for (int i = 0; i < 20'000; ++i) {
        const std::uint32_t seen = receiver->wakes();
        const std::uint32_t r = receiver->client.post_receive(vi_number, region_key, 0, 64);
        receiver->arm();
        const std::uint32_t s = sender->post(vi_number, opcode::send, region_key, 0, 8);
        const std::uint64_t end = os::now_ns() + hang_ns;
        while (receiver->wakes() == seen && os::now_ns() < end) {
            os::futex_wait(&receiver->entry().wakes.raw_, seen, hang_ns);
        }
        if (receiver->wakes() == seen) {
            ADD_FAILURE() << "the wake-up of message " << i << " was lost";
            break;
        }
        ASSERT_EQ(sender->await_send(vi_number, s), status::success);
        ASSERT_TRUE(receiver->client.await_receive(vi_number, r));
    }
}

INSTANTIATE_TEST_SUITE_P(engines, notification, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller

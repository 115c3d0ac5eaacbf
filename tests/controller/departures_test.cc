// SPDX-License-Identifier: Apache-2.0
//
// departures_test.cc -- a client that goes, however much it had and whatever it left behind, keeps nobody waiting.
//
// No test here measures a time.  A context is made to stay for an hour, and everything that others do has to be over
// before it is.
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "controller/configuration_registers.hpp"
#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t slow_tenant = 1;
constexpr std::uint32_t other_tenant = 2;
constexpr std::uint64_t an_hour_ns = 3'600'000'000'000;
constexpr std::uint64_t patience_ns =
    60'000'000'000;  ///< of what has to happen, on a machine that is robbed of its cores

class departures : public testing::TestWithParam<std::uint32_t> {
protected:
    departures() {
        device_options o;
        o.functions = 4;
        o.yield = true;
        o.scheduling.engines = GetParam();
        o.last_words_ns = an_hour_ns;
        nic = device::create(o).value();
        nic->on_event([this](const event& e) {
            const std::lock_guard hold(mutex);
            told.push_back(e);
            heard.notify_all();
        });
        EXPECT_TRUE(nic->start());
    }
    ~departures() override {
        (void)nic->reset(slow_tenant);  // or the end would wait for it, too
        nic->settle();
    }
    [[nodiscard]] bool was_told(event_kind kind, std::uint32_t function) {
        return std::ranges::any_of(told, [&](const event& e) { return e.kind == kind && e.function == function; });
    }
    [[nodiscard]] bool await(event_kind kind, std::uint32_t function) {
        std::unique_lock hold(mutex);
        return heard.wait_for(hold, std::chrono::nanoseconds(patience_ns), [&] { return was_told(kind, function); });
    }
    [[nodiscard]] bool is_told(event_kind kind, std::uint32_t function) {
        const std::lock_guard hold(mutex);
        return was_told(kind, function);
    }
    /// A context whose last words cannot be said, because its function's engines may not work.
    void leave_words_unsaid() {
        const auto a = nic->attach(slow_tenant, ::getuid()).value();
        const auto epoch = nic->enter(slow_tenant, a.epoch, 9, {::getpid(), ::getuid(), ::getgid()}).value();
        raw_client c(*nic, slow_tenant, 0);
        EXPECT_EQ(c.register_all(region_key), errc::ok);
        EXPECT_EQ(c.create(0), errc::ok);
        EXPECT_EQ(c.create(1), errc::ok);
        EXPECT_EQ(raw_client::connect(c, 0, c, 1), errc::ok);
        EXPECT_TRUE(nic->configure(slow_tenant, pci::command_status, 2, 0));
        c.send_slot(0, 0).lap = abi::lap_of(0, 4);
        c.hang_up();
        nic->leave(slow_tenant, 9, epoch, false);  // its sibling has nothing to say
        EXPECT_TRUE(await(event_kind::detached, slow_tenant));
        c.forget();
    }
    std::mutex mutex;
    std::condition_variable heard;
    std::vector<event> told;
    std::unique_ptr<device> nic;
};

TEST_P(departures, with_last_words_keep_nobody_waiting) {
    leave_words_unsaid();
    for (int i = 0; i < 3; ++i) {
        raw_client a(*nic, other_tenant, 0);
        raw_client b(*nic, other_tenant + 1, 0);
        ASSERT_EQ(a.create(0), errc::ok);
        ASSERT_EQ(b.create(0), errc::ok);
        ASSERT_EQ(raw_client::connect(a, 0, b, 0), errc::ok);
        a.hang_up();
        a.forget();
        ASSERT_TRUE(b.await_link(0, abi::link::error));
        b.hang_up();
        b.forget();
        ASSERT_TRUE(await(event_kind::died, other_tenant));
        ASSERT_TRUE(await(event_kind::died, other_tenant + 1));
        const std::lock_guard hold(mutex);
        std::erase_if(told, [](const event& e) { return e.kind == event_kind::died; });
    }
    ASSERT_TRUE(nic->reset(other_tenant));
    ASSERT_TRUE(await(event_kind::reset, other_tenant));
    ASSERT_TRUE(nic->remove(other_tenant + 1));
    ASSERT_TRUE(await(event_kind::removed, other_tenant + 1));
    ASSERT_TRUE(nic->add(other_tenant + 1));
    EXPECT_FALSE(is_told(event_kind::died, slow_tenant)) << "it has an hour";
    EXPECT_EQ(nic->status(slow_tenant)->contexts, 0u) << "but is nobody's any more";
}

TEST_P(departures, have_no_last_words_after_a_reset) {
    leave_words_unsaid();
    EXPECT_EQ(nic->enter(slow_tenant, nic->status(slow_tenant)->epoch, 0, {}).error().code, errc::busy);
    ASSERT_TRUE(nic->reset(slow_tenant));
    EXPECT_TRUE(await(event_kind::died, slow_tenant));
    EXPECT_TRUE(await(event_kind::reset, slow_tenant));
    EXPECT_TRUE(nic->attach(slow_tenant, ::getuid()));
}

TEST_P(departures, deliver_what_a_dying_process_had_posted_and_not_rung) {
    raw_client to(*nic, other_tenant, 0);
    ASSERT_EQ(to.register_all(region_key), errc::ok);
    raw_client from(*nic, slow_tenant, 0);
    ASSERT_EQ(from.register_all(region_key), errc::ok);
    for (std::uint32_t vi = 0; vi < 40; ++vi) {  // more than one look takes
        ASSERT_EQ(to.create(vi), errc::ok);
        ASSERT_EQ(from.create(vi), errc::ok);
        ASSERT_EQ(raw_client::connect(from, vi, to, vi), errc::ok);
        to.post_receive(vi, region_key, 0, 64);
        abi::send_descriptor& d = from.send_slot(vi, 0);
        d.opcode = static_cast<std::uint8_t>(opcode::send);
        d.segment_count = 1;
        d.length = 8;
        d.segments[0] = {raw_client::data_offset, 8, region_key};
        std::atomic_ref(d.lap).store(abi::lap_of(0, 4), std::memory_order_release);
    }
    from.hang_up();
    from.forget();
    ASSERT_TRUE(await(event_kind::died, slow_tenant));
    for (std::uint32_t vi = 0; vi < 40; ++vi) {
        const auto c = to.await_receive(vi, 0);
        ASSERT_TRUE(c) << vi;
        EXPECT_EQ(c->status, static_cast<std::uint8_t>(status::success)) << vi;
    }
}

TEST_P(departures, a_client_that_attached_before_a_reset_does_not_enter_after_it) {
    const auto early = nic->attach(other_tenant, ::getuid()).value();
    ASSERT_TRUE(nic->reset(other_tenant));
    EXPECT_NE(nic->status(other_tenant)->epoch, early.epoch) << "at once";
    EXPECT_EQ(nic->enter(other_tenant, early.epoch, 0, {}).error().code, errc::busy);
    nic->settle();
    EXPECT_EQ(nic->enter(other_tenant, early.epoch, 0, {}).error().code, errc::busy);
    raw_client next(*nic, other_tenant, 0);
    next.data(0, 1)[0] = std::byte{0x55};
    std::byte seen{};
    ASSERT_EQ(::pread(early.window.get(), &seen, 1, raw_client::data_offset), 1) << "what was given is his";
    EXPECT_EQ(seen, std::byte{0});
}

TEST_P(departures, a_client_that_comes_where_another_has_just_gone_is_not_taken_for_it) {
    constexpr int rounds = 1000;
    raw_client stays(*nic, other_tenant, 1);
    const auto a = nic->attach(other_tenant, ::getuid()).value();
    for (int i = 0; i < rounds; ++i) {
        auto epoch = nic->enter(other_tenant, a.epoch, 0, {::getpid(), ::getuid(), ::getgid()});
        for (const std::uint64_t end = os::now_ns() + patience_ns; !epoch && os::now_ns() < end;) {
            std::this_thread::yield();  // until the one before is no more
            epoch = nic->enter(other_tenant, a.epoch, 0, {::getpid(), ::getuid(), ::getgid()});
        }
        ASSERT_TRUE(epoch) << i;
        nic->leave(other_tenant, 0, *epoch, i % 2 != 0);
    }
    std::unique_lock hold(mutex);
    const auto count = [&](event_kind kind) {
        return std::ranges::count_if(told,
                                     [&](const event& e) { return e.kind == kind && e.function == other_tenant; });
    };
    EXPECT_TRUE(heard.wait_for(hold, std::chrono::nanoseconds(patience_ns),
                               [&] { return count(event_kind::died) + count(event_kind::detached) == rounds; }));
    EXPECT_EQ(count(event_kind::died), rounds / 2);
}

TEST_P(departures, a_client_that_never_entered_leaves_nothing_behind) {
    const auto early = nic->attach(other_tenant, ::getuid()).value();
    const int kept = ::dup(early.window.get());
    const std::vector<std::byte> much(1 << 20, std::byte{1});
    ASSERT_EQ(::pwrite(kept, much.data(), much.size(), raw_client::data_offset), 1 << 20);
    EXPECT_GE(nic->status(other_tenant)->memory_bytes, much.size());
    nic->forsake(other_tenant, early.epoch + 1);
    EXPECT_GE(nic->status(other_tenant)->memory_bytes, much.size()) << "another one's";
    nic->forsake(other_tenant, early.epoch);
    nic->settle();
    EXPECT_EQ(nic->status(other_tenant)->memory_bytes, 0u);
    ::close(kept);
}

TEST_P(departures, what_was_posted_while_engines_might_not_work_is_found_wherever_it_is) {
    raw_client c(*nic, other_tenant, 0);
    ASSERT_EQ(c.register_all(region_key), errc::ok);
    for (std::uint32_t vi = 0; vi < 80; ++vi) {
        ASSERT_EQ(c.create(vi), errc::ok);
    }
    for (std::uint32_t vi = 0; vi < 80; vi += 2) {
        ASSERT_EQ(raw_client::connect(c, vi, c, vi + 1), errc::ok);
    }
    ASSERT_TRUE(nic->configure(other_tenant, pci::command_status, 2, 0));
    for (std::uint32_t vi = 0; vi < 80; vi += 2) {
        (void)c.post(vi, opcode::write, region_key, 0, 8, raw_client::data_offset, region_key);
    }
    ASSERT_TRUE(nic->configure(other_tenant, pci::command_status, 2, pci::command_bus_master));
    for (std::uint32_t vi = 0; vi < 80; vi += 2) {
        EXPECT_EQ(c.await_send(vi, 0), status::success) << vi;
    }
}

INSTANTIATE_TEST_SUITE_P(engines, departures, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller

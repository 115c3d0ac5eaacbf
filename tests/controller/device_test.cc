// SPDX-License-Identifier: Apache-2.0
//
// device_test.cc -- the device under clients that use nothing but words: what they get when they behave.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "raw_client.hpp"

namespace vinic::controller {
namespace {

struct isolated_device : testing::TestWithParam<std::uint32_t> {
    isolated_device() {
        device_options o;
        o.functions = 3;
        o.scheduling.engines = GetParam();
        o.yield = true;
        o.violations_per_second = 50;
        nic = device::create(o).value();
        nic->on_event(
            [this](const event& e) { cut_off += e.kind == event_kind::misbehaved && e.function == 3 ? 1 : 0; });
        EXPECT_TRUE(nic->start());
    }
    std::atomic<int> cut_off = 0;  // outlives the device, whose threads count here
    std::unique_ptr<device> nic;
};

/// Two tenants with a connected VI each.
struct Pair {
    explicit Pair(device& d, const abi::vi_description& as = raw_client::description(3)) : a(d, 1, 0), b(d, 2, 5) {
        EXPECT_EQ(a.register_all(region_key), errc::ok);
        EXPECT_EQ(b.register_all(region_key), errc::ok);
        EXPECT_EQ(a.create(3, as), errc::ok);
        EXPECT_EQ(b.create(3, as), errc::ok);
        EXPECT_EQ(raw_client::connect(a, 3, b, 3), errc::ok);
        EXPECT_EQ(a.link_of(3), abi::link::connected);
        EXPECT_EQ(b.link_of(3), abi::link::connected);
    }
    raw_client a;
    raw_client b;
};

void fill(std::span<std::byte> bytes, unsigned seed) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>((i * 131 + seed) >> (i % 7));
    }
}

TEST_P(isolated_device, delivers_a_message_of_any_length) {
    Pair p(*nic);
    for (const std::uint32_t bytes : {0u, 1u, 8u, 48u, 49u, 4096u, 65536u, 65537u, 3u << 20}) {
        fill(p.a.data(0, bytes), bytes);
        const std::uint32_t r = p.b.post_receive(3, region_key, 1 << 20, 4 << 20);
        const std::uint32_t s = p.a.post(3, opcode::send, region_key, 0, bytes);
        EXPECT_EQ(p.a.await_send(3, s), status::success) << bytes;
        const auto c = p.b.await_receive(3, r);
        ASSERT_TRUE(c) << bytes;
        EXPECT_EQ(c->length, bytes);
        EXPECT_EQ(c->status, static_cast<std::uint8_t>(status::success));
        const auto sent = p.a.data(0, bytes);
        const bool inside = (c->flags & abi::payload_inside) != 0;
        EXPECT_EQ(inside, bytes <= abi::payload_in_completion);
        const auto* got = inside ? reinterpret_cast<const std::byte*>(c->payload) : p.b.data(1 << 20, bytes).data();
        EXPECT_TRUE(std::equal(sent.begin(), sent.end(), got)) << bytes;
    }
}

TEST_P(isolated_device, lets_a_message_wait_for_its_receiver) {
    Pair p(*nic);
    const std::uint32_t s = p.a.post(3, opcode::send, region_key, 0, 4096);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_NE(p.a.send_slot(3, s).done.load_acquire(), s + 1);
    p.b.post_receive(3, region_key, 0, 4096);
    EXPECT_EQ(p.a.await_send(3, s), status::success);
}

TEST_P(isolated_device, ends_a_wait_when_its_limit_is_over) {
    auto d = raw_client::description(3);
    d.receiver_wait_ns = 5'000'000;
    Pair p(*nic, d);
    const std::uint32_t s = p.a.post(3, opcode::send, region_key, 0, 4096);
    EXPECT_EQ(p.a.await_send(3, s), status::receiver_not_ready);
    EXPECT_TRUE(p.a.await_link(3, abi::link::error));
    EXPECT_TRUE(p.b.await_link(3, abi::link::error));
    EXPECT_EQ(p.b.entry(3).drops[abi::rx_no_descriptor].load_acquire(), 1u);
}

TEST_P(isolated_device, writes_reads_and_counts_in_remote_memory) {
    Pair p(*nic);
    fill(p.a.data(0, 1 << 20), 1);
    const std::uint64_t there = raw_client::data_offset + (8 << 20);
    EXPECT_EQ(p.a.await_send(3, p.a.post(3, opcode::write, region_key, 0, 1 << 20, there, region_key)),
              status::success);
    EXPECT_EQ(p.a.await_send(3, p.a.post(3, opcode::read, region_key, 2 << 20, 1 << 20, there, region_key)),
              status::success);
    EXPECT_TRUE(std::ranges::equal(p.a.data(0, 1 << 20), p.a.data(2 << 20, 1 << 20)));
    abi::send_descriptor d{};
    d.opcode = static_cast<std::uint8_t>(opcode::fetch_add);
    d.segment_count = 1;
    d.length = 8;
    d.segments[0] = {raw_client::data_offset, 8, region_key};
    d.segments[1] = {5, 0, 0};
    d.remote_address = there + (1 << 20);
    d.remote_key = region_key;
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(p.a.await_send(3, p.a.post(3, d)), status::success);
    }
    std::uint64_t sum = 0;
    std::memcpy(&sum, p.b.data(9 << 20, 8).data(), 8);
    EXPECT_EQ(sum, 500u);
}

struct Refusal {
    const char* what;
    opcode how;
    std::uint32_t local_key;
    std::uint64_t local_offset;
    std::uint32_t length;
    std::uint64_t remote_offset;
    std::uint32_t remote_key;
    status expected;
};

TEST_P(isolated_device, refuses_what_is_not_allowed_and_breaks_the_connection) {
    const std::uint64_t end = (4ULL << 30) - raw_client::data_offset;
    const Refusal refusals[] = {
        {"no such local key", opcode::send, region_key + 1, 0, 8, 0, 0, status::local_protection},
        {"local end", opcode::send, region_key, end - 4, 8, 0, 0, status::local_protection},
        {"local wrap", opcode::send, region_key, ~0ULL - raw_client::data_offset - 3, 8, 0, 0,
         status::local_protection},
        {"no such remote key", opcode::write, region_key, 0, 8, 0, 9 << 8 | 1, status::remote_protection},
        {"stale remote key", opcode::write, region_key, 0, 8, 0, 7 << 8 | 2, status::remote_protection},
        {"remote end", opcode::read, region_key, 0, 8, end - 7, region_key, status::remote_protection},
        {"remote start", opcode::write, region_key, 0, 8, ~0ULL, region_key, status::remote_protection},
    };
    for (const Refusal& r : refusals) {
        Pair p(*nic);
        const std::uint32_t s = p.a.post(3, r.how, r.local_key, r.local_offset, r.length,
                                         raw_client::data_offset + r.remote_offset, r.remote_key);
        EXPECT_EQ(p.a.await_send(3, s), r.expected) << r.what;
        EXPECT_TRUE(p.a.await_link(3, abi::link::error)) << r.what;
        EXPECT_TRUE(p.b.await_link(3, abi::link::error)) << r.what;
    }
}

TEST_P(isolated_device, lets_nobody_name_what_another_context_has) {
    Pair p(*nic);
    raw_client c(*nic, 1, 9);  // the same function as a, another process
    EXPECT_EQ(c.call(abi::verb::destroy_vi, {3}).code, errc::invalid_handle);
    EXPECT_EQ(c.call(abi::verb::disconnect, {3}).code, errc::invalid_handle);
    EXPECT_EQ(c.call(abi::verb::deregister_region, {region_key}).code, errc::invalid_handle);
    EXPECT_EQ(c.call(abi::verb::create_vi, {3}, raw_client::description(3)).code, errc::invalid_argument);
    p.a.send_slot(3, 0).lap = abi::lap_of(0, 4);  // posted in a's ring, rung by c: nobody's business of c
    c.ring(3);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(p.a.send_slot(3, 0).done.load_acquire(), 0u);
    EXPECT_EQ(p.a.link_of(3), abi::link::connected);
}

TEST_P(isolated_device, breaks_the_connections_of_a_client_that_leaves_and_no_other) {
    Pair p(*nic);
    raw_client d(*nic, 3, 0);
    ASSERT_EQ(d.register_all(region_key), errc::ok);
    ASSERT_EQ(d.create(0), errc::ok);
    ASSERT_EQ(d.create(1), errc::ok);
    ASSERT_EQ(raw_client::connect(d, 0, d, 1), errc::ok);
    {
        raw_client gone(*nic, 3, 1);
        ASSERT_EQ(gone.create(2), errc::ok);
        ASSERT_EQ(p.a.create(4), errc::ok);
        ASSERT_EQ(raw_client::connect(p.a, 4, gone, 2), errc::ok);
    }
    EXPECT_TRUE(p.a.await_link(4, abi::link::error));
    d.post_receive(1, region_key, 0, 64);
    EXPECT_EQ(d.await_send(0, d.post(0, opcode::send, region_key, 64, 64)), status::success);
    EXPECT_EQ(p.b.link_of(3), abi::link::connected);
}

TEST_P(isolated_device, begins_anew_with_a_function_that_was_reset) {
    Pair p(*nic);
    std::memset(p.a.data(0, 64).data(), 0x5a, 64);
    ASSERT_TRUE(nic->reset(1));
    nic->settle();
    EXPECT_TRUE(p.b.await_link(3, abi::link::error));
    raw_client again(*nic, 1, 0);
    EXPECT_EQ(again.data(0, 1)[0], std::byte{0}) << "bytes of the one before";
    EXPECT_EQ(again.register_all(region_key), errc::ok);
    EXPECT_EQ(nic->status(1)->counters.resets, 1u);
}

TEST_P(isolated_device, takes_several_leases_for_a_long_datagram_and_delivers_it_whole) {
    auto d = raw_client::description(4);
    d.flags |= abi::is_datagram;
    d.reliability = 0;
    raw_client a(*nic, 1, 0);
    raw_client b(*nic, 2, 0);
    for (raw_client* c : {&a, &b}) {
        ASSERT_EQ(c->register_all(region_key), errc::ok);
        ASSERT_EQ(c->create(4, d), errc::ok);
    }
    const std::uint64_t to_b = 4 | 2ULL << 16 | 1ULL << 32;
    fill(a.data(0, 5 << 20), 3);
    b.post_receive(4, region_key, 8 << 20, 8 << 20);
    b.post_receive(4, region_key, 0, 64);
    EXPECT_EQ(a.await_send(4, a.post(4, opcode::send, region_key, 0, 5 << 20, to_b)), status::success);
    EXPECT_EQ(a.await_send(4, a.post(4, opcode::send, region_key, 0, 8, to_b)), status::success);
    const auto whole = b.await_receive(4, 0);
    ASSERT_TRUE(whole && b.await_receive(4, 1));
    EXPECT_EQ(whole->length, 5u << 20);
    EXPECT_TRUE(std::ranges::equal(a.data(0, 5 << 20), b.data(8 << 20, 5 << 20)));
    // One that is given up in the middle leaves the receiver free.
    b.post_receive(4, region_key, 0, 2u << 30);
    a.post(4, opcode::send, region_key, 0, 1u << 30, to_b);
    ASSERT_EQ(a.call(abi::verb::destroy_vi, {4}).code, errc::ok);
    ASSERT_EQ(a.create(4, d), errc::ok);
    EXPECT_EQ(a.await_send(4, a.post(4, opcode::send, region_key, 0, 8, to_b)), status::success);
    EXPECT_TRUE(b.await_receive(4, 2));
}

TEST_P(isolated_device, lets_a_receiver_flush_while_a_long_datagram_comes) {
    auto d = raw_client::description(4);
    d.flags |= abi::is_datagram;
    d.reliability = 0;
    raw_client a(*nic, 1, 0);
    raw_client b(*nic, 2, 0);
    for (raw_client* c : {&a, &b}) {
        ASSERT_EQ(c->register_all(region_key), errc::ok);
        ASSERT_EQ(c->create(4, d), errc::ok);
    }
    const std::uint64_t to_b = 4 | 2ULL << 16 | 1ULL << 32;
    for (int i = 0; i < 100; ++i) {
        const std::uint32_t r = b.post_receive(4, region_key, 8 << 20, 8 << 20);
        const std::uint32_t s = a.post(4, opcode::send, region_key, 0, 1 << 20, to_b);
        // Both ends flush: what was sent goes on, what was to be received is void.
        ASSERT_EQ(a.call(abi::verb::disconnect, {4, a.base_of(4)}).code, errc::ok);
        ASSERT_EQ(b.call(abi::verb::disconnect, {4, r + 1}).code, errc::ok);
        ASSERT_EQ(a.await_send(4, s), status::success);
    }
}

TEST_P(isolated_device, gives_the_next_user_a_new_window_even_after_one_who_never_entered) {
    const auto first = nic->attach(1, ::getuid() + 1);
    ASSERT_TRUE(first);
    const int kept = ::dup(first->window.get());
    raw_client next(*nic, 1, 0);
    next.data(0, 1)[0] = std::byte{0x55};
    std::byte seen{};
    ASSERT_EQ(::pread(kept, &seen, 1, raw_client::data_offset), 1);
    EXPECT_EQ(seen, std::byte{0});
    ::close(kept);
}

TEST_P(isolated_device, ends_a_quota_with_an_error_and_gives_again_what_was_given_back) {
    device_options o;
    o.functions = 1;
    o.defaults.vis_max = 3;
    o.defaults.regions_max = 2;
    o.defaults.contexts_max = 1;
    o.scheduling.engines = GetParam();
    auto small = device::create(o).value();
    ASSERT_TRUE(small->start());
    raw_client c(*small, 1, 0);
    for (std::uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(c.create(i), errc::ok);
    }
    EXPECT_EQ(c.create(3), errc::limit_reached);
    EXPECT_EQ(c.call(abi::verb::destroy_vi, {1}).code, errc::ok);
    EXPECT_EQ(c.create(3), errc::ok);
    EXPECT_EQ(c.register_all(1 << 8 | 1), errc::ok);
    EXPECT_EQ(c.register_all(2 << 8 | 1), errc::ok);
    EXPECT_EQ(c.register_all(3 << 8 | 1), errc::limit_reached);
    EXPECT_EQ(c.call(abi::verb::deregister_region, {1 << 8 | 1}).code, errc::ok);
    EXPECT_EQ(c.register_all(3 << 8 | 1), errc::ok);
    EXPECT_EQ(small->enter(1, small->status(1)->epoch, 1, {}).error().code, errc::limit_reached);
}

TEST_P(isolated_device, answers_each_request_of_a_mailbox_once) {
    Pair p(*nic);
    abi::mailbox& box = *p.a.at<abi::mailbox>(abi::mailbox_offset(0));
    ASSERT_EQ(p.a.call(abi::verb::quiesce, {}).code, errc::ok);
    const std::uint32_t last = box.request.sequence.load_acquire();
    const std::uint64_t served = nic->status(1)->counters.mailbox_requests;
    for (const std::uint32_t replayed : {last, last - 1, last + 2, last + 1000}) {
        box.request.sequence.store_release(replayed);
        const std::uint64_t one = 1;
        (void)!::write(nic->attach(1, ::getuid())->mailbox.get(), &one, sizeof one);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        EXPECT_EQ(box.response.sequence.load_acquire(), last) << replayed;
    }
    EXPECT_EQ(nic->status(1)->counters.mailbox_requests, served);
    box.request.sequence.store_release(last);
    EXPECT_EQ(p.a.call(abi::verb::quiesce, {}).code, errc::ok) << "and goes on";
}

TEST_P(isolated_device, moves_nothing_for_a_function_without_bus_master_until_it_has_it_again) {
    constexpr std::uint32_t command = 4;
    constexpr std::uint32_t bus_master = 4;
    Pair p(*nic);
    p.b.post_receive(3, region_key, 0, 4096);
    ASSERT_TRUE(nic->configure(1, command, 2, 0));
    const std::uint32_t s = p.a.post(3, opcode::send, region_key, 0, 4096);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_NE(p.a.send_slot(3, s).done.load_acquire(), s + 1);
    p.a.post_receive(3, region_key, 0, 4096);
    const std::uint32_t back = p.b.post(3, opcode::send, region_key, 0, 64);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_NE(p.b.send_slot(3, back).done.load_acquire(), back + 1) << "nor is anything moved into its window";
    ASSERT_TRUE(nic->configure(1, command, 2, bus_master));
    EXPECT_EQ(p.a.await_send(3, s), status::success);
    EXPECT_EQ(p.b.await_send(3, back), status::success);
}

/// No descriptor of the receiver has a part in it, so none must be posted before it goes on.
TEST_P(isolated_device, lets_a_remote_operation_go_on_at_a_function_that_has_bus_master_again) {
    constexpr std::uint32_t command = 4;
    constexpr std::uint32_t bus_master = 4;
    Pair p(*nic);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(nic->configure(2, command, 2, 0));
        const std::uint32_t w = p.a.post(3, opcode::write, region_key, 0, 8, raw_client::data_offset, region_key);
        std::this_thread::sleep_for(std::chrono::microseconds(100 * i));  // leased still, or it waits already
        ASSERT_TRUE(nic->configure(2, command, 2, bus_master));
        ASSERT_EQ(p.a.await_send(3, w), status::success) << i;
    }
}

TEST_P(isolated_device, reads_and_writes_configuration_spaces_within_bounds) {
    const auto pf = nic->configuration(0);
    ASSERT_TRUE(pf);
    EXPECT_EQ(pf->size(), 4096u);
    EXPECT_EQ(nic->configuration(99).error().code, errc::unknown_address);
    EXPECT_EQ(nic->configure(1, 4096, 1, 0).error().code, errc::invalid_argument);
    EXPECT_EQ(nic->configure(1, 3, 2, 0).error().code, errc::invalid_argument);
    ASSERT_TRUE(nic->configure(1, 0, 4, 0x12345678));
    EXPECT_EQ(*nic->configuration(0), *pf) << "a VF's write";
}

TEST_P(isolated_device, serves_the_others_when_an_event_descriptor_is_drained_or_made_blocking) {
    Pair p(*nic);
    const auto mine = nic->attach(3, ::getuid());
    ASSERT_TRUE(mine);
    for (const int fd : {mine->doorbell.get(), mine->mailbox.get()}) {
        ASSERT_EQ(::fcntl(fd, F_SETFL, 0), 0);  // the open file is shared with the device
        const std::uint64_t full = ~std::uint64_t{1};
        ASSERT_EQ(::write(fd, &full, sizeof full), 8);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // engines sleep
    for (int i = 0; i < 20; ++i) {
        for (const int fd : {mine->doorbell.get(), mine->mailbox.get()}) {
            std::uint64_t count = 0;
            (void)!::read(fd, &count, i == 0 ? sizeof count : 0);
        }
        p.b.post_receive(3, region_key, 0, 64);
        ASSERT_EQ(p.a.await_send(3, p.a.post(3, opcode::send, region_key, 0, 64)), status::success);
        ASSERT_EQ(p.a.call(abi::verb::quiesce, {}).code, errc::ok);
        std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
}

TEST_P(isolated_device, cuts_off_a_function_that_breaks_the_rules_all_the_time_until_a_reset) {
    Pair p(*nic);
    {
        auto d = raw_client::description(0);
        d.reliability = static_cast<std::uint32_t>(reliability::unreliable);
        raw_client bad(*nic, 3, 0);
        ASSERT_EQ(bad.create(0, d), errc::ok);
        ASSERT_EQ(bad.create(1, d), errc::ok);
        ASSERT_EQ(raw_client::connect(bad, 0, bad, 1), errc::ok);
        abi::send_descriptor garbage{};
        garbage.opcode = 99;
        const std::uint64_t end = os::now_ns() + 20'000'000'000;
        while (cut_off == 0 && os::now_ns() < end) {
            const std::uint32_t i = bad.post(0, garbage);
            while (bad.send_slot(0, i).done.load_acquire() != i + 1 && cut_off == 0) {
                std::this_thread::yield();
            }
        }
    }
    EXPECT_EQ(cut_off, 1);
    EXPECT_EQ(nic->attach(3, ::getuid()).error().code, errc::permission_denied);
    EXPECT_EQ(p.a.link_of(3), abi::link::connected) << "a neighbour";
    ASSERT_TRUE(nic->reset(3));
    nic->settle();
    EXPECT_TRUE(nic->attach(3, ::getuid()));
}

INSTANTIATE_TEST_SUITE_P(engines, isolated_device, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller

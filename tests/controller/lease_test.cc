// SPDX-License-Identifier: Apache-2.0
//
// lease_test.cc -- what ends a turn on an engine, and what is counted in it.
#include <gtest/gtest.h>

#include "abi/doorbell.hpp"
#include "raw_client.hpp"

namespace vinic::controller {
namespace {

/// Two tenants with a connected VI each.
struct tenants {
    tenants(const device_options& o, const abi::vi_description& as)
        : nic(device::create(o).value()), started(nic->start().has_value()), a(*nic, 1, 0), b(*nic, 2, 0) {
        for (raw_client* c : {&a, &b}) {
            EXPECT_EQ(c->register_all(region_key), errc::ok);
            EXPECT_EQ(c->create(vi_number, as), errc::ok);
        }
        EXPECT_EQ(raw_client::connect(a, vi_number, b, vi_number), errc::ok);
    }
    [[nodiscard]] function_counters sender() const { return nic->status(1)->counters; }
    std::unique_ptr<device> nic;
    bool started;
    raw_client a;
    raw_client b;
};

device_options options() {
    device_options o;
    o.functions = 2;
    o.yield = true;
    return o;
}

TEST(leases, count_messages_that_are_dropped_for_want_of_a_receive) {
    abi::vi_description d = raw_client::description(vi_number);
    d.reliability = static_cast<std::uint32_t>(reliability::unreliable);
    tenants t(options(), d);
    for (std::uint32_t i = 0; i < raw_client::depth; ++i) {
        EXPECT_EQ(t.a.await_send(vi_number, t.a.post(vi_number, opcode::send, region_key, 0, 8)), status::success);
    }
    // The lease is counted when it is over, a moment after its messages.
    for (int i = 0; i < 20'000 && t.sender().scheduling.descriptors < raw_client::depth; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(t.sender().scheduling.descriptors, raw_client::depth) << "drops cost their sender nothing";
    EXPECT_EQ(t.nic->status(2)->counters.rx_no_descriptor_drops, raw_client::depth);
    EXPECT_EQ(t.nic->status(2)->counters.rx_messages, 0u);
}

/// Tenants whose messages may have so many pieces, and whose leases end as soon as somebody looks at the clock.
struct hasty_tenants : tenants {
    explicit hasty_tenants(std::uint32_t pieces) : tenants(hasty(), many(pieces)) {}
    /// Every piece lies in another page of the sender.
    [[nodiscard]] abi::send_descriptor gather(opcode what, std::uint32_t pieces, std::uint32_t piece_bytes) const {
        const std::uint64_t extra = raw_client::ring_offset(100);
        a.entry(vi_number).send_extra.store_release(extra);
        abi::send_descriptor s{};
        s.opcode = static_cast<std::uint8_t>(what);
        s.segment_count = static_cast<std::uint16_t>(pieces);
        s.length = pieces * piece_bytes;
        for (std::uint32_t i = 0; i < pieces; ++i) {
            abi::segment& to = i < 2 ? s.segments[i] : a.at<abi::segment>(extra)[i - 2];
            to = {raw_client::data_offset + i * 4096, piece_bytes, region_key};
        }
        return s;
    }

private:
    static device_options hasty() {
        device_options o = options();
        o.lease_ns = 1;
        return o;
    }
    static abi::vi_description many(std::uint32_t pieces) {
        abi::vi_description d = raw_client::description(vi_number);
        d.segments_max = pieces;
        return d;
    }
};

TEST(leases, end_by_time_within_a_message_of_many_pieces) {
    constexpr std::uint32_t pieces = 64;
    constexpr std::uint32_t piece_bytes = 3;
    hasty_tenants t(pieces);
    abi::send_descriptor s = t.gather(opcode::write, pieces, piece_bytes);
    s.remote_address = raw_client::data_offset;
    s.remote_key = region_key;
    for (std::uint32_t i = 0; i < pieces; ++i) {
        std::fill_n(t.a.data(i * 4096, piece_bytes).begin(), piece_bytes, static_cast<std::byte>(i));
    }
    EXPECT_EQ(t.a.await_send(vi_number, t.a.post(vi_number, s)), status::success);
    EXPECT_GE(t.sender().scheduling.grants, 3u) << "the whole message was one lease";
    for (std::uint32_t i = 0; i < s.length; ++i) {
        ASSERT_EQ(t.b.data(i, 1)[0], static_cast<std::byte>(i / piece_bytes)) << i;
    }
}

TEST(leases, bring_what_travels_in_a_completion_in_one_go) {
    constexpr std::uint32_t pieces = abi::payload_in_completion;  // of one byte: a look at the clock after every 16
    hasty_tenants t(pieces);
    const abi::send_descriptor s = t.gather(opcode::send, pieces, 1);
    const std::uint32_t r = t.b.post_receive(vi_number, region_key, 0, pieces);
    EXPECT_EQ(t.a.await_send(vi_number, t.a.post(vi_number, s)), status::success);
    EXPECT_TRUE(t.b.await_receive(vi_number, r));
    EXPECT_LE(t.sender().scheduling.grants, 2u) << "a receiver was kept by 48 bytes";
}

TEST(leases, charge_an_atomic_once_however_often_its_result_is_carried) {
    tenants t(options(), raw_client::description(vi_number));
    constexpr std::uint32_t foreign_key = 9 << 8 | 1;
    alignas(8) std::uint64_t old = 0;
    const auto where = reinterpret_cast<std::uint64_t>(&old);
    ASSERT_EQ(t.a.call(abi::verb::register_region, {foreign_key, 1, 15, where, sizeof old, abi::none64}).code,
              errc::ok);
    const std::uint64_t before = 41;
    std::memcpy(t.b.data(0, 8).data(), &before, 8);
    abi::send_descriptor s{};
    s.opcode = static_cast<std::uint8_t>(opcode::fetch_add);
    s.segment_count = 1;
    s.length = 8;
    s.segments[0] = {where, 8, foreign_key};
    s.segments[1] = {1, 0, 0};
    s.remote_address = raw_client::data_offset;
    s.remote_key = region_key;
    EXPECT_EQ(t.a.await_send(vi_number, t.a.post(vi_number, s)), status::success);
    EXPECT_EQ(old, before);
    for (int i = 0; i < 20'000 && t.sender().tx_messages == 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the lease is counted when it is over
    }
    EXPECT_EQ(t.sender().tx_bytes, 8u);
}

/// A long write whose source ends before it does, so that it fails when all else is moved.
TEST(leases, let_a_message_be_flushed_that_fails_after_the_other_side_has_broken_the_connection) {
    constexpr std::uint64_t bytes = 64ULL << 20;
    constexpr std::uint32_t source_key = 9 << 8 | 1;
    for (bool breaks = false, ended = false; !ended;) {
        device_options o = options();
        o.lease_ns = 0;
        o.scheduling.lease_bytes = 0;  // one system call
        tenants t(o, raw_client::description(vi_number));
        void* source = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(source, MAP_FAILED);
        *static_cast<char*>(source) = 1;
        const auto at = reinterpret_cast<std::uint64_t>(source);
        ::munmap(static_cast<std::byte*>(source) + bytes - 4096, 4096);
        ASSERT_EQ(t.a.call(abi::verb::register_region, {source_key, 1, 15, at, bytes, abi::none64}).code, errc::ok);
        const std::uint64_t state = t.b.entry(vi_number).state.load_acquire();
        const auto i = t.a.post(vi_number, opcode::write, source_key, at - raw_client::data_offset,
                                static_cast<std::uint32_t>(bytes), raw_client::data_offset, region_key);
        const std::atomic_ref begun(*t.b.at<char>(raw_client::data_offset));
        while (breaks && begun.load() == 0 && t.a.link_of(vi_number) == abi::link::connected) {
            std::this_thread::yield();
        }
        const errc broken = breaks ? t.b.call(abi::verb::break_link, {vi_number, state}).code : errc::ok;
        if (broken == errc::invalid_state) {
            ::munmap(source, bytes - 4096);
            continue;  // a busy machine, on which the message was quicker: once more
        }
        ASSERT_EQ(broken, errc::ok);
        ASSERT_TRUE(t.a.await_link(vi_number, abi::link::error));
        const abi::break_reason why = abi::reason_of(t.a.entry(vi_number).state.load_acquire());
        const abi::send_descriptor& d = t.a.send_slot(vi_number, i);
        EXPECT_EQ(why, breaks ? abi::break_reason::remote_error : abi::break_reason::local_error);
        EXPECT_EQ(d.done.load_acquire() == i + 1, !breaks) << "its library flushes what is not done";
        EXPECT_EQ(static_cast<status>(d.status), breaks ? status::success : status::local_protection);
        ::munmap(source, bytes - 4096);
        ended = std::exchange(breaks, true);
    }
}

/// Its owner rings while another engine has it, and that lease ends without a receiver.
TEST(leases, that_end_in_a_wait_while_their_vi_is_rung_wait_once) {
    for (const std::uint32_t engines : {1U, 2U, 3U}) {
        device_options o = options();
        o.scheduling.engines = engines;
        o.violations_per_second = 0;
        auto d = raw_client::description(vi_number);
        d.receiver_wait_ns = 2'000'000'000;
        tenants t(o, d);
        for (int round = 0; round < 300; ++round) {
            t.a.post(vi_number, opcode::write, region_key, 0, 60'000, raw_client::data_offset, region_key);
            const auto waits = t.a.post(vi_number, opcode::send, region_key, 0, 64);
            // On and on, so that a lease that is over is followed by another.
            for (int seen = 0, i = 0; seen < 2000 && i < 200'000; ++i) {
                t.a.ring(vi_number);
                seen += t.b.entry(vi_number).receive_attention.load_relaxed() != 0 ? 1 : 0;
            }
            t.b.post_receive(vi_number, region_key, 0, 64);
            ASSERT_EQ(t.a.await_send(vi_number, waits), status::success) << engines << ' ' << round;
        }
        EXPECT_EQ(t.a.link_of(vi_number), abi::link::connected);
    }
}

TEST(leases, of_many_connections_whose_limit_ends_at_once_all_end_with_it) {
    constexpr std::uint32_t pairs = 200;
    tenants t(options(), raw_client::description(vi_number));
    for (std::uint32_t i = 0; i < pairs; ++i) {
        const std::uint32_t vi = 10 + i;
        auto d = raw_client::description(vi);
        d.receiver_wait_ns = 300'000'000;
        ASSERT_EQ(t.a.create(vi, d), errc::ok);
        ASSERT_EQ(t.b.create(vi), errc::ok);
        ASSERT_EQ(raw_client::connect(t.a, vi, t.b, vi), errc::ok);
    }
    for (std::uint32_t i = 0; i < pairs; ++i) {
        t.a.post(10 + i, opcode::send, region_key, 0, 64);
    }
    for (std::uint32_t i = 0; i < pairs; ++i) {
        ASSERT_EQ(t.a.await_send(10 + i, 0), status::receiver_not_ready) << i;
        ASSERT_TRUE(t.b.await_link(10 + i, abi::link::error)) << i;
    }
}

/// Leases of a write that lies together at both ends.
std::uint64_t grants_of_one_piece(std::uint64_t lease_ns) {
    constexpr std::uint32_t bytes = 64 << 10;
    device_options o = options();
    o.lease_ns = lease_ns;
    tenants t(o, raw_client::description(vi_number));
    for (std::uint32_t i = 0; i < bytes; i += 64) {
        t.a.data(i, 1)[0] = static_cast<std::byte>(i / 64 + 1);
    }
    EXPECT_EQ(t.a.await_send(vi_number, t.a.post(vi_number, opcode::write, region_key, 0, bytes,
                                                 raw_client::data_offset, region_key)),
              status::success);
    for (std::uint32_t i = 0; i < bytes; i += 64) {
        EXPECT_EQ(t.b.data(i, 1)[0], static_cast<std::byte>(i / 64 + 1)) << i;
    }
    for (int i = 0; i < 20'000 && t.sender().scheduling.bytes < bytes; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return t.sender().scheduling.grants;
}

TEST(leases, end_by_time_within_one_long_piece_whose_pages_are_made_meanwhile) {
    EXPECT_GE(grants_of_one_piece(1), 4u) << "the whole piece was one lease";
    EXPECT_LE(grants_of_one_piece(0), 2u) << "without a time a lease ends by its bytes";
}

TEST(leases, doorbell_words_that_lead_to_no_vi_cost_their_function_as_empty_doorbells) {
    tenants t(options(), raw_client::description(vi_number));
    EXPECT_EQ(t.sender().empty_doorbells, 0u);
    const std::uint64_t charged = t.sender().scheduling.received_charge;
    abi::word64& top =
        abi::bell_word(t.a.at<std::byte>(abi::doorbell_offset(0)), abi::bell_top_offset(abi::doorbell_colour(1, 0)));
    for (int i = 0; i < 20'000 && t.sender().empty_doorbells < 16; ++i) {
        top.store_relaxed(~std::uint64_t{0});
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_GE(t.sender().empty_doorbells, 16u);
    EXPECT_GT(t.sender().scheduling.received_charge, charged);
    EXPECT_EQ(t.nic->status(2)->counters.empty_doorbells, 0u);
}

}  // namespace
}  // namespace vinic::controller

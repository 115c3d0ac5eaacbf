// SPDX-License-Identifier: Apache-2.0
//
// engine_sleep_test.cc -- two engines: what is rung while one of them is inside a long lease is served by the other.
#include <gtest/gtest.h>

#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t gigabyte_pieces = 256;
constexpr std::uint32_t gigabyte_piece_bytes = 4 << 20;
constexpr std::uint64_t extras = raw_client::ring_offset(100);

/// A description that lets a gigabyte go from one and the same piece of memory to another one.
abi::vi_description many_pieces() {
    abi::vi_description d = raw_client::description(vi_number);
    d.segments_max = gigabyte_pieces;
    return d;
}

void post_gigabyte(raw_client& from, raw_client& to, std::uint32_t& sent) {
    const abi::segment each{raw_client::data_offset, gigabyte_piece_bytes, region_key};
    to.entry(vi_number).receive_extra.store_release(extras);
    from.entry(vi_number).send_extra.store_release(extras);
    std::fill_n(to.at<abi::segment>(extras), std::size_t{raw_client::depth} * gigabyte_pieces, each);
    std::fill_n(from.at<abi::segment>(extras), std::size_t{raw_client::depth} * gigabyte_pieces, each);
    abi::receive_descriptor& r = to.receive_slot(vi_number, sent).descriptor;
    r.segment_count = gigabyte_pieces;
    std::fill(std::begin(r.segments), std::end(r.segments), each);
    r.sequence.store_release(sent + 1);
    abi::send_descriptor s{};
    s.opcode = static_cast<std::uint8_t>(opcode::send);
    s.segment_count = gigabyte_pieces;
    s.length = gigabyte_pieces * gigabyte_piece_bytes;
    std::fill(std::begin(s.segments), std::end(s.segments), each);
    sent = from.post(vi_number, s) + 1;
}

/// Rounds in which a short message that was posted into a gigabyte's lease ended before it.
int short_ones_first(std::uint32_t engines, int rounds) {
    device_options o;
    o.functions = 4;
    o.scheduling.engines = engines;
    o.scheduling.lease_bytes = 0;
    o.lease_ns = 0;
    o.idle_spin_ns = 1'000;
    o.sleep_ns = 60'000'000'000;  // nobody wakes for any other reason
    auto nic = device::create(o).value();
    EXPECT_TRUE(nic->start());
    raw_client a(*nic, 1, 0);
    raw_client b(*nic, 2, 0);
    raw_client c(*nic, 3, 0);
    raw_client d(*nic, 4, 0);
    for (raw_client* client : {&a, &b, &c, &d}) {
        EXPECT_EQ(client->register_all(region_key), errc::ok);
        EXPECT_EQ(client->create(vi_number, many_pieces()), errc::ok);
    }
    EXPECT_EQ(raw_client::connect(a, vi_number, b, vi_number), errc::ok);
    EXPECT_EQ(raw_client::connect(c, vi_number, d, vi_number), errc::ok);
    int first = 0;
    std::uint32_t sent = 0;
    for (int round = 0; round < rounds; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));  // all engines sleep
        auto* const arrives = reinterpret_cast<std::uint64_t*>(b.data(0, 8).data());
        const auto mark = static_cast<std::uint64_t>(round) + 1;
        std::memcpy(a.data(0, 8).data(), &mark, sizeof mark);
        post_gigabyte(a, b, sent);
        while (std::atomic_ref(*arrives).load(std::memory_order_relaxed) != mark) {
            std::this_thread::yield();
        }
        const std::uint32_t i = c.post(vi_number, opcode::write, region_key, 0, 8, raw_client::data_offset, region_key);
        EXPECT_EQ(c.await_send(vi_number, i), status::success);
        first += a.send_slot(vi_number, sent - 1).done.load_acquire() != sent ? 1 : 0;
        EXPECT_EQ(a.await_send(vi_number, sent - 1), status::success);
    }
    return first;
}

TEST(engine_sleep, what_is_rung_during_a_long_lease_is_served_by_an_engine_that_slept) {
    EXPECT_GE(short_ones_first(2, 6), 4) << "it waited for the lease of the other engine";
}

TEST(engine_sleep, a_single_engine_ends_its_lease_first) { EXPECT_EQ(short_ones_first(1, 2), 0); }

}  // namespace
}  // namespace vinic::controller

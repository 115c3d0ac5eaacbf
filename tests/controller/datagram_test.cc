// SPDX-License-Identifier: Apache-2.0
//
// datagram_test.cc -- several who send to one datagram VI, when one of them cannot go on in the middle of a message.
#include <gtest/gtest.h>

#include <algorithm>

#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t key = 7 << 8 | 1;
constexpr std::uint32_t moving_key = 8 << 8 | 1;
constexpr std::uint32_t bytes = 100;  // more than fits a completion
constexpr std::uint64_t somewhere = 0x7000'0000'0000;

abi::vi_description datagrams(std::uint32_t vi) {
    abi::vi_description d = raw_client::description(vi);
    d.flags = abi::is_datagram;
    d.reliability = static_cast<std::uint32_t>(reliability::unreliable);
    return d;
}

abi::send_descriptor datagram_to(std::uint32_t function, std::uint32_t vi, std::uint64_t address, std::uint32_t from) {
    abi::send_descriptor d{};
    d.opcode = static_cast<std::uint8_t>(opcode::send);
    d.segment_count = 1;
    d.length = bytes;
    d.segments[0] = {address, bytes, from};
    d.remote_address = vi | std::uint64_t{function} << 16 | std::uint64_t{1} << 32;
    return d;
}

/// Says where `somewhere` lies in the client's window; abi::moving: nowhere at the moment.
void place_somewhere(const raw_client& c, std::uint32_t context, std::uint64_t offset) {
    const std::uint64_t table = raw_client::rings_offset + (16 << 20);
    abi::process_entry& p = c.at<abi::process_entry>(abi::processes_offset)[context];
    auto& e = *c.at<abi::extent>(table);
    p.extents_sequence.fetch_add(1);
    e.address.store_relaxed(somewhere);
    e.bytes.store_relaxed(abi::page_size);
    e.offset.store_relaxed(offset);
    p.extents_offset.store_release(table);
    p.extents_capacity.store_release(1);
    p.extent_count.store_release(1);
    p.extents_sequence.fetch_add(1);
}

struct DatagramTest : testing::TestWithParam<std::uint32_t> {
    DatagramTest() {
        device_options o;
        o.functions = 3;
        o.scheduling.engines = GetParam();
        o.yield = true;
        nic = device::create(o).value();
        EXPECT_TRUE(nic->start());
    }
    std::unique_ptr<device> nic;
};

TEST_P(DatagramTest, OneWhoseMemoryIsMovingLeavesTheReceiversDescriptorToOthers) {
    raw_client slow(*nic, 1, 0);
    raw_client quick(*nic, 2, 0);
    raw_client to(*nic, 3, 0);
    for (raw_client* c : {&slow, &quick, &to}) {
        ASSERT_EQ(c->register_all(key), errc::ok);
        ASSERT_EQ(c->create(0, datagrams(0)), errc::ok);
    }
    place_somewhere(slow, 0, abi::moving);
    ASSERT_EQ(slow.call(abi::verb::register_region, {moving_key, 1, 15, somewhere, abi::page_size, abi::none64}).code,
              errc::ok);
    std::ranges::fill(slow.data(0, bytes), std::byte{1});
    std::ranges::fill(quick.data(0, bytes), std::byte{2});
    const std::uint32_t first = to.post_receive(0, key, 0, 4096);
    const std::uint32_t second = to.post_receive(0, key, 8192, 4096);
    const std::uint32_t slow_send = slow.post(0, datagram_to(3, 0, somewhere, moving_key));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::uint32_t quick_send = quick.post(0, datagram_to(3, 0, raw_client::data_offset, key));
    EXPECT_EQ(quick.await_send(0, quick_send), status::success);
    ASSERT_TRUE(to.await_receive(0, first));
    EXPECT_TRUE(std::ranges::all_of(to.data(0, bytes), [](std::byte b) { return b == std::byte{2}; }));

    place_somewhere(slow, 0, raw_client::data_offset);  // what did not move lies there
    EXPECT_EQ(slow.await_send(0, slow_send), status::success);
    ASSERT_TRUE(to.await_receive(0, second));
    EXPECT_TRUE(std::ranges::all_of(to.data(8192, bytes), [](std::byte b) { return b == std::byte{1}; }));
    EXPECT_TRUE(std::ranges::all_of(to.data(0, bytes), [](std::byte b) { return b == std::byte{2}; }))
        << "a message that had arrived was written over";
}

INSTANTIATE_TEST_SUITE_P(Engines, DatagramTest, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller

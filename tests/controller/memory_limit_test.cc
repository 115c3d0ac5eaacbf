// SPDX-License-Identifier: Apache-2.0
//
// memory_limit_test.cc -- a function holds what it may, and whoever asks for more is told so, alone.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "raw_client.hpp"
#include "rules/extents.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint64_t limit = 64 * mib;
constexpr std::uint32_t hog = 1;
constexpr std::uint32_t neighbour = 2;

class function_memory_limit : public testing::TestWithParam<std::uint32_t> {
protected:
    function_memory_limit() {
        device_options o;
        o.functions = 3;
        o.yield = true;
        o.scheduling.engines = GetParam();
        o.defaults.window_bytes = 512 * mib;
        o.defaults.memory_bytes = limit;
        nic = device::create(o).value();
        EXPECT_TRUE(nic->start());
    }
    /// With an allowance of each engine, and what tables and rings take.
    [[nodiscard]] std::uint64_t most() const { return limit + GetParam() * mib + 4 * mib; }
    /// RDMA writes between two VIs of one client, into pages that nobody has touched; how the last one ended.
    static status fill(raw_client& c, std::uint32_t vi) {
        EXPECT_EQ(c.create(vi), errc::ok);
        EXPECT_EQ(c.create(vi + 1), errc::ok);
        EXPECT_EQ(raw_client::connect(c, vi, c, vi + 1), errc::ok);
        for (std::uint64_t to = raw_client::data_offset + mib; to + mib <= c.window_bytes(); to += mib) {
            const auto how = c.await_send(vi, c.post(vi, opcode::write, region_key, 0, mib, to, region_key));
            if (!how || *how != status::success) {
                return how.value_or(status::connection_lost);
            }
        }
        return status::success;
    }
    std::unique_ptr<device> nic;
};

TEST_P(function_memory_limit, keeps_the_device_from_making_more_pages_than_a_function_may_hold) {
    raw_client c(*nic, hog, 0);
    raw_client n(*nic, neighbour, 0);
    ASSERT_EQ(c.register_all(region_key), errc::ok);
    EXPECT_EQ(fill(c, 0), status::unreachable_memory);
    const auto s = nic->status(hog).value();
    EXPECT_LE(s.memory_bytes, most());
    EXPECT_GE(s.memory_bytes, limit / 2) << "and no fewer";
    EXPECT_GT(s.counters.memory_refusals, 0u);
    EXPECT_EQ(c.create(10), errc::out_of_memory);
    EXPECT_EQ(c.register_all(9 << 8 | 1), errc::out_of_memory);
    ASSERT_EQ(n.register_all(region_key), errc::ok);
    EXPECT_EQ(n.create(10), errc::ok) << "its neighbour has its own";
    EXPECT_EQ(nic->status(neighbour)->counters.memory_refusals, 0u);

    ASSERT_EQ(::madvise(c.at<std::byte>(raw_client::data_offset), 128 * mib, MADV_REMOVE), 0);
    EXPECT_EQ(c.create(10), errc::ok) << "what was given back may be taken again";
    ASSERT_TRUE(nic->set_memory(hog, 512 * mib));
    EXPECT_EQ(fill(c, 20), status::success) << "and a limit can be raised";
    EXPECT_EQ(c.at<abi::identity_page>(abi::identity_offset)->memory_bytes.load_relaxed(), 512 * mib);
    EXPECT_EQ(nic->set_memory(hog, mib).error().code, errc::invalid_argument);
    ASSERT_TRUE(nic->set_memory(hog, limit));
    EXPECT_EQ(c.create(30), errc::out_of_memory) << "or lowered: what is there stays";
}

TEST_P(function_memory_limit, breaks_the_connection_of_a_receiver_without_memory_and_nothing_else) {
    raw_client from(*nic, neighbour, 0);
    raw_client to(*nic, hog, 0);
    raw_client third(*nic, 3, 0);
    for (raw_client* each : {&from, &to, &third}) {
        ASSERT_EQ(each->register_all(region_key), errc::ok);
    }
    for (std::uint32_t vi = 0; vi < 2; ++vi) {
        ASSERT_EQ(from.create(vi), errc::ok);
    }
    ASSERT_EQ(to.create(0), errc::ok);
    ASSERT_EQ(third.create(1), errc::ok);
    ASSERT_EQ(raw_client::connect(from, 0, to, 0), errc::ok);
    ASSERT_EQ(raw_client::connect(from, 1, third, 1), errc::ok);
    std::optional<status> how = status::success;
    for (std::uint64_t at = mib; how == status::success && at < 300 * mib; at += mib) {
        how = from.await_send(
            0, from.post(0, opcode::write, region_key, 0, mib, raw_client::data_offset + at, region_key));
    }
    EXPECT_EQ(how, status::unreachable_memory);
    EXPECT_LE(nic->status(hog)->memory_bytes, most());
    EXPECT_LE(nic->status(neighbour)->memory_bytes, 8 * mib) << "it had only to be read";
    EXPECT_GT(nic->status(hog)->counters.memory_refusals, 0u);
    EXPECT_EQ(nic->status(neighbour)->counters.memory_refusals, 0u);
    EXPECT_EQ(from.await_send(1, from.post(1, opcode::write, region_key, 0, 64, raw_client::data_offset, region_key)),
              status::success);
}

TEST_P(function_memory_limit, is_not_used_up_by_leaving_and_coming_back) {
    std::vector<int> kept;
    for (int i = 0; i < 6; ++i) {
        kept.push_back(::dup(nic->attach(hog, ::getuid())->window.get()));
        raw_client c(*nic, hog, 0);
        ASSERT_EQ(c.register_all(region_key), errc::ok) << i;
        EXPECT_EQ(c.data(0, 1)[0], std::byte{0});
        c.data(0, 1)[0] = std::byte{1};
        EXPECT_EQ(fill(c, 0), status::unreachable_memory);
        EXPECT_LE(nic->status(hog)->memory_bytes, most());
    }
    nic->settle();
    EXPECT_EQ(nic->status(hog)->memory_bytes, 0u);
    for (const int fd : kept) {
        struct stat s{};
        ASSERT_EQ(::fstat(fd, &s), 0);
        EXPECT_EQ(s.st_blocks, 0);
        ::close(fd);
    }
}

TEST_P(function_memory_limit, counts_what_a_descriptors_tables_lead_to_as_well) {
    // A region of the whole address space: each message is looked up where the client says, page after page.
    raw_client c(*nic, hog, 0);
    constexpr std::uint32_t everywhere = 8 << 8 | 1;
    ASSERT_EQ(c.register_all(region_key), errc::ok);
    ASSERT_EQ(c.call(abi::verb::register_region, {everywhere, 1, 15, 0, abi::none64, abi::none64}).code, errc::ok);
    auto d = raw_client::description(0);
    d.reliability = static_cast<std::uint32_t>(reliability::unreliable);
    ASSERT_EQ(c.create(0, d), errc::ok);
    ASSERT_EQ(c.create(1, d), errc::ok);
    ASSERT_EQ(raw_client::connect(c, 0, c, 1), errc::ok);
    auto& p = c.at<abi::process_entry>(abi::processes_offset)[0];
    using table = vinic::rules::adopted_table;
    std::uint64_t at = raw_client::data_offset;
    status how = status::success;
    for (std::uint64_t i = 0; at + table::bytes <= c.window_bytes() && how != status::unreachable_memory;
         ++i, at += table::bytes) {
        p.adopted.store_release(table{at, table::extents_max - 1}.word(i % 1000));
        how = c.await_send(0, c.post(0, opcode::write, region_key, 0, 64, at, everywhere)).value_or(status::flushed);
        if (i % 100 == 0) {
            ASSERT_LE(nic->status(hog)->memory_bytes, most());
        }
    }
    EXPECT_LE(nic->status(hog)->memory_bytes, most());
}

/// Its client says where the device is to set its ready bits, and where a descriptor goes on, each time elsewhere.
TEST_P(function_memory_limit, holds_for_ready_bits_and_descriptors_too) {
    for (const bool bits : {true, false}) {
        raw_client c(*nic, bits ? hog : neighbour, 0);
        auto d = raw_client::description(0);
        d.reliability = static_cast<std::uint32_t>(reliability::unreliable);
        d.flags = abi::is_datagram | abi::allow_write;
        d.segments_max = 8;
        d.cq[0] = d.cq[1] = 5;
        d.cq_bit[0] = 64 * 2047;
        d.cq_bit[1] = 1;
        ASSERT_EQ(c.create(0, d), errc::ok);
        std::memset(c.at<char>(raw_client::data_offset), 1, limit);
        c.entry(0).notify[0].store_relaxed(bits ? 1 : 0);
        abi::cq_entry& cq = c.at<abi::cq_entry>(abi::cqs_offset)[5];
        abi::send_descriptor s{};
        s.opcode = static_cast<std::uint8_t>(opcode::send);
        s.segment_count = bits ? 0 : 8;
        std::uint64_t at = raw_client::data_offset + limit + 4 * mib;
        for (int i = 0; i < 4000; ++i, at += 20480) {
            bits ? cq.bitmap.store_release(abi::make_bitmap(at, 11)) : c.entry(0).send_extra.store_release(at);
            ASSERT_TRUE(c.await_send(0, c.post(0, s)));
        }
        const auto after = nic->status(bits ? hog : neighbour).value();
        EXPECT_LE(after.memory_bytes, most() + 4 * mib) << (bits ? "bits" : "descriptors");
        EXPECT_GT(after.counters.memory_refusals, 0u);
    }
}

INSTANTIATE_TEST_SUITE_P(engines, function_memory_limit, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller

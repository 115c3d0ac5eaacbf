// SPDX-License-Identifier: Apache-2.0
//
// region_in_flight_test.cc -- a descriptor's regions, one of which is closed, or loses a right, while its message is on
// its way.
//
//     [ first: long, moves for milliseconds; its right goes ][ second: closed meanwhile ]
//
// Whether that comes in time is chance.  Either way the message is whole, or the descriptor says that it is not.
#include "fixture.hpp"

namespace conformance {
namespace {

constexpr std::size_t first_bytes = 16 << 20;
constexpr std::size_t second_bytes = 4096;
constexpr std::uint32_t second_seed = 7;

class region_in_flight : public testing::TestWithParam<vinic::opcode> {
protected:
    vinic::status transfer(pair& linked, std::span<const vinic::segment> list, vinic::remote_address there) {
        switch (GetParam()) {
            case vinic::opcode::send:
                EXPECT_EQ(linked.left.vi.post_send(list, 1), vinic::errc::ok);
                break;
            case vinic::opcode::write:
                EXPECT_EQ(linked.left.vi.post_write(list, there, 1), vinic::errc::ok);
                break;
            default:
                EXPECT_EQ(linked.left.vi.post_read(list, there, 1), vinic::errc::ok);
        }
        return next(linked.left.sends).status;
    }
};

TEST_P(region_in_flight, that_is_closed_leaves_no_hole_in_what_succeeds) {
    const bool reads = GetParam() == vinic::opcode::read;
    for (int round = 0; round < 8; ++round) {
        pair linked;
        const arena first(linked.left.nic, memory_kind::device, first_bytes);
        const arena second(linked.left.nic, memory_kind::device, second_bytes);
        const arena far(linked.right.nic, memory_kind::device, first_bytes + second_bytes);
        const auto first_region = must(linked.left.domain.register_memory(first.bytes(), vinic::access::local_write));
        auto second_region = must(linked.left.domain.register_memory(second.bytes(), vinic::access::local_write));
        const auto far_region = must(linked.right.domain.register_memory(far.bytes(), vinic::access::all));
        const auto source = reads ? far.bytes().first(first_bytes) : first.bytes();
        const auto sink = reads ? first.bytes() : far.bytes().first(first_bytes);
        source[0] = std::byte{1};
        fill(reads ? far.bytes().last(second_bytes) : second.bytes(), second_seed);
        const vinic::segment whole(far_region, 0, first_bytes + second_bytes);
        ASSERT_EQ(linked.right.vi.post_receive(whole, 1), vinic::errc::ok);

        std::atomic<bool> over = false;
        auto closer = in_thread([&] {
            const std::atomic_ref began(sink[0]);
            while (began.load() == std::byte{0} && !over.load()) std::this_thread::yield();
            while (code_of(second_region.close()) == vinic::errc::busy) std::this_thread::yield();
        });
        const vinic::segment list[] = {{first_region, 0, first_bytes}, {second_region, 0, second_bytes}};
        const vinic::status how = transfer(linked, list, far_region.remote());
        over = true;
        closer.get();
        if (how == vinic::status::success) {
            EXPECT_TRUE(matches(reads ? second.bytes() : far.bytes().last(second_bytes), second_seed))
                << "round " << round;
        } else {
            EXPECT_EQ(how, vinic::status::local_protection) << "round " << round;
        }
    }
}

/// In vinicd a long message moves in many turns: those after the change find the new rights.
TEST_P(region_in_flight, that_loses_its_right_changes_no_more_once_that_is_told) {
    if (GetParam() == vinic::opcode::send) {
        GTEST_SKIP() << "a send needs no right at its sender, and its receive descriptor is checked piece by piece";
    }
    const bool reads = GetParam() == vinic::opcode::read;
    for (int round = 0; round < 8; ++round) {
        pair linked;
        const arena mine(linked.left.nic, memory_kind::device, first_bytes);
        const arena far(linked.right.nic, memory_kind::device, first_bytes);
        auto my_region = must(linked.left.domain.register_memory(mine.bytes(), vinic::access::local_write));
        auto far_region = must(linked.right.domain.register_memory(far.bytes(), vinic::access::all));
        const auto sink = (reads ? mine : far).bytes();
        fill((reads ? far : mine).bytes(), second_seed);
        (reads ? far : mine).bytes()[0] = std::byte{1};
        auto& loses = reads ? my_region : far_region;
        const auto& domain = reads ? linked.left.domain : linked.right.domain;

        std::atomic<bool> over = false;
        auto changes = in_thread([&] {
            const std::atomic_ref began(sink[0]);
            while (began.load() == std::byte{0} && !over.load()) std::this_thread::yield();
            while (code_of(loses.set_attributes(domain, vinic::access::none)) == vinic::errc::busy) {
                std::this_thread::yield();
            }
            return std::vector(sink.begin(), sink.end());
        });
        const vinic::segment list[] = {{my_region, 0, first_bytes}};
        const vinic::status how = transfer(linked, list, far_region.remote());
        over = true;
        const std::vector<std::byte> told = changes.get();
        EXPECT_TRUE(std::ranges::equal(told, sink)) << "round " << round << ": written afterwards";
        if (how == vinic::status::success) {
            EXPECT_TRUE(std::ranges::equal((reads ? far : mine).bytes(), sink)) << "round " << round;
        } else {
            EXPECT_EQ(how, reads ? vinic::status::local_protection : vinic::status::remote_protection)
                << "round " << round;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(by, region_in_flight,
                         testing::Values(vinic::opcode::send, vinic::opcode::write, vinic::opcode::read),
                         [](const auto& of) { return vinic::name(of.param); });

}  // namespace
}  // namespace conformance

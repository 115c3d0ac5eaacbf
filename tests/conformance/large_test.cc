// SPDX-License-Identifier: Apache-2.0
//
// large_test.cc -- messages of more than a gibibyte.  Every page carries its number instead of a pattern, so that the
// test spends its time in the NIC.
#include <cstring>

#include "../sanitized.hpp"
#include "fixture.hpp"

namespace conformance {
namespace {

constexpr std::size_t huge_bytes = (std::size_t{1} << 30) + 3 * page + 17;

void number(const endpoint& side, std::uint64_t seed) {
    for (std::size_t at = 0; at + 8 <= huge_bytes; at += page) {
        const std::uint64_t stamp = at * 31 + seed;
        std::memcpy(side.bytes(at, 8).data(), &stamp, 8);
    }
    side.bytes()[huge_bytes - 1] = static_cast<std::byte>(seed);
}

testing::AssertionResult is_numbered(const endpoint& side, std::uint64_t seed) {
    for (std::size_t at = 0; at + 8 <= huge_bytes; at += page) {
        std::uint64_t stamp = 0;
        std::memcpy(&stamp, side.bytes(at, 8).data(), 8);
        if (stamp != at * 31 + seed)
            return testing::AssertionFailure() << "wrong at byte " << at;
    }
    if (side.bytes()[huge_bytes - 1] != static_cast<std::byte>(seed))
        return testing::AssertionFailure() << "the last byte is wrong";
    return testing::AssertionSuccess();
}

TEST(more_than_a_gibibyte, is_sent_written_and_read_in_one_message) {
    if (tests::sanitized)
        GTEST_SKIP() << "takes minutes under a sanitizer";
    {
        auto probe = open_device();
        if (!probe.allocate(2 * huge_bytes + (std::size_t{64} << 20)))
            GTEST_SKIP() << "this machine has no room for it";
    }
    endpoint_options options;
    options.memory_bytes = huge_bytes + 64;
    pair linked(options, handles::two);
    auto& left = linked.left;
    auto& right = linked.right;
    const auto guard = right.bytes(huge_bytes, 64);
    fill(guard, 1);

    number(left, 1);
    ASSERT_EQ(right.vi.post_receive(right.at(0, huge_bytes), 1), vinic::errc::ok);
    ASSERT_EQ(left.vi.post_send(left.at(0, huge_bytes), 2), vinic::errc::ok);
    const auto received = next(right.receives);
    EXPECT_EQ(received.status, vinic::status::success);
    EXPECT_EQ(received.length, huge_bytes);
    EXPECT_TRUE(is_numbered(right, 1));
    EXPECT_EQ(next(left.sends).length, huge_bytes);

    number(left, 2);
    ASSERT_EQ(left.vi.post_write(left.at(0, huge_bytes), right.remote(), 3), vinic::errc::ok);
    EXPECT_EQ(next(left.sends).length, huge_bytes);
    EXPECT_TRUE(is_numbered(right, 2));

    number(right, 3);
    ASSERT_EQ(left.vi.post_read(left.at(0, huge_bytes), right.remote(), 4), vinic::errc::ok);
    EXPECT_EQ(next(left.sends).length, huge_bytes);
    EXPECT_TRUE(is_numbered(left, 3));
    EXPECT_TRUE(matches(guard, 1));
}

}  // namespace
}  // namespace conformance

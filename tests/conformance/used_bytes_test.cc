// SPDX-License-Identifier: Apache-2.0
//
// used_bytes_test.cc -- a descriptor is checked for the bytes that its message uses, and for no others.
//
// Programs post the longest receive they know of into the last buffer of a region, and get an acknowledgement of a few
// bytes there: what lies beyond the region is nobody's business until a message is long enough to reach it.
#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::segment;
using vinic::status;

constexpr std::size_t room = 4096;      ///< from where the receive begins to the end of its region
constexpr std::uint32_t said = 32768;   ///< what its descriptor says
constexpr std::size_t small = 8;        ///< travels in the completion, except at reception
constexpr std::size_t middling = 1000;  ///< does not

/// A receiver whose region is shorter than its memory.
class used_bytes : public testing::TestWithParam<vinic::reliability> {
protected:
    used_bytes() {
        whole_ = must(linked.right.domain.register_memory(linked.right.bytes(), vinic::access::all));
        half_ = must(linked.right.domain.register_memory(linked.right.bytes(0, 2 * room), vinic::access::all));
    }
    /// `n` bytes that begin `room` before the end of the region, as a descriptor says them.
    [[nodiscard]] segment tail(std::uint32_t n) const { return {half_, room, n}; }
    /// Sends one message and gives what the receiver is told.
    vinic::completion send(std::size_t bytes) {
        fill(linked.left.bytes(0, bytes), 7);
        EXPECT_EQ(linked.left.vi.post_send(linked.left.at(0, bytes), 1), errc::ok);
        return next(linked.right.receives);
    }
    void expect_arrives(std::size_t bytes, std::size_t at = room) {
        const auto received = send(bytes);
        EXPECT_EQ(received.status, status::success) << bytes << " bytes";
        EXPECT_EQ(received.length, bytes);
        EXPECT_TRUE(matches(linked.right.bytes(at, bytes), 7));
        EXPECT_EQ(next(linked.left.sends).status, status::success);
    }
    void expect_refused(std::size_t bytes) {
        fill(linked.right.bytes(2 * room, room), 3);
        EXPECT_EQ(send(bytes).status, status::local_protection) << bytes << " bytes";
        EXPECT_TRUE(matches(linked.right.bytes(2 * room, room), 3)) << "written behind the region";
    }
    [[nodiscard]] segment nowhere(std::uint32_t n) const { return {std::uint64_t{64}, n, half_.key() ^ 0x100u}; }

    pair linked{with(GetParam()), handles::two};
    vinic::region whole_;
    vinic::region half_;
};

TEST_P(used_bytes, of_a_receive_that_reaches_past_its_region_are_those_of_the_message) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, small, middling, room}) {
        ASSERT_EQ(linked.right.vi.post_receive(tail(said), 1), errc::ok);
        expect_arrives(bytes);
    }
}

TEST_P(used_bytes, of_a_message_that_reaches_past_the_region_are_refused) {
    ASSERT_EQ(linked.right.vi.post_receive(tail(said), 1), errc::ok);
    expect_refused(room + 1);
}

TEST_P(used_bytes, of_a_small_message_that_reaches_past_the_region_are_refused) {
    const segment last{half_, 2 * room - 4, said};
    ASSERT_EQ(linked.right.vi.post_receive(last, 1), errc::ok);
    expect_refused(small);
}

TEST_P(used_bytes, of_a_scatter_list_are_those_that_the_message_comes_to) {
    for (const std::size_t bytes : {small, middling}) {
        const auto first = static_cast<std::uint32_t>(bytes / 2);
        const segment lists[][3] = {
            {linked.right.at(0, first), tail(said), nowhere(said)},
            {{whole_, 0, first}, tail(said), {whole_, std::size_t{0}, 0}},
            {linked.right.at(0, first), nowhere(0), tail(static_cast<std::uint32_t>(bytes) - first)},
        };
        for (const auto& list : lists) {
            ASSERT_EQ(linked.right.vi.post_receive(list, 1), errc::ok);
            const auto received = send(bytes);
            EXPECT_EQ(received.status, status::success) << bytes << " bytes";
            EXPECT_EQ(received.length, bytes);
            EXPECT_EQ(next(linked.left.sends).status, status::success);
            const auto sent = linked.left.bytes(0, bytes);
            EXPECT_TRUE(std::ranges::equal(sent.first(first), linked.right.bytes(0, first)));
            EXPECT_TRUE(std::ranges::equal(sent.subspan(first), linked.right.bytes(room, bytes - first)));
        }
    }
}

TEST_P(used_bytes, of_a_scatter_list_that_a_message_comes_to_are_checked) {
    for (const std::size_t bytes : {small, middling}) {
        pair fresh(with(GetParam()), handles::two);
        const segment list[] = {fresh.right.at(0, bytes - 1), nowhere(said)};
        ASSERT_EQ(fresh.right.vi.post_receive(list, 1), errc::ok);
        ASSERT_EQ(fresh.left.vi.post_send(fresh.left.at(0, bytes), 1), errc::ok);
        EXPECT_EQ(next(fresh.right.receives).status, status::local_protection) << bytes << " bytes";
    }
}

TEST_P(used_bytes, of_an_empty_message_are_none) {
    ASSERT_EQ(linked.right.vi.post_receive(nowhere(said), 1), errc::ok);
    expect_arrives(0);
    ASSERT_EQ(linked.right.vi.post_receive(nowhere(said), 1), errc::ok);
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 64), whole_.remote(128), 1, vinic::send_flag::immediate, 9),
              errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    const auto received = next(linked.right.receives);
    EXPECT_EQ(received.status, status::success) << "a write leaves the descriptor's memory alone";
    EXPECT_EQ(received.immediate, 9u);
}

TEST_P(used_bytes, of_a_gather_list_are_not_those_of_empty_segments) {
    const segment list[] = {nowhere(0), linked.left.at(0, small), nowhere(0)};
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 64), 1), errc::ok);
    ASSERT_EQ(linked.left.vi.post_send(list, 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    EXPECT_EQ(next(linked.right.receives).status, status::success);
    ASSERT_EQ(linked.left.vi.post_write(list, whole_.remote(0), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    ASSERT_EQ(linked.left.vi.post_write(nowhere(0), {std::uint64_t{1}, 1}, 1), errc::ok) << "nothing, to nowhere";
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    const segment bad[] = {linked.left.at(0, small), nowhere(1)};
    ASSERT_EQ(linked.left.vi.post_write(bad, whole_.remote(0), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::local_protection);
}

TEST_P(used_bytes, of_a_read_are_all_that_its_list_says) {
    if (GetParam() == vinic::reliability::unreliable) {
        GTEST_SKIP() << "reads are for reliable VIs";
    }
    auto half = must(linked.left.domain.register_memory(linked.left.bytes(0, room), vinic::access::all));
    const segment list[] = {nowhere(0), {half, room - 8, 8}};
    ASSERT_EQ(linked.left.vi.post_read(list, whole_.remote(0), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    ASSERT_EQ(linked.left.vi.post_read({half, room - 8, 9}, whole_.remote(0), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::local_protection);
}

INSTANTIATE_TEST_SUITE_P(levels, used_bytes, testing::ValuesIn(all_levels), level_name);

TEST(used_bytes, of_a_datagram_are_those_of_the_message) {
    for (const std::size_t bytes : {small, middling}) {
        endpoint_options options;
        options.attributes.service = vinic::service::datagram;
        options.attributes.reliability = vinic::reliability::unreliable;
        vinic::nic nics[2] = {open_device(), open_other_device()};
        endpoint from(nics[0], options);
        endpoint to(nics[1], options);
        auto half = must(to.domain.register_memory(to.bytes(0, 2 * room), vinic::access::all));
        ASSERT_EQ(to.vi.post_receive(segment(half, room, said), 1), errc::ok);
        fill(from.bytes(0, bytes), 5);
        const segment piece = from.at(0, bytes);
        ASSERT_EQ(from.vi.send_to(to.vi.local_address(), {&piece, 1}, 1), errc::ok);
        const auto received = next(to.receives);
        EXPECT_EQ(received.status, status::success) << bytes << " bytes";
        EXPECT_TRUE(matches(to.bytes(room, bytes), 5));
        ASSERT_EQ(to.vi.post_receive(segment(half, 2 * room - 4, said), 1), errc::ok);
        ASSERT_EQ(from.vi.send_to(to.vi.local_address(), {&piece, 1}, 1), errc::ok);
        EXPECT_EQ(next(to.receives).status, status::local_protection) << bytes << " bytes";
    }
}

}  // namespace
}  // namespace conformance

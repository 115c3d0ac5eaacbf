// SPDX-License-Identifier: Apache-2.0
//
// rights_test.cc -- who may do what: rights of the region, rights of the VI, bounds of reads and atomics, and what an
// error does to the descriptors behind it.
#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::access;
using vinic::errc;
using vinic::status;

enum class operation : std::uint8_t { write, read, fetch_add, compare_swap };
constexpr operation operations[] = {operation::write, operation::read, operation::fetch_add, operation::compare_swap};

const char* name(operation what) {
    switch (what) {
        case operation::write:
            return "write";
        case operation::read:
            return "read";
        case operation::fetch_add:
            return "fetch_add";
        case operation::compare_swap:
            return "compare_swap";
    }
    return "unknown";
}

access right_for(operation what) {
    switch (what) {
        case operation::write:
            return access::remote_write;
        case operation::read:
            return access::remote_read;
        default:
            return access::remote_atomic;
    }
}

/// Posts the operation on eight bytes; compare-and-swap expects zero and stores ones.
errc post(endpoint& side, operation what, vinic::remote_address at, const vinic::segment& local) {
    switch (what) {
        case operation::write:
            return side.vi.post_write(local, at, 1);
        case operation::read:
            return side.vi.post_read(local, at, 1);
        case operation::fetch_add:
            return side.vi.post_fetch_add(local, at, 1, 1);
        case operation::compare_swap:
            return side.vi.post_compare_swap(local, at, 0, ~std::uint64_t{0}, 1);
    }
    return errc::invalid_argument;
}

status ended(endpoint& side, operation what, vinic::remote_address at) {
    EXPECT_EQ(post(side, what, at, side.at(0, 8)), errc::ok);
    return next(side.sends).status;
}

class one_sided : public testing::TestWithParam<operation> {
protected:
    /// Whether the operation is refused, both sides go to error, and nobody's memory has changed.
    static void expect_refused(pair& linked, vinic::remote_address at) {
        fill(linked.left.bytes(0, 8), 1);
        EXPECT_EQ(ended(linked.left, GetParam(), at), status::remote_protection);
        EXPECT_TRUE(all_are(linked.right.bytes(), std::byte{0}));
        EXPECT_TRUE(matches(linked.left.bytes(0, 8), 1));
        EXPECT_TRUE(comes_to(linked.left.vi, vinic::vi_state::error));
        EXPECT_TRUE(comes_to(linked.right.vi, vinic::vi_state::error));
    }
};

TEST_P(one_sided, needs_the_regions_right_and_no_other_one) {
    pair linked;
    const auto only = must(linked.right.domain.register_memory(linked.right.bytes(), right_for(GetParam())));
    EXPECT_EQ(ended(linked.left, GetParam(), only.remote()), status::success);
}

TEST_P(one_sided, is_refused_by_a_region_that_allows_everything_else) {
    const auto everything_else = static_cast<access>(15u & ~static_cast<std::uint32_t>(right_for(GetParam())));
    pair linked;
    const auto region = must(linked.right.domain.register_memory(linked.right.bytes(), everything_else));
    expect_refused(linked, region.remote());
}

TEST_P(one_sided, is_refused_by_a_vi_that_does_not_offer_it) {
    endpoint_options closed;
    if (GetParam() == operation::write) {
        closed.attributes.rdma_write = false;
    } else if (GetParam() == operation::read) {
        closed.attributes.rdma_read = false;
    } else {
        closed.attributes.rdma_atomic = false;
    }
    pair linked({}, closed, handles::one);
    expect_refused(linked, linked.right.remote());
}

TEST_P(one_sided, is_allowed_by_a_vi_that_offers_nothing_else_and_whatever_the_initiators_own_rights_are) {
    endpoint_options none;
    none.attributes.rdma_write = none.attributes.rdma_read = none.attributes.rdma_atomic = false;
    endpoint_options one = none;
    if (GetParam() == operation::write) {
        one.attributes.rdma_write = true;
    } else if (GetParam() == operation::read) {
        one.attributes.rdma_read = true;
    } else {
        one.attributes.rdma_atomic = true;
    }
    pair linked(none, one, handles::one);
    EXPECT_EQ(ended(linked.left, GetParam(), linked.right.remote()), status::success);
}

TEST_P(one_sided, is_refused_with_a_stale_key) {
    pair linked;
    auto region = must(linked.right.domain.register_memory(linked.right.bytes(), access::all));
    const auto at = region.remote();
    must(region.close());
    const auto successor = must(linked.right.domain.register_memory(linked.right.bytes(), access::all));
    expect_refused(linked, at);
}

TEST_P(one_sided, is_refused_in_another_domain) {
    pair linked;
    auto domain = must(linked.right.nic.create_domain());
    const auto region = must(domain.register_memory(linked.right.bytes(), access::all));
    expect_refused(linked, region.remote());
}

TEST_P(one_sided, reaches_the_last_word_and_not_one_byte_more) {
    pair linked;
    const std::uint64_t size = linked.right.memory.length();
    EXPECT_EQ(ended(linked.left, GetParam(), linked.right.remote(size - 8)), status::success);
    pair beyond;
    const auto part = must(beyond.right.domain.register_memory(beyond.right.bytes(0, 4095), access::all));
    expect_refused(beyond, part.remote(4088));
}

TEST_P(one_sided, is_refused_at_addresses_that_wrap_round) {
    for (const std::uint64_t address : {~std::uint64_t{7}, std::uint64_t{0}, std::uint64_t{1} << 63}) {
        pair linked;
        expect_refused(linked, {address, linked.right.memory.key()});
    }
}

INSTANTIATE_TEST_SUITE_P(operation, one_sided, testing::ValuesIn(operations),
                         [](const auto& what) { return name(what.param); });

TEST(reading, into_local_memory_without_the_right_of_writing_is_a_local_error) {
    pair linked;
    const auto read_only = must(linked.left.domain.register_memory(linked.left.bytes(), access::remote_read));
    fill(linked.right.bytes(0, 64), 1);
    ASSERT_EQ(linked.left.vi.post_read({read_only, 0, 64}, linked.right.remote(), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::local_protection);
    EXPECT_TRUE(all_are(linked.left.bytes(0, 64), std::byte{0}));
}

TEST(reading, with_a_bad_second_piece_is_a_local_error) {
    pair linked;
    const vinic::segment places[] = {linked.left.at(0, 8), {linked.left.memory.address(), 8, 0}};
    ASSERT_EQ(linked.left.vi.post_read(places, linked.right.remote(), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::local_protection);
}

TEST(unreliable_vi, writes_and_does_not_read_nor_run_atomics) {
    // As in VIA and in InfiniBand's unreliable services: what needs an answer is not offered.
    pair linked(with(vinic::reliability::unreliable));
    fill(linked.left.bytes(0, 8), 6);
    EXPECT_EQ(ended(linked.left, operation::write, linked.right.remote()), status::success);
    EXPECT_TRUE(matches(linked.right.bytes(0, 8), 6));
    for (const auto what : {operation::read, operation::fetch_add, operation::compare_swap}) {
        EXPECT_EQ(post(linked.left, what, linked.right.remote(), linked.left.at(0, 8)), errc::not_supported)
            << name(what);
    }
    EXPECT_EQ(linked.left.vi.sends_outstanding(), 0u);
    EXPECT_EQ(linked.left.vi.state(), vinic::vi_state::connected);
}

TEST(refused_write, with_immediate_data_never_completes_a_receive_with_success) {
    pair linked;
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 64), 1), errc::ok);
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 8), {linked.right.memory.address(), 0}, 2,
                                        vinic::send_flag::immediate, 5),
              errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::remote_protection);
    EXPECT_NE(next(linked.right.receives).status, status::success);
}

TEST(an_error, flushes_everything_behind_it_in_order_on_both_sides) {
    pair linked;
    auto& left = linked.left;
    auto& right = linked.right;
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(left.vi.post_receive(left.at(0, 8), i), errc::ok);
    // The first send waits for the receiver, so that the bad one and those behind it are in the queue with it.
    ASSERT_EQ(left.vi.post_send(left.at(0, 64), 0), errc::ok);
    ASSERT_EQ(left.vi.post_write(left.at(0, 64), {right.memory.address(), 0}, 1), errc::ok);
    for (std::uint64_t i = 2; i < 6; ++i) ASSERT_EQ(left.vi.post_send(left.at(0, 64), i), errc::ok);
    for (std::uint64_t i = 0; i < 3; ++i) static_cast<void>(right.vi.post_receive(right.at(0, 64), i));
    const auto sent = next(left.sends, 6);
    EXPECT_EQ(sent[0].status, status::success);
    EXPECT_EQ(sent[1].status, status::remote_protection);
    for (std::uint64_t i = 0; i < 6; ++i) EXPECT_EQ(sent[i].cookie, i);
    for (std::uint64_t i = 2; i < 6; ++i) EXPECT_EQ(sent[i].status, status::flushed);
    for (std::uint64_t i = 0; i < 5; ++i) {
        const auto flushed = next(left.receives);
        EXPECT_EQ(flushed.cookie, i);
        EXPECT_EQ(flushed.status, status::flushed);
    }
    EXPECT_EQ(next(right.receives).status, status::success) << "what arrived before the error stays";
    EXPECT_TRUE(comes_to(right.vi, vinic::vi_state::error));
    EXPECT_EQ(left.vi.sends_outstanding(), 0u);
}

TEST(an_error, is_repaired_by_disconnecting_and_connecting_again) {
    pair linked;
    EXPECT_EQ(ended(linked.left, operation::write, {0, 0}), status::remote_protection);
    must(linked.left.vi.disconnect());
    must(linked.right.vi.disconnect());
    connect(linked.right.nic, linked.left.vi, linked.right.vi);
    EXPECT_EQ(ended(linked.left, operation::write, linked.right.remote()), status::success);
}

}  // namespace
}  // namespace conformance

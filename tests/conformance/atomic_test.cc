// SPDX-License-Identifier: Apache-2.0
//
// atomic_test.cc -- fetch-and-add and compare-and-swap on words that CPUs and other peers change at the same time.
#include <cstring>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::status;

/// Kinds of memory that the engine shares with the CPUs, so that an atomic instruction reaches every word.
class atomics : public testing::TestWithParam<memory_kind> {
protected:
    static endpoint_options on(memory_kind kind) {
        endpoint_options options;
        options.kind = kind;
        return options;
    }
    pair linked{on(memory_kind::device), on(GetParam()), handles::two};
    endpoint& left = linked.left;
    endpoint& right = linked.right;
    static constexpr std::size_t cell = 4096 - 16;
};

TEST_P(atomics, fetch_add_returns_the_value_before_and_adds_with_wrap_round) {
    right.word(cell).store(40);
    ASSERT_EQ(left.vi.post_fetch_add(left.at(0, 8), right.remote(cell), 2, 1), errc::ok);
    const auto done = next(left.sends);
    EXPECT_EQ(done.status, status::success);
    EXPECT_EQ(done.opcode, vinic::opcode::fetch_add);
    EXPECT_EQ(done.length, 8u);
    EXPECT_EQ(left.word(0).load(), 40u);
    EXPECT_EQ(right.word(cell).load(), 42u);
    ASSERT_EQ(left.vi.post_fetch_add(left.at(0, 8), right.remote(cell), ~std::uint64_t{0}, 2), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success);
    EXPECT_EQ(right.word(cell).load(), 41u) << "adding 2^64 - 1 takes one away";
}

TEST_P(atomics, compare_swap_stores_only_when_the_value_is_the_expected_one) {
    right.word(cell).store(7);
    ASSERT_EQ(left.vi.post_compare_swap(left.at(0, 8), right.remote(cell), 8, 100, 1), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success) << "an unequal value is no error";
    EXPECT_EQ(left.word(0).load(), 7u);
    EXPECT_EQ(right.word(cell).load(), 7u);
    ASSERT_EQ(left.vi.post_compare_swap(left.at(0, 8), right.remote(cell), 7, 100, 2), errc::ok);
    const auto done = next(left.sends);
    EXPECT_EQ(done.status, status::success);
    EXPECT_EQ(done.opcode, vinic::opcode::compare_swap);
    EXPECT_EQ(left.word(0).load(), 7u);
    EXPECT_EQ(right.word(cell).load(), 100u);
}

TEST_P(atomics, leave_the_neighbouring_words_alone) {
    fill(right.bytes(cell, 24), 5);
    ASSERT_EQ(left.vi.post_fetch_add(left.at(0, 8), right.remote(cell + 8), ~std::uint64_t{0}, 1), errc::ok);
    EXPECT_EQ(next(left.sends).status, status::success);
    const auto expected = pattern(24, 5);
    EXPECT_EQ(std::memcmp(right.bytes(cell, 8).data(), expected.data(), 8), 0);
    EXPECT_EQ(std::memcmp(right.bytes(cell + 16, 8).data(), expected.data() + 16, 8), 0);
}

TEST_P(atomics, on_an_address_that_is_not_a_multiple_of_eight_are_refused) {
    for (const std::size_t off : {1u, 4u, 7u}) {
        pair fresh(on(memory_kind::device), on(GetParam()), handles::one);
        const auto place = fresh.right.remote(cell + off);
        ASSERT_EQ(fresh.left.vi.post_fetch_add(fresh.left.at(0, 8), place, 1, 1), errc::ok);
        EXPECT_EQ(next(fresh.left.sends).status, status::bad_alignment) << off;
        EXPECT_TRUE(all_are(fresh.right.bytes(), std::byte{0}));
        EXPECT_TRUE(comes_to(fresh.left.vi, vinic::vi_state::error));
    }
}

INSTANTIATE_TEST_SUITE_P(memory, atomics, testing::Values(memory_kind::device, memory_kind::anonymous),
                         [](const auto& kind) { return name(kind.param); });

TEST(atomic_word, in_memory_the_engine_does_not_share_is_refused_when_its_right_is_asked_for) {
    // Copying in and out would lose what a CPU stores in between.
    for (const auto kind : memory_kinds) {
        pair linked;
        const arena memory(linked.right.nic, kind, 64 * 1024);
        const auto made = linked.right.domain.register_memory(memory.bytes(), vinic::access::remote_atomic);
        EXPECT_EQ(code_of(made), kind == memory_kind::device ? errc::ok : errc::not_supported) << name(kind);
        if (!made) {
            EXPECT_NE(made.error().message().find("register it with adopt::safe"), std::string::npos)
                << made.error().message();
        }
        auto later = must(linked.right.domain.register_memory(memory.bytes(), vinic::access::local_write));
        EXPECT_EQ(code_of(later.set_attributes(linked.right.domain, vinic::access::all)), code_of(made)) << name(kind);
    }
}

TEST(atomic_word, in_the_whole_address_space_is_changed_or_unreachable) {
    for (const auto kind : memory_kinds) {
        pair linked({}, handles::two);
        const arena memory(linked.right.nic, kind, 64 * 1024);
        const auto all = must(linked.right.domain.register_address_space(vinic::access::all));
        const auto at = (reinterpret_cast<std::uint64_t>(memory.bytes().data()) + 7) / 8 * 8;
        const std::atomic_ref word(*reinterpret_cast<std::uint64_t*>(at));
        word.store(40);
        ASSERT_EQ(linked.left.vi.post_fetch_add(linked.left.at(0, 8), {at, all.key()}, 2, 1), errc::ok);
        const bool is_shared = kind == memory_kind::device;
        EXPECT_EQ(next(linked.left.sends).status, is_shared ? status::success : status::unreachable_memory)
            << name(kind);
        EXPECT_EQ(linked.left.word(0).load(), is_shared ? 40u : 0u);
        EXPECT_EQ(word.load(), is_shared ? 42u : 40u);
    }
}

TEST(atomic_word, tells_its_old_value_into_memory_of_any_kind) {
    for (const auto kind : memory_kinds) {
        for (const auto count : both_ways) {
            endpoint_options options;
            options.kind = kind;
            pair linked(options, {}, count);
            linked.right.word(8).store(40);
            ASSERT_EQ(linked.left.vi.post_fetch_add(linked.left.at(16, 8), linked.right.remote(8), 2, 1), errc::ok);
            EXPECT_EQ(next(linked.left.sends).status, status::success) << name(kind);
            std::uint64_t told = 0;
            std::memcpy(&told, linked.left.bytes(16, 8).data(), 8);
            EXPECT_EQ(told, 40u) << name(kind);
            EXPECT_EQ(linked.right.word(8).load(), 42u);
        }
    }
}

TEST(atomic_word, tells_its_old_value_across_the_border_of_two_kinds_of_memory) {
    for (const auto count : both_ways) {
        pair linked({}, {}, count);
        const arena memory(linked.left.nic, memory_kind::anonymous, 4 * page);
        // A page of it is adopted, those around it are not.
        const auto middle =
            must(linked.left.domain.register_memory(memory.bytes().subspan(page, page), vinic::access::all, adopting));
        if (middle.backing() != vinic::backing::adopted)
            GTEST_SKIP() << "pages cannot be moved here";
        const auto all = must(linked.left.domain.register_memory(memory.bytes(), vinic::access::local_write));
        linked.right.word(8).store(0x1122334455667788u);
        std::uint64_t expected = 0x1122334455667788u;
        for (std::size_t at :
             {page - 8, page - 5, page - 1, page, 2 * page - 8, 2 * page - 7, 2 * page - 4, 2 * page}) {
            const vinic::segment result(all, at, 8);
            ASSERT_EQ(linked.left.vi.post_fetch_add(result, linked.right.remote(8), 1, at), errc::ok);
            ASSERT_EQ(next(linked.left.sends).status, status::success) << at;
            std::uint64_t told = 0;
            std::memcpy(&told, memory.bytes().data() + at, 8);
            EXPECT_EQ(told, expected++) << at;
        }
        EXPECT_EQ(linked.right.word(8).load(), expected);
    }
}

TEST(atomic_word, is_counted_exactly_by_two_peers_and_the_targets_own_cpu) {
    constexpr std::uint64_t rounds = 20000;
    for (const auto kind : {memory_kind::device, memory_kind::anonymous}) {
        endpoint_options options;
        options.kind = kind;
        pair first(options, handles::two);
        endpoint third(first.nics[0], {});
        vinic::vi_attributes attributes;
        attributes.send_cq = &first.right.sends;
        attributes.receive_cq = &first.right.receives;
        auto second_link = must(first.right.domain.create_vi(attributes));
        connect(first.right.nic, third.vi, second_link);
        const auto add = [&](endpoint& side) {
            for (std::uint64_t i = 0; i < rounds; ++i) {
                if (side.vi.post_fetch_add(side.at(0, 8), first.right.remote(64), 1, i) != errc::ok)
                    return i;
                if (next(side.sends).status != status::success)
                    return i;
            }
            return rounds;
        };
        auto one = in_thread([&] { return add(first.left); });
        auto two = in_thread([&] { return add(third); });
        for (std::uint64_t i = 0; i < rounds; ++i) first.right.word(64).fetch_add(1);
        EXPECT_EQ(one.get(), rounds);
        EXPECT_EQ(two.get(), rounds);
        EXPECT_EQ(first.right.word(64).load(), 3 * rounds) << name(kind);
    }
}

TEST(atomic_word, serves_as_a_lock_between_peers) {
    // Two peers guard a plain counter in the target's memory with compare-and-swap, write and read.
    constexpr int rounds = 2000;
    pair first({}, handles::two);
    endpoint third(first.nics[0], {});
    vinic::vi_attributes attributes;
    attributes.send_cq = &first.right.sends;
    attributes.receive_cq = &first.right.receives;
    auto second_link = must(first.right.domain.create_vi(attributes));
    connect(first.right.nic, third.vi, second_link);
    const auto lock = first.right.remote(0);
    const auto counter = first.right.remote(64);
    const auto must_succeed = [](endpoint& side, errc posted) {
        if (posted != errc::ok)
            throw std::runtime_error(vinic::name(posted));
        const auto done = next(side.sends);
        if (done.status != status::success)
            throw std::runtime_error(vinic::name(done.status));
    };
    const auto work = [&](endpoint& side) {
        for (int i = 0; i < rounds; ++i) {
            do {
                must_succeed(side, side.vi.post_compare_swap(side.at(0, 8), lock, 0, 1, 1));
            } while (side.word(0).load() != 0);
            must_succeed(side, side.vi.post_read(side.at(64, 8), counter, 2));
            side.word(64).fetch_add(1);
            must_succeed(side, side.vi.post_write(side.at(64, 8), counter, 3));
            side.word(128).store(0);
            must_succeed(side, side.vi.post_write(side.at(128, 8), lock, 4));
        }
    };
    auto one = in_thread([&] { work(first.left); });
    auto two = in_thread([&] { work(third); });
    EXPECT_NO_THROW(one.get());
    EXPECT_NO_THROW(two.get());
    EXPECT_EQ(first.right.word(64).load(), 2u * rounds);
}

TEST(atomic_result, is_never_written_beyond_the_segment_that_was_given) {
    for (const std::size_t bytes : {0u, 4u, 7u}) {
        pair linked;
        fill(linked.left.bytes(0, 64), 3);
        linked.right.word(0).store(~std::uint64_t{0});
        const auto posted = linked.left.vi.post_fetch_add(linked.left.at(0, bytes), linked.right.remote(0), 1, 1);
        if (posted == errc::ok) {
            EXPECT_NE(next(linked.left.sends).status, status::success) << bytes;
        }
        EXPECT_TRUE(matches(linked.left.bytes(0, 64), 3)) << bytes;
        EXPECT_EQ(linked.right.word(0).load(), ~std::uint64_t{0}) << "a refused atomic was executed";
    }
}

TEST(atomic_result, needs_the_right_of_local_writing_and_a_good_key) {
    for (const bool good_key : {true, false}) {
        pair linked;
        linked.right.word(0).store(5);
        const auto read_only = must(linked.left.domain.register_memory(linked.left.bytes(), vinic::access::none));
        const vinic::segment result(linked.left.memory.address(), 8, good_key ? read_only.key() : 0);
        ASSERT_EQ(linked.left.vi.post_fetch_add(result, linked.right.remote(0), 1, 1), errc::ok);
        EXPECT_EQ(next(linked.left.sends).status, status::local_protection);
        EXPECT_EQ(linked.right.word(0).load(), 5u) << "the target changed although nobody hears its old value";
        EXPECT_EQ(linked.left.word(0).load(), 0u);
    }
}

}  // namespace
}  // namespace conformance

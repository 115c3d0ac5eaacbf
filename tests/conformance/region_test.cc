// SPDX-License-Identifier: Apache-2.0
//
// region_test.cc -- registration: keys, rights, overlap, what is refused, and closing.
#include <sys/mman.h>

#include <set>

#include "fixture.hpp"

namespace conformance {
namespace {

/// A pair whose left side sends: the shortest way to ask whether a key works locally.
class region : public testing::Test {
protected:
    /// The status with which a send from `source` ends, over a fresh connection.
    static vinic::status sent_from(const vinic::segment& source, endpoint& left, endpoint& right) {
        EXPECT_EQ(right.vi.post_receive(right.at(0, right.bytes().size()), 1), vinic::errc::ok);
        EXPECT_EQ(left.vi.post_send(source, 2), vinic::errc::ok);
        return next(left.sends).status;
    }
    pair linked;
};

TEST_F(region, says_what_was_registered) {
    const auto buffer = must(linked.left.nic.allocate(8192));
    const auto rights = vinic::access::local_write | vinic::access::remote_read;
    const auto made = must(linked.left.domain.register_memory(buffer.bytes().subspan(100, 1000), rights));
    EXPECT_EQ(made.address(), reinterpret_cast<std::uint64_t>(buffer.data() + 100));
    EXPECT_EQ(made.length(), 1000u);
    EXPECT_EQ(made.rights(), rights);
    EXPECT_EQ(made.remote(7).address, made.address() + 7);
    EXPECT_EQ(made.remote(7).key, made.key());
}

TEST_F(region, of_one_byte_is_usable_and_no_larger) {
    auto one = must(linked.left.domain.register_memory(linked.left.bytes(5, 1), vinic::access::none));
    EXPECT_EQ(sent_from({one, 0, 1}, linked.left, linked.right), vinic::status::success);
    EXPECT_EQ(sent_from({one, 0, 2}, linked.left, linked.right), vinic::status::local_protection);
}

TEST_F(region, of_no_bytes_is_refused) {
    EXPECT_EQ(code_of(linked.left.domain.register_memory({}, vinic::access::all)), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(linked.left.domain.register_memory(linked.left.bytes(8, 0), vinic::access::all)),
              vinic::errc::invalid_argument);
}

TEST_F(region, that_wraps_round_the_address_space_is_refused) {
    const auto* near_the_end = reinterpret_cast<const std::byte*>(~std::uintptr_t{4095});
    const std::span<const std::byte> wrapping(near_the_end, 1 << 20);
    EXPECT_EQ(code_of(linked.left.domain.register_memory(wrapping, vinic::access::all)), vinic::errc::invalid_argument);
    // Up to the last byte but one, which no page ends at.
    for (const std::uintptr_t first :
         {std::uintptr_t{0}, std::uintptr_t{1}, std::uintptr_t{16}, std::uintptr_t{4096}}) {
        const std::span<const std::byte> all(reinterpret_cast<const std::byte*>(first), ~std::uintptr_t{0} - first);
        EXPECT_EQ(code_of(linked.left.domain.register_memory(all, vinic::access::all)), vinic::errc::invalid_argument)
            << first;
    }
}

TEST_F(region, that_is_not_mapped_is_refused) {
    auto& domain = linked.left.domain;
    void* mapped = ::mmap(nullptr, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    auto* const start = static_cast<std::byte*>(mapped);
    ASSERT_EQ(::munmap(start + page, page), 0);
    const std::span<const std::byte> with_hole(start, 3 * page);
    EXPECT_EQ(code_of(domain.register_memory(with_hole.subspan(page, page), vinic::access::all)),
              vinic::errc::invalid_argument)
        << "nothing is mapped there";
    EXPECT_EQ(code_of(domain.register_memory(with_hole, vinic::access::all)), vinic::errc::invalid_argument)
        << "a hole in the middle";
    EXPECT_EQ(code_of(domain.register_memory(with_hole.first(page + 1), vinic::access::all)),
              vinic::errc::invalid_argument)
        << "one byte too many";
    EXPECT_EQ(code_of(domain.register_memory(with_hole.first(page), vinic::access::remote_read)), vinic::errc::ok);
    ::munmap(start, page);
    ::munmap(start + 2 * page, page);
}

TEST_F(region, has_a_key_that_is_never_zero_nor_all_ones_and_differs_from_all_others) {
    auto& domain = linked.left.domain;
    std::set<std::uint32_t> keys = {linked.left.memory.key(), linked.right.memory.key()};
    std::vector<vinic::region> regions;
    for (std::size_t i = 0; i < 1000; ++i) {
        regions.push_back(must(domain.register_memory(linked.left.bytes(i, 64), vinic::access::all)));
        EXPECT_NE(regions.back().key(), 0u);
        EXPECT_NE(regions.back().key(), ~0u);
        keys.insert(regions.back().key());
    }
    EXPECT_EQ(keys.size(), 1002u);
}

TEST_F(region, that_is_closed_and_made_again_gets_a_new_key_each_time) {
    std::uint32_t last = 0;
    for (int i = 0; i < 2000; ++i) {
        auto made = must(linked.left.domain.register_memory(linked.left.bytes(), vinic::access::all));
        ASSERT_NE(made.key(), last) << "round " << i;
        ASSERT_NE(made.key(), 0u);
        ASSERT_NE(made.key(), ~0u);
        last = made.key();
        must(made.close());
    }
}

TEST_F(region, of_one_range_may_be_registered_again_with_other_rights) {
    auto& target = linked.right;
    const auto closed_to_peers = must(target.domain.register_memory(target.bytes(), vinic::access::local_write));
    ASSERT_NE(closed_to_peers.key(), target.memory.key());
    fill(linked.left.bytes(0, 100), 8);
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 100), target.remote(), 1), vinic::errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, vinic::status::success) << "the first region allows it";
    EXPECT_TRUE(matches(target.bytes(0, 100), 8));
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 100), closed_to_peers.remote(), 2), vinic::errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, vinic::status::remote_protection) << "the second does not";
}

TEST_F(region, that_overlaps_another_one_stays_usable_when_that_one_closes) {
    for (const auto kind : memory_kinds) {
        pair fresh;
        const arena memory(fresh.left.nic, kind, 16 * 4096);
        fill(memory.bytes(), 21);
        auto all = must(fresh.left.domain.register_memory(memory.bytes(), rights_of(kind), registration_of(kind)));
        auto half = must(fresh.left.domain.register_memory(memory.bytes().subspan(4096, 8 * 4096), rights_of(kind),
                                                           registration_of(kind)));
        auto same = must(fresh.left.domain.register_memory(memory.bytes(), rights_of(kind), registration_of(kind)));
        must(all.close());
        EXPECT_EQ(sent_from({same, 0, 64 * 1024}, fresh.left, fresh.right), vinic::status::success) << name(kind);
        EXPECT_TRUE(matches(fresh.right.bytes(), 21)) << name(kind);
        must(same.close());
        EXPECT_EQ(sent_from({half, 0, 8 * 4096}, fresh.left, fresh.right), vinic::status::success) << name(kind);
        must(half.close());
        EXPECT_TRUE(matches(memory.bytes(), 21)) << name(kind);
    }
}

TEST_F(region, refuses_its_key_after_close_even_when_a_new_region_took_its_place) {
    auto& left = linked.left;
    auto old = must(left.domain.register_memory(left.bytes(), vinic::access::all));
    const vinic::segment stale = {old, 0, 64};
    must(old.close());
    EXPECT_FALSE(old) << "a closed region is an empty handle";
    const auto successor = must(left.domain.register_memory(left.bytes(), vinic::access::all));
    EXPECT_EQ(sent_from(stale, left, linked.right), vinic::status::local_protection);
}

TEST_F(region, refuses_every_key_that_was_given_back_however_often_its_place_is_taken) {
    // On an unreliable VI a wrong key ends one descriptor and not the connection, so thousands can be tried.
    pair unreliable(with(vinic::reliability::unreliable));
    auto& left = unreliable.left;
    std::vector<vinic::region> open;
    for (std::size_t i = 0; i < 300; ++i)
        open.push_back(must(left.domain.register_memory(left.bytes(), vinic::access::all)));
    std::vector<std::uint32_t> given_back;
    for (std::size_t round = 0; round < 3000; ++round) {
        auto& one = open[round * 7 % open.size()];
        given_back.push_back(one.key());
        must(one.close());
        one = must(left.domain.register_memory(left.bytes(), vinic::access::all));
    }
    for (const std::uint32_t key : given_back) {
        ASSERT_EQ(left.vi.post_send(vinic::segment(left.memory.address(), 64, key), key), vinic::errc::ok);
        ASSERT_EQ(next(left.sends).status, vinic::status::local_protection) << "key " << key;
    }
    for (const auto& one : open) {
        ASSERT_EQ(left.vi.post_send({one, 0, 64}, 1), vinic::errc::ok);
        ASSERT_EQ(next(left.sends).status, vinic::status::success);
    }
}

TEST_F(region, refuses_the_keys_zero_and_all_ones_and_any_other_guess) {
    for (const std::uint32_t guess : {0u, ~0u, 1u, 255u, 0x80000000u, 0xfffffffeu}) {
        pair fresh;
        if (guess == fresh.left.memory.key())
            continue;
        const vinic::segment segment(fresh.left.memory.address(), 64, guess);
        EXPECT_EQ(sent_from(segment, fresh.left, fresh.right), vinic::status::local_protection) << guess;
    }
}

TEST_F(region, is_deregistered_by_its_destructor) {
    vinic::segment stale;
    {
        const auto made = must(linked.left.domain.register_memory(linked.left.bytes(), vinic::access::all));
        stale = {made, 0, 64};
    }
    EXPECT_EQ(sent_from(stale, linked.left, linked.right), vinic::status::local_protection);
}

TEST_F(region, is_deregistered_when_another_one_is_moved_over_it) {
    auto made = must(linked.left.domain.register_memory(linked.left.bytes(), vinic::access::all));
    const vinic::segment stale = {made, 0, 64};
    made = must(linked.left.domain.register_memory(linked.left.bytes(), vinic::access::all));
    EXPECT_EQ(sent_from({made, 0, 64}, linked.left, linked.right), vinic::status::success);
    EXPECT_EQ(sent_from(stale, linked.left, linked.right), vinic::status::local_protection);
}

TEST_F(region, keeps_its_domain_open) {
    auto domain = must(linked.left.nic.create_domain());
    auto made = must(domain.register_memory(linked.left.bytes(), vinic::access::all));
    EXPECT_EQ(code_of(domain.close()), vinic::errc::busy);
    EXPECT_TRUE(domain);
    must(made.close());
    EXPECT_EQ(code_of(domain.close()), vinic::errc::ok);
    EXPECT_EQ(code_of(domain.close()), vinic::errc::invalid_handle);
}

TEST_F(region, exists_in_several_domains_at_once_with_a_key_for_each) {
    auto second = must(linked.left.nic.create_domain());
    const auto elsewhere = must(second.register_memory(linked.left.bytes(), vinic::access::all));
    EXPECT_NE(elsewhere.key(), linked.left.memory.key());
    EXPECT_EQ(sent_from({elsewhere, 0, 64}, linked.left, linked.right), vinic::status::local_protection)
        << "the VI has another domain";
}

TEST_F(region, can_be_made_in_great_numbers_until_a_limit_that_is_an_error) {
    std::vector<vinic::region> regions;
    vinic::errc ended = vinic::errc::ok;
    while (ended == vinic::errc::ok && regions.size() < 20000) {
        auto made = linked.left.domain.register_memory(linked.left.bytes(), vinic::access::all);
        ended = code_of(made);
        if (made)
            regions.push_back(std::move(*made));
    }
    EXPECT_TRUE(ended == vinic::errc::ok || ended == vinic::errc::limit_reached) << vinic::name(ended);
    EXPECT_GE(regions.size(), 1000u);
    std::set<std::uint32_t> keys;
    for (const auto& made : regions) keys.insert(made.key());
    EXPECT_EQ(keys.size(), regions.size());
    EXPECT_EQ(sent_from({regions.back(), 0, 64}, linked.left, linked.right), vinic::status::success);
    regions.clear();
    EXPECT_EQ(code_of(linked.left.domain.register_memory(linked.left.bytes(), vinic::access::all)), vinic::errc::ok);
}

TEST_F(region, is_registered_and_closed_safely_by_several_threads) {
    std::vector<std::future<void>> workers;
    for (std::size_t t = 0; t < 4; ++t) {
        workers.push_back(in_thread([&, t] {
            for (std::size_t i = 0; i < 300; ++i) {
                auto made =
                    must(linked.left.domain.register_memory(linked.left.bytes(t * 4096, 4096 + i), vinic::access::all));
                must(made.close());
            }
        }));
    }
    for (auto& worker : workers) worker.get();
    EXPECT_EQ(sent_from(linked.left.at(0, 64), linked.left, linked.right), vinic::status::success);
}

TEST_F(region, can_be_closed_while_a_peer_writes_into_it) {
    // Every write either succeeds or is refused; none lands after close() has returned.
    auto& target = linked.right;
    const arena memory(target.nic, memory_kind::anonymous, 256 * 4096);
    auto made = must(target.domain.register_memory(memory.bytes(), vinic::access::all, adopting));
    const auto address = made.remote();
    std::atomic<int> successes = 0;
    fill(linked.left.bytes(), 1);
    auto writer = in_thread([&] {
        for (std::uint64_t i = 0;; ++i) {
            if (linked.left.vi.post_write(linked.left.at(0, 64 * 1024), address + 4096 * (i % 200), i) !=
                vinic::errc::ok)
                return vinic::status::flushed;
            const auto done = next(linked.left.sends);
            if (done.status != vinic::status::success)
                return done.status;
            ++successes;
        }
    });
    EXPECT_TRUE(comes_true([&] { return successes > 20; }));
    while (code_of(made.close()) == vinic::errc::busy) std::this_thread::yield();
    fill(memory.bytes(), 99);
    EXPECT_EQ(writer.get(), vinic::status::remote_protection);
    EXPECT_TRUE(matches(memory.bytes(), 99)) << "a write landed in memory that was closed";
}

}  // namespace
}  // namespace conformance

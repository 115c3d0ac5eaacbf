// SPDX-License-Identifier: Apache-2.0
//
// transfer_test.cc -- two processes find each other by name and move messages of every size, checked byte by byte.
#include <sys/mman.h>

#include <cstdlib>

#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr std::size_t largest = 16 << 20;

/// Around every border of the engine: payload inside the completion, lines, pages, pieces of a long move.
const std::size_t sizes[] = {0,
                             1,
                             2,
                             7,
                             8,
                             9,
                             15,
                             16,
                             17,
                             31,
                             32,
                             33,
                             40,
                             47,
                             48,
                             49,
                             63,
                             64,
                             65,
                             127,
                             128,
                             1000,
                             4095,
                             4096,
                             4097,
                             8191,
                             65535,
                             65536,
                             65537,
                             262143,
                             262144,
                             262145,
                             1 << 20,
                             (1 << 20) + 1,
                             (4 << 20) - 1,
                             largest};

std::uint64_t seed_of(std::size_t size, int way) { return size * 2 + static_cast<std::uint64_t>(way); }

/// The server of all tests below: one VI, memory known to the client, then `body`.
template <class Body>
process server(const directory& d, std::size_t bytes, Body body) {
    return process([&d, bytes, body](channel& parent) {
        endpoint me(d.open(), {.attributes = {}, .memory_bytes = bytes});
        auto listener = must(me.nic.listen("server"));
        parent.say(to_words(me.memory.remote()));
        me.accept_from(listener);
        body(me);
    });
}

TEST(transfer, messages_of_every_size_arrive_whole_in_both_directions) {
    directory d;
    process peer = server(d, largest, [](endpoint& me) {
        for (const std::size_t n : sizes) {
            must(me.vi.post_receive(me.at(0, largest), n));
            const vinic::completion got = me.next();
            require(got.status == vinic::status::success && got.length == n, "a message of this size came");
            require(first_difference(me.bytes(0, n), seed_of(n, 0)) == n, "its bytes are right");
            fill(me.bytes(0, n), seed_of(n, 1));
            must(me.vi.post_send(me.at(0, n), n));
            require(me.next().status == vinic::status::success, "the answer goes out");
        }
    });
    endpoint me(d.open(), {.attributes = {}, .memory_bytes = largest});
    (void)peer.hear();
    me.connect_to("server");
    for (const std::size_t n : sizes) {
        SCOPED_TRACE(n);
        fill(me.bytes(0, n), seed_of(n, 0));
        must(me.vi.post_send(me.at(0, n), n));
        EXPECT_EQ(me.next().status, vinic::status::success);
        must(me.vi.post_receive(me.at(0, largest), n));
        const vinic::completion got = me.next();
        EXPECT_EQ(got.status, vinic::status::success);
        ASSERT_EQ(got.length, n);
        ASSERT_TRUE(matches(me.bytes(0, n), seed_of(n, 1)));
    }
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(transfer, rdma_of_every_size_moves_whole_blocks_and_nothing_beside_them) {
    directory d;
    constexpr std::size_t guard = 64;
    process peer = server(d, largest + 2 * guard, [](endpoint& me) {
        fill(me.bytes(0, guard), 1);
        for (const std::size_t n : sizes) {
            fill(me.bytes(guard + n, guard), 2);
            must(me.vi.post_receive(me.at(0, 0), n));
            must(me.vi.post_receive(me.at(0, 0), n));
            must(me.vi.post_send(me.at(0, 0), n, vinic::send_flag::unsignalled));  // "go on"
            const vinic::completion got = me.next();
            require(got.opcode == vinic::opcode::receive_write && got.length == n && got.immediate == n,
                    "a block came");
            require(first_difference(me.bytes(0, guard), 1) == guard, "nothing was written before the block");
            require(first_difference(me.bytes(guard, n), seed_of(n, 0)) == n, "the block is right");
            require(first_difference(me.bytes(guard + n, guard), 2) == guard, "nothing was written behind the block");
            require(me.next().status == vinic::status::success, "the block was read back");  // only then may we end
        }
    });
    endpoint me(d.open(), {.attributes = {}, .memory_bytes = largest + guard});
    const vinic::remote_address there = remote_from(peer.hear());
    me.connect_to("server");
    for (const std::size_t n : sizes) {
        SCOPED_TRACE(n);
        must(me.vi.post_receive(me.at(largest, guard), n));
        ASSERT_EQ(me.next().status, vinic::status::success);
        fill(me.bytes(0, n), seed_of(n, 0));
        const auto immediate = static_cast<std::uint32_t>(n);
        must(me.vi.post_write(me.at(0, n), there + guard, n, vinic::send_flag::immediate, immediate));
        ASSERT_EQ(me.next().status, vinic::status::success);
        fill(me.bytes(0, n), 0);
        must(me.vi.post_read(me.at(0, n), there + guard, n));
        ASSERT_EQ(me.next().status, vinic::status::success);
        ASSERT_TRUE(matches(me.bytes(0, n), seed_of(n, 0)));
        must(me.vi.post_send(me.at(0, 0), n, vinic::send_flag::unsignalled));
    }
    EXPECT_EQ(peer.exit_code(), 0);
}

struct memory_kind {
    const char* name;
    vinic::backing expected;
    std::size_t shift;  ///< how far into the mapping the range begins
    int sharing;
};
std::ostream& operator<<(std::ostream& out, const memory_kind& k) { return out << k.name; }

class transfer_memory : public testing::TestWithParam<memory_kind> {};
INSTANTIATE_TEST_SUITE_P(kinds, transfer_memory,
                         testing::Values(memory_kind{"adopted", vinic::backing::adopted, 0, MAP_PRIVATE},
                                         memory_kind{"adopted_unaligned", vinic::backing::mixed, 24, MAP_PRIVATE},
                                         memory_kind{"foreign", vinic::backing::foreign, 0, MAP_SHARED},
                                         memory_kind{"foreign_unaligned", vinic::backing::foreign, 3, MAP_SHARED}),
                         [](const auto& i) { return std::string(i.param.name); });

TEST_P(transfer_memory, of_another_process_is_reached_by_write_read_and_send) {
    const memory_kind kind = GetParam();
    constexpr std::size_t bytes = 74 * 4096;
    directory d;
    process peer([&](channel& parent) {
        endpoint me(d.open());
        void* mapped = ::mmap(nullptr, bytes + 4096, PROT_READ | PROT_WRITE, kind.sharing | MAP_ANONYMOUS, -1, 0);
        require(mapped != MAP_FAILED, "memory can be mapped");
        const std::span<std::byte> range(static_cast<std::byte*>(mapped) + kind.shift, bytes);
        fill(range, 5);
        const auto rights = vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read;
        auto region = must(me.domain.register_memory(range, rights, {vinic::adopt::safe}));
        require(region.backing() == kind.expected, "the library chooses the expected backing");
        require(first_difference(range, 5) == bytes, "registering keeps the contents");
        auto listener = must(me.nic.listen("server"));
        must(me.vi.post_receive({region, 100, 200'000}, 0));
        parent.say(to_words(region.remote()));
        me.accept_from(listener);
        require(me.next().length == 150'000, "a message came");
        require(first_difference(range.subspan(100, 150'000), 7) == 150'000, "and lies in the registered memory");
        parent.hear("written");
        require(first_difference(range.subspan(200'000, 100'000), 6) == 100'000, "what was written is there");
        must(region.close());
        require(first_difference(range.subspan(200'000, 100'000), 6) == 100'000, "closing keeps the contents");
    });
    endpoint me(d.open(), {.attributes = {}, .memory_bytes = 1 << 20});
    const vinic::remote_address there = remote_from(peer.hear());
    me.connect_to("server");
    must(me.vi.post_read(me.at(0, bytes), there, 1));
    ASSERT_EQ(me.next().status, vinic::status::success);
    EXPECT_TRUE(matches(me.bytes(0, bytes), 5));
    fill(me.bytes(0, 150'000), 7);
    must(me.vi.post_send(me.at(0, 150'000), 2));
    ASSERT_EQ(me.next().status, vinic::status::success);
    fill(me.bytes(0, 100'000), 6);
    must(me.vi.post_write(me.at(0, 100'000), there + 200'000, 3));
    ASSERT_EQ(me.next().status, vinic::status::success);
    peer.say("written");
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(transfer, moves_more_than_a_gibibyte_in_one_message) {
    if (std::getenv("VINIC_LONG") == nullptr) {
        GTEST_SKIP() << "takes 2.2 GiB of memory; VINIC_LONG=1 runs it";
    }
    directory d;
    constexpr std::size_t bytes = (std::size_t{1} << 30) + 12'345;
    process peer = server(d, bytes, [](endpoint& me) {
        must(me.vi.post_receive(me.at(0, bytes), 1));
        require(me.next().length == bytes, "the message came");
        require(first_difference(me.bytes(0, bytes), 3) == bytes, "its bytes are right");
    });
    endpoint me(d.open(), {.attributes = {}, .memory_bytes = bytes});
    (void)peer.hear();
    me.connect_to("server");
    fill(me.bytes(0, bytes), 3);
    must(me.vi.post_send(me.at(0, bytes), 1));
    EXPECT_EQ(me.next().status, vinic::status::success);
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(transfer, counters_incremented_by_four_processes_at_once_lose_nothing) {
    directory d;
    constexpr std::uint64_t rounds = 5'000;
    std::vector<process> peers;
    for (int i = 0; i < 4; ++i) {
        peers.emplace_back([&d](channel& parent) {
            endpoint me(d.open());
            const vinic::remote_address there = remote_from(parent.hear());
            connect_patiently(me.vi, "server");
            std::uint64_t expected = 0;
            std::uint64_t swaps = 0;
            for (std::uint64_t k = 0; k < rounds; ++k) {
                must(me.vi.post_fetch_add(me.at(0, 8), there, 1, k));
                require(me.next().status == vinic::status::success, "fetch_add succeeds");
                must(me.vi.post_compare_swap(me.at(8, 8), there + 8, expected, expected + 1, k));
                require(me.next().status == vinic::status::success, "compare_swap succeeds");
                const std::uint64_t old = me.word(8).load();
                swaps += old == expected ? 1 : 0;
                expected = old == expected ? old + 1 : old;
            }
            parent.say_number(swaps);
        });
    }
    endpoint me(d.open());
    auto listener = must(me.nic.listen("server"));
    std::vector<vinic::virtual_interface> vis;
    for (process& p : peers) {
        p.say(to_words(me.memory.remote()));
        vis.push_back(me.another_vi());
        auto request = must(listener.wait(patience));
        must(request.accept(vis.back()));
    }
    for (std::uint64_t k = 0; k < rounds; ++k) {
        me.word(0).fetch_add(1);  // the CPU takes part
    }
    std::uint64_t swaps = 0;
    for (process& p : peers) {
        swaps += p.hear_number();
        EXPECT_EQ(p.exit_code(), 0);
    }
    EXPECT_EQ(me.word(0).load(), 5 * rounds);
    EXPECT_EQ(me.word(8).load(), swaps);
}

}  // namespace
}  // namespace multi

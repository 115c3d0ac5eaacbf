// SPDX-License-Identifier: Apache-2.0
//
// adoption_test.cc -- pages move into the device's file and back while somebody writes to them: no write is lost.
//
// Every writer owns words of its own and knows what it put there, so a lost write is seen as an old value.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "multi/adopted.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

int times() { return std::getenv("VINIC_LONG") != nullptr ? 2000 : 60; }

/// Registers and closes the range again and again; every registration must adopt it.
void move_back_and_forth(endpoint& me, const pages& memory, int times) {
    for (int i = 0; i < times; ++i) {
        auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::all, {vinic::adopt::safe}));
        ASSERT_EQ(region.backing(), vinic::backing::adopted);
        std::this_thread::sleep_for(std::chrono::microseconds(i % 5 * 200));
        must(region.close());
        std::this_thread::sleep_for(std::chrono::microseconds(i % 3 * 200));
    }
}

TEST(adoption, loses_no_write_of_threads_that_go_on_writing) {
    directory d;
    endpoint me(d.open());
    const pages memory(128 * page);
    constexpr std::size_t writers = 4;
    std::atomic<bool> end = false;
    std::array<std::vector<std::uint64_t>, writers> wrote;
    std::vector<std::thread> threads;
    for (std::size_t w = 0; w < writers; ++w) {
        wrote[w].resize(memory.count());
        threads.emplace_back([&, w] {
            for (std::size_t k = w; !end.load(std::memory_order_relaxed); k += 7) {
                const std::size_t p = k % memory.count();
                // A plain store and a locked addition: both must survive the move.
                const std::uint64_t before = memory.word(p, w).load(std::memory_order_relaxed);
                if (before != wrote[w][p]) {
                    ADD_FAILURE() << "writer " << w << ", page " << p << ": wrote " << wrote[w][p] << ", found "
                                  << before;
                    return;
                }
                memory.word(p, w).store(before + 1, std::memory_order_relaxed);
                memory.word(p, w).fetch_add(1);
                wrote[w][p] = before + 2;
            }
        });
    }
    move_back_and_forth(me, memory, times());
    end.store(true);
    for (std::thread& t : threads) {
        t.join();
    }
    for (std::size_t w = 0; w < writers; ++w) {
        for (std::size_t p = 0; p < memory.count(); ++p) {
            ASSERT_EQ(memory.word(p, w).load(), wrote[w][p]) << "writer " << w << ", page " << p;
        }
    }
}

TEST(adoption, loses_no_write_of_the_kernel) {
    directory d;
    endpoint me(d.open());
    const pages memory(64 * page);
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    std::atomic<bool> end = false;
    std::uint64_t reads = 0;
    std::uint64_t refused = 0;
    std::thread reader([&] {
        for (std::uint64_t k = 1; !end.load(); ++k) {
            const std::size_t p = k * 11 % memory.count();
            void* to = memory.bytes().data() + p * page + 512;
            ASSERT_EQ(::write(ends[1], &k, sizeof k), static_cast<ssize_t>(sizeof k));
            ssize_t n = 0;
            while ((n = ::read(ends[0], to, sizeof k)) < 0 && errno == EFAULT) {
                ++refused;  // docs/memory.md: may happen once in a process without privilege
                ASSERT_NE(::geteuid(), 0u) << "read(2) into memory that moves fails, with privilege";
            }
            ASSERT_EQ(n, static_cast<ssize_t>(sizeof k));
            ASSERT_EQ(memory.word(p, 64).load(), k) << "page " << p;
            ++reads;
        }
    });
    move_back_and_forth(me, memory, times());
    end.store(true);
    reader.join();
    std::printf("%llu reads, %llu of them refused at first\n", static_cast<unsigned long long>(reads),
                static_cast<unsigned long long>(refused));
    ::close(ends[0]);
    ::close(ends[1]);
}

/// A peer with the key of the whole address space has these pages, too: they do not move under it.
TEST(adoption, of_what_a_region_of_the_whole_address_space_covers_does_not_happen) {
    directory d;
    process peer([&](channel& parent) {
        endpoint me(d.open());
        const vinic::remote_address there = remote_from(parent.hear());
        const std::uint64_t pages_there = parent.hear_number();
        connect_patiently(me.vi, "owner");
        std::uint64_t k = 1;
        for (; !parent.has_word(); ++k) {
            const std::uint64_t at = k * 11 % pages_there * page + 1024;
            me.word(0).store(k);
            must(me.vi.post_write(me.at(0, 8), there + at, 1));
            vinic::status got = me.next().status;
            require(got == vinic::status::success, std::string("writing succeeds: ") + vinic::name(got));
            must(me.vi.post_read(me.at(8, 8), there + at, 1));
            got = me.next().status;
            require(got == vinic::status::success, std::string("reading succeeds: ") + vinic::name(got));
            require(me.word(8).load() == k, "page " + std::to_string(k * 11 % pages_there) +
                                                " holds what was written: " + std::to_string(k) + " and not " +
                                                std::to_string(me.word(8).load()));
        }
        parent.say_number(k);
    });
    endpoint me(d.open());
    const pages memory(64 * page);
    auto space = must(me.domain.register_address_space(vinic::access::all));
    auto listener = must(me.nic.listen("owner"));
    vinic::remote_address there = space.remote();
    there.address = reinterpret_cast<std::uint64_t>(memory.bytes().data());
    peer.say(to_words(there));
    peer.say_number(memory.count());
    me.accept_from(listener);
    for (int i = 0; i < times(); ++i) {
        auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::remote_read, {vinic::adopt::safe}));
        EXPECT_EQ(region.foreign_reason(), vinic::foreign_reason::overlapped);
        std::this_thread::sleep_for(std::chrono::microseconds(i % 5 * 200));
        must(region.close());
    }
    peer.say("end");
    std::printf("%llu writes of the peer\n", static_cast<unsigned long long>(peer.hear_number()));
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(adoption, of_overlapping_ranges_keeps_contents_in_any_order_of_closing) {
    directory d;
    endpoint me(d.open());
    const pages memory(64 * page);
    fill(memory.bytes(), 3);
    for (unsigned order = 0; order < 6; ++order) {
        SCOPED_TRACE(order);
        std::array<vinic::region, 3> regions = {
            must(me.domain.register_memory(memory.bytes().subspan(0, 40 * page), vinic::access::all,
                                           {vinic::adopt::safe})),
            must(me.domain.register_memory(memory.bytes().subspan(20 * page, 44 * page), vinic::access::all,
                                           {vinic::adopt::safe})),
            must(me.domain.register_memory(memory.bytes(), vinic::access::all, {vinic::adopt::safe}))};
        for (const vinic::region& r : regions) {
            EXPECT_EQ(r.backing(), vinic::backing::adopted);
        }
        EXPECT_TRUE(matches(memory.bytes(), 3));
        const unsigned first = order % 3;
        const unsigned second = (first + 1 + order / 3) % 3;
        for (const unsigned i : {first, second, 3 - first - second}) {
            must(regions[i].close());
            EXPECT_TRUE(matches(memory.bytes(), 3));
        }
    }
    EXPECT_EQ(count(d).stray_blocks, 0u);
}

TEST(adoption, is_undone_when_the_device_is_left_with_regions_open) {
    directory d;
    const pages memory(64 * page);
    fill(memory.bytes(), 4);
    {
        endpoint me(d.open());
        auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::all, {vinic::adopt::safe}));
        EXPECT_EQ(region.backing(), vinic::backing::adopted);
        fill(memory.bytes(), 5);
    }
    EXPECT_TRUE(matches(memory.bytes(), 5));
    fill(memory.bytes(), 6);
    EXPECT_TRUE(matches(memory.bytes(), 6));
    EXPECT_FALSE(d.exists());
}

}  // namespace
}  // namespace multi

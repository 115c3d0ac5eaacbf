// SPDX-License-Identifier: Apache-2.0
//
// stopped_test.cc -- a peer is stopped by SIGSTOP in the middle of a transfer: nobody hangs, and memory that its
// engine may still touch is not handed out again.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr std::size_t big = 64 << 20;

/// A process that writes its whole memory into the test's, again and again.
process writer(const directory& d) {
    return process([&d](channel& parent) {
        endpoint me(d.open(), {.attributes = {}, .memory_bytes = big});
        std::fill(me.buffer.bytes().begin(), me.buffer.bytes().end(), std::byte{0xee});
        const vinic::remote_address there = remote_from(parent.hear());
        connect_patiently(me.vi, "owner");
        parent.say("writing");
        while (me.vi.post_write(me.at(0, big), there, 1) == vinic::errc::ok &&
               me.next().status == vinic::status::success) {
        }
        parent.say("broken");
        parent.hear("end");
    });
}

/// Whether an engine of process `pid` is marked as inside somebody's memory.
bool is_inside(const directory& d, pid_t pid) {
    const auto m = must(inspect("shm:test", d.options()));
    for (std::uint32_t i = 0; i < m->backed(vinic::abi::vis); ++i) {
        const vinic::abi::vi_entry& v = m->vi(i);
        const std::uint32_t owner = v.owner.load_acquire();
        if (owner != 0 && m->process(owner - 1).pid.load_relaxed() == static_cast<std::uint32_t>(pid) &&
            (v.executing[vinic::abi::posting].load_acquire() & 1) != 0) {
            return true;
        }
    }
    return false;
}

/// Stops `p` at a moment when its engine is inside a transfer.
void stop_inside(const directory& d, process& p) {
    for (int attempt = 0; attempt < 10'000; ++attempt) {
        p.stop();
        if (is_inside(d, p.pid())) {
            return;
        }
        p.go_on();
        std::this_thread::sleep_for(std::chrono::microseconds(100 + attempt % 7 * 300));
    }
    throw std::runtime_error("the process is never stopped inside a transfer");
}

/// The side that is written to.
struct owner {
    explicit owner(const directory& d) : end(d.open(), {.attributes = {}, .memory_bytes = big}) {}
    void meet(process& p) {
        auto listener = must(end.nic.listen("owner"));
        p.say(to_words(end.memory.remote()));
        end.accept_from(listener);
        p.hear("writing");
    }
    endpoint end;
};

void expect_end(process& p) {
    p.hear("broken");
    p.say("end");
    EXPECT_EQ(p.exit_code(), 0);
}

TEST(stopped_peer, makes_disconnect_busy_until_it_goes_on) {
    directory d;
    process peer = writer(d);
    owner me(d);
    me.meet(peer);
    must(me.end.vi.post_receive(me.end.at(0, 64), 9));
    stop_inside(d, peer);
    const auto start = steady::now();
    EXPECT_EQ(code_of(me.end.vi.disconnect()), vinic::errc::busy);
    EXPECT_EQ(me.end.vi.state(), vinic::vi_state::error);
    EXPECT_EQ(code_of(me.end.vi.close()), vinic::errc::busy);
    std::printf("two calls that answer busy took %.0f ms\n", milliseconds_since(start));
    peer.go_on();
    EXPECT_TRUE(comes_true([&] { return me.end.vi.disconnect().has_value(); }));
    const vinic::completion c = me.end.next();
    EXPECT_EQ(c.cookie, 9u);
    EXPECT_EQ(c.status, vinic::status::flushed);
    expect_end(peer);
}

TEST(stopped_peer, makes_region_close_busy_and_what_comes_after_success_is_never_written) {
    directory d;
    process peer = writer(d);
    owner me(d);
    me.meet(peer);
    stop_inside(d, peer);
    EXPECT_EQ(code_of(me.end.memory.close()), vinic::errc::busy);
    // Others go on meanwhile: a new region, other queues, new processes.
    auto other = must(me.end.nic.allocate(4096));
    auto region = must(me.end.domain.register_memory(other.bytes(), vinic::access::all));
    EXPECT_NE(region.key(), 0u);
    peer.go_on();
    EXPECT_TRUE(comes_true([&] { return me.end.memory.close().has_value(); }));
    std::fill(me.end.buffer.bytes().begin(), me.end.buffer.bytes().end(), std::byte{0x11});
    std::this_thread::sleep_for(50ms);
    const auto bytes = me.end.buffer.bytes();
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{0x11}), static_cast<std::ptrdiff_t>(bytes.size()));
    expect_end(peer);
}

TEST(stopped_peer, gets_no_way_into_memory_that_is_adopted_and_closed) {
    directory d;
    process peer([&](channel& parent) {
        endpoint me(d.open(), {.attributes = {}, .memory_bytes = big});
        const vinic::remote_address there = remote_from(parent.hear());
        connect_patiently(me.vi, "owner");
        parent.say("writing");
        while (me.vi.post_write(me.at(0, big), there, 1) == vinic::errc::ok &&
               me.next().status == vinic::status::success) {
        }
        parent.say("broken");
        parent.hear("end");
    });
    endpoint me(d.open());
    void* mapped = ::mmap(nullptr, big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    const std::span<std::byte> bytes(static_cast<std::byte*>(mapped), big);
    auto region = must(me.domain.register_memory(bytes, vinic::access::all, {vinic::adopt::safe}));
    ASSERT_EQ(region.backing(), vinic::backing::adopted);
    auto listener = must(me.nic.listen("owner"));
    peer.say(to_words(region.remote()));
    me.accept_from(listener);
    peer.hear("writing");
    stop_inside(d, peer);
    EXPECT_EQ(code_of(region.close()), vinic::errc::busy);
    peer.go_on();
    EXPECT_TRUE(comes_true([&] { return region.close().has_value(); }));
    std::fill(bytes.begin(), bytes.end(), std::byte{0x11});
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{0x11}), static_cast<std::ptrdiff_t>(big));
    expect_end(peer);
    ::munmap(mapped, big);
}

/// Handles may be destroyed in any order; a destroyed VI must not make the region's memory look free.
TEST(stopped_peer, keeps_memory_busy_also_when_the_vi_was_destroyed_first) {
    directory d;
    process peer = writer(d);
    owner me(d);
    me.meet(peer);
    stop_inside(d, peer);
    me.end.vi = {};
    EXPECT_EQ(code_of(me.end.memory.close()), vinic::errc::busy);
    peer.go_on();
    EXPECT_TRUE(comes_true([&] { return me.end.memory.close().has_value(); }));
    expect_end(peer);
}

/// Destructors cannot say "busy": what a stopped engine is inside of must not become somebody else's memory.
TEST(stopped_peer, writes_into_nobody_elses_buffer_after_all_handles_are_gone) {
    directory d;
    process peer = writer(d);
    owner me(d);
    me.meet(peer);
    stop_inside(d, peer);
    me.end.vi = {};
    me.end.memory = {};
    me.end.buffer = {};
    auto next = must(me.end.nic.allocate(big));
    auto another = must(me.end.nic.allocate(big));
    std::fill(next.bytes().begin(), next.bytes().end(), std::byte{0x11});
    std::fill(another.bytes().begin(), another.bytes().end(), std::byte{0x11});
    peer.go_on();
    peer.hear("broken");
    for (const auto* b : {&next, &another}) {
        EXPECT_EQ(std::count(b->bytes().begin(), b->bytes().end(), std::byte{0x11}), static_cast<std::ptrdiff_t>(big));
    }
    peer.say("end");
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(stopped_peer, that_is_killed_then_frees_what_was_busy) {
    directory d;
    process peer = writer(d);
    owner me(d);
    me.meet(peer);
    stop_inside(d, peer);
    EXPECT_EQ(code_of(me.end.vi.disconnect()), vinic::errc::busy);
    EXPECT_EQ(code_of(me.end.memory.close()), vinic::errc::busy);
    peer.kill_now();
    must(me.end.vi.disconnect());
    must(me.end.memory.close());
    must(me.end.vi.close());
    std::array<vinic::completion, 1> done;
    EXPECT_TRUE(comes_true([&] {
        (void)me.end.cq.poll(done);  // housekeeping happens in calls like this one
        return count(d).processes == 1;
    }));
    EXPECT_EQ(count(d).stray_blocks, 0u);
}

TEST(stopped_peer, outside_a_transfer_delays_nothing) {
    directory d;
    process peer([&](channel& parent) {
        endpoint me(d.open());
        parent.hear("connect");
        me.connect_to("owner");
        parent.say("connected");
        require(me.next().status == vinic::status::flushed, "the receive is flushed");
        parent.say("broken");
        parent.hear("end");
    });
    endpoint me(d.open());
    auto listener = must(me.nic.listen("owner"));
    peer.say("connect");
    me.accept_from(listener);
    peer.hear("connected");
    peer.stop();
    must(me.vi.disconnect());
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
    must(me.memory.close());
    must(me.vi.close());
    peer.go_on();
    d.leftovers_expected();
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// death_in_transfer_test.cc -- the dead are buried by whoever looks while others are in the midst of writing to them.
//
//   A connection breaks before its dead side's keys go. An engine that finds a key gone has found a death, not a
//   receiver that gave it a bad descriptor.
#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr std::size_t piece_bytes = 256 << 10;
constexpr std::uint32_t pieces = 8;
constexpr int deaths = 20;

TEST(killed_peer, is_no_bad_receiver_for_a_send_into_many_pieces) {
    directory d;
    endpoint_options options{.attributes = {}, .memory_bytes = pieces * piece_bytes};
    options.attributes.segments_max = pieces;
    endpoint me(d.open(), options);
    int lost = 0;
    for (int round = 0; round < deaths; ++round) {
        process victim([&](channel& parent) {
            endpoint mine(d.open(), options);
            std::vector<vinic::segment> list;
            for (std::uint32_t i = 0; i < pieces; ++i) {
                list.push_back(mine.at(i * piece_bytes, piece_bytes));
            }
            must(mine.vi.post_receive(list, 1));
            auto listener = must(mine.nic.listen("victim"));
            parent.say("listening");
            mine.accept_from(listener);
            (void)parent.hear();
        });
        victim.hear("listening");
        me.connect_to("victim");
        victim.kill_now();
        std::atomic<bool> go = false;
        std::thread gravedigger([&] {
            while (!go.load()) {
            }
            std::this_thread::sleep_for(std::chrono::microseconds(20 * round));
            (void)d.open();  // whoever opens the device buries its dead
        });
        go.store(true);
        must(me.vi.post_send(me.at(0, pieces * piece_bytes), 1));
        const vinic::completion c = me.next();
        gravedigger.join();
        EXPECT_TRUE(c.status == vinic::status::success || c.status == vinic::status::connection_lost)
            << vinic::name(c.status) << " in round " << round;
        lost += c.status == vinic::status::connection_lost ? 1 : 0;
        must(me.vi.disconnect());
    }
    RecordProperty("lost", lost);
}

/// Whether the kernel says so first, or whoever buries it: it is the same death.
TEST(killed_peer, is_dead_for_who_writes_to_its_own_memory_before_anybody_has_looked) {
    directory d;
    process victim([&d](channel& parent) {
        endpoint me(d.open());
        std::vector<std::byte> heap(4096);
        const auto region = must(me.domain.register_memory(heap, vinic::access::remote_write));
        auto listener = must(me.nic.listen("victim"));
        parent.say(to_words(region.remote()));
        me.accept_from(listener);
        parent.say("ready");
        (void)parent.hear();
    });
    endpoint me(d.open());
    const vinic::remote_address there = remote_from(victim.hear());
    me.connect_to("victim");
    victim.hear("ready");
    must(me.vi.post_write(me.at(0, 64), there, 1));
    EXPECT_EQ(me.next().status, vinic::status::success);
    victim.kill_now();
    must(me.vi.post_write(me.at(0, 64), there, 2));
    EXPECT_EQ(me.next().status, vinic::status::connection_lost);
    EXPECT_TRUE(comes_true([&] { return me.vi.statistics().cause == vinic::break_cause::peer_died; }));
    must(me.vi.post_write(me.at(0, 64), there, 3));
    EXPECT_EQ(me.next().status, vinic::status::connection_lost) << "posted in error";
}

/// What the dead one had posted may be executed still; that it cannot be told of the result is no fault of its peer.
TEST(killed_peer, is_dead_for_the_target_of_the_atomic_that_it_had_posted) {
    directory d;
    for (int round = 0; round < deaths; ++round) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("me"));
        const vinic::remote_address there = me.memory.remote();
        process victim([&d, there](channel& parent) {
            endpoint mine(d.open());
            std::vector<std::byte> heap(4096);
            const auto region = must(mine.domain.register_memory(heap, vinic::access::local_write));
            mine.connect_to("me");
            must(mine.vi.post_send(mine.at(0, 600), 1));  // waits for a descriptor, and the atomic behind it
            must(mine.vi.post_fetch_add({region, 0, 8}, there, 1, 2));
            parent.say("posted");
            (void)parent.hear();
        });
        me.accept_from(listener);
        victim.hear("posted");
        victim.kill_now();
        must(me.vi.post_receive(me.at(1024, 1024), 1));
        const vinic::completion c = me.next();
        EXPECT_TRUE(c.status == vinic::status::success || c.status == vinic::status::connection_lost)
            << vinic::name(c.status);
        EXPECT_TRUE(comes_true([&] {
            std::array<vinic::completion, 1> none;
            (void)me.cq.poll(none);
            return me.vi.state() == vinic::vi_state::error;
        }));
        EXPECT_EQ(me.vi.statistics().cause, vinic::break_cause::peer_died) << round;
    }
}

}  // namespace
}  // namespace multi

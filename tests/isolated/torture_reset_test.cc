// SPDX-License-Identifier: Apache-2.0
//
// torture_reset_test.cc -- one function is reset again and again, or its clients are killed or stopped: those of
// other functions never see an error, and those who were hit go on.
#include <random>

#include "torture_support.hpp"

namespace torture {
namespace {

using multi::must;

void expect_nobody_left(const daemon& d) {
    for (const char* function : {"vf0", "vf1", "vf2"}) {
        for (const char* key : {"contexts", "vis", "regions"}) {
            EXPECT_TRUE(multi::comes_true([&] { return d.number(function, key) == 0; }))
                << function << " has " << d.number(function, key) << ' ' << key;
        }
    }
}

TEST(reset, in_a_loop_hurts_one_function_and_nobody_else) {
    daemon d;
    {
        shared_board b;
        // Parties 0 and 2 are each other's, and 1 and 3.
        crowd all(b, {party(d, "vf0", "hit", false), party(d, "vf1", "spared", true)},
                  {party(d, "vf0", "hit", false), party(d, "vf2", "spared", true)});
        ASSERT_TRUE(b.advances(4, 20)) << b->failure;
        const std::uint64_t before = b->party[1].exchanges.load();
        const auto end = steady::now() + (is_long() ? 120s : 2s);
        std::uint64_t resets = 0;
        for (; steady::now() < end && b->failures.load() == 0; ++resets) {
            ASSERT_TRUE(d.reset("vf0"));
            std::this_thread::sleep_for(std::chrono::milliseconds(resets % 16));
        }
        std::cout << resets << " resets; the spared have exchanged " << b->party[1].exchanges.load() - before
                  << " messages meanwhile, and opened " << b->party[1].opened.load() << " times; the hit opened "
                  << b->party[0].opened.load() << " times\n";
        EXPECT_TRUE(b.advances(4, 20)) << "all go on afterwards: " << b->failure;
        EXPECT_EQ(b->party[1].opened.load(), 1u);
        EXPECT_EQ(b->party[3].opened.load(), 1u);
        EXPECT_GT(b->party[0].opened.load(), 1u);
        EXPECT_GE(d.number("vf0", "resets"), resets);
        all.end();
        EXPECT_STREQ(b->failure, "");
    }
    expect_nobody_left(d);
}

/// Whoever does nothing but connect has no completion that could tell.
TEST(reset, is_told_to_who_only_connects_or_accepts) {
    daemon d;
    multi::endpoint connects(must(vinic::nic::open(d.address("vf0"))));
    multi::endpoint accepts(must(vinic::nic::open(d.address("vf0"))));
    multi::endpoint spared(must(vinic::nic::open(d.address("vf1"))));
    auto listener = must(accepts.nic.listen("accepts"));
    std::jthread asks([&] { EXPECT_EQ(multi::code_of(spared.vi.connect("accepts", 20s)), vinic::errc::peer_gone); });
    auto request = must(listener.wait(multi::patience));
    ASSERT_TRUE(d.reset("vf0"));
    asks.join();
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(multi::code_of(connects.vi.connect("nobody", 1s)), vinic::errc::peer_gone);
    }
    EXPECT_EQ(multi::code_of(request.accept(accepts.vi)), vinic::errc::peer_gone);
    EXPECT_EQ(multi::code_of(spared.vi.connect("accepts", 1s)), vinic::errc::no_listener) << "it goes on";
}

TEST(deaths, of_clients_at_random_moments_leave_the_others_and_nothing_else) {
    daemon d;
    std::mt19937_64 chance(seed_of_this_run());
    {
        shared_board b;
        crowd all(
            b,
            {party(d, "vf0", "mortal", false), party(d, "vf1", "other mortal", false), party(d, "vf1", "spared", true)},
            {party(d, "vf1", "mortal", false), party(d, "vf1", "other mortal", false),
             party(d, "vf2", "spared", true)});
        ASSERT_TRUE(b.advances(6, 20)) << b->failure;
        const auto end = steady::now() + (is_long() ? 120s : 2s);
        int deaths = 0;
        for (; steady::now() < end && b->failures.load() == 0; ++deaths) {
            constexpr std::size_t mortals[] = {0, 1, 3, 4};
            const std::size_t i = mortals[chance() % std::size(mortals)];
            if (chance() % 4 == 0) {
                all[i].stop();
                std::this_thread::sleep_for(std::chrono::milliseconds(chance() % 60));
                all[i].go_on();
            } else {
                all.replace(i);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(chance() % 30));
        }
        std::cout << deaths << " killed or stopped\n";
        EXPECT_TRUE(b.advances(6, 20)) << b->failure;
        EXPECT_EQ(b->party[2].opened.load(), 1u);
        all.end();
        EXPECT_STREQ(b->failure, "");
    }
    expect_nobody_left(d);
}

/// Application bypass, seen from another function: who stands still is written to, read from and sent to.
TEST(stopped_client, is_worked_with_by_its_peer_on_another_function) {
    daemon d;
    constexpr std::uint64_t receives = 32;
    multi::process stopped([&](multi::channel& parent) {
        multi::endpoint me(must(vinic::nic::open(d.address("vf0"))));
        auto listener = must(me.nic.listen("stopped"));
        parent.say(multi::to_words(me.memory.remote()));
        for (std::uint64_t i = 0; i < receives; ++i) {
            must(me.vi.post_receive(me.at(32768 + i * 512, 512), i));
        }
        multi::fill(me.bytes(0, 4096), 3);
        me.accept_from(listener);
        parent.say("ready");
        parent.hear("look");
        for (std::uint64_t i = 0; i < receives; ++i) {
            const vinic::completion c = me.next();
            multi::require(c.status == vinic::status::success && c.cookie == i && c.length == 512, "it came");
            multi::require(multi::first_difference(me.bytes(32768 + i * 512, 512), i) == 512, "as it was sent");
        }
        multi::require(multi::first_difference(me.bytes(8192, 4096), 4) == 4096, "it was written");
        parent.say("well");
    });
    const vinic::remote_address there = multi::remote_from(stopped.hear());
    multi::endpoint me(must(vinic::nic::open(d.address("vf1"))));
    multi::connect_patiently(me.vi, "stopped");
    stopped.hear("ready");
    stopped.stop();
    shared_board b;
    crowd others(b, {party(d, "vf0", "unaffected", true)}, {party(d, "vf2", "unaffected", true)});
    for (std::uint64_t i = 0; i < receives; ++i) {
        multi::fill(me.bytes(i * 512, 512), i);
        must(me.vi.post_send(me.at(i * 512, 512), i));
    }
    for (std::uint64_t i = 0; i < receives; ++i) {
        EXPECT_EQ(me.next().status, vinic::status::success);
    }
    multi::fill(me.bytes(32768, 4096), 4);
    must(me.vi.post_write(me.at(32768, 4096), there + 8192, 1));
    must(me.vi.post_read(me.at(40960, 4096), there, 2));
    EXPECT_EQ(me.next().status, vinic::status::success);
    EXPECT_EQ(me.next().status, vinic::status::success);
    EXPECT_TRUE(multi::matches(me.bytes(40960, 4096), 3));
    EXPECT_TRUE(b.advances(2, 100)) << b->failure;
    others.end();
    stopped.go_on();
    stopped.say("look");
    stopped.hear("well");
    EXPECT_EQ(stopped.exit_code(), 0);
}

}  // namespace
}  // namespace torture

// SPDX-License-Identifier: Apache-2.0
//
// presence_test.cc -- one function is taken away and brought back again and again, under clients that use the library:
// those of other functions never see an error, and those who were hit are told and go on when it is there again.
#include "torture_support.hpp"

namespace torture {
namespace {

using multi::must;

/// What was there before may just be being cleared away: then it is asked again.
[[nodiscard]] bool tell(const daemon& d, const std::string& command, const std::string& function) {
    std::string reply;
    return multi::comes_true([&] {
               reply = d.ask(R"({"command": ")" + command + R"(", "function": ")" + function + "\"}");
               return !reply.contains("\"busy\"");
           }) &&
           !reply.contains("\"error\"");
}

TEST(presence, of_one_function_comes_and_goes_and_the_others_go_on) {
    daemon d;
    shared_board b;
    // Parties 0 and 2 are each other's, and 1 and 3.
    crowd all(b, {party(d, "vf0", "hit", false), party(d, "vf1", "spared", true)},
              {party(d, "vf2", "hit", false), party(d, "vf2", "spared", true)});
    ASSERT_TRUE(b.advances(4, 20)) << b->failure;
    const std::uint64_t before = b->party[1].exchanges.load();
    const int rounds = is_long() ? 20'000 : 200;
    for (int i = 0; i < rounds && b->failures.load() == 0; ++i) {
        ASSERT_TRUE(tell(d, "remove", "vf0")) << i;
        ASSERT_TRUE(tell(d, "add", "vf0")) << i;
        std::this_thread::sleep_for(std::chrono::milliseconds(i % 16));
    }
    std::cout << "the spared have exchanged " << b->party[1].exchanges.load() - before
              << " messages meanwhile; the hit opened " << b->party[0].opened.load() << " times\n";
    EXPECT_TRUE(b.advances(4, 20)) << "all go on afterwards: " << b->failure;
    EXPECT_EQ(b->party[1].opened.load(), 1u);
    EXPECT_EQ(b->party[3].opened.load(), 1u);
    EXPECT_GT(b->party[0].opened.load(), 1u);
    all.end();
    EXPECT_STREQ(b->failure, "");
}

TEST(presence, that_ends_is_told_to_who_used_it_and_to_who_comes) {
    daemon d;
    multi::endpoint mine(must(vinic::nic::open(d.address("vf0"))));
    multi::endpoint other(must(vinic::nic::open(d.address("vf1"))));
    auto listener = must(other.nic.listen("other"));
    std::jthread accepts([&] { other.accept_from(listener); });
    mine.connect_to("other");
    accepts.join();
    for (std::uint64_t i = 0; i < 3; ++i) {
        must(mine.vi.post_send(mine.at(0, 64), i));  // no receive descriptor: they wait
        must(other.vi.post_send(other.at(0, 64), i));
    }
    ASSERT_TRUE(tell(d, "remove", "vf0"));
    for (std::uint64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(mine.next().status, vinic::status::connection_lost);
        EXPECT_EQ(other.next().status, vinic::status::connection_lost);
    }
    EXPECT_EQ(mine.vi.statistics().cause, vinic::break_cause::peer_died);
    EXPECT_EQ(multi::code_of(mine.nic.listen("mine")), vinic::errc::peer_gone);
    const auto late = vinic::nic::open(d.address("vf0"));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, vinic::errc::unknown_address);
    EXPECT_TRUE(late.error().message().contains("vf0 was removed")) << late.error().message();
    ASSERT_TRUE(tell(d, "add", "vf0"));
    EXPECT_TRUE(vinic::nic::open(d.address("vf0")));
    EXPECT_EQ(multi::code_of(mine.nic.listen("mine")), vinic::errc::peer_gone) << "the old one stays gone";
}

/// A process that was stopped, or computed, while its function was reset.
TEST(reset, that_a_program_sees_late_is_a_reset_all_the_same) {
    daemon d;
    {
        multi::endpoint mine(must(vinic::nic::open(d.address("vf0"))));
        multi::endpoint other(must(vinic::nic::open(d.address("vf1"))));
        auto listener = must(other.nic.listen("other"));
        auto own = must(mine.nic.listen("mine"));
        std::jthread accepts([&] { other.accept_from(listener); });
        mine.connect_to("other");
        accepts.join();
        auto buffer = must(mine.nic.allocate(1 << 20));
        for (std::uint64_t i = 0; i < 3; ++i) {
            must(mine.vi.post_receive(mine.at(0, 64), i));
            must(mine.vi.post_send(mine.at(0, 64), 10 + i));  // no receive descriptor: they wait
        }
        ASSERT_TRUE(tell(d, "reset", "vf0"));
        ASSERT_TRUE(multi::comes_true([&] { return d.number("vf0", "resets") == 1; }));
        EXPECT_TRUE(vinic::nic::open(d.address("vf0"))) << "others do not wait for it";
        for (std::uint64_t i = 0; i < 6; ++i) {
            EXPECT_EQ(mine.next().status, vinic::status::connection_lost) << i;
        }
        EXPECT_NE(mine.vi.state(), vinic::vi_state::connected);
        EXPECT_EQ(multi::code_of(mine.nic.listen("again")), vinic::errc::peer_gone);
    }
    EXPECT_TRUE(multi::comes_true([&] { return d.number("vf0", "memory_bytes") == 0; })) << "when it has closed it";
    multi::endpoint next(must(vinic::nic::open(d.address("vf0"))));
    EXPECT_TRUE(next.nic.listen("next"));
}

/// Writes two bytes of vf0's configuration space, as its driver would.
[[nodiscard]] bool write_register(const daemon& d, int offset, int value) {
    return !d.ask(R"({"command": "configure", "function": "vf0", "writes": [{"offset": )" + std::to_string(offset) +
                  R"(, "width": 2, "value": )" + std::to_string(value) + "}]}")
                .contains("\"error\"");
}

TEST(configuration, without_bus_master_moves_nothing_and_a_reset_by_register_is_one) {
    constexpr int command = 4;
    constexpr int bus_master = 4;
    constexpr int device_control = 0x48;
    constexpr int function_level_reset = 0x8000;
    daemon d;
    multi::endpoint mine(must(vinic::nic::open(d.address("vf0"))));
    multi::endpoint other(must(vinic::nic::open(d.address("vf1"))));
    auto listener = must(other.nic.listen("other"));
    std::jthread accepts([&] { other.accept_from(listener); });
    mine.connect_to("other");
    accepts.join();
    ASSERT_TRUE(write_register(d, command, 0));
    must(other.vi.post_receive(other.at(0, 64), 1));
    must(mine.vi.post_send(mine.at(0, 64), 2));
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(d.number("vf0", "tx_messages"), 0u);
    ASSERT_TRUE(write_register(d, command, bus_master));
    EXPECT_EQ(mine.next().status, vinic::status::success);
    EXPECT_EQ(other.next().status, vinic::status::success);
    must(mine.vi.post_receive(mine.at(0, 64), 3));
    ASSERT_TRUE(write_register(d, device_control, function_level_reset));
    EXPECT_EQ(mine.next().status, vinic::status::connection_lost);
    EXPECT_TRUE(multi::comes_true([&] { return other.vi.state() == vinic::vi_state::error; }));
}

}  // namespace
}  // namespace torture

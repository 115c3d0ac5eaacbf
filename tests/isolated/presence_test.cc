// SPDX-License-Identifier: Apache-2.0
//
// presence_test.cc -- one function is taken away and brought back again and again, under clients that use the library:
// those of other functions never see an error, and those who were hit are told and go on when it is there again.
#include "torture_support.hpp"

namespace torture {
namespace {

using multi::must;

party_options party(const daemon& d, const std::string& function, const std::string& name, bool victim) {
    party_options o;
    o.address = d.address(function);
    o.name = name;
    o.must_not_break = victim;
    return o;
}

[[nodiscard]] bool tell(const daemon& d, const std::string& command, const std::string& function) {
    return !d.ask(R"({"command": ")" + command + R"(", "function": ")" + function + "\"}").contains("\"error\"");
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

}  // namespace
}  // namespace torture

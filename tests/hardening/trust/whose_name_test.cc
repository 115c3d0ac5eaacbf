// SPDX-License-Identifier: Apache-2.0
//
// whose_name_test.cc -- who the other side is, as the device tells it; and names that are some function's alone.
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "isolated/torture_support.hpp"
#include "multi/fixture.hpp"

namespace {

using multi::code_of;
using multi::must;
using vinic::errc;

constexpr const char* bank = "[function.vf0]\nnames = [\"bank/\"]\n[function.vf1]\nnames = [\"bank/audit/\"]\n";

/// A file of the configuration, that can be written anew.
class configuration {
public:
    explicit configuration(std::string_view text) : path_("/tmp/vinic-names-XXXXXX") {
        ::close(::mkstemp(path_.data()));
        write(text);
    }
    configuration(const configuration&) = delete;
    configuration& operator=(const configuration&) = delete;
    ~configuration() { ::unlink(path_.c_str()); }
    void write(std::string_view text) const { std::ofstream(path_, std::ios::trunc) << text; }
    [[nodiscard]] std::vector<std::string> arguments() const { return {"--config", path_}; }

private:
    std::string path_;
};

class whose_name : public testing::Test {
protected:
    configuration file{bank};
    torture::daemon device{torture::daemon::socket_is::its_own, file.arguments()};
    vinic::nic zero = must(vinic::nic::open(device.address("vf0")));
    vinic::nic one = must(vinic::nic::open(device.address("vf1")));
    vinic::nic two = must(vinic::nic::open(device.address("vf2")));

    void reload() const {
        const std::string told = device.ask(R"({"command":"device"})");
        const std::size_t at = told.find("\"process_id\":");
        ASSERT_NE(at, std::string::npos) << told;
        ASSERT_EQ(::kill(std::stoi(told.substr(at + 13)), SIGHUP), 0);
    }
};

vinic::virtual_interface datagram_vi(multi::endpoint& e) {
    vinic::vi_attributes a = e.attributes();
    a.service = vinic::service::datagram;
    a.reliability = vinic::reliability::unreliable;
    return must(e.domain.create_vi(a));
}

TEST_F(whose_name, is_bound_by_the_function_that_was_given_it_and_by_nobody_else) {
    const auto refused = two.listen("bank/teller");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::permission_denied);
    EXPECT_NE(refused.error().message().find("gives that name to another function"), std::string::npos)
        << refused.error().message();
    EXPECT_TRUE(zero.listen("bank/teller"));
    // What only begins like it is anybody's.
    EXPECT_TRUE(two.listen("bank"));
    EXPECT_TRUE(two.listen("bank-robber"));
    EXPECT_TRUE(
        two.listen(""
                   "Bank/teller"));
}

TEST_F(whose_name, is_decided_by_the_longest_prefix) {
    EXPECT_EQ(code_of(zero.listen("bank/audit/1")), errc::permission_denied);
    EXPECT_TRUE(one.listen("bank/audit/1"));
    EXPECT_EQ(code_of(one.listen("bank/1")), errc::permission_denied);
    EXPECT_TRUE(zero.listen("bank/audit"));
}

TEST_F(whose_name, a_discriminator_does_not_help) {
    const std::byte tail[2] = {std::byte{'x'}, std::byte{0}};
    EXPECT_EQ(code_of(two.listen({"bank/", tail})), errc::permission_denied);
    const std::byte like_it[5] = {std::byte{'b'}, std::byte{'a'}, std::byte{'n'}, std::byte{'k'}, std::byte{'/'}};
    EXPECT_TRUE(two.listen({"other", like_it}));
}

TEST_F(whose_name, holds_for_datagrams_and_for_peers) {
    multi::endpoint a(std::move(zero));
    multi::endpoint c(std::move(two));
    EXPECT_EQ(code_of(datagram_vi(c).bind("bank/box")), errc::permission_denied);
    EXPECT_TRUE(datagram_vi(a).bind("bank/box"));
    const auto refused = c.vi.connect_peer("bank/peer", "client", std::chrono::seconds(10));
    ASSERT_EQ(code_of(refused), errc::permission_denied);
    EXPECT_EQ(c.vi.state(), vinic::vi_state::idle);
    EXPECT_TRUE(c.vi.connect_peer("client", "bank/peer", std::chrono::seconds(10))) << "may be wished for by anybody";
}

TEST_F(whose_name, stays_given_while_its_function_is_away) {
    zero = {};
    ASSERT_FALSE(device.ask(R"({"command":"remove","function":"vf0"})").contains("error"));
    EXPECT_EQ(code_of(two.listen("bank/teller")), errc::permission_denied);
}

TEST_F(whose_name, changes_hands_when_the_file_is_read_again) {
    auto kept = must(zero.listen("other"));
    auto lost = must(zero.listen("bank/teller"));
    multi::endpoint a(std::move(zero));
    auto box = datagram_vi(a);
    must(box.bind("bank/box"));
    must(a.vi.connect_peer("bank/peer", "client", std::chrono::seconds(60)));
    ASSERT_EQ(code_of(two.listen("bank/new")), errc::permission_denied);

    file.write("[function.vf2]\nnames = [\"bank/\"]\n");
    reload();
    ASSERT_TRUE(multi::comes_true([&] { return two.listen("bank/new").has_value(); })) << device.log();
    EXPECT_TRUE(device.ask(R"({"command":"function","function":"vf2"})").contains(R"("names":["bank/"])"));
    EXPECT_TRUE(device.ask(R"({"command":"function","function":"vf0"})").contains(R"("names":[])"));

    // Who had them has them no more, and may be told so; others' names are as they were.
    EXPECT_EQ(code_of(lost.wait(std::chrono::seconds(10))), errc::invalid_handle);
    EXPECT_EQ(code_of(a.vi.connect_peer_wait()), errc::no_listener);
    EXPECT_EQ(code_of(two.resolve("bank/box")), errc::no_listener);
    EXPECT_TRUE(two.listen("bank/teller"));
    EXPECT_EQ(code_of(two.listen("other")), errc::name_in_use);
    EXPECT_EQ(code_of(a.nic.listen("bank/teller")), errc::permission_denied);
}

TEST_F(whose_name, a_file_that_gives_names_wrongly_changes_nothing) {
    file.write("[function.vf2]\nnames = [\"bank/\", 7]\n");
    reload();
    ASSERT_TRUE(multi::comes_true([&] { return device.log().contains("names: "); })) << device.log();
    EXPECT_EQ(code_of(two.listen("bank/new")), errc::permission_denied);
}

// -- who the other is ---------------------------------------------------------------------------

void expect_who(const vinic::peer_information& peer, std::uint32_t function) {
    EXPECT_EQ(peer.function, function);
    EXPECT_EQ(peer.user, ::geteuid());
    EXPECT_EQ(peer.process_id, static_cast<std::uint32_t>(::getpid()));
}

/// The two functions' numbers are what the others are to be told.
void expect_that_they_learn(vinic::nic server_nic, std::uint32_t server_function, vinic::nic client_nic,
                            std::uint32_t client_function) {
    multi::endpoint server(std::move(server_nic));
    multi::endpoint client(std::move(client_nic));
    auto listener = must(server.nic.listen("bank/teller"));
    std::jthread accepts([&] {
        auto request = must(listener.wait(multi::patience));
        expect_who(request.peer(), client_function);
        must(request.accept(server.vi));
    });
    expect_who(must(client.vi.connect("bank/teller", multi::patience)), server_function);
}

TEST_F(whose_name, both_ends_of_a_connection_learn_the_others_function_and_user) {
    expect_that_they_learn(std::move(zero), 1, std::move(two), 3);
}

TEST_F(whose_name, peers_learn_it_too) {
    multi::endpoint a(std::move(zero));
    multi::endpoint c(std::move(two));
    must(a.vi.connect_peer("bank/peer", "client", multi::patience));
    must(c.vi.connect_peer("client", "bank/peer", multi::patience));
    expect_who(must(a.vi.connect_peer_wait()), 3);
    expect_who(must(c.vi.connect_peer_wait()), 1);
}

TEST_F(whose_name, a_datagram_says_whose_it_is) {
    multi::endpoint a(std::move(zero));
    multi::endpoint c(std::move(two));
    auto box = datagram_vi(a);
    must(box.bind("bank/box"));
    auto sender = datagram_vi(c);
    must(box.post_receive(a.at(0, 64), 1));
    const vinic::datagram_address to = must(c.nic.resolve("bank/box"));
    EXPECT_EQ(to.function(), 1u);
    const vinic::segment s = c.at(0, 64);
    must(sender.send_to(to, std::span(&s, 1), 2));
    const vinic::completion got = a.next();
    EXPECT_EQ(got.opcode, vinic::opcode::receive);
    EXPECT_EQ(got.source.function(), 3u);
    EXPECT_EQ(got.source, sender.local_address());
}

TEST(who_the_other_is, in_direct_placement_is_what_its_process_has_entered) {
    const multi::directory d;
    const auto open = [&] { return must(vinic::nic::open("shm:test", d.options())); };
    expect_that_they_learn(open(), 0, open(), 0);
}

}  // namespace

// SPDX-License-Identifier: Apache-2.0
//
// closed_descriptors_test.cc -- a client of vinicd that closes what it reaches it by has left, and is told why nothing
// works; tests/multi/closed_descriptors_test.cc has what it may open under the numbers.
#include <sys/resource.h>

#include <filesystem>

#include "multi/fixture.hpp"
#include "multi/own_files.hpp"

namespace multi {
namespace {

constexpr const char* the_cure = "closed by somebody else in this process";

struct connected {
    explicit connected(const directory& d) : peer(d.open()), me(d.open()) {
        auto listener = must(peer.nic.listen("peer"));
        std::jthread accepts([&] { peer.accept_from(listener); });
        me.connect_to("peer");
    }
    endpoint peer;
    endpoint me;
};

TEST(client_that_has_closed_its_descriptors, is_told_so_and_what_was_posted_is_flushed) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        connected c(d);
        endpoint& me = c.me;
        must(me.vi.post_receive(me.at(0, 64), 1));
        must(me.vi.post_send(me.at(0, 64), 2));  // it waits for a receive
        const own_files own(before, own_files::kind::files, d.path());
        require(me.next().status == vinic::status::connection_lost, "the first ends");
        require(me.next().status == vinic::status::connection_lost, "the second ends");
        const auto refused = me.nic.listen("another");
        require(code_of(refused) == vinic::errc::peer_gone,
                "the device is gone, and not: " + (refused ? "it is well" : refused.error().message()));
        require(refused.error().message().contains(the_cure), refused.error().message());
        own.require_untouched();
    });
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_TRUE(comes_true([&] { return count(d).processes == 0; })) << "vinicd knows that it has left";
}

/// Closed alone: the connection lives on, and the bell is the program's file by now.
TEST(client_that_has_closed_its_doorbell, writes_into_nothing_of_the_programs) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        connected c(d);
        endpoint& me = c.me;
        must(c.peer.vi.post_receive(c.peer.at(0, 64), 1));
        auto spared = before;
        for (const int number : open_numbers()) {
            const auto what = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(number)).string();
            if (!what.contains("[eventfd]")) {
                spared.insert(number);
            }
        }
        const own_files own(spared, own_files::kind::files, d.path());
        std::this_thread::sleep_for(100ms);  // longer than from one look at the device to the next; the engine sleeps
        for (std::uint64_t i = 0; i < 3; ++i) {
            (void)me.vi.post_send(me.at(0, 64), i);
        }
        own.require_untouched();
    });
    EXPECT_EQ(child.exit_code(), 0);
}

/// As sandboxes do after opening.
TEST(client_that_may_open_no_file_any_more, hears_that_its_device_died) {
    directory d;
    process child([&](channel& parent) {
        endpoint me(d.open());
        const rlimit none{0, 0};
        require(::setrlimit(RLIMIT_NOFILE, &none) == 0, "the limit can be set");
        parent.say("ready");
        require(comes_true([&] { return code_of(me.nic.listen("anything")) == vinic::errc::peer_gone; }),
                "the device is gone");
    });
    child.hear("ready");
    d.kill_vinicd();
    EXPECT_EQ(child.exit_code(), 0);
}

/// The bad twin: whose device dies hears nothing of descriptors.
TEST(client_that_has_closed_its_descriptors, is_told_otherwise_than_one_whose_device_died) {
    directory d;
    endpoint me(d.open());
    d.kill_vinicd();
    const auto refused = me.domain.create_vi(me.attributes());
    ASSERT_EQ(code_of(refused), vinic::errc::peer_gone);
    EXPECT_FALSE(refused.error().message().contains(the_cure)) << refused.error().message();
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// closed_descriptors_test.cc -- a client of vinicd that closes what it reaches it by has left, and is told why nothing
// works; tests/multi/closed_descriptors_test.cc has what it may open under the numbers.
#include "multi/fixture.hpp"
#include "multi/own_files.hpp"

namespace multi {
namespace {

constexpr const char* the_cure = "closed by somebody else in this process";

TEST(client_that_has_closed_its_descriptors, is_told_so_and_what_was_posted_is_flushed) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        endpoint peer(d.open());
        endpoint me(d.open());
        auto listener = must(peer.nic.listen("peer"));
        std::jthread accepts([&] { peer.accept_from(listener); });
        me.connect_to("peer");
        accepts.join();
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

/// The bad twin: whose device dies hears nothing of descriptors.
TEST(client_that_has_closed_its_descriptors, is_not_he_whose_device_died) {
    directory d;
    endpoint me(d.open());
    d.kill_vinicd();
    const auto refused = me.domain.create_vi(me.attributes());
    ASSERT_EQ(code_of(refused), vinic::errc::peer_gone);
    EXPECT_FALSE(refused.error().message().contains(the_cure)) << refused.error().message();
}

}  // namespace
}  // namespace multi

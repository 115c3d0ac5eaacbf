// SPDX-License-Identifier: Apache-2.0
//
// removed_test.cc -- the device's file is removed under its users: by systemd-logind at logout, by a cleaner of
// temporary directories, by hand.
#include <unistd.h>

#include "multi/fixture.hpp"

namespace multi {
namespace {

TEST(removed_device, is_told_to_listeners_and_goes_on_for_those_who_are_connected) {
    directory d;
    endpoint server(d.open());
    endpoint client(d.open());
    auto listener = must(server.nic.listen("server"));
    std::thread accepting([&] { server.accept_from(listener); });
    client.connect_to("server");
    accepting.join();
    ASSERT_EQ(::unlink(d.file().c_str()), 0);
    const auto told = listener.wait(vinic::forever);
    EXPECT_EQ(code_of(told), vinic::errc::device_removed);
    EXPECT_NE(told.error().message().find("RemoveIPC"), std::string::npos) << told.error().message();
    EXPECT_NE(told.error().message().find(d.file()), std::string::npos) << told.error().message();
    EXPECT_EQ(code_of(server.nic.listen("another")), vinic::errc::device_removed);
    must(server.vi.post_receive(server.at(0, 64), 1));
    must(client.vi.post_send(client.at(0, 64), 2));
    EXPECT_EQ(server.next().status, vinic::status::success);
    EXPECT_EQ(client.next().status, vinic::status::success);
    auto buffer = must(server.nic.allocate(4096));
    auto vi = client.another_vi();
    EXPECT_EQ(code_of(vi.connect("nobody", 100ms)), vinic::errc::device_removed);
    EXPECT_EQ(code_of(vi.connect("server", 100ms)), vinic::errc::device_removed) << "nobody answers";
}

/// A request that was made before is served.
TEST(removed_device, still_serves_who_had_asked_already) {
    directory d;
    endpoint server(d.open());
    endpoint client(d.open());
    auto listener = must(server.nic.listen("server"));
    std::thread connecting([&] { client.connect_to("server"); });
    EXPECT_TRUE(comes_true([&] { return count(d).requests == 1; }));
    ASSERT_EQ(::unlink(d.file().c_str()), 0);
    server.accept_from(listener);
    connecting.join();
}

TEST(removed_device, gives_way_to_a_new_one_of_its_name_that_it_leaves_alone) {
    directory d;
    auto old = std::make_unique<endpoint>(d.open());
    ASSERT_EQ(::unlink(d.file().c_str()), 0);
    endpoint young(d.open());
    EXPECT_EQ(count(d).processes, 1u);
    old.reset();
    EXPECT_TRUE(d.exists()) << "the old one's last user has removed the new one";
    EXPECT_EQ(code_of(young.vi.connect("nobody", 100ms)), vinic::errc::no_listener);
}

}  // namespace
}  // namespace multi

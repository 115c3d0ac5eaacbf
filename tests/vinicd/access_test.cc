// SPDX-License-Identifier: Apache-2.0
//
// access_test.cc -- what a peer's places and work are charged to, and how many files all places need.
#include <gtest/gtest.h>
#include <unistd.h>

#include "vinicd/connections.hpp"

namespace vinic::vinicd {
namespace {

constexpr uid_t alice = 4711;
constexpr uid_t bob = 4712;
constexpr gid_t staff = 100;
constexpr gid_t guests = 200;

peer somebody(uid_t user, std::vector<gid_t> groups = {}) {
    peer p;
    p.who = {.process = 1, .user = user, .group = 1};
    p.groups = std::move(groups);
    return p;
}

options of_two_vfs() {
    options o;
    o.device.functions = 2;
    return o;
}

constexpr account owner_of(uid_t user) { return {.of = account::kind::owner, .id = user}; }
constexpr account member_of(gid_t group) { return {.of = account::kind::group, .id = group}; }
constexpr account stranger{};

TEST(access, an_owner_by_default_is_one_only_where_some_vf_has_no_other) {
    options o = of_two_vfs();
    o.every_function.owner = alice;
    o.functions[1].owner = bob;
    access a(o);
    EXPECT_TRUE(a.may_use(2, somebody(alice)));
    EXPECT_EQ(a.account_of(somebody(alice)), owner_of(alice));
    o.functions[2].group = staff;
    a.options_changed();
    EXPECT_FALSE(a.may_use(2, somebody(alice)));
    EXPECT_EQ(a.account_of(somebody(alice)), stranger);
    EXPECT_FALSE(a.is_tenant(somebody(alice)));
    EXPECT_EQ(a.account_of(somebody(bob)), owner_of(bob));
    EXPECT_EQ(a.account_of(somebody(alice, {50, staff, 150})), member_of(staff));
}

TEST(access, the_sockets_group_is_one_only_where_a_vf_is_left_to_it) {
    options o = of_two_vfs();
    o.group = guests;
    o.functions[1].group = staff;
    access a(o);
    EXPECT_EQ(a.account_of(somebody(alice, {guests})), member_of(guests));
    EXPECT_EQ(a.account_of(somebody(alice, {staff, guests})), member_of(staff)) << "a function's own goes first";
    o.functions[2].owner = bob;
    a.options_changed();
    EXPECT_EQ(a.account_of(somebody(alice, {guests})), stranger);
    EXPECT_EQ(a.accounts(), 2U);
}

TEST(access, what_is_said_of_a_vf_that_the_device_does_not_have_gives_nothing) {
    options o = of_two_vfs();
    o.functions[3].owner = alice;
    o.functions[2].owner = bob;
    const access a(o);
    EXPECT_EQ(a.account_of(somebody(alice)), stranger);
    EXPECT_EQ(a.account_of(somebody(bob)), owner_of(bob));
    EXPECT_EQ(a.account_of(somebody(::geteuid())).of, account::kind::administrators);
}

TEST(connections, the_limit_on_files_has_room_for_descriptors_that_nobody_has_read) {
    options o = of_two_vfs();
    o.device.functions = 256;
    const std::uint64_t clients = 257 * (o.device.defaults.contexts_max + admission::spare_of_function);
    EXPECT_GT(connections::descriptors_max(o), 3 * clients);
    o.device.functions = 1;
    o.device.defaults.contexts_max = 1;
    EXPECT_GT(connections::descriptors_max(o), 2 * (2 * 17 + admission::places + admission::places_of_strangers));
}

}  // namespace
}  // namespace vinic::vinicd

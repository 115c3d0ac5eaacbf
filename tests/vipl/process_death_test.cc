// SPDX-License-Identifier: Apache-2.0
//
// process_death_test.cc -- processes that end in a handler, are killed, or misbehave; and what the others see.
#include <sys/mman.h>

#include "child.hpp"
#include "fixture.hpp"

namespace vipl_test {
namespace {

class process_ends : public testing::Test {
protected:
    /// Starts a child in this role and connects with it.
    void connect_with(child& c) {
        c.words.say(discriminator);
        c.words.hear("waiting");
        connect_to(e, discriminator);
        c.words.hear("connected");
    }
    nic n;
    std::string discriminator = fresh_discriminator();
    error_log errors{n};
    endpoint e{n};
};

TEST_F(process_ends, by_exit_in_an_error_handler) {
    child c("exit_in_error_handler");
    connect_with(c);
    must(VipDisconnect(e.vi));
    EXPECT_EQ(c.exit_code(), 42);
}

TEST_F(process_ends, by_abort_in_an_error_handler) {
    child c("abort_in_error_handler");
    connect_with(c);
    must(VipDisconnect(e.vi));
    EXPECT_EQ(c.exit_code(), 128 + SIGABRT);
}

TEST_F(process_ends, after_the_default_handler_has_written_to_stderr) {
    child c("default_error_handler");
    connect_with(c);
    must(VipDisconnect(e.vi));
    EXPECT_TRUE(comes_true([&] { return c.errors().contains("VIP_ERROR_CONN_LOST"); })) << c.errors();
    c.words.say("written");
    EXPECT_EQ(c.exit_code(), 0);
}

TEST_F(process_ends, by_exit_in_a_notify_handler) {
    child c("exit_in_notify_handler");
    connect_with(c);
    VIP_DESCRIPTOR* s = e.post_send(e.write(0, 0, {}));
    EXPECT_EQ(e.finish_send(s), done_send);
    EXPECT_EQ(c.exit_code(), 43);
    EXPECT_EQ(errors.wait_for(VIP_ERROR_CONN_LOST).ViHandle, e.vi);
}

TEST_F(process_ends, with_everything_open) {
    child c("leave_everything_open");
    connect_with(c);
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {}));
    c.words.say("end");
    EXPECT_EQ(c.exit_code(), 0);
    EXPECT_EQ(errors.wait_for(VIP_ERROR_CONN_LOST).ViHandle, e.vi);
    EXPECT_EQ(e.state(), VIP_STATE_ERROR);
    EXPECT_EQ(e.finish_receive(r), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
}

TEST_F(process_ends, when_it_is_killed_and_its_peer_hears_of_it) {
    for (int i = 0; i < 3; ++i) {
        child c("exit_in_error_handler");
        connect_with(c);
        VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {}));
        errors.clear();
        c.kill_now();
        EXPECT_EQ(errors.wait_for(VIP_ERROR_CONN_LOST).ViHandle, e.vi);
        EXPECT_TRUE(e.comes_to(VIP_STATE_ERROR));
        EXPECT_EQ(e.finish_receive(r), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
        must(VipDisconnect(e.vi));
        discriminator = fresh_discriminator();
    }
}

TEST_F(process_ends, when_it_is_killed_and_its_peer_waits_no_longer) {
    child c("exit_in_error_handler");
    connect_with(c);
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {}));
    std::thread killing([&] {
        std::this_thread::sleep_for(quiet_time);
        c.kill_now();
    });
    EXPECT_EQ(e.finish_receive(r), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
    killing.join();
}

TEST_F(process_ends, before_it_answers_as_a_server_and_its_client_hears_of_it) {
    child c("silent_server");
    c.words.say(discriminator);
    c.words.hear("waiting");
    std::thread killing([&] {
        c.words.hear("taken");
        c.kill_now();
    });
    net_address from = n.address("parent");
    net_address to = n.address(discriminator);
    VIP_VI_ATTRIBUTES a;
    VIP_RETURN r = VIP_NO_MATCH;
    EXPECT_TRUE(comes_true([&] {
        r = VipConnectRequest(e.vi, from.get(), to.get(), VIP_INFINITE, &a);
        return r != VIP_NO_MATCH;
    }));
    EXPECT_EQ(r, VIP_TIMEOUT) << "even with VIP_INFINITE";
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
    killing.join();
    EXPECT_EQ(VipConnectRequest(e.vi, from.get(), to.get(), VIP_INFINITE, &a), VIP_NO_MATCH);
}

class process_harms : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    void connect_with(child& c, endpoint& to) {
        c.words.say_number(GetParam());
        c.words.say(discriminator);
        c.words.hear("waiting");
        connect_to(to, discriminator);
    }
    nic n;
    std::string discriminator = fresh_discriminator();
};
VIPL_ALL_LEVELS(process_harms);

/// The receive ends with an error, or the message was whole.
TEST_P(process_harms, nobody_when_it_is_killed_in_the_middle_of_a_message) {
    constexpr std::size_t bytes = std::size_t{64} << 20;
    endpoint_options o = at_level(GetParam());
    o.transfer_bytes_max = bytes;
    endpoint e(n, o);
    child c("large_sender");
    connect_with(c, e);
    c.words.hear("connected");
    auto memory = std::make_unique<char[]>(bytes);
    VIP_MEM_ATTRIBUTES rights{e.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(n, memory.get(), bytes, &rights, &handle));
    constexpr std::size_t count = 4;
    for (std::size_t i = 0; i < count; ++i) {
        e.post_receive(e.write(i, 0, {piece{memory.get(), static_cast<std::uint32_t>(bytes), handle}}));
    }
    c.words.say("send");
    ASSERT_TRUE(comes_true([&] { return std::atomic_ref(memory[bytes / 4]).load() == 'x'; }));
    c.kill_now();
    bool broken = false;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t status = e.finish_receive(e.descriptor(i));
        EXPECT_TRUE(!broken || status == (done_receive | VIP_STATUS_DESC_FLUSHED_ERROR)) << status;
        broken = broken || status != done_receive;
        if (broken) {
            EXPECT_NE(status & (VIP_STATUS_PARTIAL_ERROR | VIP_STATUS_DESC_FLUSHED_ERROR), 0u) << status;
        }
    }
    EXPECT_TRUE(e.comes_to(VIP_STATE_ERROR));
    must(VipDeregisterMem(n, memory.get(), handle));
}

/// A program that unmaps memory which it registered and posted harms itself only.
TEST_P(process_harms, only_itself_when_it_unmaps_registered_memory) {
    endpoint e(n, at_level(GetParam()));
    endpoint bystander(n);
    endpoint friend_of_it(n);
    connect(bystander, friend_of_it);
    child c("sender");
    connect_with(c, e);
    c.words.hear("connected");
    void* p = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(p, MAP_FAILED);
    VIP_MEM_ATTRIBUTES rights{e.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(n, p, 8192, &rights, &handle));
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {piece{p, 8192, handle}}));
    ASSERT_EQ(::munmap(p, 8192), 0);
    c.words.say("send");
    const auto sent = static_cast<std::uint32_t>(c.words.hear_number());
    EXPECT_EQ(e.finish_receive(r), done_receive | VIP_STATUS_PROTECTION_ERROR);
    if (GetParam() == VIP_SERVICE_UNRELIABLE) {
        EXPECT_EQ(e.state(), VIP_STATE_CONNECTED);
    } else {
        EXPECT_NE(sent & VIP_STATUS_ERROR_MASK, 0u);
        EXPECT_TRUE(e.comes_to(VIP_STATE_ERROR));
    }
    EXPECT_EQ(bystander.state(), VIP_STATE_CONNECTED);
    c.words.say("end");
    EXPECT_EQ(c.exit_code(), 0);
    must(VipDeregisterMem(n, p, handle));
}

TEST_P(process_harms, nobody_else_with_garbage) {
    endpoint e(n, at_level(GetParam()));
    endpoint bystander(n, at_level(GetParam()));
    endpoint friend_of_it(n, at_level(GetParam()));
    connect(bystander, friend_of_it);
    child c("vandal");
    connect_with(c, e);
    for (std::uint32_t i = 0; i < 200; ++i) {
        VIP_DESCRIPTOR* r = friend_of_it.post_receive(friend_of_it.write(0, 0, {friend_of_it.at(0, 1000)}));
        fill(bystander.bytes(0, 1000), i);
        VIP_DESCRIPTOR* s = bystander.post_send(bystander.write(0, 0, {bystander.at(0, 1000)}));
        ASSERT_EQ(bystander.finish_send(s), done_send);
        ASSERT_EQ(friend_of_it.finish_receive(r), done_receive);
        ASSERT_TRUE(matches(friend_of_it.bytes(0, 1000), i));
    }
    c.words.hear("finished");
    must(VipDisconnect(e.vi));
    c.words.say("end");
    (void)c.exit_code();  // its own descriptors may be beyond taking
}

}  // namespace
}  // namespace vipl_test

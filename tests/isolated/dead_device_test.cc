// SPDX-License-Identifier: Apache-2.0
//
// dead_device_test.cc -- a vinicd that dies, or that is left by clients who die: nobody waits for ever.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "isolated/window.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

/// Two VIs of one process, connected, on one nic each.
struct pair {
    explicit pair(const directory& d) : left(d.open()), right(d.open()) {
        auto listener = must(right.nic.listen("right"));
        std::jthread accepts([&] { right.accept_from(listener); });
        left.connect_to("right");
    }
    endpoint left;
    endpoint right;
};

/// One packet to the administration of vinicd; its answer.
std::string ask(const std::string& path, const std::string& request) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    require(path.size() < sizeof to.sun_path, "the path fits");
    std::memcpy(to.sun_path, path.data(), path.size());
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    std::string answer(64 << 10, 0);
    const bool sent = ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
                      ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0;
    const ssize_t n = sent ? ::recv(fd, answer.data(), answer.size(), 0) : -1;
    ::close(fd);
    require(n > 0, "vinicd answers");
    answer.resize(static_cast<std::size_t>(n));
    return answer;
}

TEST(reset_function, ends_its_connections_and_nobody_elses) {
    directory d;
    const std::string other = "vinicd:" + d.socket() + "#vf1";
    endpoint bystander(must(vinic::nic::open(other)));
    endpoint friend_of_it(must(vinic::nic::open(other)));
    endpoint across(must(vinic::nic::open(other)));
    auto listener = must(bystander.nic.listen("bystander"));
    auto across_listener = must(across.nic.listen("across"));
    std::jthread accepts([&] {
        bystander.accept_from(listener);
        across.accept_from(across_listener);
    });
    friend_of_it.connect_to("bystander");
    {
        pair p(d);
        endpoint third(d.open());
        third.connect_to("across");
        accepts.join();
        must(p.right.vi.post_receive(p.right.at(0, 64), 1));
        must(across.vi.post_receive(across.at(0, 64), 2));
        const std::string answer = ask(d.socket(), R"({"command": "reset", "function": "vf0"})");
        EXPECT_FALSE(answer.contains("\"error\"")) << answer;
        EXPECT_EQ(p.right.next().status, vinic::status::connection_lost);
        EXPECT_EQ(p.right.vi.statistics().cause, vinic::break_cause::peer_died);
        EXPECT_NE(across.next().status, vinic::status::success) << "its peer is gone";
        EXPECT_EQ(across.vi.state(), vinic::vi_state::error);
        EXPECT_TRUE(comes_true(
            [&] { return code_of(p.left.domain.create_vi(p.left.attributes())) == vinic::errc::peer_gone; }));
        must(p.left.vi.disconnect());
        must(p.right.vi.close());
    }
    must(bystander.vi.post_receive(bystander.at(0, 64), 3));
    must(friend_of_it.vi.post_send(friend_of_it.at(0, 64), 4));
    EXPECT_EQ(bystander.next().status, vinic::status::success);
    const pair again(d);
    EXPECT_EQ(again.left.vi.state(), vinic::vi_state::connected);
}

/// A cookie that was refused never comes back; one that was taken does, once.
TEST(reset_function, completes_what_was_taken_afterwards_and_nothing_that_was_refused) {
    directory d;
    pair p(d);
    EXPECT_FALSE(ask(d.socket(), R"({"command": "reset", "function": "vf0"})").contains("\"error\""));
    std::set<std::uint64_t> taken;
    for (std::uint64_t i = 0; i < 40; ++i) {
        if (p.right.vi.post_receive(p.right.at(0, 64), i) == vinic::errc::ok) {
            taken.insert(i);
        }
        if (p.right.vi.post_send(p.right.at(0, 64), 1000 + i) == vinic::errc::ok) {
            taken.insert(1000 + i);
        }
        const vinic::vi_state now = p.right.vi.state();
        EXPECT_TRUE(now == vinic::vi_state::connected || now == vinic::vi_state::error) << static_cast<int>(now);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::set<std::uint64_t> come;
    while (come.size() < taken.size()) {
        const vinic::completion c = p.right.next();
        EXPECT_EQ(c.status, vinic::status::connection_lost);
        EXPECT_TRUE(come.insert(c.cookie).second) << c.cookie;
    }
    EXPECT_EQ(come, taken);
    vinic::completion more;
    EXPECT_EQ(p.right.cq.poll({&more, 1}), 0u);
}

TEST(dead_device, ends_connections_and_flushes_what_was_posted) {
    directory d;
    pair p(d);
    for (std::uint64_t i = 0; i < 3; ++i) {
        must(p.right.vi.post_send(p.right.at(0, 64), 10 + i));  // no receive descriptor: they wait
        must(p.right.vi.post_receive(p.right.at(0, 64), i));
    }
    d.kill_vinicd();
    std::uint64_t sends = 0;
    std::uint64_t receives = 0;
    while (sends + receives < 6) {
        const vinic::completion c = p.right.next();
        EXPECT_EQ(c.status, vinic::status::connection_lost);
        std::uint64_t& n = c.opcode == vinic::opcode::receive ? receives : sends;
        EXPECT_EQ(c.cookie, n + (c.opcode == vinic::opcode::receive ? 0u : 10u)) << "in posting order";
        ++n;
    }
    EXPECT_EQ(sends, 3u);
    EXPECT_EQ(p.right.vi.state(), vinic::vi_state::error);
    EXPECT_EQ(p.right.vi.statistics().cause, vinic::break_cause::peer_died);
    must(p.right.vi.post_send(p.right.at(0, 64), 99));
    EXPECT_EQ(p.right.next().status, vinic::status::connection_lost) << "posted in error";
    must(p.right.vi.disconnect());
    EXPECT_EQ(p.right.vi.state(), vinic::vi_state::idle);
    must(p.right.vi.close());
    must(p.right.memory.close());
}

TEST(dead_device, is_told_by_every_call_that_needs_it) {
    directory d;
    endpoint me(d.open());
    auto listener = must(me.nic.listen("me"));
    d.kill_vinicd();
    EXPECT_EQ(code_of(listener.wait(patience)), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.vi.connect("me", patience)), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.domain.create_vi(me.attributes())), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.domain.register_memory(me.buffer.bytes(), vinic::access::all)), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.nic.listen("other")), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.nic.resolve("other")), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.nic.names()), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:" + d.socket())), vinic::errc::unknown_address);
}

TEST(dead_device, leaves_a_vi_that_it_could_not_change_as_it_was) {
    directory d;
    endpoint me(d.open());
    auto elsewhere = must(me.nic.create_domain());
    const auto seen = vinic::isolated::window::open("vinicd:" + d.socket(), vinic::tables::memory::role::inspector);
    ASSERT_TRUE(seen) << seen.error().message();
    const vinic::abi::vi_entry& entry = (*seen)->vi(me.vi.number());
    const vinic::vi_attributes before = me.vi.attributes();
    vinic::vi_attributes other = before;
    other.reliability = vinic::reliability::unreliable;
    other.transfer_bytes_max = 4096;
    other.receiver_wait = 7ms;
    other.rdma_read = !before.rdma_read;
    other.context = before.context + 1;
    const std::uint32_t domain = entry.domain.load_relaxed();
    const std::uint32_t flags = entry.flags.load_relaxed();
    d.kill_vinicd();
    EXPECT_EQ(code_of(me.vi.set_attributes(other)), vinic::errc::peer_gone);
    EXPECT_EQ(code_of(me.vi.set_domain(elsewhere)), vinic::errc::peer_gone);
    const vinic::vi_attributes after = me.vi.attributes();
    EXPECT_EQ(after.reliability, before.reliability);
    EXPECT_EQ(after.transfer_bytes_max, before.transfer_bytes_max);
    EXPECT_EQ(after.receiver_wait, before.receiver_wait);
    EXPECT_EQ(after.rdma_read, before.rdma_read);
    EXPECT_EQ(after.context, before.context);
    EXPECT_EQ(entry.domain.load_relaxed(), domain);
    EXPECT_EQ(entry.flags.load_relaxed(), flags);
    EXPECT_EQ(entry.transfer_bytes_max.load_relaxed(), before.transfer_bytes_max);

    // The twin: a device that lives lets both be changed here; the conformance suite shows what it makes of them.
    d.start_vinicd();
    endpoint again(d.open());
    auto new_home = must(again.nic.create_domain());
    must(again.vi.set_attributes(other));
    must(again.vi.set_domain(new_home));
    EXPECT_EQ(again.vi.attributes().transfer_bytes_max, other.transfer_bytes_max);
    EXPECT_EQ(again.vi.attributes().rdma_read, other.rdma_read);
}

TEST(dead_device, wakes_who_waits_for_a_connection_or_a_completion) {
    directory d;
    endpoint server(d.open());
    endpoint client(d.open());
    endpoint waiter(d.open());
    auto listener = must(server.nic.listen("server"));
    std::jthread connecting([&] {
        EXPECT_EQ(code_of(client.vi.connect("server", patience)), vinic::errc::peer_gone);  // nobody answers
    });
    auto request = must(listener.wait(patience));
    std::jthread listening([&] { EXPECT_EQ(code_of(listener.wait(patience)), vinic::errc::peer_gone); });
    must(waiter.vi.connect_peer("a", "b", patience));
    std::jthread peering([&] { EXPECT_EQ(code_of(waiter.vi.connect_peer_wait()), vinic::errc::peer_gone); });
    std::this_thread::sleep_for(20ms);
    d.kill_vinicd();
    connecting.join();
    listening.join();
    peering.join();
    EXPECT_EQ(code_of(request.accept(server.vi)), vinic::errc::peer_gone);
}

TEST(dead_device, is_replaced_by_the_next_one_at_its_address) {
    directory d;
    for (int round = 0; round < 3; ++round) {
        pair p(d);
        must(p.right.vi.post_receive(p.right.at(0, 64), 1));
        fill(p.left.bytes(0, 64), 5);
        must(p.left.vi.post_send(p.left.at(0, 64), 2));
        EXPECT_EQ(p.right.next().status, vinic::status::success);
        EXPECT_EQ(p.left.next().status, vinic::status::success);
        EXPECT_TRUE(matches(p.right.bytes(0, 64), 5));
        d.kill_vinicd();
        d.start_vinicd();
    }
}

TEST(dead_client, leaves_its_place_to_the_next) {
    directory d;
    endpoint keeper(d.open());
    const census before = count(d);
    for (int round = 0; round < 100; ++round) {  // more than there are contexts
        process client([&](channel& parent) {
            endpoint me(d.open());
            auto listener = must(me.nic.listen("client"));
            parent.say("open");
            (void)parent.hear();
        });
        client.hear("open");
        client.kill_now();
        EXPECT_TRUE(comes_true([&] {
            const auto names = must(keeper.nic.names());
            return names.empty();
        })) << "its name is free";
    }
    EXPECT_TRUE(comes_true([&] {
        vinic::completion none;
        (void)keeper.cq.poll({&none, 1});
        return count(d).same_entries(before);
    })) << count(d)
        << " instead of " << before;
}

TEST(client, opens_and_closes_any_number_of_times) {
    directory d;
    for (int i = 0; i < 300; ++i) {
        const endpoint once(d.open());
        EXPECT_TRUE(once.vi);
    }
    const endpoint keeper(d.open());
    for (int i = 0; i < 300; ++i) {
        const endpoint once(d.open());
        EXPECT_TRUE(once.vi);
    }
}

TEST(clients, are_as_many_as_there_are_contexts) {
    directory d;
    std::vector<vinic::nic> all;
    vinic::result<vinic::nic> last = d.open();
    for (; last; last = vinic::nic::open("vinicd:" + d.socket())) {
        all.push_back(std::move(*last));
        ASSERT_LE(all.size(), 64u);
    }
    EXPECT_EQ(last.error().code, vinic::errc::limit_reached);
    EXPECT_EQ(all.size(), 64u);
    all.pop_back();
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:" + d.socket())), vinic::errc::ok);
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:" + d.socket() + "#vf1")), vinic::errc::ok) << "that has its own";
}

}  // namespace
}  // namespace multi

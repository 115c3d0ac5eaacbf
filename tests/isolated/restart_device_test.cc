// SPDX-License-Identifier: Apache-2.0
//
// restart_device_test.cc -- a vinicd that is killed, told to end, or replaced while its clients work: each of them
// learns of it wherever it waits, and goes on with the next one.
#include <sys/epoll.h>
#include <unistd.h>

#include <functional>
#include <map>

#include "torture_support.hpp"

namespace torture {
namespace {

using multi::code_of;
using multi::must;
using vinic::errc;

constexpr std::uint32_t pairs = 3;

/// Pairs within a function and across functions, in turn.
crowd make_crowd(shared_board& b, const daemon& d, party_options common, std::uint32_t how_many = pairs) {
    std::vector<party_options> askers;
    std::vector<party_options> answerers;
    for (std::uint32_t i = 0; i < how_many; ++i) {
        common.name = "answerer " + std::to_string(i);
        common.address = d.address("vf" + std::to_string(i % 3));
        askers.push_back(common);
        common.address = d.address("vf" + std::to_string((i + i % 2) % 3));
        answerers.push_back(common);
    }
    return {b, std::move(askers), std::move(answerers)};
}

// -- killed ---------------------------------------------------------------------------------------

/// A connected pair in one process, each on a nic of its own.
struct connected_pair {
    explicit connected_pair(const daemon& d)
        : left(must(vinic::nic::open(d.address("vf0")))), right(must(vinic::nic::open(d.address("vf1")))) {
        const std::string name = "pair " + std::to_string(::getpid());
        auto listener = must(right.nic.listen(std::string_view(name)));
        std::jthread accepts([&] { right.accept_from(listener); });
        left.connect_to(std::string_view(name));
    }
    multi::endpoint left;
    multi::endpoint right;
};

void expect_lost(const vinic::completion& c) {
    multi::require(c.status == vinic::status::connection_lost, "the receive ends as lost");
}

vinic::completion first_by_polling(multi::endpoint& e) {
    std::array<vinic::completion, 1> done;
    multi::require(multi::comes_true([&] { return e.cq.poll(done) == 1; }), "a completion comes");
    return done[0];
}

vinic::completion first_by_epoll(multi::endpoint& e) {
    const int fd = must(e.cq.fd());
    const vinic::os::unique_fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    multi::require(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0, "its descriptor can be watched");
    std::array<vinic::completion, 1> done;
    while (must(e.cq.arm())) {
        multi::require(::epoll_wait(epoll.get(), &event, 1, 30'000) == 1, "the descriptor becomes readable");
    }
    multi::require(e.cq.poll(done) == 1, "a completion is there");
    return done[0];
}

vinic::completion first_by_ticket(multi::endpoint& e) {
    std::array<vinic::completion, 1> done;
    const bool came = multi::comes_true([&] {
        if (e.cq.poll(done) == 1) {
            return true;
        }
        if (const auto ticket = must(e.cq.prepare_wait())) {
            e.cq.commit_wait(*ticket, 30s);
        }
        return false;
    });
    multi::require(came, "a completion comes");
    return done[0];
}

/// One way to wait, and what must come of it when the device dies.
using waiting = std::function<void(connected_pair&, multi::channel&)>;

const std::map<std::string, waiting>& waitings() {
    static const auto receive = [](connected_pair& p, multi::channel& c) {
        must(p.left.vi.post_receive(p.left.at(0, 64), 1));
        c.say("waits");
    };
    static const std::map<std::string, waiting> all = {
        {"polling", [](connected_pair& p, multi::channel& c) { receive(p, c), expect_lost(first_by_polling(p.left)); }},
        {"cq.wait", [](connected_pair& p, multi::channel& c) { receive(p, c), expect_lost(p.left.next()); }},
        {"epoll", [](connected_pair& p, multi::channel& c) { receive(p, c), expect_lost(first_by_epoll(p.left)); }},
        {"commit_wait",
         [](connected_pair& p, multi::channel& c) { receive(p, c), expect_lost(first_by_ticket(p.left)); }},
        {"listener.wait",
         [](connected_pair& p, multi::channel& c) {
             auto listener = must(p.left.nic.listen("nobody"));
             c.say("waits");
             multi::require(code_of(listener.wait(30s)) == errc::peer_gone, "the listener is told");
         }},
        {"connect",
         [](connected_pair& p, multi::channel& c) {
             auto listener = must(p.right.nic.listen("silent"));
             auto vi = p.left.another_vi();
             c.say("waits");
             multi::require(code_of(vi.connect("silent", 30s)) == errc::peer_gone, "who connects is told");
         }},
        {"connect_peer_wait",
         [](connected_pair& p, multi::channel& c) {
             auto vi = p.left.another_vi();
             must(vi.connect_peer("this", "that", 30s));
             c.say("waits");
             multi::require(code_of(vi.connect_peer_wait()) == errc::peer_gone, "who waits for a peer is told");
         }},
        {"calling",
         [](connected_pair& p, multi::channel& c) {
             c.say("waits");
             errc e = errc::ok;
             (void)multi::comes_true([&] { return (e = code_of(p.left.nic.names())) != errc::ok; });
             multi::require(e == errc::peer_gone, "who asks is told");
         }},
    };
    return all;
}

TEST(restart, of_a_killed_device_is_seen_wherever_one_waits) {
    daemon d;
    std::map<std::string, std::unique_ptr<multi::process>> children;
    for (const auto& [name, body] : waitings()) {
        children[name] = std::make_unique<multi::process>([&d, &body](multi::channel& parent) {
            {
                connected_pair p(d);
                body(p, parent);
                parent.say("told");
                must(p.left.vi.disconnect());
            }
            parent.hear("again");
            const connected_pair p(d);
            parent.say("again");
        });
        children[name]->hear("waits");
    }
    std::this_thread::sleep_for(50ms);  // so that they sleep, those who do
    d.kill();
    const auto start = steady::now();
    for (const auto& [name, child] : children) {
        child->hear("told");
        std::cout << name << ": told " << multi::milliseconds_since(start) << " ms after the device's death\n";
    }
    d.start();
    for (const auto& [name, child] : children) {
        child->say("again");
        child->hear("again");
        EXPECT_EQ(child->exit_code(), 0) << name;
    }
}

TEST(restart, under_traffic_leaves_nobody_behind) {
    daemon d;
    shared_board b;
    crowd all = make_crowd(b, d, {});
    const int rounds = is_long() ? 200 : 4;
    for (int i = 0; i < rounds; ++i) {
        EXPECT_TRUE(b.advances(2 * pairs, 50)) << b->failure << " in round " << i;
        d.kill();
        if (i % 2 == 1) {
            std::this_thread::sleep_for(30ms);
        }
        d.start();
    }
    EXPECT_TRUE(b.advances(2 * pairs, 50)) << b->failure;
    all.end();
    for (std::uint32_t i = 0; i < 2 * pairs; ++i) {
        EXPECT_GT(b->party[i].opened.load(), static_cast<std::uint64_t>(rounds)) << "party " << i;
    }
    EXPECT_STREQ(b->failure, "");
    EXPECT_TRUE(multi::comes_true(
        [&] { return d.number("vf0", "contexts") + d.number("vf1", "contexts") + d.number("vf2", "contexts") == 0; }));
}

// -- told to end ------------------------------------------------------------------------------------

TEST(restart, of_a_device_whose_socket_stays_is_an_upgrade_that_loses_no_client) {
    daemon d(daemon::socket_is::handed_over, {"--drain", "100ms"});
    shared_board b;
    // A socket that is there is all that a client needs: no open() may fail for another reason than that.
    crowd all =
        make_crowd(b, d, {.address = {}, .name = {}, .may_miss_the_socket = false, .opens_once_in_a_while = true});
    const int rounds = is_long() ? 100 : 4;
    for (int i = 0; i < rounds; ++i) {
        EXPECT_TRUE(b.advances(2 * pairs, 20)) << b->failure << " in round " << i;
        EXPECT_EQ(d.replace(), 0) << "the one before drains and ends";
    }
    EXPECT_TRUE(b.advances(2 * pairs, 20)) << b->failure;
    all.end();
    EXPECT_STREQ(b->failure, "");
}

TEST(restart, of_a_device_that_is_stopped_first_lets_clients_wait_at_the_socket) {
    daemon d(daemon::socket_is::handed_over, {"--drain", "50ms"});
    shared_board b;
    crowd all =
        make_crowd(b, d, {.address = {}, .name = {}, .may_miss_the_socket = false, .opens_once_in_a_while = true});
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(b.advances(2 * pairs, 20)) << b->failure << " in round " << i;
        EXPECT_EQ(d.end(), 0);
        std::this_thread::sleep_for(50ms);
        d.start();
    }
    EXPECT_TRUE(b.advances(2 * pairs, 20)) << b->failure;
    all.end();
    EXPECT_STREQ(b->failure, "");
}

TEST(restart, after_a_drain_leaves_what_was_posted_before_it_done) {
    daemon d;
    connected_pair p(d);
    constexpr std::uint64_t messages = 32;
    for (std::uint64_t i = 0; i < messages; ++i) {
        must(p.right.vi.post_receive(p.right.at(i * 1024, 1024), i));
        multi::fill(p.left.bytes(i * 1024, 1024), i);
        must(p.left.vi.post_send(p.left.at(i * 1024, 1024), i));
    }
    EXPECT_EQ(d.end(), 0);
    d.start();
    std::uint64_t arrived = 0;
    std::uint64_t lost = 0;
    for (const vinic::completion& c : p.right.next_batch(messages)) {
        EXPECT_TRUE(c.status == vinic::status::success ? lost == 0 : c.status == vinic::status::connection_lost);
        (c.status == vinic::status::success ? arrived : lost) += 1;
    }
    EXPECT_EQ(arrived, messages) << "what was posted before the signal is done first";
    for (std::uint64_t i = 0; i < messages; ++i) {
        EXPECT_TRUE(multi::matches(p.right.bytes(i * 1024, 1024), i)) << i;
    }
}

}  // namespace
}  // namespace torture

// SPDX-License-Identifier: Apache-2.0
//
// cancel_test.cc -- pthread_cancel meets a thread inside the library: it is let finish, holds nothing afterwards, and
// everybody else goes on.  Four waits end at once, and leave what they waited for as it was.
//
//   Where a cancellation acts is seen without any luck (victim.hpp); luck is tried, too, at the end.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "isolated/torture_support.hpp"
#include "multi/fixture.hpp"
#include "victim.hpp"

namespace {

using multi::code_of;
using multi::must;
using tests::comes_back;
using tests::end_inside;
using tests::victim;
using vinic::errc;

constexpr auto never = vinic::forever;

/// Connects `a` with `b`.
void connect(multi::endpoint& a, multi::endpoint& b) {
    auto listener = must(b.nic.listen("b"));
    std::jthread accepts([&] { b.accept_from(listener); });
    a.connect_to("b");
}

enum class placement : std::uint8_t { direct, isolated };

class cancel : public testing::TestWithParam<placement> {
protected:
    [[nodiscard]] vinic::nic open() const {
        return daemon ? must(vinic::nic::open(daemon->address("vf0")))
                      : must(vinic::nic::open("shm:test", directory.options()));
    }
    std::optional<torture::daemon> daemon =
        GetParam() == placement::isolated ? std::make_optional<torture::daemon>() : std::nullopt;
    multi::directory directory;
};

INSTANTIATE_TEST_SUITE_P(both, cancel, testing::Values(placement::direct, placement::isolated),
                         [](const auto& each) { return each.param == placement::direct ? "direct" : "isolated"; });

TEST_P(cancel, is_held_back_while_objects_are_made_and_closed) {
    vinic::nic nic = open();
    std::vector<std::byte> memory(1 << 20);
    EXPECT_TRUE(comes_back([&] { (void)open(); }));
    EXPECT_TRUE(comes_back([&] { (void)must(nic.create_domain()); }));
    EXPECT_TRUE(comes_back([&] { (void)must(nic.create_open_domain()); }));
    EXPECT_TRUE(comes_back([&] { (void)must(nic.allocate(1 << 20)); }));
    EXPECT_TRUE(comes_back([&] { (void)must(nic.create_completion_queue()); }));
    EXPECT_TRUE(comes_back([&] {
        auto domain = must(nic.create_domain());
        auto other = must(nic.create_domain());
        auto buffer = must(nic.allocate(1 << 16));
        auto region = must(domain.register_memory(buffer.bytes(), vinic::access::all));
        must(region.set_attributes(other, vinic::access::local_write));
        must(region.close());
        constexpr auto rights = vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read;
        auto foreign = must(domain.register_memory(memory, rights));
        must(foreign.close());
        auto adopted = must(domain.register_memory(memory, rights, {.adopt = vinic::adopt::force}));
        must(adopted.close());
        auto whole = must(domain.register_address_space(rights));
        must(whole.close());
        (void)nic.reaches_foreign_memory();
        must(other.close());
    }));
    EXPECT_TRUE(comes_back([&] {
        multi::endpoint e(open());
        auto domain = must(e.nic.create_domain());
        auto vi = e.another_vi();
        must(vi.set_attributes(vi.attributes()));
        must(vi.set_domain(domain));
        must(vi.disconnect());
        must(vi.close());
    }));
    EXPECT_TRUE(comes_back([&] {
        auto cq = must(nic.create_completion_queue());
        (void)must(cq.fd());
        (void)must(cq.arm());
        must(cq.resize(64));
        (void)must(cq.prepare_wait());
        cq.commit_wait({}, std::chrono::milliseconds(1));
        cq.wake();
        must(cq.close());
    }));
    EXPECT_TRUE(comes_back([&] {
        (void)nic.vector(0);
        (void)nic.set_vector(0, {});
        (void)nic.current_service_level();
        (void)nic.vectors();
    }));
}

TEST_P(cancel, is_held_back_while_names_are_entered_and_connections_made) {
    multi::endpoint server(open());
    multi::endpoint client(open());
    EXPECT_TRUE(comes_back([&] {
        auto listener = must(server.nic.listen("once"));
        (void)must(server.nic.names());
        (void)server.nic.resolve("nothing");
    }));
    auto listener = must(server.nic.listen("here"));
    std::jthread accepts([&] {
        for (int i = 0; i < 2; ++i) {
            auto request = must(listener.wait(multi::patience));  // a cancellation point itself
            EXPECT_TRUE(comes_back([&] { must(i == 0 ? request.reject() : request.accept(server.vi)); }));
        }
    });
    EXPECT_TRUE(comes_back([&] { EXPECT_EQ(code_of(client.vi.connect("here", multi::patience)), errc::rejected); }));
    EXPECT_TRUE(comes_back([&] { EXPECT_TRUE(client.vi.connect("here", multi::patience)); }));
    accepts.join();
    EXPECT_TRUE(comes_back([&] { must(client.vi.disconnect()); }));
    EXPECT_TRUE(comes_back([&] {
        must(client.vi.connect_peer("a", "b", multi::patience));
        EXPECT_EQ(code_of(client.vi.connect_peer_done()), errc::not_done);
        must(client.vi.disconnect());
    }));
    EXPECT_TRUE(comes_back(
        [&] { EXPECT_EQ(code_of(client.vi.connect("here", std::chrono::milliseconds(30))), errc::timed_out); }));
    EXPECT_TRUE(comes_back([&] {
        vinic::vi_attributes a = client.attributes();
        a.service = vinic::service::datagram;
        a.reliability = vinic::reliability::unreliable;
        auto vi = must(client.domain.create_vi(a));
        must(vi.bind("box"));
    }));
}

TEST_P(cancel, finds_no_cancellation_point_in_post_and_poll) {
    multi::endpoint_options many;
    many.attributes.segments_max = 64;
    many.attributes.receiver_wait = std::chrono::seconds(30);
    multi::endpoint a(open(), many);
    multi::endpoint b(open(), many);
    connect(a, b);
    const auto wait_for = [](multi::endpoint& e) {
        vinic::completion done[4];
        std::size_t n = 0;
        for (const auto end = multi::steady::now() + multi::patience; n == 0 && multi::steady::now() < end;) {
            n = e.cq.poll(done);
        }
        EXPECT_EQ(n, 1u);
        EXPECT_EQ(done[0].status, vinic::status::success);
    };
    EXPECT_TRUE(comes_back([&] {
        std::vector<vinic::segment> pieces;
        for (std::size_t i = 0; i < 64; ++i) {
            pieces.push_back(a.at(i * 64, 64));
        }
        std::vector<vinic::segment> room{b.at(0, 64), b.at(64, 64), b.at(128, 64), b.at(192, 64), b.at(256, 16384)};
        for (int i = 0; i < 200; ++i) {
            // Every other one waits for its receiver.
            const bool first = i % 2 == 0;
            if (first) {
                must(b.vi.post_receive(room, 1));
            }
            must(a.vi.post_send(pieces, 2));
            if (!first) {
                must(b.vi.post_receive(room, 1));
            }
            wait_for(b);
            wait_for(a);
        }
        vinic::completion none[1];
        // Long enough for the housekeeping that a poll does now and then.
        for (const auto end = multi::steady::now() + std::chrono::milliseconds(300); multi::steady::now() < end;) {
            EXPECT_EQ(a.cq.poll(none), 0u);
        }
    }));
}

TEST_P(cancel, ends_a_wait_for_completions_and_the_queue_is_as_before) {
    multi::endpoint a(open());
    multi::endpoint b(open());
    connect(a, b);
    end_inside([&] {
        vinic::completion done[1];
        (void)b.cq.wait(done, never);
    });
    must(b.vi.post_receive(b.at(0, 64), 1));
    must(a.vi.post_send(a.at(0, 64), 2));
    EXPECT_EQ(b.next().cookie, 1u);
}

TEST_P(cancel, ends_a_thread_that_waits_and_never_has_to_sleep) {
    multi::endpoint a(open());
    multi::endpoint b(open());
    connect(a, b);
    std::atomic<bool> busy = false;
    victim waits([&] {
        for (vinic::completion done[2];;) {
            must(b.vi.post_receive(b.at(0, 64), 1));
            must(a.vi.post_send(a.at(0, 64), 2));
            while (must(a.cq.wait(done, never)) == 0 || must(b.cq.wait(done, never)) == 0) {
            }
            busy = true;
        }
    });
    EXPECT_TRUE(multi::comes_true([&] { return busy.load(); }));
    waits.cancel();
    EXPECT_TRUE(waits.was_cancelled());
}

TEST_P(cancel, ends_a_wait_for_requests_and_the_next_one_gets_them) {
    multi::endpoint server(open());
    multi::endpoint client(open());
    auto listener = must(server.nic.listen("here"));
    end_inside([&] { (void)listener.wait(never); });
    std::jthread accepts([&] { server.accept_from(listener); });
    client.connect_to("here");
}

TEST_P(cancel, ends_a_wait_for_a_peer_and_the_request_stays) {
    multi::endpoint a(open());
    multi::endpoint b(open());
    must(a.vi.connect_peer("a", "b", multi::patience));
    end_inside([&] { (void)a.vi.connect_peer_wait(); });
    must(b.vi.connect_peer("b", "a", multi::patience));
    EXPECT_TRUE(a.vi.connect_peer_wait());
    EXPECT_TRUE(b.vi.connect_peer_wait());
}

TEST_P(cancel, ends_a_wait_for_the_devices_events) {
    if (GetParam() == placement::direct) {
        GTEST_SKIP() << "there is no device that would say anything";
    }
    vinic::nic nic = open();
    end_inside([&] { (void)nic.next_event(never); });
    EXPECT_EQ(code_of(nic.next_event(std::chrono::milliseconds(1))), errc::timed_out);
}

TEST_P(cancel, leaves_a_thread_alone_that_does_not_want_it) {
    multi::endpoint e(open());
    victim waits([&] {
        int before = 0;
        (void)::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
        vinic::completion done[1];
        EXPECT_EQ(must(e.cq.wait(done, std::chrono::milliseconds(200))), 0u);
        int now = 0;
        (void)::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &now);
        EXPECT_EQ(now, PTHREAD_CANCEL_DISABLE) << "it gets back what it had";
    });
    waits.cancel();
    EXPECT_FALSE(waits.was_cancelled());
}

TEST_P(cancel, at_any_moment_leaves_nothing_held) {
    const std::uint64_t seed = torture::seed_of_this_run();
    std::mt19937_64 random(seed);
    multi::endpoint mine(open());
    const auto all_of_it = [&] {
        for (;;) {
            multi::endpoint e(open());
            auto listener = must(e.nic.listen("somewhere"));
            (void)must(e.cq.fd());
            auto more = must(e.nic.allocate(1 << 20));
            (void)e.vi.connect("nowhere", std::chrono::milliseconds(1));
            (void)e.vi.connect("somewhere", std::chrono::milliseconds(1));
            (void)listener.wait(std::chrono::milliseconds(1));
            vinic::completion done[1];
            (void)e.cq.wait(done, std::chrono::milliseconds(1));
            const pid_t child = ::fork();
            if (child == 0) {
                ::_exit(0);
            }
            (void)::waitpid(child, nullptr, 0);
        }
    };
    for (int i = 0; i < 40; ++i) {
        victim v(all_of_it);
        std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution(0, 20'000)(random)));
        v.cancel();
        EXPECT_TRUE(v.was_cancelled());
        // The name is free, the locks are, and there is memory: another thread goes on.
        multi::endpoint e(open());
        auto listener = must(e.nic.listen("somewhere"));
        (void)must(mine.nic.allocate(1 << 20));
        (void)must(mine.nic.names());
    }
    std::cout << "seed " << seed << "\n";
}

}  // namespace

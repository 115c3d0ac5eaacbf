// SPDX-License-Identifier: Apache-2.0
//
// cq_test.cc -- completion queues: batches, waiting, many VIs on one queue, several threads, resizing, closing.
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::status;

/// One completion queue that serves every VI of a side, as servers have it.
class shared_cq : public testing::Test {
protected:
    static vinic::vi_attributes on(vinic::completion_queue& queue, std::uint64_t context = 0) {
        vinic::vi_attributes made;
        made.send_cq = made.receive_cq = &queue;
        made.context = context;
        return made;
    }
    /// A VI on `cq` that is connected with a new endpoint.
    std::unique_ptr<endpoint> connected_client(vinic::virtual_interface& server) {
        auto client = std::make_unique<endpoint>(nic, endpoint_options{});
        connect(nic, client->vi, server);
        return client;
    }
    vinic::nic nic = open_device();
    vinic::domain domain = must(nic.create_domain());
    vinic::completion_queue cq = must(nic.create_completion_queue());
    vinic::buffer buffer = must(nic.allocate(65536));
    vinic::region memory = must(domain.register_memory(buffer.bytes(), vinic::access::all));
};

TEST_F(shared_cq, is_empty_at_first_and_wait_ends_with_nothing_when_its_time_is_over) {
    vinic::completion done[4];
    EXPECT_EQ(cq.poll(done), 0u);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(must(cq.wait(done, 20ms)), 0u);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
    EXPECT_EQ(must(cq.wait(done, 0ns)), 0u);
}

TEST_F(shared_cq, gives_no_more_than_there_is_room_for_and_keeps_the_rest) {
    auto server = must(domain.create_vi(on(cq)));
    auto client = connected_client(server);
    for (std::uint64_t i = 0; i < 10; ++i) {
        ASSERT_EQ(server.post_receive({memory, 0, 8}, i), errc::ok);
        ASSERT_EQ(client->vi.post_send(client->at(0, 8), i), errc::ok);
    }
    EXPECT_EQ(next(client->sends, 10).back().cookie, 9u);
    vinic::completion done[16];
    EXPECT_EQ(cq.poll({done, 0}), 0u);
    std::uint64_t seen = 0;
    for (const std::size_t room : {1u, 3u, 16u, 16u, 16u, 16u, 16u, 16u}) {
        if (seen == 10)
            break;
        const std::size_t count = must(cq.wait({done, room}, patience));
        ASSERT_GE(count, 1u);
        ASSERT_LE(count, room);
        for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(done[i].cookie, seen++);
    }
    EXPECT_EQ(seen, 10u);
}

TEST_F(shared_cq, tells_sends_receives_and_vis_apart) {
    auto one = must(domain.create_vi(on(cq, 111)));
    auto two = must(domain.create_vi(on(cq, 222)));
    connect(nic, one, two);
    ASSERT_EQ(two.post_receive({memory, 0, 8}, 5), errc::ok);
    ASSERT_EQ(one.post_send({memory, 8, 8}, 6), errc::ok);
    std::map<std::uint64_t, vinic::completion> seen;
    for (const auto& done : next(cq, 2)) seen[done.cookie] = done;
    ASSERT_EQ(seen.size(), 2u);
    EXPECT_EQ(seen[5].opcode, vinic::opcode::receive);
    EXPECT_EQ(seen[5].vi, two.number());
    EXPECT_EQ(seen[5].vi_context, 222u);
    EXPECT_EQ(seen[6].opcode, vinic::opcode::send);
    EXPECT_EQ(seen[6].vi, one.number());
    EXPECT_EQ(seen[6].vi_context, 111u);
    EXPECT_EQ(cq.queues_attached(), 4u) << "a send and a receive queue of each VI";
}

TEST_F(shared_cq, serves_many_vis_and_loses_nothing_when_all_their_queues_are_full) {
    constexpr std::uint64_t vis = 40;
    constexpr std::uint64_t depth = 64;
    std::vector<vinic::virtual_interface> servers;
    std::vector<std::unique_ptr<endpoint>> clients;
    for (std::uint64_t v = 0; v < vis; ++v) {
        servers.push_back(must(domain.create_vi(on(cq, v))));
        clients.push_back(connected_client(servers.back()));
    }
    for (std::uint64_t i = 0; i < depth; ++i) {
        for (std::uint64_t v = 0; v < vis; ++v) {
            ASSERT_EQ(servers[v].post_receive({memory, 8 * v, 8}, i), errc::ok);
            ASSERT_EQ(clients[v]->vi.post_send(clients[v]->at(0, 8), i), errc::ok);
        }
    }
    for (auto& client : clients) EXPECT_EQ(next(client->sends, depth).back().status, status::success);
    std::map<std::uint64_t, std::uint64_t> counts;
    for (const auto& done : next(cq, vis * depth)) {
        ASSERT_EQ(done.status, status::success);
        ASSERT_EQ(done.cookie, counts[done.vi_context]) << "out of order within one queue";
        ++counts[done.vi_context];
    }
    for (std::uint64_t v = 0; v < vis; ++v) EXPECT_EQ(counts[v], depth) << v;
    EXPECT_TRUE(is_quiet(cq));
}

TEST_F(shared_cq, loses_nothing_of_what_many_threads_send_to_it) {
    constexpr std::uint64_t senders = 4;
    constexpr std::uint64_t each = 5000;
    constexpr std::uint64_t depth = 64;
    std::vector<vinic::virtual_interface> servers;
    std::vector<std::unique_ptr<endpoint>> clients;
    std::vector<std::uint64_t> posted(senders, 0);
    for (std::uint64_t v = 0; v < senders; ++v) {
        servers.push_back(must(domain.create_vi(on(cq, v))));
        clients.push_back(connected_client(servers.back()));
        while (posted[v] < depth) ASSERT_EQ(servers[v].post_receive({memory, 64 * v, 8}, posted[v]++), errc::ok);
    }
    std::vector<std::future<void>> workers;
    for (std::uint64_t v = 0; v < senders; ++v) {
        workers.push_back(in_thread([&, v] {
            auto& client = *clients[v];
            for (std::uint64_t i = 0; i < each; ++i) {
                if (client.vi.post_send(client.at(0, 8), i) != errc::ok)
                    throw std::runtime_error("refused");
                if (next(client.sends).cookie != i)
                    throw std::runtime_error("out of order");
            }
        }));
    }
    std::vector<std::uint64_t> received(senders, 0);
    for (std::uint64_t total = 0; total < senders * each; ++total) {
        const auto done = next(cq);
        ASSERT_EQ(done.status, status::success);
        ASSERT_EQ(done.cookie, received[done.vi_context]++);
        auto& sent = posted[done.vi_context];
        if (sent < each) {
            ASSERT_EQ(servers[done.vi_context].post_receive({memory, 64 * done.vi_context, 8}, sent++), errc::ok);
        }
    }
    for (auto& worker : workers) EXPECT_NO_THROW(worker.get());
    EXPECT_TRUE(is_quiet(cq));
}

TEST_F(shared_cq, wakes_a_thread_that_sleeps_in_wait) {
    auto server = must(domain.create_vi(on(cq)));
    auto client = connected_client(server);
    for (std::uint64_t i = 0; i < 200; ++i) {
        ASSERT_EQ(server.post_receive({memory, 0, 8}, i), errc::ok);
        auto waiting = in_thread([&] { return next(cq); });
        if (i % 4 == 0)
            std::this_thread::sleep_for(1ms);
        ASSERT_EQ(client->vi.post_send(client->at(0, 8), i), errc::ok);
        EXPECT_EQ(waiting.get().cookie, i);
        EXPECT_EQ(next(client->sends).cookie, i);
    }
}

TEST_F(shared_cq, that_never_spins_is_woken_all_the_same) {
    vinic::cq_attributes sleepy;
    sleepy.spin_max = 0ns;
    auto own = must(nic.create_completion_queue(sleepy));
    auto server = must(domain.create_vi(on(own)));
    auto client = connected_client(server);
    auto waiting = in_thread([&] {
        for (std::uint64_t i = 0; i < 500; ++i) {
            if (next(own).cookie != i)
                throw std::runtime_error("out of order");
        }
    });
    for (std::uint64_t i = 0; i < 500; ++i) {
        while (server.post_receive({memory, 0, 8}, i) == errc::queue_full) std::this_thread::yield();
        ASSERT_EQ(client->vi.post_send(client->at(0, 8), i), errc::ok);
        EXPECT_EQ(next(client->sends).cookie, i);
    }
    EXPECT_NO_THROW(waiting.get());
}

TEST_F(shared_cq, forgets_the_entries_of_a_vi_that_is_destroyed) {
    auto staying = must(domain.create_vi(on(cq, 1)));
    auto staying_client = connected_client(staying);
    for (int round = 0; round < 3; ++round) {
        {
            auto leaving = must(domain.create_vi(on(cq, 2)));
            auto client = connected_client(leaving);
            for (std::uint64_t i = 0; i < 5; ++i) {
                ASSERT_EQ(leaving.post_receive({memory, 0, 8}, 1000 + i), errc::ok);
                ASSERT_EQ(staying.post_receive({memory, 0, 8}, i), errc::ok);
                ASSERT_EQ(client->vi.post_send(client->at(0, 8), i), errc::ok);
                ASSERT_EQ(staying_client->vi.post_send(staying_client->at(0, 8), i), errc::ok);
            }
            EXPECT_EQ(next(staying_client->sends, 5).size(), 5u);
            EXPECT_EQ(next(client->sends, 5).size(), 5u);
            if (round == 1)
                must(leaving.close());
        }
        for (std::uint64_t i = 0; i < 5; ++i) {
            const auto done = next(cq);
            EXPECT_EQ(done.vi_context, 1u);
            EXPECT_EQ(done.cookie, i);
        }
        EXPECT_TRUE(is_quiet(cq));
        EXPECT_EQ(cq.queues_attached(), 2u);
    }
}

TEST_F(shared_cq, counts_the_queues_that_are_attached) {
    EXPECT_EQ(cq.queues_attached(), 0u);
    auto other = must(nic.create_completion_queue());
    auto attributes = on(cq);
    attributes.receive_cq = &other;
    {
        const auto made = must(domain.create_vi(attributes));
        EXPECT_EQ(cq.queues_attached(), 1u);
        EXPECT_EQ(other.queues_attached(), 1u);
        EXPECT_EQ(code_of(cq.close()), errc::busy);
        EXPECT_EQ(code_of(other.close()), errc::busy);
    }
    EXPECT_EQ(cq.queues_attached(), 0u);
    EXPECT_EQ(code_of(other.close()), errc::ok);
    EXPECT_FALSE(other);
}

TEST_F(shared_cq, takes_no_more_queues_than_its_limit_until_it_is_resized) {
    vinic::cq_attributes small;
    small.queues_max = 4;
    auto own = must(nic.create_completion_queue(small));
    EXPECT_EQ(own.queues_max(), 4u);
    std::vector<vinic::virtual_interface> made;
    for (int i = 0; i < 2; ++i) made.push_back(must(domain.create_vi(on(own))));
    EXPECT_EQ(code_of(domain.create_vi(on(own))), errc::limit_reached);
    EXPECT_EQ(own.queues_attached(), 4u) << "the refused VI has left nothing";
    ASSERT_EQ(code_of(own.resize(6)), errc::ok);
    EXPECT_EQ(own.queues_max(), 6u);
    made.push_back(must(domain.create_vi(on(own))));
    EXPECT_EQ(code_of(own.resize(5)), errc::busy) << "six queues are attached";
    EXPECT_EQ(own.queues_max(), 6u);
    made.pop_back();
    EXPECT_EQ(code_of(own.resize(4)), errc::ok);
    EXPECT_EQ(code_of(own.resize(0)), errc::invalid_argument);
}

TEST_F(shared_cq, is_resized_while_messages_flow_and_loses_nothing) {
    auto server = must(domain.create_vi(on(cq)));
    auto client = connected_client(server);
    std::atomic<bool> stop = false;
    auto resizer = in_thread([&] {
        for (std::uint32_t i = 0; !stop; ++i) must(cq.resize(2 + i % 1000));
    });
    for (std::uint64_t i = 0; i < 5000; ++i) {
        ASSERT_EQ(server.post_receive({memory, 0, 8}, i), errc::ok);
        ASSERT_EQ(client->vi.post_send(client->at(0, 8), i), errc::ok);
        ASSERT_EQ(next(cq).cookie, i);
        ASSERT_EQ(next(client->sends).cookie, i);
    }
    stop = true;
    EXPECT_NO_THROW(resizer.get());
}

TEST_F(shared_cq, that_is_thread_safe_gives_each_completion_to_one_thread) {
    constexpr std::uint64_t messages = 20000;
    vinic::cq_attributes attributes;
    attributes.thread_safe = true;
    auto own = must(nic.create_completion_queue(attributes));
    auto server = must(domain.create_vi(on(own)));
    auto client = connected_client(server);
    std::mutex mutex;
    std::multiset<std::uint64_t> seen;
    std::atomic<std::uint64_t> count = 0;
    std::vector<std::future<void>> pollers;
    for (int t = 0; t < 3; ++t) {
        pollers.push_back(in_thread([&, t] {
            vinic::completion done[4];
            while (count < messages) {
                const std::size_t n = t == 0 ? must(own.wait(done, 1ms)) : own.poll(done);
                const std::lock_guard lock(mutex);
                for (std::size_t i = 0; i < n; ++i) seen.insert(done[i].cookie);
                count += n;
            }
        }));
    }
    for (std::uint64_t i = 0; i < messages; ++i) {
        while (server.post_receive({memory, 0, 8}, i) == errc::queue_full) std::this_thread::yield();
        ASSERT_EQ(client->vi.post_send(client->at(0, 8), i), errc::ok);
        ASSERT_EQ(next(client->sends).cookie, i);
    }
    for (auto& poller : pollers) poller.get();
    EXPECT_EQ(seen.size(), messages);
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), messages) << "one was given to two threads";
}

TEST_F(shared_cq, is_made_and_closed_thousands_of_times) {
    for (int i = 0; i < 2000; ++i) {
        auto made = must(nic.create_completion_queue());
        if (i % 2 == 0)
            must(made.close());
    }
    EXPECT_EQ(code_of(nic.create_completion_queue({.queues_max = 0})), errc::invalid_argument);
}

}  // namespace
}  // namespace conformance

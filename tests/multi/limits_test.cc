// SPDX-License-Identifier: Apache-2.0
//
// limits_test.cc -- full tables answer limit_reached, and work again when there is room.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "abi/vi.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

namespace abi = vinic::abi;

/// Fills a table; returns what was made.  The refusal must be limit_reached and name the number.
template <class T, class Make>
std::vector<T> fill_table(std::size_t capacity, Make make) {
    std::vector<T> all;
    all.reserve(capacity);
    for (;;) {
        auto made = make(all.size());
        if (!made) {
            EXPECT_EQ(made.error().code, vinic::errc::limit_reached) << made.error().message();
            EXPECT_EQ(all.size(), capacity);
            EXPECT_NE(made.error().message().find(std::to_string(capacity)), std::string::npos)
                << made.error().message();
            return all;
        }
        all.push_back(std::move(*made));
        if (all.size() > capacity) {
            ADD_FAILURE() << "more than " << capacity << " were made";
            return all;
        }
    }
}

TEST(limits, regions_of_one_buffer_are_a_mebi_then_an_error) {
    directory d;
    auto nic = d.open();
    auto domain = must(nic.create_domain());
    auto buffer = must(nic.allocate(4096));
    const auto make = [&](std::size_t) { return domain.register_memory(buffer.bytes(), vinic::access::all); };
    auto all = fill_table<vinic::region>(abi::region_count, make);
    std::vector<bool> seen(abi::region_count);
    for (const vinic::region& r : all) {
        ASSERT_NE(r.key(), 0u);
        ASSERT_NE(r.key(), ~0u);
        ASSERT_FALSE(seen[r.key() >> 8]) << "two regions with one index";
        seen[r.key() >> 8] = true;
    }
    // Room for one is room for one, wherever it is.
    for (const std::size_t i : {std::size_t{12'345}, std::size_t{0}, all.size() - 1}) {
        const std::uint32_t stale = all[i].key();
        must(all[i].close());
        all[i] = must(make(0));
        EXPECT_NE(all[i].key(), stale);
        EXPECT_EQ(code_of(make(0)), vinic::errc::limit_reached);
    }
    all.clear();
    EXPECT_EQ(count(d).regions, 0u);
    auto again = must(make(0));
}

TEST(limits, domains_and_names_end_in_an_error) {
    directory d;
    auto nic = d.open();
    auto domains = fill_table<vinic::domain>(abi::domain_count, [&](std::size_t) { return nic.create_domain(); });
    domains.clear();
    auto listeners = fill_table<vinic::listener>(200, [&](std::size_t i) -> vinic::result<vinic::listener> {
        if (i == 200) {
            return std::unexpected(vinic::error{vinic::errc::limit_reached, 0, "200"});
        }
        const std::string name = "name " + std::to_string(i);
        return nic.listen(std::string_view(name));
    });
    EXPECT_EQ(must(nic.names()).size(), 200u);
    EXPECT_EQ(code_of(nic.listen("name 7")), vinic::errc::name_in_use);
    listeners.clear();
    EXPECT_EQ(count(d).domains, 0u);
    EXPECT_EQ(count(d).names, 0u);
}

TEST(limits, a_queue_serves_as_many_vis_as_it_was_made_for) {
    directory d;
    auto nic = d.open();
    auto domain = must(nic.create_domain());
    auto cq = must(nic.create_completion_queue({.queues_max = 64}));
    vinic::vi_attributes a;
    a.send_cq = &cq;
    a.receive_cq = &cq;
    a.send_depth = 1;
    a.receive_depth = 1;
    std::vector<vinic::virtual_interface> vis;
    for (int i = 0; i < 32; ++i) {
        vis.push_back(must(domain.create_vi(a)));
    }
    EXPECT_EQ(code_of(domain.create_vi(a)), vinic::errc::limit_reached);
    EXPECT_EQ(count(d).vis, 32u) << "the VI that was refused left its entry";
    must(cq.resize(128));
    vis.push_back(must(domain.create_vi(a)));
}

/// One process cannot map the device 1024 times (each mapping is 256 GiB of addresses), several can.
TEST(limits, processes_end_in_an_error) {
    directory d;
    constexpr std::uint32_t each = 256;
    std::vector<process> all;
    for (std::uint32_t i = 0; i < abi::process_count / each; ++i) {
        all.emplace_back([&](channel& parent) {
            std::vector<vinic::nic> nics;
            const std::uint64_t wanted = parent.hear_number();
            for (std::uint64_t k = 0; k < wanted; ++k) {
                nics.push_back(d.open());
            }
            parent.say("open");
            parent.hear("close one");
            nics.pop_back();
            parent.say("closed");
            parent.hear("end");
        });
    }
    auto mine = d.open();
    for (process& p : all) {
        // The parent's handle takes one place.
        p.say_number(&p == &all.back() ? each - 1 : each);
        p.hear("open");
    }
    const auto refused = vinic::nic::open("shm:test", d.options());
    EXPECT_EQ(code_of(refused), vinic::errc::limit_reached);
    EXPECT_EQ(count(d).processes, abi::process_count);
    all.front().say("close one");
    all.front().hear("closed");
    {
        auto now = d.open();
        EXPECT_EQ(code_of(vinic::nic::open("shm:test", d.options())), vinic::errc::limit_reached);
    }
    // Killed ones make room as well.
    all.back().kill_now();
    std::vector<vinic::nic> more;
    for (int i = 0; i < 10; ++i) {
        more.push_back(d.open());
    }
    EXPECT_TRUE(comes_true([&] { return count(d).processes == 1 + 3 * each - 1 + 10; })) << count(d);
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
        if (i != 0) {
            all[i].say("close one");
            all[i].hear("closed");
        }
        all[i].say("end");
        EXPECT_EQ(all[i].exit_code(), 0);
    }
}

/// One process may hold many handles; when its address space ends, that is an error like any other.
TEST(limits, handles_of_one_process_end_in_an_error_or_not_at_all) {
    directory d;
    std::vector<vinic::nic> nics;
    vinic::errc ended = vinic::errc::ok;
    while (ended == vinic::errc::ok && nics.size() < abi::process_count + 1) {
        auto made = vinic::nic::open("shm:test", d.options());
        ended = code_of(made);
        if (made) {
            nics.push_back(std::move(*made));
        }
    }
    EXPECT_TRUE(ended == vinic::errc::out_of_memory || ended == vinic::errc::limit_reached) << vinic::name(ended);
    std::printf("%zu handles in one process, then %s\n", nics.size(), vinic::name(ended));
    EXPECT_GE(nics.size(), 100u);
    nics.resize(1);
    endpoint me(std::move(nics.front()));
    EXPECT_EQ(count(d).processes, 1u);
}

TEST(limits, connection_requests_that_nobody_answers_end_in_an_error) {
    directory d;
    auto nic = d.open();
    endpoint me(d.open());
    std::vector<vinic::virtual_interface> vis;
    vinic::errc ended = vinic::errc::ok;
    vinic::vi_attributes a = me.attributes();
    a.send_depth = 1;
    a.receive_depth = 1;
    for (std::uint32_t i = 0; i <= abi::request_count && ended == vinic::errc::ok; ++i) {
        vis.push_back(must(me.domain.create_vi(a)));
        const std::string name = "peer " + std::to_string(i);
        ended = code_of(vis.back().connect_peer("me", std::string_view(name), vinic::forever));
    }
    EXPECT_EQ(ended, vinic::errc::limit_reached);
    EXPECT_EQ(vis.back().state(), vinic::vi_state::idle);
    EXPECT_EQ(count(d).requests, abi::request_count);
    vis.clear();
    EXPECT_EQ(count(d).requests, 0u);
}

/// A program that was started with its input and output closed prints to whatever has those numbers.
TEST(limits, no_file_of_a_nic_takes_the_number_of_a_closed_standard_stream) {
    directory d;
    process child([&](channel&) {
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
            ::close(fd);
        }
        endpoint me(d.open());
        std::vector<std::byte> memory(64 << 10);
        auto region = must(me.domain.register_memory(memory, vinic::access::local_write, {vinic::adopt::safe}));
        must(me.cq.fd());
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
            require(::fcntl(fd, F_GETFD) == -1, "the number is free");
        }
    });
    EXPECT_EQ(child.exit_code(), 0);
}

}  // namespace
}  // namespace multi

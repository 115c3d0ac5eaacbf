// SPDX-License-Identifier: Apache-2.0
//
// takeover_test.cc -- what the dead leave behind: files, names, entries, pages; and how the next one finds a clean
// device.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>

#include "multi/fixture.hpp"

namespace multi {
namespace {

TEST(device_file, goes_with_the_last_process_that_closes_it) {
    directory d;
    process first([&](channel& parent) {
        auto nic = d.open();
        parent.say("open");
        parent.hear("close");
    });
    process second([&](channel& parent) {
        auto nic = d.open();
        parent.say("open");
        parent.hear("close");
    });
    first.hear("open");
    second.hear("open");
    EXPECT_TRUE(d.exists());
    first.say("close");
    EXPECT_EQ(first.exit_code(), 0);
    EXPECT_TRUE(d.exists());
    second.say("close");
    EXPECT_EQ(second.exit_code(), 0);
    EXPECT_FALSE(d.exists());
}

TEST(device_file, left_by_killed_processes_is_taken_over_and_works) {
    directory d;
    std::vector<process> dead;
    for (int i = 0; i < 3; ++i) {
        dead.emplace_back([&, i](channel& parent) {
            endpoint me(d.open());
            const std::string name = "name " + std::to_string(i);
            auto listener = must(me.nic.listen(std::string_view(name)));
            std::thread server([&] { me.accept_from(listener); });
            endpoint other(d.open());
            other.connect_to(std::string_view(name));
            server.join();
            parent.say("ready");
            parent.hear("never");
        });
        dead.back().hear("ready");
    }
    process successor([&](channel& parent) {
        endpoint me(d.open());
        parent.say("open");
        parent.hear("end");
    });
    successor.hear("open");
    successor.say("end");
    EXPECT_EQ(successor.exit_code(), 0);
    for (process& p : dead) {
        p.kill_now();
    }
    ASSERT_TRUE(d.exists()) << "nobody was left to remove it";
    struct stat before{};
    ASSERT_EQ(::stat(d.file().c_str(), &before), 0);

    process peer([&](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("name 0"));  // the dead one's name is free
        must(me.vi.post_receive(me.at(0, 64), 1));
        parent.say("listening");
        me.accept_from(listener);
        require(me.next().status == vinic::status::success, "a message comes");
        parent.hear("end");
    });
    peer.hear("listening");
    endpoint me(d.open());
    struct stat after{};
    ASSERT_EQ(::stat(d.file().c_str(), &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino) << "taken over, not made anew";
    EXPECT_EQ(must(me.nic.names()).size(), 1u);
    const census now = count(d);
    EXPECT_EQ(now.processes, 2u) << now;
    EXPECT_EQ(now.vis, 2u) << now;
    EXPECT_EQ(now.stray_blocks, 0u) << now;
    me.connect_to("name 0");
    must(me.vi.post_send(me.at(0, 8), 1));
    EXPECT_EQ(me.next().status, vinic::status::success);
    peer.say("end");
    EXPECT_EQ(peer.exit_code(), 0);
}

/// Everything that a process can own, made and left by SIGKILL.
void own_everything(const directory& d, channel& parent) {
    endpoint me(d.open(), {.attributes = {}, .memory_bytes = 8 << 20});
    auto listener = must(me.nic.listen("mine"));
    std::vector<vinic::domain> domains;
    std::vector<vinic::completion_queue> queues;
    std::vector<vinic::region> regions;
    std::vector<vinic::virtual_interface> vis;
    for (int i = 0; i < 20; ++i) {
        domains.push_back(must(me.nic.create_domain()));
        queues.push_back(must(me.nic.create_completion_queue()));
        regions.push_back(must(me.domain.register_memory(me.buffer.bytes(), vinic::access::all)));
        vis.push_back(me.another_vi());
        must(vis.back().post_receive(me.at(0, 64), 1));
    }
    constexpr std::size_t bytes = 4 << 20;
    void* adopted = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(adopted != MAP_FAILED, "memory can be mapped");
    std::fill_n(static_cast<std::byte*>(adopted), bytes, std::byte{1});
    regions.push_back(must(me.domain.register_memory({static_cast<std::byte*>(adopted), bytes}, vinic::access::all,
                                                     {vinic::adopt::safe})));
    std::fill(me.buffer.bytes().begin(), me.buffer.bytes().end(), std::byte{2});
    vinic::vi_attributes a = me.attributes();
    a.service = vinic::service::datagram;
    a.reliability = vinic::reliability::unreliable;
    auto datagram = must(me.domain.create_vi(a));
    must(datagram.bind("datagrams"));
    me.connect_to("survivor");
    // One request that nobody answers.
    std::thread([&] { (void)vis[0].connect("survivor", vinic::forever); }).detach();
    parent.say("ready");
    parent.hear("never");
}

TEST(killed_process, leaves_no_entry_and_no_page_behind) {
    directory d;
    std::vector<process> victims;
    constexpr int rounds = 5;
    for (int i = 0; i < rounds; ++i) {
        victims.emplace_back([&](channel& parent) {
            parent.hear("start");
            own_everything(d, parent);
        });
    }
    endpoint me(d.open());
    auto listener = must(me.nic.listen("survivor"));
    std::optional<census> base;
    for (int i = 0; i < rounds; ++i) {
        SCOPED_TRACE(i);
        process& victim = victims[static_cast<std::size_t>(i)];
        victim.say("start");
        me.accept_from(listener);
        victim.hear("ready");
        EXPECT_TRUE(comes_true([&] { return count(d).requests == 1; }));
        const census busy = count(d);
        EXPECT_GE(busy.regions, 22u);
        EXPECT_GE(busy.vis, 22u);
        EXPECT_GE(busy.blocks, (12u << 20) / 512);
        victim.kill_now();
        std::array<vinic::completion, 1> done;
        EXPECT_TRUE(comes_true([&] {
            (void)me.cq.poll(done);
            return count(d).processes == 1;
        })) << count(d);
        must(me.vi.disconnect());
        const census now = count(d);
        EXPECT_EQ(now.domains, 1u) << now;
        EXPECT_EQ(now.regions, 1u) << now;
        EXPECT_EQ(now.cqs, 1u) << now;
        EXPECT_EQ(now.vis, 1u) << now;
        EXPECT_EQ(now.names, 1u) << now;
        EXPECT_EQ(now.requests, 0u) << now;
        EXPECT_EQ(now.stray_blocks, 0u) << now;
        EXPECT_EQ(now.deaths, static_cast<std::uint64_t>(i) + 1);
        if (!base) {
            base = now;  // the tables have grown to what such a process needs
        } else {
            EXPECT_TRUE(now.same_entries(*base)) << now << "\nand before: " << *base;
            EXPECT_EQ(now.blocks, base->blocks) << now << "\nand before: " << *base;
        }
        EXPECT_EQ(code_of(me.nic.resolve("datagrams")), vinic::errc::no_listener);
        auto free_again = must(me.nic.listen("mine"));
    }
}

TEST(devices, of_several_names_know_nothing_of_each_other) {
    directory d;
    process peer([&](channel& parent) {
        endpoint a(d.open("shm:a"));
        endpoint b(d.open("shm:b"));
        auto listener_a = must(a.nic.listen("same name"));
        auto listener_b = must(b.nic.listen("same name"));
        must(a.vi.post_receive(a.at(0, 8), 1));
        must(b.vi.post_receive(b.at(0, 8), 2));
        parent.say("listening");
        a.accept_from(listener_a);
        b.accept_from(listener_b);
        require(a.next().immediate == 10, "device a brings a's message");
        require(b.next().immediate == 20, "device b brings b's message");
        parent.hear("end");
    });
    peer.hear("listening");
    endpoint a(d.open("shm:a"));
    endpoint b(d.open("shm:b"));
    endpoint c(d.open("shm:c"));
    EXPECT_EQ(code_of(c.vi.connect("same name", 1s)), vinic::errc::no_listener);
    a.connect_to("same name");
    b.connect_to("same name");
    must(a.vi.post_send(a.at(0, 8), 1, vinic::send_flag::immediate, 10));
    must(b.vi.post_send(b.at(0, 8), 1, vinic::send_flag::immediate, 20));
    EXPECT_EQ(a.next().status, vinic::status::success);
    EXPECT_EQ(b.next().status, vinic::status::success);
    EXPECT_EQ(must(c.nic.names()).size(), 0u);
    peer.say("end");
    EXPECT_EQ(peer.exit_code(), 0);
}

TEST(devices, are_opened_and_closed_by_200_processes_at_once) {
    directory d;
    std::vector<process> all;
    constexpr int processes = 200;
    constexpr int rounds = 5;
    all.reserve(processes);
    for (int i = 0; i < processes; ++i) {
        all.emplace_back([&](channel& parent) {
            parent.hear("start");
            for (int k = 0; k < rounds; ++k) {
                auto nic = must(vinic::nic::open("shm:test", d.options()));
                auto domain = must(nic.create_domain());
                auto buffer = must(nic.allocate(5000));
                auto region = must(domain.register_memory(buffer.bytes(), vinic::access::all));
                buffer.bytes()[4999] = std::byte{1};
            }
        });
    }
    const auto start = steady::now();
    for (process& p : all) {
        p.say("start");
    }
    for (process& p : all) {
        EXPECT_EQ(p.exit_code(), 0);
    }
    std::printf("%d openings took %.0f ms\n", processes * rounds, milliseconds_since(start));
    EXPECT_FALSE(d.exists());
}

TEST(devices, survive_100_processes_that_open_and_are_killed_at_any_moment) {
    directory d;
    constexpr int processes = 100;
    std::vector<process> all;
    all.reserve(processes);
    for (int i = 0; i < processes; ++i) {
        all.emplace_back([&](channel& parent) {
            parent.hear("start");
            for (;;) {
                endpoint me(d.open());
                auto listener = vinic::listener();
                if (auto made = me.nic.listen("contended"); made) {
                    listener = std::move(*made);
                }
            }
        });
    }
    endpoint me(d.open());
    for (process& p : all) {
        p.say("start");
    }
    // Every few moments one dies, wherever it is.
    for (process& p : all) {
        std::this_thread::sleep_for(2ms);
        p.kill_now();
    }
    std::array<vinic::completion, 1> done;
    EXPECT_TRUE(comes_true([&] {
        (void)me.cq.poll(done);
        return count(d).processes == 1;
    })) << count(d);
    const census now = count(d);
    EXPECT_EQ(now.vis, 1u) << now;
    EXPECT_EQ(now.regions, 1u) << now;
    EXPECT_EQ(now.names, 0u) << now;
    EXPECT_EQ(now.stray_blocks, 0u) << now;
    auto listener = must(me.nic.listen("contended"));
}

/// Somebody tidied /dev/shm by hand: the old users and the new ones must not get into each other's way.
TEST(device_file, removed_by_hand_and_made_anew_is_not_removed_by_the_old_users) {
    directory d;
    process old([&](channel& parent) {
        auto nic = d.open();
        parent.say("open");
        parent.hear("close");
    });
    old.hear("open");
    ASSERT_EQ(::unlink(d.file().c_str()), 0);
    auto nic = d.open();
    EXPECT_TRUE(d.exists());
    old.say("close");
    EXPECT_EQ(old.exit_code(), 0);
    EXPECT_TRUE(d.exists()) << "the new device's file has gone";
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// fork_test.cc -- fork after registration: the child has no part in its parent's device, and does it no harm.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>

#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr std::size_t pages_bytes = 1 << 20;

/// Private anonymous pages.
class forked_pages {
public:
    explicit forked_pages(std::size_t bytes = pages_bytes)
        : data_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)), bytes_(bytes) {
        require(data_ != MAP_FAILED, "memory can be mapped");
    }
    forked_pages(const forked_pages&) = delete;
    forked_pages& operator=(const forked_pages&) = delete;
    ~forked_pages() { ::munmap(data_, bytes_); }
    [[nodiscard]] std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), bytes_}; }

private:
    void* data_;
    std::size_t bytes_;
};

/// A peer of the forking process: reads and writes its memory when told to.
process reader(const directory& d) {
    return process([&d](channel& parent) {
        endpoint me(d.open(), {.attributes = {}, .memory_bytes = pages_bytes});
        parent.say("open");
        const vinic::remote_address there = remote_from(parent.hear());
        me.connect_to("forking");
        for (std::string word = parent.hear(); word != "end"; word = parent.hear()) {
            const std::uint64_t seed = std::stoull(word.substr(1));
            if (word[0] == 'w') {
                fill(me.bytes(0, pages_bytes), seed);
                must(me.vi.post_write(me.at(0, pages_bytes), there, 1));
                require(me.next().status == vinic::status::success, "the write succeeds");
            } else {
                must(me.vi.post_read(me.at(0, pages_bytes), there, 1));
                require(me.next().status == vinic::status::success, "the read succeeds");
                require(first_difference(me.bytes(0, pages_bytes), seed) == pages_bytes, "the bytes read are right");
            }
            parent.say("done");
        }
    });
}

void tell(process& p, const std::string& word) {
    p.say(word);
    p.hear("done");
}

TEST(forked_child, sees_its_own_copy_of_adopted_memory_as_of_the_fork) {
    directory d;
    process peer = reader(d);
    peer.hear("open");
    forked_pages memory;
    endpoint me(d.open());
    fill(memory.bytes(), 1);
    auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::all, {vinic::adopt::safe}));
    ASSERT_EQ(region.backing(), vinic::backing::adopted);
    auto listener = must(me.nic.listen("forking"));
    peer.say(to_words(region.remote()));
    me.accept_from(listener);
    tell(peer, "r1");
    tell(peer, "w2");
    EXPECT_TRUE(matches(memory.bytes(), 2));

    process child([&](channel& parent) {
        require(first_difference(memory.bytes(), 2) == pages_bytes, "the child sees the contents as of the fork");
        parent.say("looked");
        parent.hear("look again");
        require(first_difference(memory.bytes(), 2) == pages_bytes,
                "writes of the parent and of peers do not reach it");
        fill(memory.bytes(), 9);
        parent.say("written");
        parent.hear("end");
    });
    child.hear("looked");
    EXPECT_TRUE(matches(memory.bytes(), 2)) << "the fork changes nothing for the parent";
    tell(peer, "w3");
    EXPECT_TRUE(matches(memory.bytes(), 3)) << "the parent's pages are still the peer's";
    fill(memory.bytes(), 4);
    tell(peer, "r4");
    child.say("look again");
    child.hear("written");
    EXPECT_TRUE(matches(memory.bytes(), 4)) << "what the child writes stays with the child";
    tell(peer, "r4");
    child.say("end");
    EXPECT_EQ(child.exit_code(), 0);
    must(region.close());
    EXPECT_TRUE(matches(memory.bytes(), 4));
    peer.say("end");
    EXPECT_EQ(peer.exit_code(), 0);
}

/// Every call on every kind of handle, in the child.
void use_dead_handles(endpoint& me, vinic::listener& listener, vinic::connection_request& request) {
    using vinic::errc;
    const auto is_forked = [](errc code) { return code == errc::forked; };
    require(is_forked(code_of(me.nic.create_domain())), "create_domain says forked");
    require(is_forked(code_of(me.nic.create_completion_queue())), "create_completion_queue says forked");
    require(is_forked(code_of(me.nic.allocate(100))), "allocate says forked");
    require(is_forked(code_of(me.nic.listen("x"))), "listen says forked");
    require(is_forked(code_of(me.nic.resolve("x"))), "resolve says forked");
    require(is_forked(code_of(me.nic.names())), "names says forked");
    require(is_forked(code_of(me.domain.register_memory(me.buffer.bytes(), vinic::access::all))),
            "register says forked");
    require(is_forked(code_of(me.domain.register_address_space(vinic::access::all))), "register says forked");
    require(is_forked(code_of(me.domain.create_vi(me.attributes()))), "create_vi says forked");
    require(is_forked(code_of(listener.wait(10ms))), "listener::wait says forked");
    require(is_forked(code_of(request.accept(me.vi))), "accept says forked");
    require(is_forked(code_of(request.reject())), "reject says forked");
    require(is_forked(code_of(me.vi.connect("forking", 1s))), "connect says forked");
    require(is_forked(code_of(me.vi.connect_peer("a", "b", 1s))), "connect_peer says forked");
    require(is_forked(code_of(me.vi.connect_peer_done())), "connect_peer_done says forked");
    require(is_forked(code_of(me.vi.connect_peer_wait())), "connect_peer_wait says forked");
    require(is_forked(code_of(me.vi.disconnect())), "disconnect says forked");
    require(is_forked(code_of(me.vi.set_attributes(me.attributes()))), "set_attributes says forked");
    require(is_forked(code_of(me.vi.bind("x"))), "bind says forked");
    require(is_forked(me.vi.post_send(me.at(0, 8), 1)), "a small send says forked");
    require(is_forked(me.vi.post_send(me.at(0, 8000), 1)), "a send says forked");
    require(is_forked(me.vi.post_receive(me.at(0, 8), 1)), "post_receive says forked");
    require(is_forked(me.vi.post_write(me.at(0, 8), me.memory.remote(), 1)), "post_write says forked");
    require(is_forked(me.vi.post_read(me.at(0, 8), me.memory.remote(), 1)), "post_read says forked");
    require(is_forked(me.vi.post_fetch_add(me.at(0, 8), me.memory.remote(), 1, 1)), "post_fetch_add says forked");
    std::array<vinic::completion, 4> done;
    require(me.cq.poll(done) == 0, "poll finds nothing");
    require(is_forked(code_of(me.cq.wait(done, 10ms))), "wait says forked");
    require(is_forked(code_of(me.cq.fd())), "fd says forked");
    require(is_forked(code_of(me.cq.arm())), "arm says forked");
    require(is_forked(code_of(me.cq.resize(10))), "resize says forked");
    require(me.vi.state() == vinic::vi_state::error, "the VI is dead");
    // These only end the child's copies.
    require(me.vi.close().has_value() && me.memory.close().has_value() && me.cq.close().has_value(), "closing works");
}

TEST(forked_child, finds_dead_handles_and_destroys_them_without_harm) {
    directory d;
    process peer([&](channel& parent) {
        endpoint me(d.open());
        parent.hear("connect");
        me.connect_to("forking");
        vinic::virtual_interface second = me.another_vi();
        std::thread([&] { (void)second.connect("forking", vinic::forever); }).detach();
        parent.hear("send");
        must(me.vi.post_send(me.at(0, 5000), 1));
        require(me.next().status == vinic::status::success, "the parent still receives");
        parent.hear("end");
    });
    {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("forking"));
        peer.say("connect");
        me.accept_from(listener);
        auto request = must(listener.wait(patience));
        must(me.vi.post_receive(me.at(0, 5000), 77));
        const int fd = must(me.cq.fd());  // starts the thread that forwards wake-ups; the child has none
        EXPECT_GE(fd, 0);
        const census before = count(d);
        process child([&](channel&) {
            use_dead_handles(me, listener, request);
            request = {};
            listener = {};
            // The endpoint's other handles are destroyed by hand: the child leaves without unwinding the test.
            std::destroy_at(&me);
        });
        EXPECT_EQ(child.exit_code(), 0);
        const census after = count(d);
        EXPECT_TRUE(after.same_entries(before)) << after << "\nand before: " << before;
        EXPECT_EQ(me.vi.state(), vinic::vi_state::connected);
        peer.say("send");
        const vinic::completion c = me.next();
        EXPECT_EQ(c.cookie, 77u);
        EXPECT_EQ(c.status, vinic::status::success);
        peer.say("end");
        peer.kill_now();
    }
    d.leftovers_expected();
}

TEST(forked_child, exits_with_live_handles_and_the_parent_goes_on) {
    directory d;
    endpoint me(d.open());
    static endpoint* seen_by_exit = nullptr;
    seen_by_exit = &me;
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
        // exit(), with the destructors of static objects and the handlers of atexit.
        std::atexit([] { std::destroy_at(seen_by_exit); });
        std::freopen("/dev/null", "w", stdout);
        std::exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(count(d).processes, 1u);
    auto more = must(me.nic.allocate(4096));
    EXPECT_TRUE(d.exists() || d.is_isolated());
}

TEST(forked_child, opens_the_device_anew_and_talks_with_its_parent) {
    directory d;
    endpoint me(d.open());
    auto listener = must(me.nic.listen("parent"));
    must(me.vi.post_receive(me.at(0, 1000), 1));
    process child([&](channel&) {
        endpoint mine(d.open());
        mine.connect_to("parent");
        fill(mine.bytes(0, 1000), 5);
        must(mine.vi.post_send(mine.at(0, 1000), 1));
        require(mine.next().status == vinic::status::success, "the parent is reached");
    });
    me.accept_from(listener);
    EXPECT_EQ(me.next().status, vinic::status::success);
    EXPECT_TRUE(matches(me.bytes(0, 1000), 5));
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(forked_child, does_not_keep_its_parent_alive_in_the_device) {
    directory d;
    process parent([&](channel& test) {
        endpoint me(d.open());
        forked_pages memory;
        auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::all, {vinic::adopt::safe}));
        const pid_t grandchild = ::fork();
        if (grandchild == 0) {
            // Lives on without parent and without the device.
            for (int i = 0; i < 600; ++i) {
                std::this_thread::sleep_for(100ms);
            }
            ::_exit(0);
        }
        test.say_number(static_cast<std::uint64_t>(grandchild));
        test.hear("never");
    });
    endpoint me(d.open());
    const auto grandchild = static_cast<pid_t>(parent.hear_number());
    EXPECT_EQ(count(d).processes, 2u);
    parent.kill_now();
    std::array<vinic::completion, 1> done;
    EXPECT_TRUE(comes_true([&] {
        (void)me.cq.poll(done);
        return count(d).processes == 1;
    })) << "the grandchild holds the dead one's lock";
    ::kill(grandchild, SIGKILL);
}

/// A fork may come while another thread is in the middle of opening a device.
TEST(forked_child, inherits_no_device_file_while_another_thread_opens_and_closes) {
    directory d;
    auto keep = d.open();
    std::atomic<bool> end = false;
    std::thread opener([&] {
        while (!end.load()) {
            auto nic = d.open("shm:other");
        }
    });
    int holding = 0;
    for (int i = 0; i < 300; ++i) {
        const pid_t pid = ::fork();
        ASSERT_GE(pid, 0);
        if (pid == 0) {
            int found = 0;
            std::error_code ignored_by_design;
            for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored_by_design)) {
                const auto target = std::filesystem::read_symlink(entry.path(), ignored_by_design);
                found += target.string().starts_with(d.path()) ? 1 : 0;
            }
            ::_exit(found != 0 ? 1 : 0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(pid, &status, 0), pid);
        holding += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
    }
    end.store(true);
    opener.join();
    EXPECT_EQ(holding, 0) << "children that held a descriptor, and with it the parent's locks";
}

/// A fork may come while other threads make and close VIs: whatever lock they hold, the child must not wait for it.
TEST(forked_child, is_not_held_up_by_locks_of_its_parents_other_threads) {
    directory d;
    auto me = std::make_unique<endpoint>(d.open());
    std::atomic<bool> end = false;
    std::thread busy([&] {
        while (!end.load()) {
            auto vi = me->another_vi();
            auto region = must(me->domain.register_memory(me->buffer.bytes(), vinic::access::all));
            must(region.close());
            must(vi.close());
        }
    });
    int stuck = 0;
    for (int i = 0; i < 200 && stuck == 0; ++i) {
        const pid_t pid = ::fork();
        ASSERT_GE(pid, 0);
        if (pid == 0) {
            me.reset();
            ::_exit(0);
        }
        int status = 0;
        if (!comes_true([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }, 10s)) {
            ++stuck;
            ::kill(pid, SIGKILL);
            ::waitpid(pid, &status, 0);
        } else {
            EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "child " << i << " ended with " << status;
        }
    }
    end.store(true);
    busy.join();
    EXPECT_EQ(stuck, 0);
}

}  // namespace
}  // namespace multi

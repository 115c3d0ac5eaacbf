// SPDX-License-Identifier: Apache-2.0
//
// full_file_system_test.cc -- a device on a small file system: running out of room is an error, never a signal.
//
// Each test mounts a tmpfs of its own in a mount namespace of its own, so only root can run them.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "multi/fixture.hpp"

namespace multi {
namespace {

/// Rings and tables lie in slabs of so many pages; what a slab has had it keeps until it is free as a whole.
constexpr std::size_t pages_of_a_slab = 64;

/// A tmpfs of so many pages over a directory; only this process sees it.
bool mount_small(const std::string& at, std::size_t pages) {
    const std::string size = "size=" + std::to_string(pages * page);
    return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("vinic-test", at.c_str(), "tmpfs", 0, size.c_str()) == 0;
}

std::size_t free_pages(const std::string& at) {
    struct statvfs s{};
    return ::statvfs(at.c_str(), &s) == 0 ? s.f_bfree * s.f_bsize / page : 0;
}

/// A file that takes room away, and gives it back.
class ballast {
public:
    explicit ballast(const std::string& directory)
        : path_(directory + "/ballast"), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
        require(fd_ >= 0, "the ballast can be made");
    }
    ballast(const ballast&) = delete;
    ballast& operator=(const ballast&) = delete;
    ~ballast() {
        ::close(fd_);
        ::unlink(path_.c_str());
    }
    /// Leaves exactly so many pages free.
    void leave(std::size_t pages) {
        require(::ftruncate(fd_, 0) == 0, "the ballast can go");
        const std::size_t free = free_pages(std::string(path_, 0, path_.rfind('/')));
        require(free >= pages, "there is room");
        if (free > pages) {
            require(::posix_fallocate(fd_, 0, static_cast<off_t>((free - pages) * page)) == 0, "the room can be taken");
        }
    }

private:
    std::string path_;
    int fd_;
};

/// Runs `body` in a child with a small file system at the directory; skips where that cannot be had.
void on_small_file_system(std::size_t pages, const std::function<void(const directory&)>& body) {
    directory d;
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root to mount a small file system";
    }
    constexpr int no_mount = 77;
    process child([&](channel& parent) {
        if (!mount_small(d.path(), pages)) {
            parent.say("no mount");
            std::_Exit(no_mount);
        }
        parent.say("mounted");
        body(d);
    });
    const bool mounted = child.hear() == "mounted";
    const int code = child.exit_code();
    if (!mounted) {
        GTEST_SKIP() << "a tmpfs cannot be mounted in a mount namespace here";
    }
    EXPECT_EQ(code, 0);
}

TEST(full_file_system, makes_opening_fail_cleanly_whatever_room_is_left) {
    on_small_file_system(4096, [](const directory& d) {
        ballast b(d.path());
        bool opened = false;
        for (std::size_t left = 0; left < 64 && !opened; ++left) {
            b.leave(left);
            auto nic = vinic::nic::open("shm:test", d.options());
            opened = nic.has_value();
            if (!opened) {
                require(nic.error().code == vinic::errc::out_of_memory,
                        "the error is out_of_memory: " + nic.error().message());
                require(nic.error().os_errno == ENOSPC, "with the system's errno");
                require(!d.exists(), "nothing is left behind with room for " + std::to_string(left) + " pages");
            }
        }
        require(opened, "some pages are enough");
        require(!d.exists(), "a device that was opened goes when it is closed");
    });
}

/// Makes objects until each kind is refused; the errors must be of the right kind.
template <class Make>
std::size_t until_refused(std::size_t most, Make make) {
    for (std::size_t i = 0; i < most; ++i) {
        if (const vinic::errc e = make(); e != vinic::errc::ok) {
            require(e == vinic::errc::out_of_memory,
                    std::string("the error is out_of_memory and not ") + vinic::name(e));
            return i;
        }
    }
    throw std::runtime_error("the room never ends");
}

TEST(full_file_system, makes_every_kind_of_creation_fail_and_work_again_when_there_is_room) {
    on_small_file_system(4096, [](const directory& d) {
        ballast b(d.path());
        endpoint me(d.open());
        for (int round = 0; round < 3; ++round) {
            std::vector<vinic::buffer> buffers;
            std::vector<vinic::domain> domains;
            std::vector<vinic::region> regions;
            std::vector<vinic::completion_queue> queues;
            std::vector<vinic::virtual_interface> vis;
            std::vector<vinic::listener> listeners;
            const auto keep = [](auto& all, auto made) {
                const vinic::errc e = code_of(made);
                if (made) {
                    all.push_back(std::move(*made));
                }
                return e;
            };
            const std::size_t room = free_pages(d.path());
            (void)until_refused(100'000, [&] { return keep(buffers, me.nic.allocate(10 * page)); });
            (void)until_refused(100'000, [&] { return keep(buffers, me.nic.allocate(page)); });
            require(free_pages(d.path()) == 0, "all room is used before it is refused");
            (void)until_refused(100'000, [&] { return keep(queues, me.nic.create_completion_queue()); });
            (void)until_refused(100'000, [&] { return keep(vis, me.domain.create_vi(me.attributes())); });
            (void)until_refused(100'000, [&] { return keep(domains, me.nic.create_domain()); });
            (void)until_refused(2'000'000, [&] {
                return keep(regions, me.domain.register_memory(me.buffer.bytes(), vinic::access::all));
            });
            (void)until_refused(100'000, [&] {
                const std::string name = "name " + std::to_string(listeners.size());
                return keep(listeners, me.nic.listen(std::string_view(name)));
            });
            // What exists goes on working.
            for (vinic::buffer& buffer : buffers) {
                std::memset(buffer.data(), 0x5a, buffer.size());
            }
            buffers.clear();
            require(free_pages(d.path()) > 0, "freeing gives room back");
            auto again = must(me.nic.allocate(10 * page));
            auto vi = me.another_vi();
            regions.clear();
            vis.clear();
            queues.clear();
            listeners.clear();
            domains.clear();
            again = {};
            vi = {};
            if (round > 0) {  // in the first round the tables grow, and they stay
                const std::size_t now = free_pages(d.path());
                require(now + pages_of_a_slab >= room,
                        "room comes back: " + std::to_string(now) + " pages of " + std::to_string(room));
            }
        }
    });
}

TEST(full_file_system, makes_registration_foreign_and_not_wrong) {
    on_small_file_system(2048, [](const directory& d) {
        process peer([&](channel& parent) {
            endpoint me(d.open());
            const vinic::remote_address there = remote_from(parent.hear());
            connect_patiently(me.vi, "owner");
            fill(me.bytes(0, 60'000), 8);
            must(me.vi.post_write(me.at(0, 60'000), there, 1));
            require(me.next().status == vinic::status::success, "the write succeeds");
            parent.say("written");
        });
        endpoint me(d.open());
        auto listener = must(me.nic.listen("owner"));
        constexpr std::size_t bytes = 16 << 20;  // more than the file system holds
        void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(mapped != MAP_FAILED, "memory can be mapped");
        const std::span<std::byte> memory(static_cast<std::byte*>(mapped), bytes);
        fill(memory, 2);
        auto region = must(me.domain.register_memory(memory, vinic::access::local_write | vinic::access::remote_write,
                                                     {vinic::adopt::safe}));
        require(region.backing() == vinic::backing::foreign, "there is no room to adopt it");
        require(first_difference(memory, 2) == bytes, "the contents are kept");
        peer.say(to_words(region.remote()));
        me.accept_from(listener);
        peer.hear("written");
        require(first_difference(memory.subspan(0, 60'000), 8) == 60'000, "it is reached all the same");
        require(peer.exit_code() == 0, "the peer ends well");
    });
}

TEST(full_file_system, breaks_no_connection_that_exists) {
    on_small_file_system(4096, [](const directory& d) {
        process peer([&](channel& parent) {
            endpoint me(d.open());
            auto listener = must(me.nic.listen("server"));
            for (std::uint64_t i = 0; i < 64; ++i) {
                must(me.vi.post_receive(me.at(i * 1024, 1024), i));
            }
            parent.say("listening");
            me.accept_from(listener);
            parent.say("connected");
            for (std::uint64_t i = 0; i < 10'000; ++i) {
                const vinic::completion c = me.next();
                require(c.status == vinic::status::success && c.cookie == i, "messages come in order");
                require(first_difference(me.bytes(i % 64 * 1024, 1000), i) == 1000, "with their bytes");
                must(me.vi.post_receive(me.at(i % 64 * 1024, 1024), i + 64));
            }
            parent.hear("end");
        });
        peer.hear("listening");
        endpoint me(d.open());
        me.connect_to("server");
        peer.hear("connected");
        ballast b(d.path());
        b.leave(0);
        for (std::uint64_t i = 0; i < 10'000; ++i) {
            fill(me.bytes(i % 32 * 1024, 1000), i);
            must(me.vi.post_send(me.at(i % 32 * 1024, 1000), i));
            require(me.next().status == vinic::status::success, "sending goes on");
        }
        require(code_of(me.nic.allocate(page)) == vinic::errc::out_of_memory, "there is no room for more");
        const auto third = vinic::nic::open("shm:test", d.options());
        require(third.has_value() || third.error().code == vinic::errc::out_of_memory, "others may or may not come in");
        peer.say("end");
        require(peer.exit_code() == 0, "the peer ends well");
    });
}

}  // namespace
}  // namespace multi

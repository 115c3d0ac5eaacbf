// SPDX-License-Identifier: Apache-2.0
//
// giving_back_test.cc -- adopted pages go back with their contents, or closing fails and nothing has changed: whatever
// the process has run out of, and whatever the program did with its memory meanwhile.
//
// Each test limits itself in a child.
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>

#include "multi/adopted.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr std::size_t memory_bytes = 256 * page;

void require_contents(std::span<const std::byte> memory, std::uint64_t seed, const char* when) {
    const std::size_t wrong = first_difference(memory, seed);
    require(wrong == memory.size(),
            std::string("the contents are right ") + when + ", but for byte " + std::to_string(wrong));
}

/// Whether the device still writes where the program reads.
void require_apart(endpoint& me, std::span<std::byte> memory, std::uint64_t seed) {
    auto other = must(me.nic.allocate(memory.size()));
    std::ranges::fill(other.bytes(), std::byte{0x55});
    require_contents(memory, seed, "after others got the device's pages");
    fill(memory, seed + 1);
    require(std::ranges::all_of(other.bytes(), [](std::byte b) { return b == std::byte{0x55}; }),
            "what the program writes stays with it");
    require_contents(memory, seed + 1, "after it was written anew");
}

TEST(giving_back, needs_no_descriptor) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        take_all_descriptors();
        auto half = must(me.domain.register_memory(memory.first(memory_bytes / 2 + page), vinic::access::all));
        require(half.backing() == vinic::backing::adopted, "what is adopted is");
        const auto more = map_pages(memory_bytes);
        fill(more, 9);
        auto another = must(me.domain.register_memory(more, vinic::access::none, safely));
        must(half.close());
        must(region.close());
        require_contents(memory, 1, "after close");
        require_apart(me, memory, 1);
        must(another.close());
        require_contents(more, 9, "after close");
    });
}

TEST(adopting, at_the_descriptor_limit_is_foreign_and_says_so) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        fill(memory, 1);
        take_all_descriptors();
        auto region = must(me.domain.register_memory(memory, vinic::access::none, safely));
        require(region.foreign_reason() == vinic::foreign_reason::cannot_look, "it cannot look");
        require_contents(memory, 1, "while it is registered");
        must(region.close());
        require_contents(memory, 1, "after close");
    });
}

TEST(giving_back, needs_no_proc_and_no_root_directory) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "chroot(2) needs root";
    std::string nowhere = std::filesystem::temp_directory_path() / "vinic-nowhere-XXXXXX";
    ASSERT_NE(::mkdtemp(nowhere.data()), nullptr);
    in_child(
        [&](endpoint& me) {
            const auto memory = map_pages(memory_bytes);
            auto region = adopt(me, memory, 1);
            require(::chroot(nowhere.c_str()) == 0 && ::chdir("/") == 0, "chroot works");
            require(::access("/proc/self", F_OK) != 0, "there is no /proc");
            must(region.close());
            require_contents(memory, 1, "after close");
            require_apart(me, memory, 1);
        },
        true);
    std::filesystem::remove(nowhere);
}

TEST(a_device, works_without_proc_and_says_what_does_not) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "chroot(2) needs root";
    directory d;
    if (d.is_isolated())
        GTEST_SKIP() << "a window is opened through /proc";
    process child([&](channel&) {
        require(::chroot(d.path().c_str()) == 0 && ::chdir("/") == 0, "chroot works");
        const vinic::open_options here{.directory = "/", .group = {}};
        auto nic = must(vinic::nic::open("shm:test", here));
        auto domain = must(nic.create_domain());
        auto buffer = must(nic.allocate(memory_bytes));
        auto native = must(domain.register_memory(buffer.bytes(), vinic::access::all));
        const auto memory = map_pages(memory_bytes);
        fill(memory, 1);
        auto foreign = must(domain.register_memory(memory, vinic::access::none, safely));
        require(foreign.foreign_reason() == vinic::foreign_reason::cannot_look, "it says why");
        must(foreign.close());
        const auto refused = domain.register_memory(memory, vinic::access::remote_atomic, safely);
        require(code_of(refused) == vinic::errc::not_supported &&
                    refused.error().message().find("/proc") != std::string::npos,
                "and in words");
        require_contents(memory, 1, "after close");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(giving_back, works_after_setuid) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "setuid(2) to another user needs root";
    in_child(
        [](endpoint& me) {
            const auto memory = map_pages(memory_bytes);
            auto region = adopt(me, memory, 1);
            require(::setresuid(nobody, nobody, nobody) == 0, "setuid works");
            must(region.close());
            require_contents(memory, 1, "after close");
            require_apart(me, memory, 1);
            const auto more = map_pages(memory_bytes);
            fill(more, 3);
            auto later = must(me.domain.register_memory(more, vinic::access::none, safely));
            must(later.close());
            require_contents(more, 3, "after close");
        },
        true);
}

TEST(giving_back, without_address_space_fails_and_changes_nothing) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        rlimit before{};
        ::getrlimit(RLIMIT_AS, &before);
        rlimit none = before;
        none.rlim_cur = 1 << 20;
        ::setrlimit(RLIMIT_AS, &none);
        require(code_of(region.close()) == vinic::errc::busy, "closing fails");
        require_contents(memory, 1, "after that");
        fill(memory, 2);
        require(code_of(region.close()) == vinic::errc::busy, "and fails");
        ::setrlimit(RLIMIT_AS, &before);
        require_contents(memory, 2, "after that");
        must(region.close());
        require_contents(memory, 2, "after close");
        require_apart(me, memory, 2);
    });
}

TEST(giving_back, without_mappings_fails_or_succeeds_and_loses_nothing) {
    if (tests::address_sanitized)
        GTEST_SKIP() << "the address sanitizer needs mappings of its own";
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        // Every second page of a range differs from its neighbours: as many mappings as there may be.
        std::uint64_t most = 65530;
        std::ifstream("/proc/sys/vm/max_map_count") >> most;
        if (most > 1'000'000)
            return;
        const auto many = map_pages((most + 10) * page);
        for (std::size_t i = 0; i < most; i += 2) {
            if (::mprotect(many.data() + i * page, page, PROT_NONE) != 0)
                break;
        }
        while (::mmap(nullptr, page, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
        }
        const auto closed = region.close();
        require_contents(memory, 1, "after closing at the limit");
        ::munmap(many.data(), many.size());
        if (!closed) {
            must(region.close());
        }
        require_contents(memory, 1, "after close");
        require_apart(me, memory, 1);
    });
}

/// Closing fails while a page is locked, and changes nothing.  False: it cannot be locked here.
bool fail_to_close(vinic::region& region, std::span<std::byte> memory, std::uint64_t seed) {
    if (!lock_pages(memory.first(page))) {
        return false;
    }
    require(code_of(region.close()) == vinic::errc::busy, "a lock would be lost");
    require_contents(memory, seed, "after that");
    require(unlock_pages(memory.first(page)), "it can be unlocked");
    return true;
}

TEST(giving_back, of_what_is_locked_meanwhile_waits_until_it_is_not) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        if (!fail_to_close(region, memory, 1))
            return;
        must(region.close());
        require_contents(memory, 1, "after close");
    });
}

/// A peer may be writing into the pages through it, as foreign memory.
TEST(giving_back, waits_for_a_region_that_was_made_meanwhile) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        if (!fail_to_close(region, memory, 1))
            return;
        auto meanwhile = must(me.domain.register_memory(memory.subspan(3 * page, page), vinic::access::remote_write));
        require(meanwhile.backing() == vinic::backing::foreign, "nobody holds the adopted pages any more");
        const auto closed = region.close();
        require(code_of(closed) == vinic::errc::busy && closed.error().message().contains("overlaps"), "it overlaps");
        require_contents(memory, 1, "after that");
        must(meanwhile.close());
        must(region.close());
        require_contents(memory, 1, "after close");
        require_apart(me, memory, 1);
    });
}

TEST(giving_back, follows_memory_that_the_program_has_moved) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        // As realloc does it.
        const auto elsewhere = map_pages(4 * memory_bytes);
        void* moved =
            ::mremap(memory.data(), memory_bytes, memory_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere.data());
        require(moved == elsewhere.data(), "it moves");
        must(region.close());
        require_contents(elsewhere.first(memory_bytes), 1, "after close");
        require_apart(me, elsewhere.first(memory_bytes), 1);
    });
}

TEST(giving_back, leaves_alone_what_the_program_has_unmapped_or_replaced) {
    in_child([](endpoint& me) {
        const auto memory = map_pages(memory_bytes);
        auto region = adopt(me, memory, 1);
        const auto hole = memory.subspan(10 * page, 20 * page);
        require(::mmap(hole.data(), hole.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                       0) == hole.data(),
                "it can be replaced");
        fill(hole, 77);
        ::munmap(memory.data() + 100 * page, 5 * page);
        std::vector<std::byte> before(memory.begin(), memory.begin() + 10 * page);
        must(region.close());
        require_contents(hole, 77, "of what was mapped meanwhile");
        require(std::ranges::equal(before, memory.first(10 * page)), "what was left is right");
    });
}

TEST(giving_back, that_is_not_possible_when_the_nic_goes_leaves_the_memory_to_the_program) {
    directory d;
    process child([&](channel&) {
        const auto memory = map_pages(memory_bytes);
        {
            endpoint me(d.open());
            auto region = adopt(me, memory, 1);
            require(lock_pages(memory.first(page)), "it can be locked");
        }
        require_contents(memory, 1, "after the nic has gone");
        {
            endpoint me(d.open());  // the device is the same: it is still open for these pages
            require_apart(me, memory, 1);
            const pid_t pid = ::fork();
            if (pid == 0) {
                const bool right = first_difference(memory, 2) == memory.size();
                fill(memory, 9);
                ::_exit(right ? 0 : 1);
            }
            int status = 0;
            require(::waitpid(pid, &status, 0) == pid && status == 0, "a child has a copy");
            require_contents(memory, 2, "whatever the child writes");
        }
    });
    EXPECT_EQ(child.exit_code(), 0);
    d.leftovers_expected();
}

TEST(giving_back, waits_for_nothing_of_the_program_when_signals_come) {
    static std::atomic<std::uint64_t>* ticks = nullptr;
    in_child([](endpoint& me) {
        // The handler counts in the pages that move.
        const auto memory = map_pages(16 << 20);
        fill(memory, 1);
        ticks = reinterpret_cast<std::atomic<std::uint64_t>*>(memory.data() + memory.size() - page);
        ticks->store(0);
        struct sigaction action{};
        action.sa_handler = [](int) { ticks->fetch_add(1); };
        action.sa_flags = SA_RESTART;
        ::sigaction(SIGALRM, &action, nullptr);
        const itimerval often{{0, 300}, {0, 300}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
        std::uint64_t last = 0;
        for (int i = 0; i < 20; ++i) {
            auto region = must(me.domain.register_memory(memory, vinic::access::all, safely));
            must(region.close());
            require(ticks->load() >= last, "no tick is lost");
            last = ticks->load();
        }
        while (ticks->load() == last) {
        }
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        require_contents(memory.first(memory.size() - page), 1, "in the end");
    });
}

TEST(giving_back, lets_handlers_of_other_threads_wait_and_go_on) {
    static std::atomic<std::uint64_t>* count = nullptr;
    in_child([](endpoint& me) {
        const auto memory = map_pages(8 << 20);
        fill(memory, 1);
        count = reinterpret_cast<std::atomic<std::uint64_t>*>(memory.data());
        count->store(0);
        struct sigaction action{};
        action.sa_handler = [](int) { count->fetch_add(1); };
        ::sigaction(SIGUSR1, &action, nullptr);
        std::atomic<bool> end = false;
        std::thread other([&] {
            while (!end.load()) std::this_thread::yield();
        });
        std::uint64_t sent = 0;
        std::thread sender([&] {
            for (; !end.load(); ++sent) {
                const std::uint64_t before = count->load();
                ::pthread_kill(other.native_handle(), SIGUSR1);
                while (count->load() == before) std::this_thread::yield();
            }
        });
        for (int i = 0; i < 30; ++i) {
            auto region = must(me.domain.register_memory(memory, vinic::access::all, safely));
            must(region.close());
        }
        end.store(true);
        sender.join();
        other.join();
        require(count->load() == sent, "every signal was handled, and counted once");
    });
}

}  // namespace
}  // namespace multi

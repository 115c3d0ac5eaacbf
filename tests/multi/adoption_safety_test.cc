// SPDX-License-Identifier: Apache-2.0
//
// adoption_safety_test.cc -- pages are adopted only where nobody can notice: whatever has properties, belongs to a
// thread, or may be held by somebody else stays where it is, and the region says why.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>

#include "multi/adopted.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

using vinic::foreign_reason;

constexpr auto but_for_atomics = vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read;

/// The flags of the mapping that begins at `address`.
std::string flags_at(const void* address) {
    char begin[32];
    std::snprintf(begin, sizeof begin, "%lx-", reinterpret_cast<unsigned long>(address));
    std::ifstream maps("/proc/self/smaps");
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        here = here || line.starts_with(begin);
        if (here && line.starts_with("VmFlags:"))
            return line;
    }
    return "none";
}

struct property {
    const char* name;
    foreign_reason expected;
    std::function<bool(const pages&)> set;  ///< false with errno: this machine has no such thing
};
std::ostream& operator<<(std::ostream& out, const property& p) { return out << p.name; }

std::function<bool(const pages&)> advice(int what) {
    return [what](const pages& p) { return ::madvise(p.data(), p.bytes().size(), what) == 0; };
}

class memory_with : public testing::TestWithParam<property> {};

TEST_P(memory_with, a_property_keeps_it_and_stays_foreign) {
    directory d;
    endpoint me(d.open());
    const pages memory;
    fill(memory.bytes(), 3);
    if (!GetParam().set(memory))
        GTEST_SKIP() << "errno " << errno;
    const std::string before = flags_at(memory.data());
    auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::none, safely));
    EXPECT_EQ(region.backing(), vinic::backing::foreign);
    EXPECT_EQ(region.foreign_reason(), GetParam().expected) << vinic::name(region.foreign_reason());
    EXPECT_EQ(flags_at(memory.data()), before);
    must(region.close());
    EXPECT_EQ(flags_at(memory.data()), before);
    EXPECT_TRUE(matches(memory.bytes(), 3));
    const auto atomics = me.domain.register_memory(memory.bytes(), vinic::access::remote_atomic, safely);
    ASSERT_EQ(code_of(atomics), vinic::errc::not_supported);
    EXPECT_NE(atomics.error().message().find(vinic::describe(GetParam().expected)), std::string::npos)
        << atomics.error().message();
}

INSTANTIATE_TEST_SUITE_P(
    properties, memory_with,
    testing::Values(
        property{"lock", foreign_reason::has_properties, [](const pages& p) { return lock_pages(p.bytes()); }},
        property{"lock_of_a_part", foreign_reason::has_properties,
                 [](const pages& p) { return lock_pages(p.bytes().subspan(5 * page, page)); }},
        property{"wipe_on_fork", foreign_reason::has_properties, advice(MADV_WIPEONFORK)},
        property{"no_fork", foreign_reason::has_properties, advice(MADV_DONTFORK)},
        property{"no_dump", foreign_reason::has_properties, advice(MADV_DONTDUMP)},
        property{"huge_pages", foreign_reason::has_properties, advice(MADV_HUGEPAGE)},
        property{"no_huge_pages", foreign_reason::has_properties, advice(MADV_NOHUGEPAGE)},
        property{"merging", foreign_reason::has_properties, advice(MADV_MERGEABLE)},
        property{"sequential_reading", foreign_reason::has_properties, advice(MADV_SEQUENTIAL)},
        property{"policy", foreign_reason::has_properties,
                 [](const pages& p) {
                     const unsigned long first_node = 1;
                     return ::syscall(SYS_mbind, p.data(), p.bytes().size(), MPOL_BIND, &first_node, 8UL, 0U) == 0;
                 }},
        property{"protection_key", foreign_reason::has_properties,
                 [](const pages& p) {
                     const int key = ::pkey_alloc(0, 0);
                     return key >= 0 && ::pkey_mprotect(p.data(), p.bytes().size(), PROT_READ | PROT_WRITE, key) == 0;
                 }},
        property{"code", foreign_reason::not_private,
                 [](const pages& p) {
                     return ::mprotect(p.data(), p.bytes().size(), PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
                 }},
        property{"read_only_part", foreign_reason::not_private,
                 [](const pages& p) { return ::mprotect(p.data() + 3 * page, page, PROT_READ) == 0; }},
        property{"shared_part", foreign_reason::not_private,
                 [](const pages& p) {
                     const bool made = ::mmap(p.data(), page, PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
                     fill(p.bytes(), 3);
                     return made;
                 }}),
    [](const auto& i) { return std::string(i.param.name); });

TEST(memory_with_code, runs_it_whatever_is_registered) {
    directory d;
    endpoint me(d.open());
    const pages memory(16 * page, PROT_READ | PROT_WRITE | PROT_EXEC);
    constexpr unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
    std::byte* const at = memory.data() + 64;                    // a sanitizer looks at what stands before a function
    std::memcpy(at, code, sizeof code);
    const auto f = reinterpret_cast<int (*)()>(at);
    for (const auto how : {vinic::adopt::no, vinic::adopt::safe, vinic::adopt::force}) {
        auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, {how}));
        EXPECT_EQ(f(), 42);
        must(region.close());
        EXPECT_EQ(f(), 42);
    }
}

TEST(forced_adoption, does_not_ask_for_properties) {
    directory d;
    endpoint me(d.open());
    const pages memory;
    ASSERT_EQ(::madvise(memory.data(), memory.bytes().size(), MADV_DONTDUMP), 0);
    fill(memory.bytes(), 3);
    auto region = must(me.domain.register_memory(memory.bytes(), vinic::access::all, {vinic::adopt::force}));
    EXPECT_EQ(region.backing(), vinic::backing::adopted);
    fill(memory.bytes(), 4);
    must(region.close());
    EXPECT_TRUE(matches(memory.bytes(), 4));
}

// -- threads --------------------------------------------------------------------------------------

struct thread_on_a_stack {
    explicit thread_on_a_stack(std::span<std::byte> stack) {
        pthread_attr_t a;
        ::pthread_attr_init(&a);
        require(::pthread_attr_setstack(&a, stack.data(), stack.size()) == 0, "a stack can be given");
        require(::pthread_create(
                    &id, &a,
                    [](void* me) -> void* {
                        auto* self = static_cast<thread_on_a_stack*>(me);
                        self->runs.store(true);
                        volatile int below = 0;  // on that stack
                        while (!self->end.load()) below = below + 1;
                        return nullptr;
                    },
                    this) == 0,
                "a thread can be made");
        ::pthread_attr_destroy(&a);
        while (!runs.load()) std::this_thread::yield();
    }
    ~thread_on_a_stack() {
        end.store(true);
        ::pthread_join(id, nullptr);
    }
    pthread_t id{};
    std::atomic<bool> runs = false;
    std::atomic<bool> end = false;
};

TEST(memory_with_a_thread, stays_foreign_and_the_thread_ends_as_ever) {
    directory d;
    endpoint me(d.open());
    const pages memory(256 * page);
    for (const std::size_t from : {0u, 100u, 192u}) {
        {
            const thread_on_a_stack t(memory.bytes().subspan(from * page, 64 * page));
            for (const auto how : {vinic::adopt::safe, vinic::adopt::force}) {
                for (const auto range : {memory.bytes(), memory.bytes().subspan(from * page, 8 * page)}) {
                    const auto region = must(me.domain.register_memory(range, but_for_atomics, {how}));
                    EXPECT_EQ(region.foreign_reason(), foreign_reason::holds_thread)
                        << vinic::name(region.foreign_reason());
                }
            }
        }
    }
    const auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    EXPECT_EQ(region.backing(), vinic::backing::adopted) << "nobody lives there any more";
}

TEST(memory_with_a_thread, that_came_after_its_adoption_is_given_back_when_the_thread_has_gone) {
    directory d;
    endpoint me(d.open());
    const pages memory(64 * page);
    fill(memory.bytes(), 5);
    auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    ASSERT_EQ(region.backing(), vinic::backing::adopted);
    {
        const thread_on_a_stack t(memory.bytes().subspan(32 * page));
        EXPECT_EQ(code_of(region.close()), vinic::errc::busy);
        EXPECT_TRUE(matches(memory.bytes().first(16 * page), 5)) << "nothing has changed";
    }
    must(region.close());
}

// -- who may hold on to pages ---------------------------------------------------------------------

class descriptor {
public:
    explicit descriptor(long fd) : fd_(static_cast<int>(fd)) {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (fd_ >= 0)
            ::close(fd_);
    }
    [[nodiscard]] bool is_open() const { return fd_ >= 0; }

private:
    int fd_;
};

struct holder {
    const char* name;
    std::function<long()> open;  ///< a descriptor, or -1 and errno
};
std::ostream& operator<<(std::ostream& out, const holder& h) { return out << h.name; }

class process_with : public testing::TestWithParam<holder> {};

TEST_P(process_with, something_that_may_hold_pages_moves_none) {
    directory d;
    endpoint me(d.open());
    const pages memory;
    {
        const descriptor open(GetParam().open());
        if (!open.is_open())
            GTEST_SKIP() << "errno " << errno;
        const auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
        EXPECT_EQ(region.foreign_reason(), foreign_reason::may_be_pinned) << vinic::name(region.foreign_reason());
    }
    fill(memory.bytes(), 7);
    auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    EXPECT_EQ(region.backing(), vinic::backing::adopted) << vinic::name(region.foreign_reason());
    {
        const descriptor open(GetParam().open());
        EXPECT_EQ(code_of(region.close()), vinic::errc::busy);
        EXPECT_TRUE(matches(memory.bytes(), 7));
    }
    must(region.close());
    EXPECT_TRUE(matches(memory.bytes(), 7));
}

INSTANTIATE_TEST_SUITE_P(
    holders, process_with,
    testing::Values(holder{"io_uring",
                           [] {
                               io_uring_params p{};
                               return ::syscall(SYS_io_uring_setup, 4, &p);
                           }},
                    holder{"packet_socket", [] { return static_cast<long>(::socket(AF_PACKET, SOCK_RAW, 0)); }},
                    holder{"xdp_socket", [] { return static_cast<long>(::socket(44 /* AF_XDP */, SOCK_RAW, 0)); }},
                    holder{"unknown_device", [] { return static_cast<long>(::open("/dev/net/tun", O_RDWR)); }}),
    [](const auto& i) { return std::string(i.param.name); });

TEST(process_with_an_aio_ring, moves_no_pages) {
    directory d;
    endpoint me(d.open());
    const pages memory;
    unsigned long ring = 0;
    if (::syscall(SYS_io_setup, 4, &ring) != 0)
        GTEST_SKIP() << "errno " << errno;
    {
        const auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
        EXPECT_EQ(region.foreign_reason(), foreign_reason::may_be_pinned) << vinic::name(region.foreign_reason());
    }
    ASSERT_EQ(::syscall(SYS_io_destroy, ring), 0);
    const auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    EXPECT_EQ(region.backing(), vinic::backing::adopted);
}

TEST(process_with_ordinary_descriptors, has_its_pages_adopted) {
    directory d;
    endpoint me(d.open());
    sigset_t none;
    ::sigemptyset(&none);
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const descriptor all[] = {descriptor(ends[0]),
                              descriptor(ends[1]),
                              descriptor(::open("/dev/null", O_RDWR)),
                              descriptor(::open("/dev/zero", O_RDWR)),
                              descriptor(::open("/dev/urandom", O_RDONLY)),
                              descriptor(::open("/dev/ptmx", O_RDWR | O_NOCTTY)),
                              descriptor(::open("/", O_RDONLY | O_DIRECTORY)),
                              descriptor(::open("/proc/self/exe", O_RDONLY)),
                              descriptor(::eventfd(0, 0)),
                              descriptor(::timerfd_create(CLOCK_MONOTONIC, 0)),
                              descriptor(::signalfd(-1, &none, 0)),
                              descriptor(::epoll_create1(0)),
                              descriptor(::memfd_create("x", 0)),
                              descriptor(::syscall(SYS_pidfd_open, ::getpid(), 0)),
                              descriptor(::socket(AF_UNIX, SOCK_STREAM, 0)),
                              descriptor(::socket(AF_INET, SOCK_DGRAM, 0)),
                              descriptor(::socket(AF_INET6, SOCK_STREAM, 0))};
    const pages memory;
    const auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    EXPECT_EQ(region.backing(), vinic::backing::adopted) << vinic::name(region.foreign_reason());
}

// -- other regions --------------------------------------------------------------------------------

TEST(overlapping, regions_of_any_nic_of_the_process_keep_pages_where_they_are) {
    directory d;
    endpoint me(d.open());
    endpoint other(d.open("shm:other"));
    const pages memory(32 * page);
    for (endpoint* of : {&me, &other}) {
        auto first = must(of->domain.register_memory(memory.bytes().subspan(31 * page - 5, 10), but_for_atomics));
        const auto region = must(me.domain.register_memory(memory.bytes().subspan(8 * page), but_for_atomics, safely));
        EXPECT_EQ(region.foreign_reason(), foreign_reason::overlapped) << vinic::name(region.foreign_reason());
        const auto beside = must(me.domain.register_memory(memory.bytes().first(8 * page), but_for_atomics, safely));
        EXPECT_EQ(beside.backing(), vinic::backing::adopted);
        must(first.close());
    }
}

TEST(overlapping, region_of_another_nic_holds_adopted_pages_until_it_closes) {
    directory d;
    endpoint me(d.open());
    endpoint other(d.open("shm:other"));
    const pages memory(32 * page);
    fill(memory.bytes(), 1);
    auto region = must(me.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    ASSERT_EQ(region.backing(), vinic::backing::adopted);
    auto second = must(other.domain.register_memory(memory.bytes(), but_for_atomics, safely));
    EXPECT_EQ(second.foreign_reason(), foreign_reason::overlapped);
    const auto closed = region.close();
    ASSERT_EQ(code_of(closed), vinic::errc::busy);
    EXPECT_NE(closed.error().message().find(vinic::describe(foreign_reason::overlapped)), std::string::npos);
    EXPECT_TRUE(matches(memory.bytes(), 1));
    must(second.close());
    must(region.close());
    EXPECT_TRUE(matches(memory.bytes(), 1));
}

}  // namespace
}  // namespace multi

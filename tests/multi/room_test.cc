// SPDX-License-Identifier: Apache-2.0
//
// room_test.cc -- how long a device's file is, and the addresses that it may grow into.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "abi/vi.hpp"
#include "multi/fixture.hpp"
#include "os/file.hpp"

namespace multi {
namespace {

namespace abi = vinic::abi;

constexpr std::uint64_t mib = 1 << 20;

std::uint64_t length_of(const directory& d) {
    struct stat s{};
    return ::stat(d.file().c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
}

std::uint64_t stored_in(const directory& d) {
    struct stat s{};
    return ::stat(d.file().c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.st_blocks) * 512 : 0;
}

/// What /proc/self/maps says about the device's mapping.
std::uint64_t mapped_bytes(const std::string& file) {
    std::ifstream maps("/proc/self/maps");
    std::uint64_t sum = 0;
    for (std::string line; std::getline(maps, line);) {
        unsigned long long begin = 0;
        unsigned long long end = 0;
        if (line.ends_with(file) && std::sscanf(line.c_str(), "%llx-%llx", &begin, &end) == 2) {
            sum += end - begin;
        }
    }
    return sum;
}

TEST(room, a_file_is_as_long_as_what_has_been_taken_and_others_reach_what_comes_later) {
    directory d;
    endpoint early(d.open());
    const std::uint64_t before = length_of(d);
    EXPECT_LT(before, (abi::first_chunk + 2) * abi::chunk_size);
    process late([&](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("late"));
        auto far = must(me.nic.allocate(300 * mib));
        auto region = must(me.domain.register_memory(far.bytes(), vinic::access::all));
        parent.say(to_words(region.remote(far.size() - 4096)));
        me.accept_from(listener);
        parent.hear("written");
        require(first_difference({far.data() + far.size() - 4096, 4096}, 5) == 4096, "the bytes have come");
    });
    const vinic::remote_address there = remote_from(late.hear());
    EXPECT_GE(length_of(d), before + 300 * mib);
    early.connect_to("late");
    fill(early.bytes(0, 4096), 5);
    must(early.vi.post_write(early.at(0, 4096), there, 1));
    EXPECT_EQ(early.next().status, vinic::status::success);
    late.say("written");
    EXPECT_EQ(late.exit_code(), 0);
}

TEST(room, the_span_is_said_by_who_makes_the_device_and_all_others_agree) {
    directory d;
    vinic::open_options small = d.options();
    small.span_bytes = 600 * mib;  // rounded up to whole chunks
    auto maker = must(vinic::nic::open("shm:test", small));
    const std::uint64_t span = 10 * abi::chunk_size;
    EXPECT_EQ(mapped_bytes(d.file()), span);
    process other([&](channel&) {
        require(::setenv("VINIC_SHM_SPAN", "32G", 1) == 0, "the environment can be set");
        auto nic = d.open();
        require(mapped_bytes(d.file()) == span, "the device's own span counts");
        auto first = must(nic.allocate(300 * mib));
        const auto second = nic.allocate(300 * mib);
        require(code_of(second) == vinic::errc::out_of_memory, "it ends there");
        require(second.error().message().contains("VINIC_SHM_SPAN"), "and says how to have more");
    });
    EXPECT_EQ(other.exit_code(), 0);
}

TEST(room, the_span_of_the_environment_is_read_with_its_unit_or_refused_by_name) {
    directory d;
    process child([&](channel&) {
        for (const auto& [said, bytes] :
             std::initializer_list<std::pair<const char*, std::uint64_t>>{{"16G", 16ULL << 30},
                                                                          {"1GiB", 1ULL << 30},
                                                                          {"768M", 768 * mib},
                                                                          {"1073741824", 1ULL << 30},
                                                                          {"", 0}}) {
            require(::setenv("VINIC_SHM_SPAN", said, 1) == 0, "the environment can be set");
            auto nic = d.open();
            require(bytes == 0 ? mapped_bytes(d.file()) >= abi::span_usual : mapped_bytes(d.file()) == bytes, said);
        }
        for (const char* said : {"1", "much", "16Q", "-1", "257G", "99999999999999999999", "17179869184G", "G"}) {
            require(::setenv("VINIC_SHM_SPAN", said, 1) == 0, "the environment can be set");
            const auto refused = vinic::nic::open("shm:test", d.options());
            require(code_of(refused) == vinic::errc::invalid_argument, said);
            require(refused.error().message().contains("VINIC_SHM_SPAN"), "named");
            require(!d.exists(), "nothing is left");
        }
    });
    EXPECT_EQ(child.exit_code(), 0);
}

/// Low-latency programs lock all their memory, before or after they open the device.
TEST(room, locking_all_memory_does_not_fill_the_file_system) {
    for (const bool before : {true, false}) {
        directory d;
        process child([&](channel&) {
            const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
            (void)::setrlimit(RLIMIT_MEMLOCK, &all);
            if (before && ::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
                return;  // not allowed here
            }
            endpoint me(d.open());
            if (before) {
                require(stored_in(d) < 16 * mib, "only what is used is there: " + std::to_string(stored_in(d)));
            } else if (::mlockall(MCL_CURRENT | MCL_FUTURE) == 0) {
                const std::uint64_t most = (abi::first_chunk + 2) * abi::chunk_size;
                require(stored_in(d) <= most, "no more than the tables and one chunk: " + std::to_string(stored_in(d)));
            }
            auto more = must(me.nic.allocate(4 * mib));
            std::memset(more.data(), 1, more.size());
        });
        EXPECT_EQ(child.exit_code(), 0);
    }
}

TEST(room, memory_that_is_locked_and_may_not_be_names_the_limit_and_the_span) {
    SKIP_UNLESS_ROOT();
    directory d;
    process child([&](channel&) {
        rlimit little{};
        (void)::getrlimit(RLIMIT_MEMLOCK, &little);
        little.rlim_max = std::min<rlim_t>(little.rlim_max, 256 * mib);
        little.rlim_cur = little.rlim_max;
        require(::setrlimit(RLIMIT_MEMLOCK, &little) == 0, "the limit can be set");
        require(::chmod(d.path().c_str(), 01777) == 0, "the mode can be set");
        become(65533, 65533);
        void* much = ::mlockall(MCL_FUTURE) == 0
                         ? ::mmap(nullptr, 1ULL << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                         : nullptr;
        if (much != MAP_FAILED) {
            return;  // not allowed here, or a sanitizer that locks nothing
        }
        const auto nic = vinic::nic::open("shm:test", d.options());
        require(code_of(nic) == vinic::errc::out_of_memory && nic.error().os_errno == EAGAIN, "EAGAIN is told");
        for (const char* word : {"mlockall", "ulimit -l", "VINIC_SHM_SPAN"}) {
            require(nic.error().message().contains(word), nic.error().message());
        }
    });
    EXPECT_EQ(child.exit_code(), 0);
}

/// A timer's signals come faster than the kernel takes so much at once.
TEST(room, storage_is_taken_although_signals_come_all_the_time) {
    directory d;
    process child([&](channel&) {
        struct sigaction count{};
        count.sa_handler = [](int) {};
        require(::sigaction(SIGALRM, &count, nullptr) == 0, "a handler can be set");
        const itimerval often{{0, 300}, {0, 300}};
        auto nic = d.open();
        require(::setitimer(ITIMER_REAL, &often, nullptr) == 0, "a timer can be set");
        auto buffer = must(nic.allocate(128 * mib));
        require(buffer.size() == 128 * mib, "all of it");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

/// What the system refuses is not called a lack of room, nor another user's.
TEST(room, a_refused_descriptor_is_told_as_what_it_is) {
    directory d;
    process child([&](channel&) {
        auto nic = d.open();
        for (int fd = 3; fd < 1024; ++fd) {
            ::close(fd);  // as daemons do
        }
        const auto refused = nic.allocate(mib);
        require(code_of(refused) == vinic::errc::os_failure && refused.error().os_errno == EBADF, "EBADF is told");
        require(refused.error().message().contains("closed by somebody else"), refused.error().message());
        ::_exit(0);  // the handle is broken
    });
    EXPECT_EQ(child.exit_code(), 0);
    d.leftovers_expected();
}

}  // namespace
}  // namespace multi

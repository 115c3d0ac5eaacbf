// SPDX-License-Identifier: Apache-2.0
//
// fork_limits_test.cc -- parent and child never share memory, whatever cannot be had at the fork.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "multi/fixture.hpp"

namespace multi {
namespace {

/// What a child does to memory of its parent's must not reach it, whatever the process has run out of.
enum class shortage { none, descriptors, address_space, data };

class forked_child_short_of : public testing::TestWithParam<shortage> {};

void run_short_of(shortage what) {
    rlimit l{};
    switch (what) {
        case shortage::none:
            return;
        case shortage::descriptors:
            l.rlim_cur = l.rlim_max = 64;
            ::setrlimit(RLIMIT_NOFILE, &l);
            while (::open("/dev/null", O_RDONLY) >= 0) {
            }
            return;
        case shortage::address_space:
            ::getrlimit(RLIMIT_AS, &l);
            l.rlim_cur = 1 << 20;
            ::setrlimit(RLIMIT_AS, &l);
            return;
        case shortage::data:  // as where the kernel does not overcommit: what can be written to is charged
            ::getrlimit(RLIMIT_DATA, &l);
            l.rlim_cur = std::uint64_t{1} << 30;
            ::setrlimit(RLIMIT_DATA, &l);
            return;
    }
}

TEST_P(forked_child_short_of, something_changes_nothing_of_its_parents) {
    if (tests::address_sanitized && GetParam() == shortage::data)
        GTEST_SKIP() << "the address sanitizer needs memory of its own";
    directory d;
    process parent([&](channel&) {
        endpoint me(d.open());
        const std::span<std::byte> memory = map_pages(1 << 20);
        fill(memory, 1);
        fill(me.buffer.bytes(), 2);
        auto region = must(me.domain.register_memory(memory, vinic::access::all, {vinic::adopt::safe}));
        require(region.backing() == vinic::backing::adopted, "it is adopted");
        run_short_of(GetParam());
        for (std::byte* const target : {memory.data(), memory.data() + 100 * 4096, me.buffer.data()}) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                ::signal(SIGSEGV, SIG_DFL);
                std::fill_n(target, 4096, std::byte{0x11});  // or the end of this child
                ::_exit(0);
            }
            int status = 0;
            require(::waitpid(pid, &status, 0) == pid, "the child ends");
            require(GetParam() == shortage::address_space || GetParam() == shortage::data ||
                        (WIFEXITED(status) && WEXITSTATUS(status) == 0),
                    "with enough of everything it can write there");
        }
        require(first_difference(memory, 1) == memory.size(), "adopted memory is as it was");
        require(first_difference(me.buffer.bytes(), 2) == me.buffer.size(), "and a buffer");
        const pid_t pid = ::fork();
        if (pid == 0) {
            const bool dead = code_of(me.nic.create_domain()) == vinic::errc::forked &&
                              me.vi.post_send(me.at(0, 8), 1) == vinic::errc::forked;
            ::_exit(dead || GetParam() == shortage::address_space ? 0 : 1);
        }
        int status = 0;
        require(::waitpid(pid, &status, 0) == pid, "the child ends");
        require(GetParam() == shortage::address_space || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
                "its handles are dead");
        rlimit l{};
        ::getrlimit(RLIMIT_AS, &l);
        l.rlim_cur = l.rlim_max;
        ::setrlimit(RLIMIT_AS, &l);
    });
    EXPECT_EQ(parent.exit_code(), 0);
}

std::string name_of(const testing::TestParamInfo<shortage>& what) {
    constexpr const char* names[] = {"nothing", "descriptors", "address_space", "data"};
    return names[static_cast<std::size_t>(what.param)];
}
INSTANTIATE_TEST_SUITE_P(limits, forked_child_short_of,
                         testing::Values(shortage::none, shortage::descriptors, shortage::address_space,
                                         shortage::data),
                         name_of);

}  // namespace
}  // namespace multi

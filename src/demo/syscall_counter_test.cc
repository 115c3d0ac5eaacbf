// SPDX-License-Identifier: Apache-2.0
//
// syscall_counter_test.cc -- the counter behind the demonstration's table counts what was called, all of it
// and nothing else.
#include "syscall_counter.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <thread>

namespace {

// A child that waits for a byte, runs `work`, and ends.
template <class Work>
int start_child(int go, Work work) {
    const pid_t child = fork();
    if (child == 0) {
        char byte = 0;
        (void)!read(go, &byte, 1);
        work();
        _exit(0);
    }
    return child;
}

void call(int count) {
    for (int i = 0; i < count; ++i) {
        syscall(SYS_getppid);
    }
}

template <class First, class Second>
std::vector<demo::syscall_counts> count_both(First first, Second second) {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe(ends.data()), 0);
    const std::vector<int> children = {start_child(ends[0], first), start_child(ends[0], second)};
    std::vector<demo::syscall_counts> counts;
    {
        demo::syscall_counter counter(children);
        EXPECT_EQ(write(ends[1], "..", 2), 2);
        if (counter.refusal().empty()) {
            counts = counter.finish();
        }
    }
    for (int child : children) {
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status));
    }
    close(ends[0]);
    close(ends[1]);
    return counts;
}

}  // namespace

TEST(syscall_counter, counts_every_call_between_the_marks_and_none_outside) {
    const auto counts = count_both(
        [] {
            call(5);
            demo::mark_begin();
            call(1000);
            demo::mark_end();
            call(5);
        },
        [] {
            demo::mark_begin();
            demo::mark_end();
            call(5);
        });
    if (counts.empty()) {
        GTEST_SKIP() << "this machine does not let a parent trace its children";
    }
    EXPECT_EQ(counts[0], (demo::syscall_counts{{SYS_getppid, 1000}}));
    EXPECT_EQ(counts[1], demo::syscall_counts{});
}

TEST(syscall_counter, counts_the_calls_of_threads_that_start_in_between) {
    const auto work = [](int calls) {
        demo::mark_begin();
        std::thread other(call, calls);
        other.join();
        demo::mark_end();
    };
    const auto counts = count_both([&] { work(0); }, [&] { work(700); });
    if (counts.empty()) {
        GTEST_SKIP() << "this machine does not let a parent trace its children";
    }
    EXPECT_EQ(counts[0].count(SYS_getppid), 0u);
    EXPECT_EQ(counts[1].at(SYS_getppid), 700u);
}

TEST(syscall_counter, tells_calls_by_name_or_number) {
    EXPECT_EQ(demo::in_words({{SYS_read, 3}, {SYS_fcntl, 1}}), "read 3, fcntl 1");
    EXPECT_EQ(demo::in_words({{99999, 2}}), "number 99999 2");
    EXPECT_EQ(demo::total({{SYS_read, 3}, {SYS_fcntl, 1}}), 4u);
}

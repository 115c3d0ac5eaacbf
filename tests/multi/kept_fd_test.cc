// SPDX-License-Identifier: Apache-2.0
//
// kept_fd_test.cc -- a descriptor that the library keeps is told from what the program has under its number.
#include "os/kept_fd.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>

#include "multi/fixture.hpp"

namespace multi {
namespace {

using vinic::os::kept_fd;

int open_null() { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }
int open_event() { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

void limit_numbers(rlim_t most) {
    rlimit l{};
    require(::getrlimit(RLIMIT_NOFILE, &l) == 0, "the limit can be read");
    l.rlim_cur = most;
    require(::setrlimit(RLIMIT_NOFILE, &l) == 0, "the limit can be set");
}

/// Under number `at`, which is closed before if it is open.
void put(int fd, int at) {
    require(fd >= 0 && ::dup2(fd, at) == at, "the program takes the number");
    ::close(fd);
}

TEST(kept_descriptor, has_a_high_number_and_is_closed_at_the_end) {
    process child([&](channel&) {
        limit_numbers(1024);
        int number = -1;
        {
            kept_fd kept;
            kept.reset(open_null());
            number = kept.get();
            require(number >= 512, "it is out of the way");
            require(::fcntl(number, F_GETFD) == FD_CLOEXEC, "no program that is executed gets it");
            kept.reset(open_event());
            require(kept.get() >= 0, "another one is kept");
            kept.reset(open_event(), kept_fd::number_is::as_it_came);
            require(kept.get() < 512 && kept.get() > 2, "what the program is given stays low");
            kept.reset(open_null());
        }
        require(!is_open(number), "it is closed");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(kept_descriptor, where_few_numbers_are_left_takes_what_there_is) {
    process child([&](channel&) {
        limit_numbers(64);
        kept_fd kept;
        kept.reset(open_null());
        require(kept.get() >= 32, "half of them are the program's");
        int last = -1;
        for (int fd = open_null(); fd >= 0; fd = open_null()) {
            last = fd;
        }
        ::close(last);
        kept_fd other;
        other.reset(open_null());
        require(other.get() == last, "the last one is better than none");
        ::close(STDIN_FILENO);
        kept_fd none;
        none.reset(open_null());
        require(errno == EMFILE && !none && none.get() < 0, "but for a standard stream's");
        require(!is_open(STDIN_FILENO), "which stays free");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(kept_descriptor, whose_number_is_another_files_is_none_and_leaves_that_alone) {
    for (int (*const open_ours)() : {open_null, open_event}) {
        for (int (*const open_theirs)() : {open_null, open_event}) {  // the same file, too, opened another time
            kept_fd kept;
            kept.reset(open_ours());
            const int number = kept.get();
            put(open_theirs(), number);
            errno = 7;
            EXPECT_EQ(kept.get(), -1);
            EXPECT_EQ(errno, 7);
            EXPECT_TRUE(kept) << "there was one";
            kept.reset(open_event());
            EXPECT_TRUE(is_open(number));
            EXPECT_GE(kept.get(), 0);
            ::close(number);
        }
    }
}

TEST(kept_descriptor, that_was_closed_is_none_and_the_next_one_of_ours_is_not_taken_for_it) {
    kept_fd first;
    first.reset(open_event());
    const int number = first.get();
    ::close(number);
    EXPECT_EQ(first.get(), -1);
    kept_fd second;
    second.reset(open_event());
    ASSERT_EQ(second.get(), number) << "it is the lowest that is free";
    EXPECT_EQ(first.get(), -1);
    first.reset();
    EXPECT_EQ(second.get(), number);
}

/// Event descriptors of a function are one open file for all who have them.
TEST(kept_descriptor, may_be_an_open_file_that_others_keep_too) {
    const int event = open_event();
    kept_fd first;
    kept_fd second;
    first.reset(::fcntl(event, F_DUPFD_CLOEXEC, 3));
    second.reset(::fcntl(event, F_DUPFD_CLOEXEC, 3));
    ::close(event);
    EXPECT_GE(first.get(), 0);
    EXPECT_GE(second.get(), 0);
    first.reset();
    EXPECT_GE(second.get(), 0);
}

TEST(kept_descriptor, that_could_not_be_opened_keeps_the_reason) {
    kept_fd kept;
    kept.reset(open_null());
    kept.reset(::open("/nonexistent", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(errno, ENOENT);
    EXPECT_FALSE(kept);
    EXPECT_EQ(kept.get(), -1);
}

}  // namespace
}  // namespace multi

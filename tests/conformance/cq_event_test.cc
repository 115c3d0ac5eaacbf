// SPDX-License-Identifier: Apache-2.0
//
// cq_event_test.cc -- the file descriptor of a completion queue in epoll, and arming it without a lost wake-up.
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;

/// An epoll set with one descriptor.
class watch {
public:
    explicit watch(int fd) : set_(::epoll_create1(EPOLL_CLOEXEC)) { add(fd, 0); }
    watch(watch&&) = delete;
    ~watch() { ::close(set_); }
    void add(int fd, std::uint64_t tag) {
        epoll_event event = {};
        event.events = EPOLLIN;
        event.data.u64 = tag;
        if (::epoll_ctl(set_, EPOLL_CTL_ADD, fd, &event) != 0)
            throw std::runtime_error("epoll_ctl failed");
    }
    /// Whether a descriptor becomes readable in time; `tag` says which.
    bool readable(std::chrono::milliseconds limit, std::uint64_t* tag = nullptr) {
        epoll_event event = {};
        const int count = ::epoll_wait(set_, &event, 1, static_cast<int>(limit.count()));
        if (count == 1 && tag != nullptr)
            *tag = event.data.u64;
        return count == 1;
    }

private:
    int set_;
};

class cq_descriptor : public with_handles {
protected:
    void message(std::uint64_t cookie) {
        ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), cookie), errc::ok);
        ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 8), cookie, vinic::send_flag::none), errc::ok);
        ASSERT_EQ(next(linked.left.sends).cookie, cookie);
    }
    /// Arms the queue after a poll that found nothing, as a program does before it sleeps.
    void arm_empty() {
        vinic::completion done;
        ASSERT_EQ(cq.poll({&done, 1}), 0u);
        ASSERT_TRUE(must(cq.arm())) << "nothing waits, so the queue can be armed";
    }
    pair linked{{}, GetParam()};
    vinic::completion_queue& cq = linked.right.receives;
};

TEST_P(cq_descriptor, is_the_same_at_every_call) {
    const int fd = must(cq.fd());
    EXPECT_GE(fd, 0);
    EXPECT_EQ(must(cq.fd()), fd);
    EXPECT_NE(must(linked.left.receives.fd()), fd);
}

TEST_P(cq_descriptor, becomes_readable_when_an_armed_queue_gets_a_completion) {
    watch epoll(must(cq.fd()));
    arm_empty();
    EXPECT_FALSE(epoll.readable(quiet_time));
    message(1);
    EXPECT_TRUE(epoll.readable(patience));
    EXPECT_EQ(next(cq).cookie, 1u);
}

TEST_P(cq_descriptor, stays_readable_until_it_is_armed_again) {
    watch epoll(must(cq.fd()));
    arm_empty();
    message(1);
    ASSERT_TRUE(epoll.readable(patience));
    EXPECT_TRUE(epoll.readable(0ms)) << "nothing has cleared it";
    EXPECT_EQ(next(cq).cookie, 1u);
    arm_empty();
    EXPECT_FALSE(epoll.readable(quiet_time)) << "arming clears it";
    message(2);
    EXPECT_TRUE(epoll.readable(patience));
    EXPECT_EQ(next(cq).cookie, 2u);
}

TEST_P(cq_descriptor, is_not_armed_while_completions_wait) {
    watch epoll(must(cq.fd()));
    message(1);
    EXPECT_FALSE(must(cq.arm())) << "one is waiting already: poll first";
    EXPECT_EQ(next(cq).cookie, 1u);
    arm_empty();
}

TEST_P(cq_descriptor, tells_of_flushed_descriptors_too) {
    watch epoll(must(cq.fd()));
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    arm_empty();
    must(linked.left.vi.disconnect());
    EXPECT_TRUE(epoll.readable(patience));
    EXPECT_EQ(next(cq).status, vinic::status::flushed);
}

TEST_P(cq_descriptor, watches_many_queues_in_one_set) {
    pair more({}, GetParam());
    watch epoll(must(cq.fd()));
    epoll.add(must(more.right.receives.fd()), 1);
    arm_empty();
    ASSERT_TRUE(must(more.right.receives.arm()));
    ASSERT_EQ(more.right.vi.post_receive(more.right.at(0, 8), 5), errc::ok);
    ASSERT_EQ(more.left.vi.post_send(more.left.at(0, 8), 5), errc::ok);
    std::uint64_t tag = 99;
    ASSERT_TRUE(epoll.readable(patience, &tag));
    EXPECT_EQ(tag, 1u);
    EXPECT_EQ(next(more.right.receives).cookie, 5u);
    message(6);
    EXPECT_EQ(next(cq).cookie, 6u);
}

TEST_P(cq_descriptor, never_misses_a_message_between_arming_and_sleeping) {
    // The receiver does what the header says: poll until empty, arm, sleep only if arm() says so.  A lost wake-up
    // leaves it asleep with a message in the queue.
    constexpr std::uint64_t messages = 5000;
    for (std::uint64_t i = 0; i < 32; ++i) ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), i), errc::ok);
    auto receiver = in_thread([&]() -> std::uint64_t {
        watch epoll(must(cq.fd()));
        std::uint64_t received = 0;
        while (received < messages) {
            vinic::completion done[8];
            const std::size_t count = cq.poll(done);
            for (std::size_t k = 0; k < count; ++k) {
                if (done[k].cookie != received)
                    return received;
                ++received;
                if (received + 31 < messages &&
                    linked.right.vi.post_receive(linked.right.at(0, 8), received + 31) != errc::ok)
                    return received;
            }
            if (count == 0 && received < messages && must(cq.arm()) && !epoll.readable(patience))
                return received;
        }
        return received;
    });
    for (std::uint64_t i = 0; i < messages; ++i) {
        if (linked.left.vi.post_send(linked.left.at(0, 8), i) != errc::ok)
            break;
        ASSERT_EQ(next(linked.left.sends).cookie, i);
        if (i % 64 == 0)
            std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(receiver.get(), messages);
}

TEST_P(cq_descriptor, is_closed_with_its_queue) {
    vinic::nic nic = open_device();
    auto own = must(nic.create_completion_queue());
    const int fd = must(own.fd());
    ASSERT_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC) << "children must not inherit it";
    must(own.close());
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

CONFORMANCE_BOTH_WAYS(cq_descriptor);

}  // namespace
}  // namespace conformance

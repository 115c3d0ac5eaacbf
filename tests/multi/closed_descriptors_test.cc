// SPDX-License-Identifier: Apache-2.0
//
// closed_descriptors_test.cc -- programs that close descriptors which the library has opened: nothing of theirs that
// gets the numbers is touched, what cannot go on says so, and memory keeps what it holds.
#include <poll.h>
#include <sys/resource.h>

#include <cstring>
#include <optional>

#include "multi/adopted.hpp"
#include "multi/fixture.hpp"
#include "multi/own_files.hpp"

namespace multi {
namespace {

constexpr std::size_t adopted_bytes = 256 * page;
constexpr const char* the_cure = "closed by somebody else in this process";

/// Two VIs of one process, connected.
struct connected_pair {
    explicit connected_pair(const directory& d) : left(d.open()), right(d.open()) {
        auto listener = must(right.nic.listen("right"));
        std::jthread accepts([&] { right.accept_from(listener); });
        left.connect_to("right");
    }
    void exchange() {
        must(right.vi.post_receive(right.at(0, 64), 1));
        must(left.vi.post_send(left.at(0, 64), 2));
        require(right.next().status == vinic::status::success && left.next().status == vinic::status::success,
                "a message arrives");
    }
    endpoint left;
    endpoint right;
};

/// A queue may say that something waits when all has been taken already: then poll, and ask anew.
void arm(endpoint& e) {
    vinic::completion none[1];
    require(comes_true([&] { return must(e.cq.arm()) || e.cq.poll(none) != 0; }), "it is armed or has something");
}

/// All that a nic does with descriptors.
void use_everything(connected_pair& p, vinic::buffer& buffer) {
    // A doorbell is not looked at each time before it is rung; by now whoever has lost its device finds that.
    std::this_thread::sleep_for(25ms);
    (void)p.left.domain.create_vi(p.left.attributes());
    (void)p.right.domain.create_vi(p.right.attributes());
    (void)p.right.vi.post_receive(p.right.at(0, 64), 1);
    (void)p.left.vi.post_send(p.left.at(0, 64), 2);
    (void)p.left.cq.arm();
    buffer = vinic::buffer{};
    const auto refused = p.left.nic.allocate(8 << 20);
    require(code_of(refused) == vinic::errc::os_failure && refused.error().os_errno == EBADF, "there is no more room");
    require(refused.error().message().contains(the_cure), refused.error().message());
    (void)p.left.nic.create_completion_queue();
    (void)p.left.nic.listen("another");
    vinic::completion done[4];
    const auto end = steady::now() + 100ms;
    while (steady::now() < end) {
        (void)p.left.cq.poll(done);
        (void)p.right.cq.poll(done);
        std::this_thread::sleep_for(1ms);
    }
}

class closed_descriptors : public testing::TestWithParam<own_files::kind> {};

TEST_P(closed_descriptors, whose_numbers_are_the_programs_by_now_do_it_no_harm) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        std::optional<own_files> own;
        {
            connected_pair p(d);
            p.exchange();
            const auto memory = map_pages(adopted_bytes);
            auto region = adopt(p.left, memory, 1);
            must(p.left.cq.fd());
            must(p.left.cq.arm());
            auto buffer = must(p.left.nic.allocate(16 << 20));
            std::memset(buffer.data(), 1, buffer.size());
            own.emplace(before, GetParam(), d.path());
            use_everything(p, buffer);
            own->require_untouched();
        }
        own->require_untouched();
    });
    EXPECT_EQ(child.exit_code(), 0);
    d.leftovers_expected();  // without a descriptor the file cannot be looked at before it is removed
}

TEST_P(closed_descriptors, leave_adopted_pages_what_they_hold_and_give_them_back) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        endpoint me(d.open());
        const auto memory = map_pages(adopted_bytes);
        auto region = adopt(me, memory, 1);
        const own_files own(before, GetParam(), d.path());
        require(first_difference(memory, 1) == memory.size(), "nothing has changed");
        must(region.close());
        require(first_difference(memory, 1) == memory.size(), "the contents come back");
        fill(memory, 2);
        const auto other = me.domain.register_memory(map_pages(adopted_bytes), vinic::access::none, safely);
        require(d.is_isolated() ? code_of(other) == vinic::errc::peer_gone
                                : other && other->foreign_reason() == vinic::foreign_reason::cannot_look,
                "nothing moves where nothing can go");
        require(first_difference(memory, 2) == memory.size(), "it is the program's own");
        own.require_untouched();
    });
    EXPECT_EQ(child.exit_code(), 0);
    d.leftovers_expected();
}

INSTANTIATE_TEST_SUITE_P(numbers, closed_descriptors,
                         testing::Values(own_files::kind::files, own_files::kind::event_descriptors),
                         [](const auto& of) { return of.param == own_files::kind::files ? "regular" : "events"; });

/// The bad twin: what cannot be opened again says so, and the pages hold what they held.
TEST(closed_descriptors_of_adoption, that_cannot_be_opened_again_leave_the_pages_where_they_are) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        endpoint me(d.open());
        const auto memory = map_pages(adopted_bytes);
        auto region = adopt(me, memory, 1);
        close_others(before);
        take_all_descriptors();
        const auto closed = region.close();
        require(code_of(closed) == vinic::errc::busy, "they cannot be given back");
        require(first_difference(memory, 1) == memory.size(), "nothing has changed");
        rlimit more{};
        require(::getrlimit(RLIMIT_NOFILE, &more) == 0, "the limit can be read");
        more.rlim_cur = more.rlim_max;
        require(::setrlimit(RLIMIT_NOFILE, &more) == 0, "the limit can be set");
        must(region.close());
        require(first_difference(memory, 1) == memory.size(), "the contents come back");
    });
    EXPECT_EQ(child.exit_code(), 0);
    d.leftovers_expected();
}

/// "Open the device anew", says the error.
TEST(closed_descriptors_of_a_nic, do_not_end_the_one_that_is_opened_after_it) {
    directory d;
    process child([&](channel&) {
        const auto before = open_numbers();
        auto old = std::make_unique<connected_pair>(d);
        must(old->left.cq.fd());
        close_others(before);
        connected_pair anew(d);
        const int event = must(anew.left.cq.fd());
        old.reset();
        anew.exchange();
        auto buffer = must(anew.left.nic.allocate(1 << 20));
        auto vi = must(anew.right.domain.create_vi(anew.right.attributes()));
        arm(anew.left);
        must(anew.left.vi.post_receive(anew.left.at(0, 64), 1));
        must(anew.right.vi.post_send(anew.right.at(0, 64), 2));
        pollfd look{event, POLLIN, 0};
        require(::poll(&look, 1, 10'000) == 1, "its descriptors are its own");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(closed_descriptor_of_a_queue, is_nobodys_until_the_program_asks_for_another) {
    directory d;
    connected_pair p(d);
    const int event = must(p.left.cq.fd());
    EXPECT_LT(event, 512) << "select(2) takes it";
    arm(p.left);
    const int own = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT_EQ(::dup2(own, event), event);
    must(p.left.vi.post_receive(p.left.at(0, 64), 1));
    must(p.right.vi.post_send(p.right.at(0, 64), 2));
    EXPECT_EQ(p.left.next().status, vinic::status::success);
    std::this_thread::sleep_for(100ms);
    std::uint64_t count = 0;
    EXPECT_LT(::read(event, &count, sizeof count), 0) << "nobody writes to the program's descriptor";
    const auto refused = p.left.cq.arm();
    EXPECT_EQ(code_of(refused), vinic::errc::os_failure);
    EXPECT_EQ(refused.error().os_errno, EBADF);
    EXPECT_TRUE(refused.error().message().contains("fd() makes another one")) << refused.error().message();

    const int another = must(p.left.cq.fd());
    EXPECT_NE(another, event);
    EXPECT_EQ(must(p.left.cq.fd()), another);
    arm(p.left);
    must(p.left.vi.post_receive(p.left.at(0, 64), 3));
    must(p.right.vi.post_send(p.right.at(0, 64), 4));
    pollfd look{another, POLLIN, 0};
    EXPECT_EQ(::poll(&look, 1, 10'000), 1);
    EXPECT_EQ(p.left.next().status, vinic::status::success);
    ::close(own);
    ::close(event);
}

TEST(descriptors_of_a_nic, are_out_of_the_programs_way) {
    directory d;
    process child([&](channel&) {
        rlimit l{};
        require(::getrlimit(RLIMIT_NOFILE, &l) == 0, "the limit can be read");
        l.rlim_cur = 1024;
        require(::setrlimit(RLIMIT_NOFILE, &l) == 0, "the limit can be set");
        const auto before = open_numbers();
        endpoint me(d.open());
        const auto memory = map_pages(adopted_bytes);
        auto region = adopt(me, memory, 1);
        for (const int number : open_numbers()) {
            require(before.contains(number) || number >= 512, "number " + std::to_string(number) + " is a high one");
        }
        must(region.close());
    });
    EXPECT_EQ(child.exit_code(), 0);
}

}  // namespace
}  // namespace multi

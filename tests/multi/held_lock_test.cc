// SPDX-License-Identifier: Apache-2.0
//
// held_lock_test.cc -- a neighbour is stopped while it holds the control plane's lock, or in the middle of opening the
// device: nobody waits for it without end.
//
// A wait that never ends shows as the test's time-out; how long one takes is not judged.
#include <fcntl.h>

#include <array>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "direct/device_file.hpp"
#include "direct/opening.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

namespace tables = vinic::tables;

/// A process that holds the lock while it is stopped.
class sitter {
public:
    explicit sitter(const directory& d)
        : process_([&d](channel& parent) {
              const auto m =
                  must(vinic::direct::device_file::open("shm:test", d.options(), tables::memory::role::participant));
              parent.say("open");
              while (parent.hear() == "take") {
                  std::optional<tables::control_lock> lock(std::in_place, *m);
                  require(static_cast<bool>(*lock), "it can be had");
                  parent.say("taken");
                  parent.hear("give");
                  lock.reset();
                  parent.say("given");
              }
          }) {
        process_.hear("open");
    }
    sitter(const sitter&) = delete;
    sitter& operator=(const sitter&) = delete;
    ~sitter() {
        if (alive_) {
            process_.say("leave");
            EXPECT_EQ(process_.exit_code(), 0);
        }
    }
    void take() {
        process_.say("take");
        process_.hear("taken");
        process_.stop();
    }
    void give() {
        process_.go_on();
        process_.say("give");
        process_.hear("given");
    }
    void die() {
        alive_ = false;
        process_.kill_now();
    }
    [[nodiscard]] std::string pid() const { return std::to_string(process_.pid()); }

private:
    process process_;
    bool alive_ = true;
};

#define EXPECT_TELLS(outcome, expected)                                                  \
    {                                                                                    \
        const auto told = (outcome);                                                     \
        EXPECT_EQ(code_of(told), expected);                                              \
        EXPECT_TRUE(told || told.error().message().contains("process " + s.pid()))       \
            << "the message names the holder: " << (told ? "" : told.error().message()); \
    }

TEST(held_lock, ends_every_call_that_has_a_time_out_with_the_holders_number) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("server"));
    auto other = me.another_vi();
    s.take();
    EXPECT_TELLS(me.vi.connect("server", 100ms), vinic::errc::timed_out);
    EXPECT_TELLS(listener.wait(100ms), vinic::errc::timed_out);
    EXPECT_TELLS(other.connect_peer("a", "b", 100ms), vinic::errc::timed_out);
    std::array<vinic::completion, 1> done;
    EXPECT_EQ(must(me.cq.wait(done, 50ms)), 0u);
    s.give();
    // Nothing has changed: all of it can be done now.
    EXPECT_EQ(code_of(listener.wait(0ms)), vinic::errc::timed_out);
    must(other.connect_peer("a", "b", 1s));
    EXPECT_EQ(code_of(me.vi.connect("nobody", 1s)), vinic::errc::no_listener);
}

/// To a listener that takes no request: it is in the table when its time ends, and the lock is held then.
void let_connect_end(endpoint& me, sitter& s, const directory& d) {
    std::thread connecting([&] { EXPECT_TELLS(me.vi.connect("server", 1500ms), vinic::errc::timed_out); });
    EXPECT_TRUE(comes_true([&] { return count(d).requests == 1; }));
    s.take();
    connecting.join();
}

/// The request is in the table when its time ends, and cannot be taken back at that moment.
TEST(held_lock, ends_a_connect_that_waits_already_and_the_next_one_takes_the_request_back) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("server"));
    let_connect_end(me, s, d);
    EXPECT_TELLS(me.vi.connect("server", 100ms), vinic::errc::timed_out);
    s.give();
    EXPECT_EQ(code_of(me.vi.connect("nobody", 1s)), vinic::errc::no_listener);
    EXPECT_EQ(count(d).requests, 0u);
    EXPECT_EQ(code_of(listener.wait(0ms)), vinic::errc::timed_out);
    // Answered late: then it is connected to somebody, and says so.
    std::thread again([&] { EXPECT_TELLS(me.vi.connect("server", 1500ms), vinic::errc::timed_out); });
    auto request = must(listener.wait(20s));
    s.take();
    again.join();
    s.give();
    auto other = me.another_vi();
    must(request.accept(other));
    EXPECT_EQ(code_of(me.vi.connect("nobody", 1s)), vinic::errc::invalid_state);
    must(me.vi.disconnect());
    EXPECT_EQ(code_of(me.vi.connect("nobody", 1s)), vinic::errc::no_listener);
}

/// A call that returned has left nothing behind: whatever wants the VI idle next finds it so.
TEST(held_lock, of_a_neighbour_leaves_a_vi_idle_whose_connect_ended_meanwhile) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("server"));
    auto elsewhere = must(me.nic.create_domain());
    const auto end_late = [&](bool rejected) {
        std::thread connecting([&] { EXPECT_TELLS(me.vi.connect("server", 1500ms), vinic::errc::timed_out); });
        auto request = must(listener.wait(20s));
        s.take();
        connecting.join();
        EXPECT_EQ(me.vi.state(), vinic::vi_state::connecting) << "the request is in the table still";
        s.give();
        if (rejected) {
            must(request.reject());
        }
    };
    end_late(false);
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
    end_late(true);
    EXPECT_EQ(me.vi.state(), vinic::vi_state::idle);
    end_late(true);
    must(me.vi.set_attributes(me.attributes()));
    end_late(false);
    must(me.vi.set_domain(elsewhere));
    must(me.vi.set_domain(me.domain));
    end_late(true);
    auto other = me.another_vi();
    std::thread connecting([&] { must(other.connect("server", 20s)); });
    me.accept_from(listener);
    connecting.join();
    EXPECT_EQ(me.vi.state(), vinic::vi_state::connected);
    EXPECT_EQ(count(d).requests, 0u);
}

TEST(held_lock, of_a_neighbour_that_dies_leaves_a_vi_idle_whose_connect_ended_meanwhile) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    auto listener = must(me.nic.listen("server"));
    let_connect_end(me, s, d);
    s.die();
    EXPECT_TRUE(comes_true([&] { return me.vi.state() == vinic::vi_state::idle; })) << "and nobody polls meanwhile";
}

/// Its outcome is taken later; the one after it has nothing to take back.
TEST(held_lock, ends_a_wait_for_a_peer_whose_answer_is_taken_late_and_the_next_attempt_is_a_new_one) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    auto attributes = me.attributes();
    attributes.transfer_bytes_max = 4096;
    auto other = must(me.domain.create_vi(attributes));
    must(me.vi.connect_peer("a", "b", 1500ms));
    std::thread waiting([&] { EXPECT_TELLS(me.vi.connect_peer_wait(), vinic::errc::timed_out); });
    std::this_thread::sleep_for(100ms);
    s.take();
    waiting.join();
    s.give();
    must(other.connect_peer("b", "a", 1s));
    EXPECT_EQ(code_of(other.connect_peer_wait()), vinic::errc::attribute_mismatch);
    EXPECT_EQ(code_of(me.vi.connect_peer_done()), vinic::errc::attribute_mismatch);
    EXPECT_EQ(code_of(me.vi.connect("nobody", 1s)), vinic::errc::no_listener);
    EXPECT_EQ(count(d).requests, 0u);
}

/// Somebody who has only looked in passing must not make others impatient with an honest holder.
TEST(held_lock, that_was_not_waited_for_is_waited_for_by_the_next_call) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    s.take();
    EXPECT_TELLS(me.vi.connect("server", 20ms), vinic::errc::timed_out);
    std::thread later([&] {
        std::this_thread::sleep_for(300ms);
        s.give();
    });
    EXPECT_EQ(code_of(me.nic.create_domain()), vinic::errc::ok);
    later.join();
}

TEST(held_lock, makes_calls_without_a_time_out_busy_and_the_first_one_only_waits_long) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    s.take();
    EXPECT_TELLS(me.nic.create_domain(), vinic::errc::busy);
    const auto start = steady::now();
    for (int i = 0; i < 20; ++i) {
        EXPECT_TELLS(me.nic.create_domain(), vinic::errc::busy);
        EXPECT_TELLS(me.nic.create_completion_queue(), vinic::errc::busy);
        EXPECT_TELLS(me.domain.create_vi(me.attributes()), vinic::errc::busy);
        EXPECT_TELLS(me.domain.register_memory(me.buffer.bytes(), vinic::access::all), vinic::errc::busy);
        EXPECT_TELLS(me.nic.listen("x"), vinic::errc::busy);
        EXPECT_TELLS(me.nic.names(), vinic::errc::busy);
        EXPECT_TELLS(me.nic.resolve("x"), vinic::errc::busy);
        EXPECT_TELLS(me.nic.allocate(100 << 20), vinic::errc::busy);
    }
    std::printf("160 calls: %.0f ms\n", milliseconds_since(start));
    s.give();
    must(me.nic.create_domain());
}

/// Everything that a program has goes while nobody can take it: it comes back when the process leaves.
TEST(held_lock, lets_destructors_end_and_what_they_leave_is_buried_with_the_process) {
    directory d;
    auto keeper = d.open();
    sitter s(d);
    const census before = count(d);
    process leaver([&](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("name"));
        std::vector<vinic::virtual_interface> vis;
        for (int i = 0; i < 8; ++i) {
            vis.push_back(me.another_vi());
        }
        parent.say("ready");
        parent.hear("leave");
    });
    leaver.hear("ready");
    s.take();
    leaver.say("leave");
    EXPECT_EQ(leaver.exit_code(), 0);
    // Opening is no different: the dead are buried by somebody else, later.
    process opener([&](channel&) { auto nic = d.open(); });
    EXPECT_EQ(opener.exit_code(), 0);
    s.give();
    std::array<vinic::completion, 1> none;
    auto cq = must(keeper.create_completion_queue());
    EXPECT_TRUE(comes_true([&] {
        (void)cq.poll(none);
        auto nic = d.open();  // an opener buries, too
        nic = {};
        const census now = count(d);
        return now.vis == before.vis && now.names == before.names && now.processes == before.processes;
    })) << count(d);
}

TEST(held_lock, of_a_dead_process_is_broken_and_nobody_is_told) {
    directory d;
    sitter s(d);
    endpoint me(d.open());
    s.take();
    s.die();
    must(me.nic.create_domain());
    EXPECT_EQ(count(d).lock_breaks, 1u);
}

// -- the first byte of the file ---------------------------------------------------------------

/// A process that is in the middle of opening the device, and stopped there.
process stopped_opener(const directory& d) {
    process opener([&d](channel& parent) {
        const int fd = ::open(d.file().c_str(), O_RDWR | O_CLOEXEC);
        require(vinic::direct::lock_opening(fd, tables::control_patience) == 0, "its turn comes");
        parent.say("opens");
        parent.hear("end");
    });
    opener.hear("opens");
    opener.stop();
    return opener;
}

TEST(held_lock, of_a_stopped_opener_ends_opening_with_its_number_and_the_cure) {
    directory d;
    endpoint me(d.open());
    process opener = stopped_opener(d);
    const auto told = vinic::nic::open("shm:test", d.options());
    ASSERT_EQ(code_of(told), vinic::errc::timed_out);
    EXPECT_TRUE(told.error().message().contains("process " + std::to_string(opener.pid()) + " "))
        << told.error().message();
    EXPECT_TRUE(told.error().message().contains("kill -CONT")) << told.error().message();
    must(me.nic.create_domain());  // who is inside goes on
    opener.go_on();
    opener.say("end");
    EXPECT_EQ(opener.exit_code(), 0);
    must(vinic::nic::open("shm:test", d.options()));
    EXPECT_EQ(count(d).processes, 1u) << "the attempt has left nothing";
}

TEST(held_lock, of_an_opener_that_goes_on_lets_in_who_waits) {
    directory d;
    endpoint me(d.open());
    process opener = stopped_opener(d);
    std::thread later([&] {
        std::this_thread::sleep_for(300ms);
        opener.go_on();
        opener.say("end");
    });
    EXPECT_EQ(code_of(vinic::nic::open("shm:test", d.options())), vinic::errc::ok);
    later.join();
    EXPECT_EQ(opener.exit_code(), 0);
}

TEST(held_lock, of_an_opener_goes_with_it_when_it_is_killed) {
    directory d;
    endpoint me(d.open());
    process opener = stopped_opener(d);
    opener.kill_now();
    must(vinic::nic::open("shm:test", d.options()));
}

TEST(held_lock, of_a_stopped_opener_lets_others_leave_and_the_file_is_the_next_ones) {
    directory d;
    auto nic = d.open();
    process opener = stopped_opener(d);
    nic = {};
    EXPECT_TRUE(d.exists());
    opener.kill_now();
    nic = d.open();
    EXPECT_EQ(count(d).processes, 1u);
}

}  // namespace
}  // namespace multi

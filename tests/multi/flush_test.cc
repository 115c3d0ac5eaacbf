// SPDX-License-Identifier: Apache-2.0
//
// flush_test.cc -- what is flushed when a connection breaks is the program's again: whoever polls waits for every
// engine, also for one in another thread of its own process, which executes what the peer has handed over.
#include <memory>
#include <thread>

#include "direct/device_file.hpp"
#include "multi/fixture.hpp"
#include "tables/link.hpp"

namespace multi {
namespace {

namespace abi = vinic::abi;
namespace tables = vinic::tables;

struct watched_pair {
    directory d;
    endpoint sender{d.open()};
    endpoint receiver{d.open(), {.attributes = {.receiver_wait = std::chrono::seconds(1)}, .memory_bytes = 64 << 10}};
    std::unique_ptr<tables::memory> inside =
        must(vinic::direct::device_file::open("shm:test", d.options(), tables::memory::role::participant));

    watched_pair() {
        must(sender.vi.connect_peer("sender", "receiver", patience));
        must(receiver.vi.connect_peer("receiver", "sender", patience));
        must(sender.vi.connect_peer_wait());
        must(receiver.vi.connect_peer_wait());
        must(receiver.vi.post_receive(receiver.at(0, 64), 7));
    }
    /// The receiver's VI, which is the one with a limit.
    [[nodiscard]] abi::vi_entry& entry() const {
        for (std::uint32_t i = 0; i < inside->backed(abi::vis); ++i) {
            abi::vi_entry& v = inside->vi(i);
            if (v.owner.load_acquire() != 0 && v.receiver_wait_ns.load_relaxed() != abi::none64) {
                return v;
            }
        }
        throw std::runtime_error("the receiver's VI is not in the device");
    }
    void break_it() const {
        const tables::control_lock hold(*inside);
        require(static_cast<bool>(hold), "the lock can be had");
        require(tables::break_link(*inside, entry(), entry().state.load_acquire(), abi::break_reason::local_error,
                                   abi::break_reason::remote_error),
                "the connection was there");
    }
    /// How many completions the receiver finds in that time.
    [[nodiscard]] std::size_t found_within(std::chrono::nanoseconds time, vinic::completion& out) {
        for (const auto end = steady::now() + time; steady::now() < end;) {
            if (receiver.cq.poll({&out, 1}) != 0) {
                return 1;
            }
            std::this_thread::yield();
        }
        return 0;
    }
};

TEST(flush, waits_for_an_engine_in_another_thread_of_the_same_process) {
    for (const abi::engine_kind kind : {abi::draining, abi::posting}) {
        watched_pair p;
        p.entry().executing[kind].fetch_add(1);  // that thread is in the middle of a message
        p.break_it();
        vinic::completion done;
        EXPECT_EQ(p.found_within(50ms, done), 0u) << "kind " << kind;
        p.entry().executing[kind].fetch_add(1);
        ASSERT_EQ(p.found_within(patience, done), 1u);
        EXPECT_EQ(done.cookie, 7u);
        EXPECT_EQ(done.status, vinic::status::flushed);
    }
}

TEST(flush, comes_at_once_when_nobody_is_inside) {
    watched_pair p;
    p.break_it();
    vinic::completion done;
    ASSERT_EQ(p.found_within(patience, done), 1u);
    EXPECT_EQ(done.status, vinic::status::flushed);
}

}  // namespace
}  // namespace multi

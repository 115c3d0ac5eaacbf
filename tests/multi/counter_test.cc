// SPDX-License-Identifier: Apache-2.0
//
// counter_test.cc -- what VIs count, in both placements: looked at from outside, for no program sees it.
#include "multi/fixture.hpp"
#include "tables/counters.hpp"

namespace multi {
namespace {

using vinic::errc;
using vinic::status;
using vinic::tables::counter_values;
using vinic::tables::number_of;
namespace abi = vinic::abi;

/// Two VIs of one process, connected, and who looks at what they count.
struct counted_pair {
    explicit counted_pair(const directory& d, const vinic::vi_attributes& both = {})
        : left(d.open(), {.attributes = both}), right(d.open(), {.attributes = both}), glass(open_glass(d)) {
        auto listener = must(right.nic.listen("right"));
        std::jthread accepts([&] { right.accept_from(listener); });
        left.connect_to("right");
    }
    static std::unique_ptr<vinic::tables::memory> open_glass(const directory& d) {
        return must(d.is_isolated() ? inspect("vinicd:" + d.socket()) : inspect("shm:test", d.options()));
    }
    [[nodiscard]] counter_values of(const endpoint& e) const {
        return vinic::tables::counted_by(glass->vi(e.vi.number()));
    }
    [[nodiscard]] std::uint64_t of(const endpoint& e, std::uint32_t counter) const { return of(e)[counter]; }
    [[nodiscard]] std::uint64_t before(std::uint32_t counter) const {
        return vinic::tables::counted_before(glass->header())[counter];
    }
    endpoint left;
    endpoint right;
    std::unique_ptr<vinic::tables::memory> glass;
};

TEST(counters, of_refused_accesses_tell_the_kind_and_outlive_the_vi) {
    enum class kind : std::uint8_t { write, read, atomic };
    for (const kind what : {kind::write, kind::read, kind::atomic}) {
        const directory d;
        counted_pair p(d);
        const vinic::segment s = p.left.at(0, 8);
        const vinic::remote_address nowhere{p.right.memory.remote().address, p.right.memory.key() ^ 1u << 20};
        must(what == kind::write  ? p.left.vi.post_write(s, nowhere, 1)
             : what == kind::read ? p.left.vi.post_read(s, nowhere, 1)
                                  : p.left.vi.post_fetch_add(s, nowhere, 1, 1));
        EXPECT_EQ(p.left.next().status, status::remote_protection);
        constexpr std::uint32_t all[] = {number_of(abi::rx_refused_writes), number_of(abi::rx_refused_reads),
                                         number_of(abi::rx_refused_atomics)};
        for (std::uint32_t i = 0; i < 3; ++i) {
            const std::uint64_t expected = i == static_cast<std::uint32_t>(what) ? 1 : 0;
            EXPECT_EQ(p.of(p.right, all[i]), expected) << i;
            EXPECT_EQ(p.before(all[i]), 0u) << "its VI is there";
        }
        must(p.right.vi.close());
        for (std::uint32_t i = 0; i < 3; ++i) {
            EXPECT_EQ(p.before(all[i]), i == static_cast<std::uint32_t>(what) ? 1u : 0u) << i;
        }
    }
}

/// Of what was posted, the one word that each kind of operation counts.
struct sent {
    std::uint64_t sends, send_bytes, writes, write_bytes, reads, atomics;
    bool operator==(const sent&) const = default;
};
std::ostream& operator<<(std::ostream& out, const sent& s) {
    return out << s.sends << " sends of " << s.send_bytes << ", " << s.writes << " writes of " << s.write_bytes << ", "
               << s.reads << " reads, " << s.atomics << " atomics";
}
sent sent_by(const counter_values& c) {
    return {c[abi::tx_send_messages], c[abi::tx_send_bytes],    c[abi::tx_write_messages],
            c[abi::tx_write_bytes],   c[abi::tx_read_messages], c[abi::tx_atomic_messages]};
}

TEST(counters, of_what_was_sent_count_what_succeeded) {
    const directory d;
    counted_pair p(d);
    must(p.right.vi.post_receive(p.right.at(0, 1000), 1));
    must(p.left.vi.post_send(p.left.at(0, 100), 1));
    must(p.left.vi.post_write(p.left.at(0, 2000), p.right.memory.remote(), 2));
    must(p.left.vi.post_read(p.left.at(0, 64), p.right.memory.remote(), 3));
    must(p.left.vi.post_fetch_add(p.left.at(0, 8), p.right.memory.remote(), 1, 4));
    for (int i = 0; i < 4; ++i) {
        ASSERT_EQ(p.left.next().status, status::success);
    }
    EXPECT_EQ(sent_by(p.of(p.left)), (sent{1, 100, 1, 2000, 1, 1}));
    // The bad one, and those behind it.
    must(p.left.vi.post_write(p.left.at(0, 8), {p.right.memory.remote().address, 0}, 5));
    must(p.left.vi.post_write(p.left.at(0, 8), p.right.memory.remote(), 6));
    must(p.left.vi.post_send(p.left.at(0, 8), 7));
    EXPECT_EQ(p.left.next().status, status::remote_protection);
    EXPECT_EQ(p.left.next().status, status::flushed);
    EXPECT_EQ(p.left.next().status, status::flushed);
    EXPECT_EQ(sent_by(p.of(p.left)), (sent{1, 100, 1, 2000, 1, 1}));
    EXPECT_EQ(p.of(p.left, abi::tx_status_first + static_cast<std::uint32_t>(status::remote_protection)), 1u);
}

TEST(counters, of_what_waited_for_its_receiver_count_it_when_it_got_there) {
    for (const bool comes : {false, true}) {
        const directory d;
        vinic::vi_attributes limited;
        limited.receiver_wait = comes ? vinic::forever : 5ms;
        counted_pair p(d, limited);
        must(p.left.vi.post_send(p.left.at(0, 100), 1));
        must(p.left.vi.post_send(p.left.at(0, 200), 2));
        EXPECT_EQ(sent_by(p.of(p.left)), sent{}) << "they wait";
        if (comes) {
            must(p.right.vi.post_receive(p.right.at(0, 1000), 1));
            must(p.right.vi.post_receive(p.right.at(0, 1000), 2));
        }
        EXPECT_EQ(p.left.next().status, comes ? status::success : status::receiver_not_ready);
        EXPECT_EQ(p.left.next().status, comes ? status::success : status::flushed);
        EXPECT_EQ(sent_by(p.of(p.left)), (comes ? sent{2, 300, 0, 0, 0, 0} : sent{}));
    }
}

TEST(counters, of_messages_that_had_to_wait_for_the_receiver_tell_them) {
    const directory d;
    counted_pair p(d);
    must(p.right.vi.post_receive(p.right.at(0, 1000), 1));
    must(p.left.vi.post_send(p.left.at(0, 100), 1));
    EXPECT_EQ(p.left.next().status, status::success);
    EXPECT_EQ(p.of(p.left, abi::tx_handed_over), 0u);
    must(p.left.vi.post_send(p.left.at(0, 100), 2));
    ASSERT_TRUE(comes_true([&] { return p.of(p.left, abi::tx_handed_over) == 1; })) << "nobody has posted a receive";
    must(p.right.vi.post_receive(p.right.at(0, 1000), 2));
    EXPECT_EQ(p.left.next().status, status::success);
    EXPECT_EQ(p.of(p.left, abi::tx_handed_over), 1u);
}

TEST(counters, of_foreign_copies_tell_the_system_calls_for_a_vis_messages) {
    const directory d;
    counted_pair p(d);
    process other([&](channel& parent) {
        endpoint far(d.open());
        std::vector<std::byte> heap(4096);
        const auto region = must(far.domain.register_memory(heap, vinic::access::remote_write));
        auto listener = must(far.nic.listen("far"));
        parent.say(to_words(region.remote()));
        far.accept_from(listener);
        (void)parent.hear();
    });
    const auto far = remote_from(other.hear());
    auto vi = p.left.another_vi();
    (void)must(vi.connect("far", patience));
    const auto copies = [&] { return vinic::tables::counted_by(p.glass->vi(vi.number()))[abi::tx_foreign_copies]; };
    must(vi.post_write(p.left.at(0, 4096), far, 1));
    EXPECT_EQ(p.left.next().status, status::success);
    EXPECT_TRUE(comes_true([&] { return copies() == 1; }));
    must(p.left.vi.post_write(p.left.at(0, 4096), p.right.memory.remote(), 2));
    EXPECT_EQ(p.left.next().status, status::success);
    EXPECT_EQ(p.of(p.left, abi::tx_foreign_copies), 0u) << "device memory";
    other.say("over");
    EXPECT_EQ(other.exit_code(), 0);
}

TEST(counters, of_unsignalled_sends_and_of_those_that_nobody_polls_for_are_right_at_the_end) {
    const directory d;
    counted_pair p(d);
    for (std::uint64_t i = 0; i < 3; ++i) {
        must(p.left.vi.post_write(p.left.at(0, 8), p.right.memory.remote(), i, vinic::send_flag::unsignalled));
    }
    must(p.left.vi.post_write(p.left.at(0, 8), p.right.memory.remote(), 3));
    EXPECT_EQ(p.left.next().cookie, 3u);
    EXPECT_EQ(sent_by(p.of(p.left)), (sent{0, 0, 4, 32, 0, 0}));
    p.left.word(0).store(77);
    must(p.left.vi.post_write(p.left.at(0, 8), p.right.memory.remote(64), 4));
    ASSERT_TRUE(comes_true([&] { return p.right.word(64).load() == 77; }));
    must(p.left.vi.close());
    EXPECT_EQ(p.before(abi::tx_write_messages), 5u);
    EXPECT_EQ(p.before(abi::tx_write_bytes), 40u);
}

}  // namespace
}  // namespace multi

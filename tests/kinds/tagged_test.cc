// SPDX-License-Identifier: Apache-2.0
//
// tagged_test.cc -- a receiver that picks a buffer by the message's tag, in whichever placement there is.
#include "kinds/tagged.hpp"

#include <array>
#include <random>

#include "multi/fixture.hpp"
#include "native/registry.hpp"
#include "placement/vi.hpp"

namespace tagged {

/// The private half of the VI that this process made last, of the nic that it opened last.
inline vinic::detail::vi_body& last_vi() {
    const std::lock_guard hold(vinic::detail::registry().mutex);
    return *vinic::detail::registry().nics.back()->vis.back();
}

/// What a face would have: the owner's side.
class receiver {
public:
    explicit receiver(vinic::virtual_interface& vi, vinic::detail::vi_body& half) : vi_(vi), half_(half) {
        if (const auto r = half.become(kind); !r) {
            throw std::runtime_error(r.error().message());
        }
    }
    /// False: all buffers are posted, or taken and not yet polled.  One thread.
    bool post(std::uint64_t tag, const vinic::segment& s, std::uint64_t cookie) {
        buffer* const first = first_of(half_.chooser.table);
        buffer* const b =
            std::find_if(first, first + buffers_max, [](const buffer& x) { return x.state.load_acquire() == is_free; });
        if (b == first + buffers_max || vi_.receives_outstanding() == half_.attributes.receive_depth) {
            return false;
        }
        b->key = s.key;
        b->address = s.address;
        b->length = s.length;
        b->cookie = cookie;
        b->tag.store_relaxed(tag);
        b->state.store_release(posted);
        // And a message that waits for this buffer goes on.
        return post_room();
    }
    /// Room to tell of one message.  Also to be posted for each that was used without a buffer: it says `no_buffer`.
    bool post_room() { return vi_.post_receive(std::span<const vinic::segment>(), no_buffer) == vinic::errc::ok; }
    static constexpr std::uint64_t no_buffer = ~std::uint64_t{0};

private:
    vinic::virtual_interface& vi_;
    vinic::detail::vi_body& half_;
};

}  // namespace tagged

namespace multi {
namespace {

using vinic::errc;
using vinic::status;

constexpr std::size_t slot_bytes = 128 << 10;

vinic::work_request message(const vinic::segment& s, std::uint64_t tag, std::uint64_t cookie = 0) {
    vinic::work_request w;
    w.segments = {&s, 1};
    w.remote.address = tag;
    w.cookie = cookie;
    return w;
}

struct sender : endpoint {
    explicit sender(const directory& d) : endpoint(d.open(), {.attributes = {}, .memory_bytes = 1 << 20}) {}
    errc send(std::uint64_t tag, std::size_t bytes, std::uint64_t seed) {
        fill(this->bytes(0, bytes), seed);
        const vinic::segment s = at(0, bytes);
        const vinic::work_request w = message(s, tag, seed);
        return vi.post({&w, 1}).code;
    }
};

struct owner : endpoint {
    explicit owner(const directory& d)
        : endpoint(d.open(), {.attributes = {}, .memory_bytes = tagged::buffers_max * slot_bytes}),
          tags(vi, tagged::last_vi()) {}
    [[nodiscard]] bool post(std::uint64_t tag, std::size_t slot, std::size_t length = slot_bytes) {
        return tags.post(tag, at(slot * slot_bytes, length), slot);
    }
    /// The next completion is of a whole message of so many bytes in this slot.
    void expect(std::size_t slot, std::size_t length, std::uint64_t seed) {
        const vinic::completion c = next();
        EXPECT_EQ(c.status, status::success);
        EXPECT_EQ(c.cookie, slot);
        EXPECT_EQ(c.length, length);
        EXPECT_TRUE(matches(bytes(slot * slot_bytes, length), seed));
    }
    tagged::receiver tags;
};

/// Both in this process.
struct tagged_receiver : testing::Test {
    directory d;
    owner right{d};
    sender left{d};
    void SetUp() override { connect(); }
    void connect() {
        auto listener = must(right.nic.listen("right"));
        std::jthread accepts([&] { right.accept_from(listener); });
        left.connect_to("right");
    }
};

TEST_F(tagged_receiver, puts_each_message_into_the_buffer_of_its_tag) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{8}, std::size_t{49}, std::size_t{4096}, slot_bytes}) {
        ASSERT_TRUE(right.post(7, 0) && right.post(1ull << 63, 1) && right.post(7, 2));
        for (const std::uint64_t tag : {1ull << 63, 7ull, 7ull}) {
            ASSERT_EQ(left.send(tag, bytes, tag), errc::ok);
            EXPECT_EQ(left.next().status, status::success);
        }
        right.expect(1, bytes, 1ull << 63);
        right.expect(0, bytes, 7);
        right.expect(2, bytes, 7);
    }
}

TEST_F(tagged_receiver, makes_a_message_wait_for_a_buffer_that_suits) {
    ASSERT_TRUE(right.post(1, 0));
    ASSERT_EQ(left.send(2, 4096, 2), errc::ok);
    ASSERT_TRUE(right.post(3, 1));  // tells nobody anything
    std::array<vinic::completion, 4> none;
    EXPECT_EQ(must(right.cq.wait(none, 50ms)), 0u);
    ASSERT_TRUE(right.post(2, 2));
    right.expect(2, 4096, 2);
    EXPECT_EQ(left.next().status, status::success);
}

TEST_F(tagged_receiver, breaks_the_connection_when_a_message_is_too_long_and_keeps_its_buffers) {
    ASSERT_TRUE(right.post(1, 0, 100) && right.post(2, 1));
    ASSERT_EQ(left.send(1, 101, 1), errc::ok);
    EXPECT_EQ(left.next().status, status::remote_length);
    EXPECT_TRUE(comes_true([&] { return right.vi.state() == vinic::vi_state::error; }));
    must(right.vi.disconnect());
    must(left.vi.disconnect());
    const vinic::completion told = right.next();  // of the connection before
    EXPECT_EQ(told.status, status::local_length);
    EXPECT_EQ(told.cookie, 0u);
    const vinic::completion flushed = right.next();
    EXPECT_EQ(flushed.status, status::flushed);
    EXPECT_EQ(flushed.cookie, tagged::receiver::no_buffer);
    ASSERT_TRUE(right.tags.post_room());
    connect();
    ASSERT_EQ(left.send(2, 4096, 2), errc::ok);
    right.expect(1, 4096, 2);
    for (std::uint64_t i = 0; i < tagged::buffers_max; ++i) {
        EXPECT_TRUE(right.post(i, i));
    }
    EXPECT_FALSE(right.post(99, 0)) << "there are no more";
}

TEST_F(tagged_receiver, has_its_cookie_told_after_a_disconnect_though_the_buffer_was_not_polled) {
    ASSERT_TRUE(right.post(1, 5));
    ASSERT_EQ(left.send(1, 64, 1), errc::ok);
    EXPECT_EQ(left.next().status, status::success);
    must(right.vi.disconnect());
    for (std::uint64_t i = 1; i < tagged::buffers_max; ++i) {
        EXPECT_TRUE(right.post(100 + i, i)) << "the others are free, and only these";
    }
    EXPECT_FALSE(right.post(200, 0));
    right.expect(5, 64, 1);
    EXPECT_TRUE(right.post(200, 0));
}

TEST(tagged_owner, connects_though_a_message_waits_for_a_buffer_that_it_has_not) {
    directory d;
    owner right(d);
    sender left(d);
    ASSERT_TRUE(right.post(1, 0));
    must(right.vi.connect_peer({"right"}, {"left"}, patience));
    must(left.vi.connect_peer({"left"}, {"right"}, patience));
    (void)must(left.vi.connect_peer_wait());
    ASSERT_EQ(left.send(2, 64, 2), errc::ok) << "handed over before the other side knows that it is connected";
    (void)must(right.vi.connect_peer_wait());
    ASSERT_TRUE(right.post(2, 1));
    right.expect(1, 64, 2);
}

TEST_F(tagged_receiver, tells_of_a_writes_immediate_data_without_a_buffer) {
    ASSERT_TRUE(right.post(1, 0));
    vinic::segment s = left.at(0, 8);
    EXPECT_EQ(left.vi.post_write(s, right.memory.remote(8), 1, vinic::send_flag::immediate, 42), errc::ok);
    const vinic::completion c = right.next();
    EXPECT_EQ(c.immediate, 42u);
    EXPECT_EQ(c.cookie, tagged::receiver::no_buffer);
    ASSERT_TRUE(right.tags.post_room());
    ASSERT_EQ(left.send(1, 8, 1), errc::ok);
    right.expect(0, 8, 1);
}

TEST_F(tagged_receiver, lets_its_owner_scribble_on_the_table) {
    std::mt19937_64 random(20261201);
    const auto table = vinic::detail::registry().nics.front()->vis.front()->chooser.table;
    for (int i = 0; i < 300; ++i) {
        for (std::size_t k = 0; k < table.size(); k += 8) {
            const std::uint64_t word = random() % 4 == 0 ? random() : random() % 4;
            std::memcpy(table.data() + k, &word, 8);
        }
        (void)right.vi.post_receive(std::span<const vinic::segment>(), 0);
        (void)left.send(random() % 4, 64, 1);
        std::array<vinic::completion, 16> some;
        (void)left.cq.poll(some);
        (void)right.cq.poll(some);
        if (left.vi.state() == vinic::vi_state::error) {
            break;
        }
    }
    sender neighbour(d);
    EXPECT_EQ(code_of(neighbour.nic.listen("neighbour")), errc::ok) << "the device lives";
}

TEST(tagged_owner, gets_messages_while_it_is_stopped) {
    directory d;
    process child([&d](channel& parent) {
        owner o(d);
        require(o.post(5, 3), "posts");
        auto listener = must(o.nic.listen("owner"));
        parent.say("listens");
        o.accept_from(listener);
        parent.say("accepted");
        parent.hear("look");
        o.expect(3, 5000, 9);
    });
    child.hear("listens");
    sender s(d);
    s.connect_to("owner");
    child.hear("accepted");
    child.stop();
    ASSERT_EQ(s.send(5, 5000, 9), errc::ok);
    EXPECT_EQ(s.next().status, status::success);
    child.go_on();
    child.say("look");
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(tagged_owner, that_is_killed_leaves_nothing) {
    directory d;
    sender s(d);
    for (int round = 0; round < 10; ++round) {
        process child([&d](channel& parent) {
            owner o(d);
            for (std::uint64_t i = 0; i < tagged::buffers_max; ++i) {
                require(o.post(i, i), "posts");
            }
            auto listener = must(o.nic.listen("owner"));
            parent.say("listens");
            o.accept_from(listener);
            for (;;) {
                const vinic::completion c = o.next();
                require(c.status == status::success && o.post(c.cookie, c.cookie), "goes on");
            }
        });
        child.hear("listens");
        s.connect_to("owner");
        for (std::uint64_t i = 0; i < 40u + 7u * static_cast<unsigned>(round); ++i) {
            ASSERT_EQ(s.send(i % tagged::buffers_max, 3000, i), errc::ok);
            ASSERT_EQ(s.next().status, status::success);
        }
        ASSERT_EQ(s.send(1000, 8, 1), errc::ok) << "waits for a buffer that never comes";
        child.kill_now();
        EXPECT_NE(s.next().status, status::success);
        must(s.vi.disconnect());
    }
    std::array<vinic::completion, 16> none;
    EXPECT_TRUE(comes_true([&] {
        (void)s.cq.poll(none);  // whoever comes by clears away
        return count(d).vis == 1 && count(d).chunks == 1;
    })) << count(d);
}

TEST(tagged_sender, that_is_killed_takes_no_buffer_along) {
    directory d;
    owner o(d);
    auto listener = must(o.nic.listen("owner"));
    for (std::uint64_t i = 0; i < tagged::buffers_max; ++i) {
        ASSERT_TRUE(o.post(i, i));
    }
    for (int round = 0; round < 20; ++round) {
        process child([&d](channel&) {
            sender s(d);
            s.connect_to("owner");
            for (std::uint64_t i = 0;; ++i) {
                require(s.send(i % tagged::buffers_max, slot_bytes, i) == errc::ok, "sends");
                (void)s.next();
            }
        });
        o.accept_from(listener);
        std::this_thread::sleep_for(std::chrono::microseconds(200 * round));
        child.kill_now();
        std::array<vinic::completion, 64> told;
        std::vector<std::uint64_t> back;  // buffers that were told of
        std::size_t flushed = 0;
        const auto poll = [&] {
            const std::size_t n = o.cq.poll(told);
            for (std::size_t i = 0; i < n; ++i) {
                told[i].cookie == tagged::receiver::no_buffer ? void(++flushed) : back.push_back(told[i].cookie);
            }
            return n;
        };
        EXPECT_TRUE(comes_true([&] { return poll() == 0 && o.vi.state() == vinic::vi_state::error; }));
        must(o.vi.disconnect());
        EXPECT_TRUE(comes_true([&] { return poll() == 0 && o.vi.receives_outstanding() == 0; }));
        EXPECT_EQ(back.size() + flushed, tagged::buffers_max);
        for (const std::uint64_t i : back) {
            EXPECT_TRUE(o.post(i, i)) << "round " << round << ", buffer " << i;
        }
        for (std::size_t i = 0; i < flushed; ++i) {
            EXPECT_TRUE(o.tags.post_room());
        }
        EXPECT_FALSE(o.post(99, 0)) << "a buffer more than there are";
    }
}

TEST(kind, that_the_other_side_does_not_know_gets_nothing) {
    auto strange = tagged::kind;
    strange.number = 99;
    directory d;
    endpoint right(d.open());
    const auto how = tagged::last_vi().become(strange);
    EXPECT_EQ(code_of(how), d.is_isolated() ? errc::invalid_argument : errc::ok);
    must(right.vi.post_receive(right.at(0, 64), 1));
    sender left(d);
    auto listener = must(right.nic.listen("right"));
    std::jthread accepts([&] { right.accept_from(listener); });
    left.connect_to("right");
    ASSERT_EQ(left.send(1, 8, 1), errc::ok);
    EXPECT_EQ(left.next().status, d.is_isolated() ? status::success : status::remote_descriptor);
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// bypass_test.cc -- the target does nothing, and its peers' work is done all the same.
//
// The target posts its receives and is stopped by SIGSTOP.  Everything below happens while it cannot execute one
// instruction; it looks at the results after SIGCONT.
#include <sys/mman.h>

#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr std::size_t block = 100'000;
constexpr std::size_t area = 1 << 20;
constexpr std::size_t word_at = area - 16;
constexpr std::uint32_t receives_posted = 32;

struct target_kind {
    const char* name;
    bool native;
    vinic::reliability level;
};
std::ostream& operator<<(std::ostream& out, const target_kind& k) { return out << k.name; }

class stopped_target : public testing::TestWithParam<target_kind> {};
INSTANTIATE_TEST_SUITE_P(kinds, stopped_target,
                         testing::Values(target_kind{"native_delivery", true, vinic::reliability::delivery},
                                         target_kind{"native_reception", true, vinic::reliability::reception},
                                         target_kind{"native_unreliable", true, vinic::reliability::unreliable},
                                         target_kind{"adopted_delivery", false, vinic::reliability::delivery}),
                         [](const auto& i) { return std::string(i.param.name); });

endpoint_options options_for(const target_kind& kind) {
    endpoint_options o;
    o.memory_bytes = area;
    o.attributes.reliability = kind.level;
    return o;
}

std::size_t size_of(std::uint32_t i) { return i % 2 == 0 ? 1 + i : 4000 + i; }

/// The target's program: post, be stopped, look.
void be_target(const directory& d, const target_kind& kind, channel& parent) {
    endpoint me(d.open(), options_for(kind));
    std::span<std::byte> memory = me.buffer.bytes();
    vinic::region adopted;
    if (!kind.native) {
        void* p = ::mmap(nullptr, area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(p != MAP_FAILED, "memory can be mapped");
        memory = {static_cast<std::byte*>(p), area};
        adopted = must(me.domain.register_memory(memory, vinic::access::all, {vinic::adopt::safe}));
        require(adopted.backing() == vinic::backing::adopted, "private pages are adopted");
    }
    const vinic::region& region = kind.native ? me.memory : adopted;
    auto listener = must(me.nic.listen("target"));
    fill(memory.subspan(2 * block, block), 3);
    std::atomic_ref(*reinterpret_cast<std::uint64_t*>(memory.data() + word_at)).store(40);
    for (std::uint32_t i = 0; i < receives_posted; ++i) {
        must(me.vi.post_receive({region, 4 * block + i * 8192, 8192}, i));
    }
    parent.say(to_words(region.remote()));
    me.accept_from(listener);
    parent.say("ready");
    parent.hear("look");
    require(first_difference(memory.subspan(0, block), 1) == block, "what was written is there");
    const bool atomics = kind.level != vinic::reliability::unreliable;
    const std::uint64_t word = std::atomic_ref(*reinterpret_cast<std::uint64_t*>(memory.data() + word_at)).load();
    require(word == (atomics ? 1000u : 40u), "the atomics were executed");
    for (std::uint32_t i = 0; i < receives_posted; ++i) {
        const vinic::completion got = me.next();
        require(got.cookie == i && got.status == vinic::status::success, "receives complete in order");
        require(got.length == size_of(i) && got.immediate == i, "with the right length and immediate data");
        require(first_difference(memory.subspan(4 * block + i * 8192, size_of(i)), 100 + i) == size_of(i),
                "and the right bytes");
    }
}

TEST_P(stopped_target, is_written_read_counted_at_and_sent_to) {
    const target_kind kind = GetParam();
    directory d;
    process target([&](channel& parent) { be_target(d, kind, parent); });
    endpoint me(d.open(), options_for(kind));
    const vinic::remote_address there = remote_from(target.hear());
    me.connect_to("target");
    target.hear("ready");
    target.stop();

    fill(me.bytes(0, block), 1);
    must(me.vi.post_write(me.at(0, block), there, 1));
    EXPECT_EQ(me.next().status, vinic::status::success);
    if (kind.level != vinic::reliability::unreliable) {
        must(me.vi.post_read(me.at(block, block), there + 2 * block, 2));
        EXPECT_EQ(me.next().status, vinic::status::success);
        EXPECT_TRUE(matches(me.bytes(block, block), 3));
        must(me.vi.post_fetch_add(me.at(word_at, 8), there + word_at, 2, 3));
        EXPECT_EQ(me.next().status, vinic::status::success);
        EXPECT_EQ(me.word(word_at).load(), 40u);
        must(me.vi.post_compare_swap(me.at(word_at, 8), there + word_at, 42, 1000, 4));
        EXPECT_EQ(me.next().status, vinic::status::success);
        EXPECT_EQ(me.word(word_at).load(), 42u);
    }
    for (std::uint32_t i = 0; i < receives_posted; ++i) {
        fill(me.bytes(2 * block, size_of(i)), 100 + i);
        must(me.vi.post_send(me.at(2 * block, size_of(i)), i, vinic::send_flag::immediate, i));
        EXPECT_EQ(me.next().status, vinic::status::success);
    }
    target.go_on();
    target.say("look");
    EXPECT_EQ(target.exit_code(), 0);
}

TEST(stopped_target, without_receive_descriptors_keeps_messages_waiting_in_order) {
    directory d;
    constexpr std::uint32_t messages = 50;
    process target([&](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("target"));
        parent.say("listening");
        me.accept_from(listener);
        parent.say("ready");
        parent.hear("go on");
        for (std::uint32_t i = 0; i < messages; ++i) {
            must(me.vi.post_receive(me.at(0, 1000), i));
            const vinic::completion got = me.next();
            require(got.cookie == i && got.immediate == i && got.length == 10 + i, "messages come in order");
            require(first_difference(me.bytes(0, 10 + i), i) == 10 + i, "with their bytes");
        }
    });
    endpoint me(d.open());
    target.hear("listening");
    me.connect_to("target");
    target.hear("ready");
    target.stop();
    for (std::uint32_t i = 0; i < messages; ++i) {
        fill(me.bytes(i * 100, 10 + i), i);
        must(me.vi.post_send(me.at(i * 100, 10 + i), i, vinic::send_flag::immediate, i));
    }
    std::array<vinic::completion, 4> done;
    EXPECT_EQ(must(me.cq.wait(done, 50ms)), 0u) << "nothing can have been delivered";
    target.go_on();
    target.say("go on");
    for (std::uint32_t i = 0; i < messages; ++i) {
        const vinic::completion got = me.next();
        EXPECT_EQ(got.cookie, i);
        EXPECT_EQ(got.status, vinic::status::success);
    }
    EXPECT_EQ(target.exit_code(), 0);
}

TEST(stopped_target, that_sleeps_in_wait_finds_its_messages_when_it_goes_on) {
    directory d;
    process target([&](channel& parent) {
        endpoint me(d.open());
        auto listener = must(me.nic.listen("target"));
        for (std::uint32_t i = 0; i < 64; ++i) {
            must(me.vi.post_receive(me.at(i * 64, 64), i));
        }
        parent.say("listening");
        me.accept_from(listener);
        parent.say("ready");
        for (std::uint32_t i = 0; i < 64; ++i) {
            require(me.next().cookie == i, "messages come in order");
        }
    });
    endpoint me(d.open());
    target.hear("listening");
    me.connect_to("target");
    target.hear("ready");
    for (std::uint32_t i = 0; i < 64; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(i * 50));  // it is awake, spinning, or asleep
        target.stop();
        must(me.vi.post_send(me.at(0, 8), i));
        EXPECT_EQ(me.next().status, vinic::status::success);
        target.go_on();
    }
    EXPECT_EQ(target.exit_code(), 0);
}

}  // namespace
}  // namespace multi

// SPDX-License-Identifier: Apache-2.0
//
// operations_test.cc -- the operations over an engine of this test, which moves as little at a time as it likes and
// writes down what it is told: each byte arrives, whatever the turns, and each fault ends as the table says.
#include "rules/operations.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace vinic::rules {
namespace {

constexpr std::uint32_t key = 7;
constexpr std::uint32_t remote_key = 9;

/// Memory of two programs, whose addresses are this process'.
struct two_programs {
    std::vector<std::byte> mine = std::vector<std::byte>(4096);
    std::vector<std::byte> theirs = std::vector<std::byte>(4096);
};

struct place : range {};

/// An engine with a turn of so many bytes, and pieces of so many.
struct scripted_engine {
    two_programs& memory;
    std::mt19937& random;
    std::vector<abi::segment> receive;
    std::vector<receipt> told;
    std::vector<fault> faults;
    std::vector<opcode> refusals;
    bool reliable = true;
    bool ready = true;
    bool malformed = false;
    bool offered = true;
    std::uint32_t refused_rights = 0;  ///< of either program's memory
    std::uint64_t turn = abi::none64;
    std::uint64_t piece_most = abi::none64;
    moved next_move = moved::all;
    std::uint32_t in_completion = 0;
    std::array<std::byte, 64> completion{};

    static bool find(const std::vector<std::byte>& where, std::uint64_t address, std::uint64_t bytes, place& out) {
        const auto first = reinterpret_cast<std::uint64_t>(where.data());
        if (address < first || bytes > where.size() || address - first > where.size() - bytes) {
            return false;
        }
        out.address = address;
        out.length = bytes;
        return true;
    }
    bool find_own(std::uint32_t k, std::uint64_t address, std::uint64_t bytes, std::uint32_t rights, place& out) {
        return k == key && (rights & refused_rights) == 0 && find(memory.mine, address, bytes, out);
    }
    bool find_target(std::uint32_t k, std::uint64_t address, std::uint64_t bytes, std::uint32_t rights, place& out) {
        return k == remote_key && (rights & refused_rights) == 0 && find(memory.theirs, address, bytes, out);
    }
    static place own_bytes(const std::byte* data, std::uint64_t bytes) {
        place p;
        p.address = reinterpret_cast<std::uint64_t>(data);
        p.length = bytes;
        return p;
    }
    [[nodiscard]] bool offers(std::uint32_t) const { return offered; }
    [[nodiscard]] bool receive_ready() const { return ready; }
    [[nodiscard]] choice choose(const message&) const {
        return !ready ? choice::wait : malformed ? choice::refuse : choice::place;
    }
    [[nodiscard]] std::uint32_t receive_count() const { return static_cast<std::uint32_t>(receive.size()); }
    [[nodiscard]] const abi::segment& receive_segment(std::uint32_t i) const { return receive[i]; }
    [[nodiscard]] std::uint32_t payload_max() const { return in_completion; }
    place payload_place(std::uint32_t bytes) { return own_bytes(completion.data(), bytes); }
    void put_payload(const std::byte* data, std::uint32_t bytes) { std::memcpy(completion.data(), data, bytes); }
    [[nodiscard]] std::uint64_t room() const { return turn; }
    moved move(const place& to, const place& from, std::uint64_t& n, word_copy& words) {
        if (next_move != moved::all) {
            return next_move;
        }
        if (piece_most != abi::none64) {
            n = std::min(n, std::uniform_int_distribution<std::uint64_t>(1, piece_most)(random));
        }
        words.put(reinterpret_cast<std::byte*>(to.address), reinterpret_cast<const std::byte*>(from.address), n,
                  n == to.length);
        turn -= turn == abi::none64 ? 0 : n;
        return moved::all;
    }
    static std::byte* direct_bytes(const place& p) { return reinterpret_cast<std::byte*>(p.address); }
    outcome end(fault f) {
        faults.push_back(f);
        return reliable ? ending_of(f).sender : ending_of(f).unreliable;
    }
    outcome end_receive(fault f, const message& m, std::uint32_t bytes) {
        complete(
            {*ending_of(f).receiver, receive_flags(m.has_immediate, ending_of(f).receive_flags), bytes, m.immediate});
        return end(f);
    }
    outcome refuse_access(opcode what) {
        refusals.push_back(what);
        return end(fault::access);
    }
    static outcome overtaken() { return status::flushed; }
    void complete(const receipt& r) { told.push_back(r); }
};

class operations : public testing::Test {
protected:
    operations() {
        std::iota(reinterpret_cast<std::uint8_t*>(memory.mine.data()),
                  reinterpret_cast<std::uint8_t*>(memory.mine.data() + memory.mine.size()), std::uint8_t{1});
    }
    [[nodiscard]] static abi::segment at(std::vector<std::byte>& where, std::size_t offset, std::uint32_t bytes,
                                         std::uint32_t k) {
        return {reinterpret_cast<std::uint64_t>(where.data() + offset), bytes, k};
    }
    message& of(opcode what, std::initializer_list<std::uint32_t> lengths) {
        list.clear();
        m = {};
        std::size_t offset = 3;
        for (const std::uint32_t bytes : lengths) {
            list.push_back(at(memory.mine, offset, bytes, key));
            offset += bytes + 5;
            m.length += bytes;
        }
        m.opcode = what;
        m.segments = list.data();
        m.segment_count = static_cast<std::uint16_t>(list.size());
        m.remote_address = reinterpret_cast<std::uint64_t>(memory.theirs.data() + 16);
        m.remote_key = remote_key;
        return m;
    }
    outcome start() {
        e.turn = abi::none64;
        so_far = {};
        return run(e, m, so_far);
    }
    /// In turns of a few bytes, each time with what was looked up forgotten, as a lease does.
    outcome in_turns() {
        so_far = {};
        outcome o = outcome::unfinished();
        for (int turns = 0; o.is_unfinished() && turns < 10'000; ++turns) {
            e.turn = std::uniform_int_distribution<std::uint64_t>(0, 40)(random);
            so_far.look_again();
            o = run(e, m, so_far);
        }
        return o;
    }
    /// The bytes of the list, one after the other.
    [[nodiscard]] std::vector<std::byte> gathered() const {
        std::vector<std::byte> all;
        for (const abi::segment& s : list) {
            const auto* from = reinterpret_cast<const std::byte*>(s.address);
            all.insert(all.end(), from, from + s.length);
        }
        return all;
    }
    void expect_fault(fault f) {
        ASSERT_EQ(e.faults.size(), 1u);
        EXPECT_EQ(e.faults[0], f) << ending_of(f).words << " was expected, not " << ending_of(e.faults[0]).words;
    }

    two_programs memory;
    std::mt19937 random{20261201};
    std::vector<abi::segment> list;
    message m;
    scripted_engine e{memory, random, {}, {}, {}, {}};
    progress<place> so_far;
};

TEST_F(operations, bring_each_byte_of_a_send_whatever_the_turns) {
    for (int round = 0; round < 200; ++round) {
        std::ranges::fill(memory.theirs, std::byte{0});
        of(opcode::send, {13, 0, 200, 1, 64});
        // As long in all, cut elsewhere.
        e.receive = {at(memory.theirs, 9, 100, remote_key), at(memory.theirs, 300, 0, remote_key),
                     at(memory.theirs, 301, 178, remote_key)};
        e.told.clear();
        e.piece_most = 30;
        ASSERT_TRUE(in_turns().succeeded());
        ASSERT_EQ(e.told.size(), 1u);
        EXPECT_EQ(e.told[0].bytes, 278u);
        const auto sent = gathered();
        ASSERT_TRUE(std::equal(sent.begin(), sent.begin() + 100, memory.theirs.begin() + 9));
        ASSERT_TRUE(std::equal(sent.begin() + 100, sent.end(), memory.theirs.begin() + 301));
    }
}

TEST_F(operations, bring_each_byte_of_a_write_and_of_a_read_whatever_the_turns) {
    for (int round = 0; round < 200; ++round) {
        std::ranges::fill(memory.theirs, std::byte{0});
        of(opcode::write, {1, 77, 0, 300});
        e.piece_most = 50;
        ASSERT_TRUE(in_turns().succeeded());
        const auto sent = gathered();
        ASSERT_TRUE(std::equal(sent.begin(), sent.end(), memory.theirs.begin() + 16));
        for (std::size_t i = 0; i < 378; ++i) {
            memory.theirs[16 + i] = static_cast<std::byte>(round + static_cast<int>(i));
        }
        m.opcode = opcode::read;
        ASSERT_TRUE(in_turns().succeeded());
        const auto read = gathered();
        ASSERT_TRUE(std::equal(read.begin(), read.end(), memory.theirs.begin() + 16));
    }
    EXPECT_TRUE(e.told.empty()) << "nobody is told of them";
}

TEST_F(operations, put_short_messages_into_the_completion) {
    e.receive = {at(memory.theirs, 0, 64, remote_key)};
    e.in_completion = 48;
    of(opcode::send, {5, 20});
    ASSERT_TRUE(in_turns().succeeded());
    const auto sent = gathered();
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), e.completion.begin()));
    ASSERT_EQ(e.told.size(), 1u);
    EXPECT_EQ(e.told[0].flags, abi::payload_inside);
    of(opcode::send, {49});
    ASSERT_TRUE(start().succeeded());
    EXPECT_EQ(e.told[1].flags, 0) << "one byte more goes into the receiver's memory";
}

TEST_F(operations, of_a_receiver_that_is_not_ready_have_done_nothing) {
    e.ready = false;
    of(opcode::send, {8});
    EXPECT_TRUE(start().waits());
    of(opcode::write, {8}).has_immediate = true;
    EXPECT_TRUE(start().waits());
    EXPECT_EQ(memory.theirs[16], std::byte{0});
    m.has_immediate = false;
    EXPECT_TRUE(start().succeeded()) << "a plain write needs no descriptor";
}

TEST_F(operations, ask_for_their_own_memory_before_anything_of_the_target_is_used) {
    of(opcode::send, {8, 8});
    list[1].key = key + 1;
    e.ready = false;
    EXPECT_EQ(start().how(), status::local_protection);
    expect_fault(fault::own_memory);
    EXPECT_TRUE(e.told.empty());
}

TEST_F(operations, use_the_receive_descriptor_of_a_message_that_does_not_fit) {
    e.receive = {at(memory.theirs, 0, 7, remote_key)};
    of(opcode::send, {8});
    EXPECT_EQ(start().how(), status::remote_length);
    expect_fault(fault::too_long);
    ASSERT_EQ(e.told.size(), 1u);
    EXPECT_EQ(e.told[0].status, status::local_length);
    EXPECT_EQ(e.told[0].bytes, 8u);
}

TEST_F(operations, check_the_bytes_of_a_receive_that_a_message_uses_and_no_others) {
    e.receive = {at(memory.theirs, 4090, 100, remote_key), at(memory.theirs, 0, 8, remote_key + 1)};
    of(opcode::send, {6});
    EXPECT_TRUE(start().succeeded());
    of(opcode::send, {7});
    EXPECT_EQ(start().how(), status::remote_descriptor);
    expect_fault(fault::receive_memory);
}

TEST_F(operations, drop_an_unreliable_message_once_when_memory_goes_in_the_middle) {
    e.reliable = false;
    e.receive = {at(memory.theirs, 0, 64, remote_key)};
    e.next_move = moved::unmapped_to;
    of(opcode::send, {60});
    EXPECT_TRUE(start().succeeded());
    expect_fault(fault::receive_memory);
    ASSERT_EQ(e.told.size(), 1u);
    EXPECT_EQ(e.told[0].status, status::local_protection);
    // A write of which nothing arrives tells nobody that it has.
    e.told.clear();
    of(opcode::write, {60}).has_immediate = true;
    (void)start();
    EXPECT_TRUE(e.told.empty());
}

TEST_F(operations, report_a_refused_write_with_immediate_data_in_the_receive_descriptor) {
    e.offered = false;
    of(opcode::write, {8}).has_immediate = true;
    EXPECT_EQ(start().how(), status::remote_protection);
    expect_fault(fault::access_told);
    ASSERT_EQ(e.told.size(), 1u);
    EXPECT_EQ(e.told[0].flags, abi::has_immediate | abi::from_write);
    EXPECT_TRUE(e.refusals.empty());
    m.has_immediate = false;
    EXPECT_EQ(start().how(), status::remote_protection);
    EXPECT_EQ(e.told.size(), 1u);
    EXPECT_EQ(e.refusals, std::vector{opcode::write});
}

TEST_F(operations, ask_for_rights_again_when_they_go_on) {
    of(opcode::read, {100});
    e.turn = 40;
    so_far = {};
    ASSERT_TRUE(run(e, m, so_far).is_unfinished());
    e.refused_rights = static_cast<std::uint32_t>(access::local_write);
    e.turn = abi::none64;
    so_far.look_again();
    EXPECT_EQ(run(e, m, so_far).how(), status::local_protection);
    expect_fault(fault::own_memory);
}

TEST_F(operations, end_where_a_receive_list_has_become_shorter_meanwhile) {
    of(opcode::send, {100});
    e.receive = {at(memory.theirs, 0, 50, remote_key), at(memory.theirs, 50, 50, remote_key)};
    e.turn = 40;
    so_far = {};
    ASSERT_TRUE(run(e, m, so_far).is_unfinished());
    e.receive.pop_back();
    e.turn = abi::none64;
    EXPECT_EQ(run(e, m, so_far).how(), status::remote_descriptor);
    expect_fault(fault::receive_memory);
}

TEST_F(operations, are_overtaken_by_whoever_broke_the_connection) {
    e.next_move = moved::broken;
    for (const opcode what : {opcode::write, opcode::read}) {
        of(what, {8});
        EXPECT_EQ(start().how(), status::flushed);
    }
    EXPECT_TRUE(e.faults.empty());
}

TEST_F(operations, of_words_happen_once_and_bring_what_was_there) {
    auto& word = *reinterpret_cast<std::uint64_t*>(memory.theirs.data() + 16);
    word = 40;
    of(opcode::fetch_add, {8}).operand = 2;
    ASSERT_TRUE(start().succeeded());
    std::uint64_t old = 0;
    std::memcpy(&old, gathered().data(), 8);
    EXPECT_EQ(old, 40u);
    EXPECT_EQ(word, 42u);
    of(opcode::compare_swap, {8}).compare = 42;
    m.operand = 7;
    ASSERT_TRUE(start().succeeded());
    EXPECT_EQ(word, 7u);
    ASSERT_TRUE(start().succeeded());
    EXPECT_EQ(word, 7u) << "another value was there";
    ++m.remote_address;
    EXPECT_EQ(start().how(), status::bad_alignment);
    expect_fault(fault::misaligned);
}

}  // namespace
}  // namespace vinic::rules

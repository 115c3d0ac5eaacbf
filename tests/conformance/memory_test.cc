// SPDX-License-Identifier: Apache-2.0
//
// memory_test.cc -- protection: what every mistake with memory ends in, per reliability level, seen from both ends.
//
// A table of mishaps; each row says how the descriptor ends at the initiator and at the target, and whether the
// connection lives on.  The rule behind the rows:
//
//     unreliable        only the descriptor at fault ends in error.  What goes wrong at the other side is not told
//                       to the sender, whose descriptor succeeds; the connection lives on
//     delivery and      the initiator learns the cause (local_... its own fault, remote_... the other side's), the
//     reception         target's receive names it from its own point of view, and the connection breaks
#include <functional>
#include <memory>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::access;
using vinic::errc;
using vinic::status;

/// What both sides see in the end.
struct outcome {
    status initiator = status::success;
    std::optional<status> target;  ///< of the target's receive, if the mishap has to do with one
};

/// Both sides and whatever else a mishap needs to keep alive.
struct scene {
    scene(vinic::reliability level, std::uint32_t message_bytes)
        : linked(with(level)), other_domain(must(linked.left.nic.create_domain())), bytes(message_bytes) {}

    /// The memory of one side under another registration.
    vinic::region& again(vinic::domain& domain, std::span<const std::byte> range, access rights) {
        extra.push_back(std::make_unique<vinic::region>(must(domain.register_memory(range, rights))));
        return *extra.back();
    }
    std::uint32_t stale_key(endpoint& side) {
        auto region = must(side.domain.register_memory(side.bytes(), access::all));
        const std::uint32_t key = region.key();
        must(region.close());
        return key;
    }
    errc receive(const vinic::segment& place) { return linked.right.vi.post_receive(place, 100); }
    errc receive() { return receive(linked.right.at(0, bytes)); }
    errc send(const vinic::segment& from) { return linked.left.vi.post_send(from, 200); }
    errc send() { return send(linked.left.at(0, bytes)); }

    pair linked;
    vinic::domain other_domain;
    std::uint32_t bytes;  ///< of every message
    std::vector<std::unique_ptr<vinic::region>> extra;
};

struct mishap {
    const char* name;
    std::function<errc(scene&)> act;  ///< posts everything; the initiator is the left side
    outcome unreliable;
    outcome reliable;
};

vinic::segment with_key(const endpoint& side, std::uint32_t key, std::uint64_t offset, std::uint32_t bytes) {
    return {side.memory.address() + offset, bytes, key};
}

// -- the memory that is sent ------------------------------------------------------------------

errc send_with(scene& s, const vinic::segment& from) {
    const errc posted = s.receive();
    return posted == errc::ok ? s.send(from) : posted;
}

const mishap send_mishaps[] = {
    {"send_with_key_zero",
     [](scene& s) { return send_with(s, with_key(s.linked.left, 0, 0, s.bytes)); },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_with_a_stale_key",
     [](scene& s) { return send_with(s, with_key(s.linked.left, s.stale_key(s.linked.left), 0, s.bytes)); },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_from_another_domain",
     [](scene& s) { return send_with(s, {s.again(s.other_domain, s.linked.left.bytes(), access::all), 0, s.bytes}); },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_with_the_key_of_the_peer",
     [](scene& s) { return send_with(s, with_key(s.linked.right, s.linked.right.memory.key(), 0, s.bytes)); },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_one_byte_beyond_the_end",
     [](scene& s) {
         const auto& left = s.linked.left;
         return send_with(s, with_key(left, left.memory.key(), left.memory.length() - s.bytes + 1, s.bytes));
     },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_one_byte_before_the_start",
     [](scene& s) {
         const auto& left = s.linked.left;
         return send_with(s, with_key(left, left.memory.key(), ~std::uint64_t{0}, s.bytes));
     },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_that_wraps_round",
     [](scene& s) {
         return send_with(s, vinic::segment(~std::uint64_t{0} - s.bytes / 2, s.bytes, s.linked.left.memory.key()));
     },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
    {"send_with_a_bad_segment_behind_good_ones",
     [](scene& s) {
         const vinic::segment pieces[] = {s.linked.left.at(0, 1), s.linked.left.at(8, 2),
                                          with_key(s.linked.left, 0, 0, s.bytes)};
         const errc posted = s.receive(s.linked.right.at(0, 1000));
         return posted == errc::ok ? s.linked.left.vi.post_send(pieces, 200) : posted;
     },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
};

// -- the memory that is received into ---------------------------------------------------------

errc receive_with(scene& s, const vinic::segment& place) {
    const errc posted = s.receive(place);
    return posted == errc::ok ? s.send() : posted;
}

const mishap receive_mishaps[] = {
    {"receive_that_is_too_small",
     [](scene& s) { return receive_with(s, s.linked.right.at(0, s.bytes - 1)); },
     {status::success, status::local_length},
     {status::remote_length, status::local_length}},
    {"receive_of_no_bytes",
     [](scene& s) { return receive_with(s, {}); },
     {status::success, status::local_length},
     {status::remote_length, status::local_length}},
    {"receive_with_key_zero",
     [](scene& s) { return receive_with(s, with_key(s.linked.right, 0, 0, s.bytes)); },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
    {"receive_with_a_stale_key",
     [](scene& s) { return receive_with(s, with_key(s.linked.right, s.stale_key(s.linked.right), 0, s.bytes)); },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
    {"receive_into_memory_closed_after_the_post",
     [](scene& s) {
         auto& region = s.again(s.linked.right.domain, s.linked.right.bytes(), access::all);
         const errc posted = s.receive({region, 0, s.bytes});
         must(region.close());
         return posted == errc::ok ? s.send() : posted;
     },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
    {"receive_without_the_right_of_local_writing",
     [](scene& s) {
         const auto rights = access::remote_write | access::remote_read | access::remote_atomic;
         return receive_with(s, {s.again(s.linked.right.domain, s.linked.right.bytes(), rights), 0, s.bytes});
     },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
    {"receive_into_another_domain",
     [](scene& s) {
         return receive_with(s, {s.again(s.other_domain, s.linked.right.bytes(), access::all), 0, s.bytes});
     },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
    {"receive_one_byte_beyond_the_end",
     [](scene& s) {
         const auto& right = s.linked.right;
         return receive_with(s, with_key(right, right.memory.key(), right.memory.length() - s.bytes + 1, s.bytes));
     },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
    {"receive_that_wraps_round",
     [](scene& s) {
         return receive_with(s, vinic::segment(~std::uint64_t{0} - s.bytes / 2, s.bytes, s.linked.right.memory.key()));
     },
     {status::success, status::local_protection},
     {status::remote_descriptor, status::local_protection}},
};

// -- the memory that peers write to -----------------------------------------------------------
// Each of them posts a receive as well: a mishap without immediate data leaves it to be flushed or to wait.

errc write_to(scene& s, vinic::remote_address to, vinic::send_flag flags = vinic::send_flag::none) {
    const errc posted = s.receive();
    return posted == errc::ok ? s.linked.left.vi.post_write(s.linked.left.at(0, s.bytes), to, 200, flags, 5) : posted;
}
vinic::remote_address place(const endpoint& side, std::uint32_t key, std::uint64_t offset = 0) {
    return {side.memory.address() + 4096 + offset, key};
}
vinic::remote_address registered(scene& s, access rights) {
    return place(s.linked.right, s.again(s.linked.right.domain, s.linked.right.bytes(), rights).key());
}

const mishap write_mishaps[] = {
    {"write_with_key_zero",
     [](scene& s) { return write_to(s, place(s.linked.right, 0)); },
     {},
     {status::remote_protection, status::flushed}},
    {"write_with_a_stale_key",
     [](scene& s) { return write_to(s, place(s.linked.right, s.stale_key(s.linked.right))); },
     {},
     {status::remote_protection, status::flushed}},
    {"write_with_the_writers_own_key",
     [](scene& s) { return write_to(s, place(s.linked.right, s.linked.left.memory.key())); },
     {},
     {status::remote_protection, status::flushed}},
    {"write_without_the_right_of_remote_writing",
     [](scene& s) {
         return write_to(s, registered(s, access::local_write | access::remote_read | access::remote_atomic));
     },
     {},
     {status::remote_protection, status::flushed}},
    {"write_into_another_domain_of_the_target",
     [](scene& s) {
         return write_to(s, place(s.linked.right, s.again(s.other_domain, s.linked.right.bytes(), access::all).key()));
     },
     {},
     {status::remote_protection, status::flushed}},
    {"write_one_byte_beyond_the_end",
     [](scene& s) {
         const auto& right = s.linked.right;
         return write_to(s, right.remote(right.memory.length() - s.bytes + 1));
     },
     {},
     {status::remote_protection, status::flushed}},
    {"write_one_byte_before_the_start",
     [](scene& s) { return write_to(s, s.linked.right.remote(~std::uint64_t{0})); },
     {},
     {status::remote_protection, status::flushed}},
    {"write_that_wraps_round",
     [](scene& s) { return write_to(s, {~std::uint64_t{0} - s.bytes / 2, s.linked.right.memory.key()}); },
     {},
     {status::remote_protection, status::flushed}},
    {"write_from_bad_local_memory",
     [](scene& s) {
         const errc posted = s.receive();
         if (posted != errc::ok)
             return posted;
         return s.linked.left.vi.post_write(with_key(s.linked.left, 0, 0, s.bytes), s.linked.right.remote(4096), 200);
     },
     {status::local_protection, {}},
     {status::local_protection, status::flushed}},
};

// -- running the table ------------------------------------------------------------------------

constexpr std::uint32_t small_bytes = 8;  ///< a message that may travel inside the completion
constexpr std::uint32_t large_bytes = 600;

class after : public testing::TestWithParam<std::tuple<vinic::reliability, const mishap*, std::uint32_t>> {};

TEST_P(after, both_ends_say_what_was_wrong_and_on_which_side) {
    const auto [level, what, bytes] = GetParam();
    const bool reliable = level != vinic::reliability::unreliable;
    const outcome& expected = reliable ? what->reliable : what->unreliable;
    scene s(level, bytes);
    auto& left = s.linked.left;
    auto& right = s.linked.right;
    fill(left.bytes(0, bytes), 3);
    ASSERT_EQ(what->act(s), errc::ok) << "a post takes any segment; the completion tells how it ended";

    const auto done = next(left.sends);
    EXPECT_EQ(done.cookie, 200u);
    if (level == vinic::reliability::delivery && bytes == small_bytes && done.status == status::success) {
        // VIA's reliable delivery completes a send once it is on its way: of a small message the sender may not
        // hear at all how its placing ended.  Reliable reception is the level that promises more.
        EXPECT_EQ(expected.initiator, status::remote_descriptor);
    } else {
        EXPECT_EQ(done.status, expected.initiator);
    }
    if (expected.target) {
        const auto received = next(right.receives);
        EXPECT_EQ(received.status, *expected.target);
        EXPECT_EQ(received.cookie, 100u);
    } else {
        EXPECT_TRUE(is_quiet(right.receives));
        EXPECT_EQ(right.vi.receives_outstanding(), 1u) << "the receive waits for the next message";
    }
    EXPECT_TRUE(all_are(right.bytes(), std::byte{0})) << "memory was changed by an operation that was refused";

    if (reliable) {
        EXPECT_TRUE(comes_to(left.vi, vinic::vi_state::error));
        EXPECT_TRUE(comes_to(right.vi, vinic::vi_state::error));
    } else {
        if (expected.target) {
            ASSERT_EQ(s.receive(), errc::ok);
        }
        ASSERT_EQ(left.vi.post_send(left.at(0, bytes), 201), errc::ok) << "the connection lives on";
        EXPECT_EQ(next(left.sends).status, status::success);
        EXPECT_EQ(next(right.receives).status, status::success);
    }
}

std::vector<const mishap*> every_mishap() {
    std::vector<const mishap*> all;
    for (const auto& one : send_mishaps) all.push_back(&one);
    for (const auto& one : receive_mishaps) all.push_back(&one);
    for (const auto& one : write_mishaps) all.push_back(&one);
    return all;
}

INSTANTIATE_TEST_SUITE_P(level, after,
                         testing::Combine(testing::ValuesIn(all_levels), testing::ValuesIn(every_mishap()),
                                          testing::Values(small_bytes, large_bytes)),
                         [](const auto& row) {
                             return std::string(std::get<1>(row.param)->name) + "_" +
                                    vinic::name(std::get<0>(row.param)) + "_" + std::to_string(std::get<2>(row.param));
                         });

}  // namespace
}  // namespace conformance

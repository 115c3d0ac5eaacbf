// SPDX-License-Identifier: Apache-2.0
//
// transfer_test.cc -- connecting and moving bytes, while system calls fail at one side.
#include <array>
#include <cstring>
#include <optional>

#include "faults/side.hpp"

namespace faults {
namespace {

constexpr std::size_t outgoing = side::outgoing;
constexpr std::size_t incoming = side::incoming;

TEST(every_fault, of_messages_there_and_back_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) {
        side me(s);
        me.connect();
        for (const std::size_t n : {sizeof(request), std::size_t{1000}, message_bytes_max}) {
            multi::fill(me.bytes(outgoing, n), n);
            const request echo;
            std::memcpy(me.bytes(outgoing, sizeof echo).data(), &echo, sizeof echo);
            const auto back = me.exchange(n);
            if (!back) {
                break;
            }
            s.demand(*back == n && std::memcmp(me.bytes(outgoing, n).data(), me.bytes(incoming, n).data(), n) == 0,
                     "what was sent comes back");
        }
        s.attempt("disconnecting", [&] { return me.vi.disconnect(); });
    });
}

/// Writes, reads and counts in the peer's memory of one kind, from memory of one kind.
void move_bytes(scene& s, bool foreign_here, bool foreign_there) {
    side me(s);
    std::vector<std::byte> heap(foreign_here ? peer_memory_bytes + 64 : 0);
    std::optional<vinic::region> own;
    if (foreign_here) {
        own = s.attempt("registering foreign memory",
                        [&] { return me.domain.register_memory(std::span(heap).subspan(3), but_for_atomics); });
    }
    const std::span<std::byte> bytes =
        foreign_here ? std::span(heap).subspan(3) : me.bytes(side::free_at, peer_memory_bytes);
    const vinic::region& from = foreign_here ? *own : me.memory;
    const std::uint64_t offset = foreign_here ? 0 : side::free_at;
    const auto segment = [&](std::size_t n) { return vinic::segment(from, offset, static_cast<std::uint32_t>(n)); };
    me.connect();
    const auto where = me.ask({.what = request::kind::tell_memory, .foreign = foreign_there ? 1u : 0u});
    if (!where) {
        return;
    }
    const vinic::remote_address there{where->address, static_cast<std::uint32_t>(where->key)};
    for (const std::size_t n : {std::size_t{8}, std::size_t{5000}, peer_memory_bytes}) {
        multi::fill(bytes.first(n), n);
        if (!me.done(me.vi.post_write(segment(n), there, 3), "writing")) {
            return;
        }
        std::memset(bytes.data(), 0, n);
        if (!me.done(me.vi.post_read(segment(n), there, 4), "reading")) {
            return;
        }
        s.demand(multi::first_difference(bytes.first(n), n) == n, "what was written is read");
    }
    if (!foreign_there && !foreign_here) {
        const auto word = std::span(bytes).first(8);
        if (!me.done(me.vi.post_fetch_add(segment(8), there, 1, 5), "adding")) {
            return;
        }
        s.demand(multi::first_difference(word, peer_memory_bytes) == 8, "the old value comes back");
    }
    s.attempt("disconnecting", [&] { return me.vi.disconnect(); });
}

TEST(every_fault, of_moving_device_memory_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { move_bytes(s, false, false); });
}
TEST(every_fault, of_moving_into_foreign_memory_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { move_bytes(s, false, true); });
}

TEST(every_fault, of_moving_from_foreign_memory_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { move_bytes(s, true, false); });
}
TEST(every_fault, of_moving_foreign_memory_to_foreign_memory_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { move_bytes(s, true, true); });
}

}  // namespace
}  // namespace faults

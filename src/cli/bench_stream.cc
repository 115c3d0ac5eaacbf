// SPDX-License-Identifier: Apache-2.0
//
// bench_stream.cc -- messages in one direction, as many as go.
//
// The initiator keeps the send queue full and asks for a completion every Nth descriptor.  In a
// stream of sends the target gives every receive back, `repost` at a time, and reads the first word
// of small messages (all lines of any message with --touch), so that a sum over the message numbers
// proves that none was lost, doubled or overwritten.  The clock stops when the target has said that
// it has the last message.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "cli/bench_clock.hpp"
#include "cli/bench_loops.hpp"

namespace vinic::cli::bench {
namespace {

constexpr std::size_t list_max = 64;
constexpr std::size_t small_bytes = 64;

// -- the initiator ------------------------------------------------------------------------------

/// Writes the message's number into the piece it is sent from.
void stamp(endpoint& on, std::uint64_t message) {
    if (on.stamped() && on.what.what != operation::read && on.what.what != operation::atomic) {
        std::memcpy(on.source_piece(message).data(), &message, sizeof(message));
    }
}

errc post_one(endpoint& on, std::uint64_t message, bool last) {
    stamp(on, message);
    const send_flag flags = on.next_flags(last);
    const std::uint64_t cookie = on.window.cookie();
    switch (on.what.what) {
        case operation::send:
            return on.vi.post_send(on.source_segment(message), cookie, flags);
        case operation::write:
            return on.vi.post_write(on.source_segment(message), on.peer_sink(message), cookie, flags);
        case operation::read:
            return on.vi.post_read(on.sink_segment(message), on.peer_source(message), cookie, flags);
        case operation::atomic:
            return on.vi.post_fetch_add(on.sink_segment(0), on.peer_sink(0), 1, cookie, flags);
    }
    return errc::invalid_argument;
}

opcode code_of(operation what) noexcept {
    switch (what) {
        case operation::send:
            return opcode::send;
        case operation::write:
            return opcode::write;
        case operation::read:
            return opcode::read;
        case operation::atomic:
            return opcode::fetch_add;
    }
    return opcode::send;
}

void post_list(endpoint& on, std::uint64_t message, std::size_t length, std::uint64_t count) {
    std::array<segment, list_max> segments;
    std::array<work_request, list_max> list;
    const bool from_here = on.what.what == operation::send || on.what.what == operation::write;
    for (std::size_t i = 0; i < length; ++i) {
        const std::uint64_t index = message + i;
        stamp(on, index);
        work_request& one = list[i];
        one.opcode = code_of(on.what.what);
        one.flags = on.next_flags(index + 1 == count);
        one.cookie = on.window.cookie();
        if (on.what.what == operation::atomic) {
            segments[i] = on.sink_segment(0);
            one.remote = on.peer_sink(0);
            one.operand = 1;
        } else {
            segments[i] = from_here ? on.source_segment(index) : on.sink_segment(index);
            one.remote = from_here ? on.peer_sink(index) : on.peer_source(index);
        }
        one.segments = {&segments[i], 1};
    }
    const posted outcome = on.vi.post(std::span(list).first(length));
    expect_ok("posting a list", outcome.code);
    if (outcome.count != length) {
        throw failure("a list was accepted only in part, without a reason");
    }
}

stream_figures push(endpoint& on, std::uint64_t count) {
    stream_figures figures;
    figures.block_messages = std::max<std::uint64_t>(count / 1024, 2 * on.what.depth);
    figures.block_ticks.reserve(count / figures.block_messages + 1);
    const std::uint64_t begin = ticks();
    std::uint64_t block_begin = begin;
    std::uint64_t block_end = figures.block_messages;
    for (std::uint64_t sent = 0; sent < count;) {
        const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(on.what.post_list, count - sent));
        while (!on.window.room_for(length)) {
            on.retire_some();
            on.with.spin();
        }
        if (length == 1) {
            expect_ok("posting", post_one(on, sent, sent + 1 == count));
        } else {
            post_list(on, sent, length, count);
        }
        sent += length;
        if (sent >= block_end) {
            const std::uint64_t now = ticks();
            figures.block_ticks.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(now - block_begin, ~0u)));
            block_begin = now;
            block_end = sent + figures.block_messages;
        }
    }
    on.retire_all();
    if (on.what.what == operation::send) {
        while (on.with.shared().received.value.load(std::memory_order_acquire) != count) {
            relax();
            on.with.spin();
        }
    }
    figures.total_ticks = ticks() - begin;
    return figures;
}

// -- the target ---------------------------------------------------------------------------------

std::uint64_t read_piece(const endpoint& on, std::uint64_t message) {
    const std::span<const std::byte> piece = on.sink_piece(message);
    std::uint64_t first = 0;
    std::memcpy(&first, piece.data(), std::min<std::size_t>(sizeof(first), piece.size()));
    if (on.what.touch) {
        read_lines(piece);
    }
    return first;
}

/// Gives receives back, `repost` in one call.
class receive_poster {
public:
    receive_poster(endpoint& on, std::uint64_t count) : on_(on), count_(count) {}
    void post(std::uint64_t wanted) {
        while (posted_ < std::min(wanted, count_)) {
            const std::uint64_t left = std::min(wanted, count_) - posted_;
            if (on_.what.repost == 1) {
                on_.post_receive(posted_++);
                continue;
            }
            if (left < on_.what.repost && wanted < count_) {
                return;  // not a whole batch yet
            }
            const auto length = static_cast<std::size_t>(std::min<std::uint64_t>({left, on_.what.repost, list_max}));
            for (std::size_t i = 0; i < length; ++i) {
                segments_[i] = on_.sink_segment(posted_ + i);
                list_[i] = {.segments = {&segments_[i], 1}, .cookie = posted_ + i};
            }
            expect_ok("posting receives", on_.vi.post_receives(std::span(list_).first(length)).code);
            posted_ += length;
        }
    }

private:
    endpoint& on_;
    std::uint64_t count_;
    std::uint64_t posted_ = 0;
    std::array<segment, list_max> segments_;
    std::array<receive_request, list_max> list_;
};

void pull_sends(endpoint& on, receive_poster& poster, std::uint64_t count) {
    // A piece with two messages in flight may change before it is read.
    const bool exclusive = on.what.buffers >= on.what.depth;
    const bool reads = on.what.touch || (exclusive && on.stamped() && on.what.size_bytes <= small_bytes);
    std::array<completion, 64> done;
    std::uint64_t sum = 0;
    std::uint64_t received = 0;
    while (received < count) {
        const std::size_t arrived = on.receive_cq.poll(done);
        for (std::size_t i = 0; i < arrived; ++i) {
            expect_success(done[i]);
            if (done[i].cookie != received + i || done[i].length != on.what.size_bytes) {
                throw failure("receive " + std::to_string(received + i) + " was reported as number " +
                              std::to_string(done[i].cookie) + " with " + std::to_string(done[i].length) + " bytes");
            }
            sum += reads ? read_piece(on, received + i) : 0;
        }
        if (arrived == 0) {
            on.with.spin();
            continue;
        }
        received += arrived;
        poster.post(received + on.what.depth);
    }
    on.with.shared().received.value.store(count, std::memory_order_release);
    if (reads && exclusive && on.stamped() &&
        sum != (count % 2 == 0 ? count / 2 * (count - 1) : (count - 1) / 2 * count)) {
        throw failure("the numbers of the received messages do not add up: something was lost or overwritten");
    }
}

void check_atomics(const endpoint& on, std::uint64_t count) {
    std::uint64_t word = 0;
    std::memcpy(&word, on.sink_piece(0).data(), sizeof(word));
    if (const std::uint64_t wanted = on.with.initiator() ? count - 1 : count; word != wanted) {
        throw failure("after " + std::to_string(count) + " fetch-adds a word is " + std::to_string(word));
    }
}

}  // namespace

stream_figures run_stream(endpoint& on, std::uint64_t count) {
    const bool sends = on.what.what == operation::send;
    stream_figures figures;
    on.prepare_contents();
    receive_poster poster(on, count);
    if (!on.with.initiator()) {
        on.with.shared().received.value.store(0, std::memory_order_release);
        if (sends) {
            poster.post(on.what.depth);
        }
    }
    on.with.meet();
    if (on.with.initiator()) {
        figures = push(on, count);
    } else if (sends) {
        pull_sends(on, poster, count);
    }
    on.with.meet();
    const bool data_is_here = on.with.initiator() == (on.what.what == operation::read);
    if (on.what.what == operation::atomic) {
        check_atomics(on, count);
    } else if (data_is_here) {
        on.check_contents(count, on.stamped() && on.what.what != operation::read);
    }
    on.with.meet();
    return figures;
}

}  // namespace vinic::cli::bench

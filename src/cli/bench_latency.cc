// SPDX-License-Identifier: Apache-2.0
//
// bench_latency.cc -- ping-pong by sends, ping-pong by writes into polled memory, and the one-sided
// operations that no target takes part in.
//
// What is not on the way of a message (giving a receive back, collecting completions of sends) is
// done after the reply went out, while the message is under way, as a careful program would.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "cli/bench_clock.hpp"
#include "cli/bench_loops.hpp"

namespace vinic::cli::bench {
namespace {

/// Collects completions of sends before the queue is full, and waits only when it is.
void make_room(endpoint& on) {
    if (on.window.room_for(on.what.signal_every)) {
        return;
    }
    do {
        on.retire_some();
        on.with.spin();
    } while (!on.window.room_for(1));
}

// -- send and receive ---------------------------------------------------------------------------

void send_one(endpoint& on, std::uint64_t index, bool last) {
    const send_flag flags = on.next_flags(last);
    expect_ok("posting a send", on.vi.post_send(on.source_segment(index), on.window.cookie(), flags));
}

void take_message(endpoint& on, std::uint64_t index) {
    std::array<completion, 4> done;
    std::size_t count = 0;
    while ((count = on.receive_cq.poll(done)) == 0) {
        relax();
        on.with.spin();
    }
    // With a connection that breaks the other receives end, too; they say why.
    for (const completion& each : std::span(done).first(count)) {
        expect_success(each);
    }
    // In a ping-pong one message is under way at a time, so more than one would be a ghost.
    if (count != 1) {
        throw failure("two messages arrived where one was sent");
    }
    if (done[0].length != on.what.size_bytes) {
        throw failure("a message of " + std::to_string(on.what.size_bytes) + " bytes was reported as " +
                      std::to_string(done[0].length));
    }
    if (on.what.touch) {
        read_lines(on.sink_piece(index));
    }
}

void ping_pong_sends(endpoint& on, std::uint64_t count, std::span<std::uint32_t> samples) {
    const bool first = on.with.initiator();
    const std::uint64_t ahead = std::min<std::uint64_t>(on.what.depth, count);
    on.prepare_contents();
    for (std::uint64_t i = 0; i < ahead; ++i) {
        on.post_receive(i);
    }
    on.with.meet();
    std::uint64_t before = ticks();
    for (std::uint64_t i = 0; i < count; ++i) {
        if (first) {
            send_one(on, i, i + 1 == count);
        } else {
            take_message(on, i);
            send_one(on, i, i + 1 == count);
        }
        if (i > 0 && i - 1 + ahead < count) {
            on.post_receive(i - 1 + ahead);
        }
        make_room(on);
        if (first) {
            take_message(on, i);
            const std::uint64_t now = ticks();
            samples[i] = static_cast<std::uint32_t>(std::min<std::uint64_t>(now - before, ~std::uint32_t{0}));
            before = now;
        }
    }
    on.retire_all();
    on.with.meet();
    on.check_contents(count, false);
}

// -- write, the target polls its memory ------------------------------------------------------------

/// The end of a message that tells it from the one before: the last word, or the last byte of
/// messages that are shorter than a word or do not end on one.
class tail {
public:
    explicit tail(std::span<std::byte> piece) noexcept : word_(piece.size() >= 8 && piece.size() % 8 == 0) {
        at_ = piece.data() + piece.size() - (word_ ? 8 : 1);
    }
    void put(std::uint64_t number) const noexcept {
        if (word_) {
            std::memcpy(at_, &number, sizeof(number));
        } else {
            *at_ = static_cast<std::byte>(number);
        }
    }
    [[nodiscard]] bool is(std::uint64_t number) const noexcept {
        if (word_) {
            auto& word = *reinterpret_cast<std::uint64_t*>(at_);
            return std::atomic_ref(word).load(std::memory_order_acquire) == number;
        }
        return std::atomic_ref(*at_).load(std::memory_order_acquire) == static_cast<std::byte>(number);
    }

private:
    bool word_;
    std::byte* at_;
};

/// Which lap over the pieces a message belongs to: differs from what its piece held before, zero at
/// first and the lap before later, also when only a byte of it is kept.
std::uint64_t lap(const endpoint& on, std::uint64_t index) noexcept { return index / on.what.buffers + 1; }

void write_one(endpoint& on, std::uint64_t index, bool last) {
    tail(on.source_piece(index)).put(lap(on, index));
    const send_flag flags = on.next_flags(last);
    expect_ok("posting a write",
              on.vi.post_write(on.source_segment(index), on.peer_sink(index), on.window.cookie(), flags));
}

void await_write(endpoint& on, std::uint64_t index) {
    const tail end(on.sink_piece(index));
    const std::uint64_t wanted = lap(on, index);
    while (!end.is(wanted)) {
        relax();
        on.with.spin();
    }
    if (on.what.touch) {
        read_lines(on.sink_piece(index));
    }
}

/// Every byte before the tail is the source's pattern; the tail is the message's lap.
void check_written(const endpoint& on, std::uint64_t count) {
    const std::uint64_t first = count > on.what.buffers ? count - on.what.buffers : 0;
    for (std::uint64_t i = first; i < count; ++i) {
        const std::span<std::byte> piece = on.sink_piece(i);
        std::vector<std::byte> wanted(piece.begin(), piece.end());
        fill_pattern(wanted, i % on.what.source_buffers);
        tail(wanted).put(lap(on, i));
        if (!std::ranges::equal(piece, wanted)) {
            throw failure("write " + std::to_string(i) + " of " + std::to_string(piece.size()) +
                          " bytes did not arrive as it was posted");
        }
    }
}

void ping_pong_writes(endpoint& on, std::uint64_t count, std::span<std::uint32_t> samples) {
    const bool first = on.with.initiator();
    on.prepare_contents();
    on.with.meet();
    std::uint64_t before = ticks();
    for (std::uint64_t i = 0; i < count; ++i) {
        if (!first) {
            await_write(on, i);
        }
        write_one(on, i, i + 1 == count);
        make_room(on);
        if (first) {
            await_write(on, i);
            const std::uint64_t now = ticks();
            samples[i] = static_cast<std::uint32_t>(std::min<std::uint64_t>(now - before, ~std::uint32_t{0}));
            before = now;
        }
    }
    on.retire_all();
    on.with.meet();
    check_written(on, count);
}

// -- read and atomic: the target does nothing ----------------------------------------------------------

void one_sided(endpoint& on, std::uint64_t count, std::span<std::uint32_t> samples) {
    const bool read = on.what.what == operation::read;
    on.prepare_contents();
    on.with.meet();
    if (on.with.initiator()) {
        std::uint64_t before = ticks();
        for (std::uint64_t i = 0; i < count; ++i) {
            const send_flag flags = on.next_flags(true);
            const errc code =
                read ? on.vi.post_read(on.sink_segment(i), on.peer_source(i), on.window.cookie(), flags)
                     : on.vi.post_fetch_add(on.sink_segment(0), on.peer_sink(0), 1, on.window.cookie(), flags);
            expect_ok(read ? "posting a read" : "posting a fetch-add", code);
            on.retire_all();
            const std::uint64_t now = ticks();
            samples[i] = static_cast<std::uint32_t>(std::min<std::uint64_t>(now - before, ~std::uint32_t{0}));
            before = now;
        }
    }
    on.with.meet();
    std::uint64_t word = 0;
    std::memcpy(&word, on.sink_piece(0).data(), std::min<std::size_t>(sizeof(word), on.what.size_bytes));
    if (read) {
        if (on.with.initiator()) {
            on.check_contents(count, false);
        }
    } else if (const std::uint64_t wanted = on.with.initiator() ? count - 1 : count; word != wanted) {
        throw failure("after " + std::to_string(count) + " fetch-adds a word is " + std::to_string(word));
    }
    on.with.meet();
}

}  // namespace

void run_latency(endpoint& on, std::uint64_t count, std::span<std::uint32_t> samples) {
    switch (on.what.what) {
        case operation::send:
            ping_pong_sends(on, count, samples);
            break;
        case operation::write:
            ping_pong_writes(on, count, samples);
            break;
        case operation::read:
        case operation::atomic:
            one_sided(on, count, samples);
            break;
    }
}

}  // namespace vinic::cli::bench

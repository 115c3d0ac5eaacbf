// SPDX-License-Identifier: Apache-2.0
//
// link.cc -- posts at random, and checks each completion against what was posted.
#include "torture/link.hpp"

#include <atomic>
#include <cstring>

namespace torture {

namespace {

constexpr auto ending_patience = std::chrono::seconds(20);

/// The head of every message and of every block in a mailbox.
struct head {
    std::uint64_t id;
    std::uint64_t sequence;
    std::uint32_t length;
    std::uint32_t side;
};

std::uint64_t seed_of(const head& h) noexcept {
    return h.id * 0x1000'0000'01b3ULL ^ h.sequence << 8 ^ h.length ^ std::uint64_t{h.side} << 63;
}

void make_message(std::byte* at, const head& h) noexcept {
    std::memcpy(at, &h, sizeof h);
    make_pattern({at + sizeof h, h.length - sizeof h}, seed_of(h));
}

}  // namespace

void make_pattern(std::span<std::byte> bytes, std::uint64_t seed) noexcept {
    random r(seed);
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        word = i % 8 == 0 ? r.next() : word >> 8;
        bytes[i] = static_cast<std::byte>(word);
    }
}

bool is_pattern(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
    random r(seed);
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        word = i % 8 == 0 ? r.next() : word >> 8;
        if (bytes[i] != static_cast<std::byte>(word)) {
            return false;
        }
    }
    return true;
}

link::link(ledger& book, std::uint32_t seat, const area& where, std::uint32_t record, std::uint64_t id, int side)
    : book_(book),
      record_(book.records[record]),
      area_(where),
      seat_(seat),
      record_index_(record),
      id_(id),
      side_(side) {
    for (int i = 0; i < 4; ++i) {
        std::atomic_ref(area_.words[i]).store(0);
    }
}

introduction link::introduce(std::uint32_t incarnation, std::uint64_t pattern_address) const noexcept {
    introduction i{};
    i.id = id_;
    i.record = record_index_;
    i.seat = seat_;
    i.incarnation = incarnation;
    i.words_key = area_.words_region->key();
    i.memory_key = area_.memory_region->key();
    i.words_address = reinterpret_cast<std::uint64_t>(area_.words);
    i.mailbox_address = reinterpret_cast<std::uint64_t>(area_.memory);
    i.pattern_address = pattern_address;
    return i;
}

void link::opened(const introduction& peer) noexcept {
    peer_ = peer;
    state_ = state::open;
    book_.count(seat_, links_made);
}

void link::refused() noexcept {
    mine().state.store(side_state::closed);
    state_ = state::over;
    book_.count(seat_, links_refused);
}

void link::complain(const char* what, std::uint64_t a, std::uint64_t b) const noexcept {
    book_.fail("seat %u, link %llu side %d with seat %u: %s (%llu, %llu)", seat_, static_cast<unsigned long long>(id_),
               side_, peer_.seat, what, static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
}

bool link::acceptable(enum vinic::status s) const noexcept {
    using vinic::status;
    return s == status::success || s == status::flushed || s == status::connection_lost ||
           (s == status::receiver_not_ready && limited);
}

// -- posting ----------------------------------------------------------------------------------------

void link::post_receives() {
    if (state_ > state::open || std::chrono::steady_clock::now() < slow_until_) {
        return;
    }
    while (receives_posted_ - receives_taken_ < receive_slots) {
        const vinic::segment s(area_.receive_slot(receives_posted_), message_bytes_max, area_.memory_region->key());
        if (vi.post_receive(s, receives_posted_) != vinic::errc::ok) {
            complain("a receive is refused", receives_posted_, receives_taken_);
            return;
        }
        ++receives_posted_;
    }
}

bool link::posted(vinic::errc code, const operation& o) {
    if (code == vinic::errc::ok) {
        pending_.push_back(o);
        ++next_number_;
        return true;
    }
    // The peer may have broken the connection, and this side disconnected by itself: nothing else is expected.
    if (code != vinic::errc::queue_full) {
        complain(vinic::name(code), o.number, static_cast<std::uint64_t>(vi.state()));
    }
    return false;
}

void link::post_message(random& r) {
    const bool write = r.one_in(3);
    head h{id_, next_sequence_, 0, static_cast<std::uint32_t>(side_)};
    const std::size_t most = write ? mailbox_block_bytes : r.one_in(8) ? message_bytes_max : 200;
    h.length = static_cast<std::uint32_t>(sizeof h + r.below(most - sizeof h + 1));
    std::byte* const at = area_.send_slot(next_number_);
    make_message(at, h);
    const vinic::segment s(at, h.length, area_.memory_region->key());
    const bool signalled = r.one_in(2) || pending_.size() % 8 == 7;
    auto flags = vinic::send_flag::immediate;
    if (!signalled) {
        flags = flags | vinic::send_flag::unsignalled;
    }
    const auto immediate = static_cast<std::uint32_t>(next_sequence_);
    mine().posted.store(next_sequence_ + 1);
    vinic::errc code{};
    if (write) {
        const vinic::remote_address to{peer_.mailbox_address + next_sequence_ % mailbox_blocks * mailbox_block_bytes,
                                       peer_.memory_key};
        code = vi.post_write(s, to, next_number_, flags, immediate);
    } else if (h.length > 60 && r.one_in(3)) {
        const vinic::segment parts[2] = {{at, 40, s.key}, {at + 40, h.length - 40, s.key}};
        code = vi.post_send(parts, next_number_, flags, immediate);
    } else if (h.length <= 48 && r.one_in(3)) {
        code = vi.post_send(s, next_number_, flags | vinic::send_flag::inlined, immediate);
    } else {
        code = vi.post_send(s, next_number_, flags, immediate);
    }
    if (posted(code, {next_number_, next_sequence_, kind::message, signalled})) {
        ++next_sequence_;
        book_.count(seat_, messages_sent);
    } else {
        mine().posted.store(next_sequence_);
    }
}

void link::post_other(random& r) {
    const vinic::remote_address word{peer_.words_address, peer_.words_key};
    const std::uint32_t key = area_.words_region->key();
    const std::uint64_t n = next_number_;
    switch (r.below(3)) {
        case 0: {
            const auto bytes = static_cast<std::uint32_t>(pattern_bytes);
            const vinic::segment to(area_.send_slot(n), bytes, area_.memory_region->key());
            (void)posted(vi.post_read(to, {peer_.pattern_address, peer_.memory_key}, n), {n, 0, kind::read, true});
            break;
        }
        case 1: {
            mine().adds_posted.fetch_add(1);
            if (!posted(vi.post_fetch_add({&area_.words[2], 8, key}, word, 1, n), {n, 0, kind::add, true})) {
                mine().adds_posted.fetch_sub(1);
            }
            break;
        }
        default:
            // One at a time, because each expects what the one before has left.
            for (const operation& o : pending_) {
                if (o.what == kind::swap) {
                    return;
                }
            }
            (void)posted(vi.post_compare_swap({&area_.words[3], 8, key}, word + 8, swaps_, swaps_ + 1, n),
                         {n, swaps_, kind::swap, true});
    }
}

void link::work(random& r, std::uint64_t count) {
    for (; count != 0 && state_ == state::open && pending_.size() + 1 < send_slots; --count) {
        if (vi.state() != vinic::vi_state::connected) {
            return;
        }
        if (reliable && r.one_in(5)) {
            post_other(r);
        } else {
            post_message(r);
        }
    }
}

// -- completions --------------------------------------------------------------------------------------

void link::take(const vinic::completion& c) {
    if (!acceptable(c.status)) {
        complain(vinic::name(c.status), c.cookie, static_cast<std::uint64_t>(c.opcode));
    }
    if (c.opcode == vinic::opcode::receive || c.opcode == vinic::opcode::receive_write) {
        take_receive(c);
    } else {
        take_send(c);
    }
}

void link::finished(const operation& o) {
    switch (o.what) {
        case kind::message:
            mine().completed.store(o.sequence + 1);
            break;
        case kind::read:
            book_.count(seat_, reads);
            if (!is_pattern({area_.send_slot(o.number), pattern_bytes}, pattern_seed(peer_.seat, peer_.incarnation))) {
                complain("a read brought wrong bytes", o.number);
            }
            break;
        case kind::add:
            book_.count(seat_, atomics);
            mine().adds_completed.fetch_add(1);
            break;
        case kind::swap:
            book_.count(seat_, atomics);
            if (const std::uint64_t old = std::atomic_ref(area_.words[3]).load(); old != o.sequence) {
                complain("a swap found another value", old, o.sequence);
            }
            ++swaps_;
            break;
    }
}

void link::take_send(const vinic::completion& c) {
    // What was posted before and not asked for a completion has succeeded.
    while (!pending_.empty() && pending_.front().number != c.cookie) {
        if (pending_.front().signalled) {
            complain("a completion is missing, or the order is wrong", pending_.front().number, c.cookie);
            return;
        }
        if (!sends_broken_) {
            finished(pending_.front());
        }
        pending_.pop_front();
    }
    if (pending_.empty()) {
        complain("a completion of nothing", c.cookie);
        return;
    }
    const operation o = pending_.front();
    pending_.pop_front();
    if (c.status == vinic::status::success) {
        // On an unreliable connection each message fails by itself.
        if (sends_broken_ && reliable) {
            complain("a send succeeded after one had failed", c.cookie, first_failure_);
        }
        finished(o);
    } else if (!sends_broken_) {
        sends_broken_ = true;
        first_failure_ = c.cookie << 8 | static_cast<std::uint64_t>(c.status);
    }
}

/// The block may be overwritten by a later message while it is read: then its head has changed, and that is all right.
bool link::check_block(std::uint64_t sequence, std::uint32_t length) const noexcept {
    const std::byte* const at = area_.mailbox(sequence);
    for (int attempt = 0; attempt < 2; ++attempt) {
        head h{};
        std::memcpy(&h, at, sizeof h);
        if (h.id == id_ && h.sequence > sequence) {
            return true;
        }
        if (h.id == id_ && h.sequence == sequence && h.length == length &&
            is_pattern({at + sizeof h, length - sizeof h}, seed_of(h))) {
            return true;
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    return false;
}

void link::take_receive(const vinic::completion& c) {
    if (c.cookie != receives_taken_) {
        complain("receives complete out of order", c.cookie, receives_taken_);
    }
    const std::byte* const at = area_.receive_slot(receives_taken_);
    ++receives_taken_;
    if (c.status != vinic::status::success) {
        receives_broken_ = true;
        return;
    }
    if (receives_broken_ && reliable) {
        complain("a message came after a receive had been flushed", c.cookie);
    }
    if (!c.has_immediate || c.length < sizeof(head)) {
        complain("a message without immediate data or without a head", c.length);
        return;
    }
    head h{};
    if (c.opcode == vinic::opcode::receive) {
        std::memcpy(&h, at, sizeof h);
        if (h.id != id_ || h.length != c.length || h.side == static_cast<std::uint32_t>(side_) ||
            !is_pattern({at + sizeof h, h.length - sizeof h}, seed_of(h))) {
            complain("a message with wrong bytes", h.sequence, h.id);
            return;
        }
    } else {
        // Unreliable ones may skip some; the immediate data holds the low half of the sequence.
        h.sequence =
            next_expected_ + static_cast<std::uint32_t>(c.immediate - static_cast<std::uint32_t>(next_expected_));
        if (!check_block(h.sequence, c.length)) {
            complain("a written block with wrong bytes", h.sequence, c.length);
        }
    }
    if (static_cast<std::uint32_t>(h.sequence) != c.immediate || h.sequence < next_expected_ ||
        (reliable && h.sequence != next_expected_)) {
        complain("a message out of order, lost or doubled", h.sequence, next_expected_);
    }
    next_expected_ = h.sequence + 1;
    mine().received.store(reliable ? next_expected_ : mine().received.load() + 1);
    book_.count(seat_, messages_received);
}

// -- the end --------------------------------------------------------------------------------------------

void link::end() {
    const auto now = std::chrono::steady_clock::now();
    if (state_ == state::open) {
        state_ = state::closing;
        ending_since_ = now;
    }
    if (state_ != state::closing) {
        return;
    }
    if (now - ending_since_ > ending_patience) {
        complain("it does not end: sends and receives outstanding", vi.sends_outstanding(), vi.receives_outstanding());
        ending_since_ = now;
    }
    if (vi.state() != vinic::vi_state::idle) {
        const auto ended = vi.disconnect();
        if (!ended && ended.error().code != vinic::errc::busy) {
            complain(vinic::name(ended.error().code));
        }
        return;
    }
    if (vi.sends_outstanding() != 0 || vi.receives_outstanding() != 0) {
        return;
    }
    if (receives_taken_ != receives_posted_) {
        complain("receives vanished", receives_taken_, receives_posted_);
    }
    for (const operation& o : pending_) {
        if (o.signalled) {
            complain("a send vanished", o.number);
        } else if (!sends_broken_) {
            finished(o);
        }
    }
    mine().word.store(std::atomic_ref(area_.words[0]).load());
    mine().state.store(side_state::closed);
    book_.count(seat_, links_broken, sends_broken_ || receives_broken_ ? 1 : 0);
    state_ = state::over;
}

}  // namespace torture

// SPDX-License-Identifier: Apache-2.0
//
// hand_over.cc -- the send queue in shared memory, and each step of the hand-over and back.
#include "device/hand_over.hpp"

#include <algorithm>

namespace vinic::device {

namespace {

/// A descriptor read back: what did not fit its line is gathered here.
struct unpacked {
    abi::segment segments[256];
    std::byte inline_data[1024];
    operation op;
};

void unpack(const send_side& queue, std::uint32_t index, unpacked& out) noexcept {
    const std::size_t slot = index & queue.mask;
    const abi::send_descriptor& d = queue.descriptors[slot];
    operation& op = out.op;
    op = {};
    op.opcode = static_cast<opcode>(d.opcode);
    op.has_immediate = (d.flags & abi::has_immediate) != 0;
    op.immediate = d.immediate;
    op.length = d.length;
    op.remote_address = d.remote_address;
    op.remote_key = d.remote_key;
    constexpr std::size_t in_line = sizeof d.segments;
    const bool is_inline = (d.flags & abi::payload_inside) != 0;
    auto* to = is_inline ? out.inline_data : reinterpret_cast<std::byte*>(out.segments);
    const std::size_t bytes = is_inline ? d.inline_bytes : d.segment_count * sizeof(abi::segment);
    std::memcpy(to, d.segments, std::min(bytes, in_line));
    if (bytes > in_line) {
        std::memcpy(to + in_line, queue.extra(index), bytes - in_line);
    }
    op.segments = out.segments;
    op.segment_count = is_inline ? 0 : d.segment_count;
    op.inline_data = is_inline ? out.inline_data : nullptr;
    if (op.opcode == opcode::fetch_add || op.opcode == opcode::compare_swap) {
        op.operand = d.segments[1].address;
        op.compare = std::uint64_t{d.segments[1].key} << 32 | d.segments[1].length;
    }
}

}  // namespace

void send_side::look_at(const memory& m, const abi::vi_entry& v) noexcept {
    descriptors = m.at<abi::send_descriptor>(v.send_ring.load_relaxed());
    device = &m;
    vi = &v;
    mask = v.send_depth.load_relaxed() - 1;
    extra_bytes = abi::send_extra_bytes(v.segments_max.load_relaxed(), v.inline_bytes_max.load_relaxed());
}

void send_side::store(std::uint32_t index, const operation& op) noexcept {
    const std::size_t slot = index & mask;
    abi::send_descriptor& d = descriptors[slot];
    const bool is_inline = op.inline_data != nullptr;
    d.opcode = static_cast<std::uint8_t>(op.opcode);
    d.flags =
        static_cast<std::uint8_t>((op.has_immediate ? abi::has_immediate : 0) | (is_inline ? abi::payload_inside : 0));
    d.status = 0;
    d.immediate = op.immediate;
    d.segment_count = op.segment_count;
    d.inline_bytes = is_inline ? static_cast<std::uint16_t>(op.length) : std::uint16_t{0};
    d.remote_address = op.remote_address;
    d.remote_key = op.remote_key;
    d.length = op.length;
    constexpr std::size_t in_line = sizeof d.segments;
    const auto* bytes_from = is_inline ? op.inline_data : reinterpret_cast<const std::byte*>(op.segments);
    const std::size_t bytes = is_inline ? op.length : op.segment_count * sizeof(abi::segment);
    if (bytes != 0) {
        std::memcpy(d.segments, bytes_from, std::min(bytes, in_line));
    }
    if (bytes > in_line) {
        std::memcpy(extra(index), bytes_from + in_line, bytes - in_line);
    }
    if (op.opcode == opcode::fetch_add || op.opcode == opcode::compare_swap) {
        d.segments[1] = {op.operand, static_cast<std::uint32_t>(op.compare),
                         static_cast<std::uint32_t>(op.compare >> 32)};
    }
}

drained drain(route& r, send_side& queue, std::uint32_t produced) noexcept {
    unpacked u;
    std::uint32_t next = r.from->send_next.load_relaxed();
    while (next != produced) {
        if (r.from->state.load_acquire() != r.connected) {
            return drained::broken;
        }
        unpack(queue, next, u);
        const outcome o = r.run(u.op);
        if (o.waits()) {
            return drained::waits;
        }
        r.count_foreign_copies();
        if (o.how() == status::success) {
            count_sent(*r.from, u.op.opcode, u.op.length);
        }
        abi::send_descriptor& d = queue.descriptors[next & queue.mask];
        d.status = static_cast<std::uint8_t>(o.how());
        ++next;
        r.from->send_next.store_relaxed(next);
        r.to->receive_next.store_relaxed(r.fill);
        // Release: pairs with the sender's poller.
        d.done.store_release(next);
        signal_if_wanted(*r.device, *r.from, abi::send_queue);
        if (o.how() != status::success && r.reliable) {
            return drained::broken;
        }
    }
    return drained::empty;
}

bool hand_over(route& r, send_side& queue, std::uint32_t first, std::uint32_t produced) noexcept {
    r.from->send_next.store_relaxed(first);
    r.to->receive_next.store_relaxed(r.fill);
    r.from->hand_over.store_release(abi::make_hand_over(produced, abi::executor::handed, first));
    r.to->receive_attention.store_release(1);
    // Pairs with the light barrier in post_receive: either the receiver sees the attention word, or
    // its descriptor is seen here.
    r.device->heavy_barrier();
    if (!r.receiver_ready() || !take_back(*r.from)) {
        return true;
    }
    switch (drain(r, queue, produced)) {
        case drained::waits:
            return hand_over(r, queue, r.from->send_next.load_relaxed(), produced);
        default:
            return false;
    }
}

bool append(route& r, std::uint32_t produced) noexcept {
    std::uint64_t seen = r.from->hand_over.load_acquire();
    while (abi::executor_of(seen) != abi::executor::owner) {
        if (r.from->hand_over.compare_exchange(
                seen, abi::make_hand_over(produced, abi::executor_of(seen), abi::first_of(seen)))) {
            return true;
        }
    }
    r.resume_at(r.to->receive_next.load_relaxed());
    return false;
}

bool take_back(abi::vi_entry& from) noexcept {
    std::uint64_t seen = from.hand_over.load_acquire();
    while (abi::executor_of(seen) == abi::executor::handed) {
        if (from.hand_over.compare_exchange(seen, abi::make_hand_over(abi::produced_of(seen), abi::executor::owner))) {
            return true;
        }
    }
    return false;
}

bool take_back(abi::vi_entry& from, std::uint64_t seen) noexcept {
    return abi::executor_of(seen) == abi::executor::handed &&
           from.hand_over.compare_exchange(seen, abi::make_hand_over(abi::produced_of(seen), abi::executor::owner));
}

void drain_for_peer(route& r, send_side& queue) noexcept {
    abi::word64& word = r.from->hand_over;
    // Cleared before the claim: a sender that hands over again sets it after its own store to the
    // word, so a claim that fails here means that the flag will be set again.
    r.to->receive_attention.store_relaxed(0);
    std::uint64_t seen = word.load_acquire();
    do {
        if (abi::executor_of(seen) != abi::executor::handed) {
            // The claim must be a locked instruction even when it fails: it orders the store above.
            if (word.compare_exchange(seen, seen)) {
                return;
            }
            continue;
        }
    } while (abi::executor_of(seen) != abi::executor::handed ||
             !word.compare_exchange(seen, abi::make_hand_over(abi::produced_of(seen), abi::executor::peer)));

    r.resume_at(r.to->receive_next.load_relaxed());
    std::uint64_t mine = abi::make_hand_over(abi::produced_of(seen), abi::executor::peer);
    for (;;) {
        const drained how = drain(r, queue, abi::produced_of(mine));
        if (how == drained::empty) {
            // Fails when the sender appended: then there is more to do.
            if (word.compare_exchange(mine, abi::make_hand_over(abi::produced_of(mine), abi::executor::owner))) {
                return;
            }
            continue;
        }
        // Out of descriptors (or broken, then the sender's poller flushes): ours again at the next post.
        r.to->receive_attention.store_relaxed(how == drained::waits ? 1 : 0);
        const std::uint32_t first = r.from->send_next.load_relaxed();
        while (
            !word.compare_exchange(mine, abi::make_hand_over(abi::produced_of(mine), abi::executor::handed, first))) {
        }
        return;
    }
}

}  // namespace vinic::device

// SPDX-License-Identifier: Apache-2.0
//
// hand_over.cc -- each step of a send queue's hand-over to the receiver, and back.
#include "direct/hand_over.hpp"

namespace vinic::direct {

namespace {

/// Descriptor `next`; `m` points into `room`.  False: it is malformed.
bool fetch(const tables::send_side& queue, std::uint32_t next, rules::message& m, rules::message_room& room) noexcept {
    const auto extra = [&](std::size_t) { return queue.extra(next); };
    return rules::unpack(queue.descriptors[next & queue.mask], rules::segments_limit, rules::inline_limit, extra, m,
                         room);
}

}  // namespace

bool is_ready_for_head(const route& r, const tables::send_side& queue) noexcept {
    if (r.chooser.kind == nullptr) [[likely]] {
        return r.receiver_ready();
    }
    rules::message m;
    rules::message_room room;
    return !fetch(queue, r.from->send_next.load_relaxed(), m, room) || r.ready_for(m);
}

drained drain(route& r, tables::send_side& queue, std::uint32_t produced) noexcept {
    rules::message m;
    rules::message_room room;
    std::uint32_t next = r.from->send_next.load_relaxed();
    while (next != produced) {
        if (r.from->state.load_acquire() != r.connected) {
            return drained::broken;
        }
        const bool whole = fetch(queue, next, m, room);
        const outcome o = whole ? r.run(m) : r.refuse();
        if (o.waits()) {
            return drained::waits;
        }
        r.count_foreign_copies();
        if (o.how() == status::success) {
            tables::count_sent(*r.from, m.opcode, m.length);
        }
        r.from->send_next.store_relaxed(next + 1);
        r.to->receive_next.store_relaxed(r.fill);
        rules::finish(queue.descriptors[next & queue.mask], next, o.how());  // pairs with the sender's poller
        ++next;
        tables::signal_if_wanted(*r.device, *r.from, abi::send_queue);
        if (o.how() != status::success && r.reliable) {
            return drained::broken;
        }
    }
    return drained::empty;
}

bool hand_over(route& r, tables::send_side& queue, std::uint32_t first, std::uint32_t produced) noexcept {
    for (;; first = r.from->send_next.load_relaxed()) {
        r.from->send_next.store_relaxed(first);
        r.to->receive_next.store_relaxed(r.fill);
        r.from->hand_over.store_release(abi::make_hand_over(produced, abi::queue_holder::handed, first));
        r.to->receive_attention.store_release(1);
        // Pairs with the light barrier in post_receive: either the receiver sees the attention word, or its descriptor
        // is seen here.
        r.device->heavy_barrier();
        if (!is_ready_for_head(r, queue) || !take_back(*r.from)) {
            return true;
        }
        if (drain(r, queue, produced) != drained::waits) {
            return false;
        }
    }
}

bool append(route& r, std::uint32_t produced) noexcept {
    std::uint64_t seen = r.from->hand_over.load_acquire();
    while (abi::holder_of(seen) != abi::queue_holder::owner) {
        if (r.from->hand_over.compare_exchange(
                seen, abi::make_hand_over(produced, abi::holder_of(seen), abi::first_of(seen)))) {
            return true;
        }
    }
    r.resume_at(r.to->receive_next.load_relaxed());
    return false;
}

bool take_back(abi::vi_entry& from) noexcept {
    std::uint64_t seen = from.hand_over.load_acquire();
    while (abi::holder_of(seen) == abi::queue_holder::handed) {
        if (from.hand_over.compare_exchange(seen,
                                            abi::make_hand_over(abi::produced_of(seen), abi::queue_holder::owner))) {
            return true;
        }
    }
    return false;
}

bool take_back(abi::vi_entry& from, std::uint64_t seen) noexcept {
    return abi::holder_of(seen) == abi::queue_holder::handed &&
           from.hand_over.compare_exchange(seen, abi::make_hand_over(abi::produced_of(seen), abi::queue_holder::owner));
}

void drain_for_peer(route& r, tables::send_side& queue) noexcept {
    abi::word64& word = r.from->hand_over;
    // Cleared before the claim: a sender that hands over again sets it after its own store to the
    // word, so a claim that fails here means that the flag will be set again.
    r.to->receive_attention.store_relaxed(0);
    std::uint64_t seen = word.load_acquire();
    do {
        if (abi::holder_of(seen) != abi::queue_holder::handed) {
            // The claim must be a locked instruction even when it fails: it orders the store above.
            if (word.compare_exchange(seen, seen)) {
                return;
            }
            continue;
        }
    } while (abi::holder_of(seen) != abi::queue_holder::handed ||
             !word.compare_exchange(seen, abi::make_hand_over(abi::produced_of(seen), abi::queue_holder::peer)));

    r.resume_at(r.to->receive_next.load_relaxed());
    std::uint64_t mine = abi::make_hand_over(abi::produced_of(seen), abi::queue_holder::peer);
    for (;;) {
        const drained how = drain(r, queue, abi::produced_of(mine));
        if (how == drained::empty) {
            // Fails when the sender appended: then there is more to do.
            if (word.compare_exchange(mine, abi::make_hand_over(abi::produced_of(mine), abi::queue_holder::owner))) {
                return;
            }
            continue;
        }
        // Out of descriptors (or broken, then the sender's poller flushes): ours again at the next post.
        r.to->receive_attention.store_relaxed(how == drained::waits ? 1 : 0);
        const std::uint32_t first = r.from->send_next.load_relaxed();
        while (!word.compare_exchange(mine,
                                      abi::make_hand_over(abi::produced_of(mine), abi::queue_holder::handed, first))) {
        }
        return;
    }
}

}  // namespace vinic::direct

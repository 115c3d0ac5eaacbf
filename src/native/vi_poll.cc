// SPDX-License-Identifier: Apache-2.0
//
// vi_poll.cc -- taking completions out of a VI's rings.
#include <algorithm>
#include <cstring>

#include "native/take.hpp"

namespace vinic::detail {

bool vi_body::pending(abi::queue_kind kind) const noexcept {
    if (kind == abi::receive_queue) {
        const std::uint32_t at = receive_reported.load(std::memory_order_relaxed);
        return rules::has_arrived(receives.slots[at & receives.mask].completion, at);
    }
    const std::uint32_t at = send_reported.load(std::memory_order_relaxed);
    if (at == send_posted.load(std::memory_order_acquire)) {
        return false;
    }
    return !sends[at & send_mask].deferred || rules::is_done(queue.descriptors[at & send_mask], at);
}

/// The payload of a small message into several segments, or one that is refused.
void vi_body::place_pieces(const abi::receive_slot& slot, std::uint32_t at, completion& out) noexcept {
    const abi::receive_completion& c = slot.completion;
    const abi::receive_descriptor& d = slot.descriptor;
    const auto* from = reinterpret_cast<const std::byte*>(c.payload) + (polls_datagrams ? 8 : 0);
    std::uint32_t left = std::min<std::uint32_t>(c.length, abi::payload_in_completion);
    for (std::uint32_t i = 0; i < d.segment_count && left != 0; ++i) {
        const abi::segment& s = receives.segment_of(d, at, i);
        const std::uint32_t n = std::min(left, s.length);
        tables::place p;
        if (n == 0) {
            continue;
        }
        const tables::place source = tables::own_bytes(*nic->memory, from, n);
        rules::word_copy words;
        std::uint64_t foreign_copies = 0;
        if (!tables::check(*nic->memory, polls_for, s.key, s.address, n,
                           static_cast<std::uint32_t>(access::local_write), p) ||
            tables::move(*nic->memory, p, source, words, entry->state, entry->state.load_relaxed(), foreign_copies) !=
                tables::moved::all) {
            // Deregistered, or never right: found only now because the payload travelled inside.
            out.status = status::local_protection;
            // A message of an earlier connection, polled late, is not a fault of the one that is there now.
            const bool is_of_this_connection = static_cast<std::int32_t>(at - entry->receive_base.load_relaxed()) >= 0;
            if (is_of_this_connection && attributes.reliability != reliability::unreliable &&
                attributes.service == service::connected) {
                break_for_local_error();
            }
            return;
        }
        from += n;
        left -= n;
    }
}

/// Two in one, so that neither pays for the other one's questions.
[[gnu::always_inline]] inline std::size_t vi_body::take_done(std::span<completion> out, bool by_another) noexcept {
    const spin_guard hold(reporting, by_another);
    std::uint32_t at = send_reported.load(std::memory_order_relaxed);
    const std::uint32_t posted = send_posted.load(std::memory_order_acquire);
    const std::uint32_t start = at;
    std::size_t n = 0;
    for (; n < out.size() && at != posted; ++at) {
        const send_entry& e = sends[at & send_mask];
        enum status s = e.status;
        if (e.deferred) {
            const abi::send_descriptor& d = queue.descriptors[at & send_mask];
            if (!rules::is_done(d, at)) {
                break;
            }
            s = static_cast<enum status>(d.status);
            if (by_another && s == status::success) {
                tables::count_sent(*entry, e.opcode, e.length);  // it leaves counting to the reporter
            }
        }
        entry->counters[abi::tx_status_first + static_cast<std::uint32_t>(s)].add_single_writer(1);
        if (s == status::success && !e.signalled) {
            continue;
        }
        completion& done = out[n++];
        done = {};
        done.cookie = e.cookie;
        done.vi_context = attributes.context;
        done.length = e.length;
        done.vi = index;
        done.status = s;
        done.opcode = e.opcode;
    }
    if (at != start) {
        send_reported.store(at, std::memory_order_release);
    }
    return n;
}

std::size_t vi_body::take_sends(std::span<completion> out) noexcept {
    return executed_by_another ? take_done(out, true) : take_done(out, false);
}

/// What another process executed, and nobody will ask for: that one has forgotten the VI, and so have its queues.
void vi_body::count_unreported() noexcept {
    if (!executed_by_another) {
        return;
    }
    const spin_guard hold(reporting);
    const std::uint32_t posted = send_posted.load(std::memory_order_acquire);
    for (std::uint32_t at = send_reported.load(std::memory_order_relaxed); at != posted; ++at) {
        const send_entry& e = sends[at & send_mask];
        const abi::send_descriptor& d = queue.descriptors[at & send_mask];
        if (e.deferred && rules::is_done(d, at) && static_cast<enum status>(d.status) == status::success) {
            tables::count_sent(*entry, e.opcode, e.length);
        }
    }
}

std::size_t vi_body::take_flushed(abi::queue_kind kind, std::span<completion> out) noexcept {
    const bool receives_kind = kind == abi::receive_queue;
    std::atomic<std::uint32_t>& reported = receives_kind ? receive_reported : send_reported;
    const std::uint64_t state = entry->state.load_acquire();
    const bool in_error = abi::link_of(state) == abi::link::error;
    std::uint32_t at = reported.load(std::memory_order_relaxed);
    const auto posted_now = [&] {
        return (receives_kind ? receive_posted : send_posted).load(std::memory_order_acquire);
    };
    std::uint32_t limit = in_error ? posted_now() : flush_limit[kind].load(std::memory_order_acquire);
    if (static_cast<std::int32_t>(limit - at) <= 0 && !in_error) {
        return 0;
    }
    if (!engines_outside()) {
        tables::signal(*nic->memory, *entry, kind);  // try again at the next poll
        return 0;
    }
    // Only now it is certain what arrived: that comes first.
    std::size_t n = take(kind, out);
    at = reported.load(std::memory_order_relaxed);
    limit = in_error ? posted_now() : limit;
    const enum status flushed =
        in_error ? rules::flushed_by(abi::reason_of(state)) : flush_status.load(std::memory_order_relaxed);
    for (; n < out.size() && static_cast<std::int32_t>(limit - at) > 0; ++at) {
        enum status s = flushed;
        enum opcode o = opcode::receive;
        std::uint64_t cookie = 0;
        std::uint32_t length = 0;
        if (receives_kind) {
            if (rules::has_arrived(receives.slots[at & receives.mask].completion, at)) {
                // Descriptors of an earlier connection were flushed; this one was used by a later one.
                reported.store(at, std::memory_order_release);
                n += take_receives(out.subspan(n));
                at = reported.load(std::memory_order_relaxed) - 1;
                continue;
            }
            cookie = receives.slots[at & receives.mask].descriptor.cookie;
        } else {
            const send_entry& e = sends[at & send_mask];
            cookie = e.cookie;
            o = e.opcode;
            length = e.length;
            if (!e.deferred) {
                s = e.status;
            } else if (const abi::send_descriptor& d = queue.descriptors[at & send_mask]; rules::is_done(d, at)) {
                s = static_cast<enum status>(d.status);
            }
            if (s == status::success && !e.signalled) {
                continue;
            }
        }
        completion& done = out[n++];
        done = {};
        done.cookie = cookie;
        done.vi_context = attributes.context;
        done.length = length;
        done.vi = index;
        done.status = s;
        done.opcode = o;
        const std::uint32_t first = receives_kind ? abi::rx_status_first : abi::tx_status_first;
        entry->counters[first + static_cast<std::uint32_t>(s)].add_single_writer(1);
    }
    reported.store(at, std::memory_order_release);
    return n;
}

}  // namespace vinic::detail

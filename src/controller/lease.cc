// SPDX-License-Identifier: Apache-2.0
//
// lease.cc -- a lease: messages of one VI, one after the other, until it is used up.
#include "controller/lease.hpp"

#include <utility>

#include "controller/notify.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t long_lease_ns = 2'000;  ///< about what it takes to call another engine

/// What a lease did, in the counters of the functions: once for all its messages.
void publish(vi& v, std::uint64_t messages, std::uint64_t received, const lease_end& end) noexcept {
    if (messages != 0) {
        count(v.owner->counters.tx_messages, messages);
    }
    if (end.bytes != 0) {
        count(v.owner->counters.tx_bytes, end.bytes);
    }
    if (end.foreign_copies != 0) {
        v.entry->counters[abi::tx_foreign_copies].fetch_add(end.foreign_copies);
    }
    if (received != 0) {
        count(end.receiver->counters.rx_messages, received);
        count(end.receiver->counters.rx_bytes, end.received_bytes);
    }
}

constexpr std::uint32_t pages_of_a_fetch = 6;  ///< of the ring, and of what a descriptor has beside its line

}  // namespace

lease_runner::lease_runner(function_list functions, const device_options& options)
    : functions_(functions),
      allowances_(functions.size()),
      foreign_memory_(options.foreign_memory),
      lease_ns_(options.lease_ns),
      scratch_(std::make_unique_for_overwrite<transfer>()) {}
lease_runner::~lease_runner() = default;

void lease_runner::finish(vi& v, enum status how) noexcept {
    rules::finish(v.sends[v.send_next & v.send_mask], v.send_next, how);
    ++v.send_next;
    v.pending.reset();
    signal_if_wanted(v, abi::send_queue);
}

void lease_runner::notice(std::uint64_t now_ns) noexcept {
    if (now_ns >= long_ns_ && on_long_lease_ != nullptr) {
        long_ns_ = abi::none64;
        on_long_lease_();
    }
}

/// The message in scratch_ outlives the lease.  False: there is no memory for that.
bool lease_runner::keep(vi& v) noexcept {
    std::unique_ptr<transfer> next(new (std::nothrow) transfer);
    if (next == nullptr) {
        return false;
    }
    v.pending = std::exchange(scratch_, std::move(next));
    return true;
}

/// A message for which there is no memory ends, and with it a reliable connection; the device goes on.
outcome lease_runner::drop_unkept(const vi& v, const transfer& t) noexcept {
    if (v.is_datagram()) {
        stop_filling(find(functions_, t.remote_address), v);
    }
    return end(v, nullptr, rules::fault::unreachable);
}

bool lease_runner::is_over() noexcept {
    const std::uint64_t now = clock_ns();
    notice(now);
    return now >= end_ns_;
}

lease_end lease_runner::run(vi& v, std::uint32_t bytes_max, std::uint32_t descriptors_max) noexcept {
    tally_ = {};
    rx_messages_ = 0;
    lease_left_ = bytes_max == 0 ? no_lease_limit : bytes_max;
    std::uint64_t messages = 0;
    looked_ns_ = clock_ns();
    end_ns_ = lease_ns_ != 0 ? looked_ns_ + lease_ns_ : abi::none64;
    long_ns_ = looked_ns_ + long_lease_ns;
    pieces_ = 0;
    block_ = block_least;
    using why = lease_end::why;
    for (;;) {
        if (v.link.load(std::memory_order_relaxed) != abi::link::connected) {
            tally_.reason = why::broken;
            break;
        }
        if (v.pending == nullptr && !v.has_posted()) {
            tally_.reason = why::empty;
            break;
        }
        // Short messages and gather lists of many pieces take time, not bytes.
        const bool look = is_timed() && tally_.descriptors % 4 == 3;
        if ((look && is_over()) || lease_left_ == 0 || tally_.descriptors == descriptors_max ||
            (bytes_max != 0 && tally_.bytes >= bytes_max)) {
            tally_.reason = why::more;
            break;
        }
        transfer& t = v.pending != nullptr ? *v.pending : *scratch_;
        outcome o;
        if (v.pending == nullptr && !may_make(*v.owner, pages_of_a_fetch)) {
            o = end(v, nullptr, rules::fault::unreachable);
        } else if (v.pending == nullptr && !fetch(v, t)) {
            count(v.owner->counters.malformed_descriptors);
            o = end(v, nullptr, rules::fault::malformed);
        } else {
            o = execute(v, t);
        }
        if (o.waits() && !v.is_reliable()) {
            // Dropped here and not after the lease, or each drop would cost a decision that nobody is charged for.
            release(*v.peer, t);
            o = end(v, v.peer, rules::fault::no_descriptor);
        } else if (t.started && v.pending == nullptr && o.is_unfinished() && !keep(v)) {
            if (t.claim) {
                release(*v.peer, t);
            }
            o = drop_unkept(v, t);
        }
        if (o.waits() || o.is_unfinished()) {
            tally_.reason = o.waits() ? why::waits : why::more;
            if (o.waits()) {
                v.waits_with.reset();
                if (v.peer->chooser.kind != nullptr && t.opcode == opcode::send) {
                    v.waits_with = rules::arrival_of(t);
                }
            }
            break;
        }
        ++tally_.descriptors;
        if (!o.succeeded() && v.is_reliable()) {
            tally_.reason = why::failed;
            tally_.how = o.how();
            break;
        }
        messages += o.succeeded() ? 1u : 0u;
        finish(v, o.how());
    }
    publish(v, messages, rx_messages_, tally_);
    return tally_;
}

}  // namespace vinic::controller

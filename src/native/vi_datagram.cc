// SPDX-License-Identifier: Apache-2.0
//
// vi_datagram.cc -- sending to any datagram VI: the receiver's ring is taken for one message, under its lock.
#include "native/state.hpp"

namespace vinic::detail {

namespace {

constexpr std::uint64_t datagram_lock_spin_us = 20;

}  // namespace

errc vi_state::post_datagram(const device::operation& op, const work_request& w) noexcept {
    device::memory& m = *nic->memory;
    const std::uint32_t target = abi::index_of_address(w.destination.value);
    const std::uint32_t generation = abi::generation_of_address(w.destination.value);
    const auto is_target = [&](const abi::vi_entry& v) {
        return v.owner.load_acquire() != 0 && v.generation.load_acquire() == generation &&
               (v.flags.load_relaxed() & abi::is_datagram) != 0;
    };
    if (w.destination.value == 0) {
        return errc::invalid_argument;
    }
    if (abi::function_of_address(w.destination.value) != 0 || target >= m.backed(abi::vis) ||
        !is_target(m.vi(target))) {
        entry->counters[abi::tx_datagram_drops].add_single_writer(1);
        finish(op.opcode, op.length, w.cookie, w.flags, status::success);
        return errc::ok;
    }
    abi::vi_entry& to = m.vi(target);
    std::uint32_t holder = 0;
    const std::uint64_t end = os::ticks() + datagram_lock_spin_us * os::ticks_per_us();
    while (!to.receive_lock.compare_exchange(holder, m.owner_word())) {
        if (os::ticks() < end) {
            os::spin_pause();
            holder = 0;
        } else if (holder == 0 || m.alive(holder - 1)) {
            // Its holder is stopped inside: a datagram may be lost, but nobody waits for ever.
            to.drops[abi::rx_busy].fetch_add(1);
            finish(op.opcode, op.length, w.cookie, w.flags, status::success);
            return errc::ok;
        }
    }
    device::outcome o;
    if (is_target(to)) {
        device::route r;
        r.device = &m;
        r.from = entry;
        r.to = &to;
        r.target.look_at(m, to);
        r.from_domain = domain->id;
        r.to_domain = to.domain.load_relaxed();
        r.to_process = to.owner.load_relaxed() - 1;
        r.fill = to.receive_next.load_relaxed();
        r.connected = entry->state.load_relaxed();
        r.datagram = true;
        r.payload_max = rules::payload_max(reliability::unreliable, service::datagram);
        r.datagram_source = abi::make_datagram_address(index, 0, entry->generation.load_relaxed());
        // A sender that died here may have completed a descriptor without counting it.
        while (rules::has_arrived(r.target.slots[r.fill & r.target.mask].completion, r.fill)) {
            ++r.fill;
        }
        o = r.run(op);
        if (o.waits()) {
            o = r.give_up();
        }
        to.receive_next.store_relaxed(r.fill);
        r.count_foreign_copies();
    } else {
        entry->counters[abi::tx_datagram_drops].add_single_writer(1);  // it has gone since we looked
    }
    to.receive_lock.store_release(0);
    finish(op.opcode, op.length, w.cookie, w.flags, o.how());
    return errc::ok;
}

}  // namespace vinic::detail

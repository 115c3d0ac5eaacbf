// SPDX-License-Identifier: Apache-2.0
//
// datagram_vi.cc -- sending to any datagram VI: the receiver's ring is taken for one message, under its lock.
#include "direct/provider.hpp"
#include "placement/post.hpp"

namespace vinic::direct {

namespace {

constexpr std::uint64_t datagram_lock_spin_us = 20;

}  // namespace

errc datagram_vi::execute(std::uint64_t, const rules::message& what, const work_request& w) noexcept {
    tables::memory& m = *nic->memory;
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
        finish(what.opcode, what.length, w.cookie, w.flags, status::success);
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
            finish(what.opcode, what.length, w.cookie, w.flags, status::success);
            return errc::ok;
        }
    }
    outcome o;
    if (is_target(to)) {
        route r;
        r.device = &m;
        r.from = entry;
        r.to = &to;
        r.target.look_at(m, to);
        r.from_domain = domain->id;
        r.to_domain = to.domain.load_relaxed();
        r.to_process = to.owner.load_relaxed() - 1;
        r.fill = to.receive_next.load_relaxed();
        r.connected = entry->state.load_relaxed();
        r.tells = true;
        r.payload_max = rules::payload_max(reliability::unreliable, service::datagram);
        r.telling = abi::make_datagram_address(index, 0, entry->generation.load_relaxed());
        // A sender that died here may have completed a descriptor without counting it.
        while (rules::has_arrived(r.target.slots[r.fill & r.target.mask].completion, r.fill)) {
            ++r.fill;
        }
        o = r.run(what);
        if (o.waits()) {
            o = r.end_unreceived();
        }
        to.receive_next.store_relaxed(r.fill);
        r.count_foreign_copies();
    } else {
        entry->counters[abi::tx_datagram_drops].add_single_writer(1);  // it has gone since we looked
    }
    to.receive_lock.store_release(0);
    finish(what.opcode, what.length, w.cookie, w.flags, o.how());
    return errc::ok;
}

/// No message comes into what it has posted by now.
result<void> datagram_vi::disconnect_now(tables::patience p) {
    tables::memory& m = *nic->memory;
    const tables::control_lock lock(m, p);
    if (!lock) {
        return std::unexpected(m.fail_lock(errc::busy, "flushing a datagram VI"));
    }
    std::uint32_t holder = 0;
    const std::uint64_t end = os::now_ns() + tables::engine_patience_ns;
    while (!entry->receive_lock.compare_exchange(holder, m.owner_word())) {
        if (holder != 0 && !m.alive(holder - 1) ? entry->receive_lock.compare_exchange(holder, m.owner_word())
                                                : false) {
            break;
        }
        if (os::now_ns() > end) {
            return std::unexpected(nic->fail(errc::busy, "flushing a datagram VI: a stopped process is inside it"));
        }
        holder = 0;
        std::this_thread::yield();
    }
    const std::uint32_t posted_now = receive_posted.load();
    flush_limit[abi::receive_queue].store(posted_now, std::memory_order_release);
    entry->receive_next.store_relaxed(posted_now);
    entry->receive_lock.store_release(0);
    tables::signal(m, *entry, abi::receive_queue);
    return {};
}

/// A datagram that was under way when its names went is flushed, too.
result<void> datagram_vi::end_life(tables::patience p) {
    auto r = vi::end_life(p);
    return r ? disconnect_now(p) : r;
}

errc datagram_vi::post(const work_request& w) noexcept { return detail::post_through(*this, w); }

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// vi_disconnect.cc -- a VI gives up its connection, or its attempt at one; what was posted is flushed.
#include <algorithm>
#include <thread>

#include "device/link.hpp"
#include "native/state.hpp"

namespace vinic::detail {

namespace {

/// False: the control lock was not free in time.
bool break_both_ends(device::memory& m, abi::vi_entry& entry, device::patience p) noexcept {
    const device::control_lock lock(m, p);
    if (!lock) {
        return false;
    }
    const std::uint64_t state = entry.state.load_acquire();
    if (abi::link_of(state) == abi::link::connected) {
        (void)device::break_link(m, entry, state, abi::break_reason::none, abi::break_reason::remote_disconnect);
    }
    // Whoever broke it before may not have reached the peer's state yet.
    const std::uint32_t peer = entry.peer.load_relaxed();
    if (peer < abi::vi_count) {
        std::uint64_t expected = abi::make_state(entry.peer_epoch.load_relaxed(), abi::link::connected);
        if (m.vi(peer).state.compare_exchange(expected, abi::make_state(abi::epoch_of(expected), abi::link::error,
                                                                        abi::break_reason::remote_disconnect))) {
            device::signal(m, m.vi(peer), abi::send_queue);
            device::signal(m, m.vi(peer), abi::receive_queue);
        }
    }
    return true;
}

}  // namespace

/// No message comes into what a datagram VI has posted by now.
result<void> vi_state::flush_datagrams(device::patience p) {
    device::memory& m = *nic->memory;
    const device::control_lock lock(m, p);
    if (!lock) {
        return std::unexpected(m.fail_lock(errc::busy, "flushing a datagram VI"));
    }
    std::uint32_t holder = 0;
    const std::uint64_t end = os::now_ns() + device::engine_patience_ns;
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
    device::signal(m, *entry, abi::receive_queue);
    return {};
}

result<void> vi_state::disconnect(device::patience p) {
    device::memory& m = *nic->memory;
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "disconnecting a VI"));
    }
    const std::lock_guard hold(connect_mutex);
    if (nic->isolated) {
        return disconnect_isolated(p);
    }
    if (attributes.service == service::datagram) {
        return flush_datagrams(p);
    }
    std::uint64_t state = entry->state.load_acquire();
    if (abi::link_of(state) == abi::link::connecting) {
        const device::control_lock lock(m, p);
        if (!lock) {
            return std::unexpected(m.fail_lock(errc::busy, "disconnecting a VI"));
        }
        state = entry->state.load_acquire();
        if (abi::link_of(state) == abi::link::connecting) {
            entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
            drop_request();
            flush_posted(status::flushed);
            return {};
        }
    }
    if (abi::link_of(state) == abi::link::idle) {
        flush_posted(status::flushed);
        return {};
    }
    if (!break_both_ends(m, *entry, p)) {
        return std::unexpected(m.fail_lock(errc::busy, "disconnecting a VI"));
    }
    {
        const std::lock_guard stalled(nic->stalled_mutex);
        stall_deadline_ns.store(0);
        std::erase(nic->stalled, this);
    }
    m.heavy_barrier();
    const std::uint32_t peer = entry->peer.load_relaxed();
    if (!device::wait_engine_outside(m, *entry, device::engine_patience_ns) ||
        (peer < abi::vi_count && !device::wait_engine_outside(m, m.vi(peer), device::engine_patience_ns))) {
        return std::unexpected(nic->fail(errc::busy, "disconnecting a VI: its peer is stopped inside a transfer"));
    }
    state = entry->state.load_acquire();
    entry->receive_attention.store_relaxed(0);
    const device::control_lock lock(m, p);
    if (!lock) {
        return std::unexpected(m.fail_lock(errc::busy, "disconnecting a VI"));
    }
    drop_request();  // connected by the other side, perhaps, and nobody has taken the outcome yet
    entry->peer.store_relaxed(abi::none32);
    entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
    flush_posted(rules::flushed_by(abi::reason_of(state)));
    return {};
}

/// What is posted by now and was not executed belongs to the past; the next connection starts behind it.
void vi_state::flush_posted(enum status as) noexcept {
    flush_status.store(as);
    flush_limit[abi::send_queue].store(send_posted.load(), std::memory_order_release);
    const std::uint32_t posted_now = receive_posted.load();
    flush_limit[abi::receive_queue].store(posted_now, std::memory_order_release);
    entry->receive_base.store_relaxed(posted_now);
    device::signal(*nic->memory, *entry, abi::send_queue);
    device::signal(*nic->memory, *entry, abi::receive_queue);
}

/// Datagrams: no sender may come in any more; one that is inside holds the lock.
bool vi_state::forget_names(device::patience p) noexcept {
    const device::control_lock lock(*nic->memory, p);
    if (!lock) {
        return false;
    }
    entry->generation.add_single_writer(1);
    for (std::uint32_t i = 0; i < nic->memory->backed(abi::names); ++i) {
        abi::name_entry& n = nic->memory->name(i);
        if (n.owner.load_relaxed() == nic->memory->owner_word() &&
            n.kind.load_relaxed() == static_cast<std::uint32_t>(abi::name_kind::datagram) &&
            static_cast<std::uint32_t>(n.target.load_relaxed()) == index) {
            nic->memory->give(abi::names, i);
        }
    }
    return true;
}

}  // namespace vinic::detail

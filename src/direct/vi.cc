// SPDX-License-Identifier: Apache-2.0
//
// vi.cc -- direct placement: the life of a VI, from its first breath to its names' end; connect.cc has the middle.
#include "direct/provider.hpp"
#include "tables/link.hpp"

namespace vinic::direct {

namespace {

/// Whoever broke the connection of VI v may not have come to the peer's state yet.  Under the lock.
void break_other_end(tables::memory& m, const abi::vi_entry& v, abi::break_reason reason) noexcept {
    const std::uint32_t peer = v.peer.load_relaxed();
    if (peer >= abi::vi_count) {
        return;
    }
    std::uint64_t expected = abi::make_state(v.peer_epoch.load_relaxed(), abi::link::connected);
    if (m.vi(peer).state.compare_exchange(expected,
                                          abi::make_state(abi::epoch_of(expected), abi::link::error, reason))) {
        tables::signal(m, m.vi(peer), abi::send_queue);
        tables::signal(m, m.vi(peer), abi::receive_queue);
    }
}

}  // namespace

result<void> vi::begin_life() {
    const std::uint32_t epoch = abi::epoch_of(entry->state.load_relaxed()) + 1;
    // A datagram VI needs no peer: it is connected from the start.
    entry->state.store_release(abi::make_state(epoch, is_datagram() ? abi::link::connected : abi::link::idle));
    return {};
}

bool vi::engines_outside() noexcept {
    const std::uint64_t state = entry->state.load_acquire();
    if (quiet_state_ == state || abi::link_of(state) != abi::link::error) {
        return true;  // disconnect() has waited itself
    }
    tables::memory& m = *nic->memory;
    const std::uint32_t peer = entry->peer.load_acquire();
    if (peer < abi::vi_count) {
        {
            // The peer's state is what its engine looks at.  Not waiting for the lock: its holder may be stopped, and
            // this is called while polling.
            const tables::control_lock hold(m, 0);
            if (!hold || entry->state.load_acquire() != state) {
                return false;  // or it is another connection by now
            }
            break_other_end(m, *entry, abi::break_reason::remote_error);
        }
        m.heavy_barrier();
        if (tables::engine_inside(m, m.vi(peer))) {
            return false;
        }
    } else {
        m.heavy_barrier();
    }
    if (tables::engine_inside(m, *entry)) {
        return false;  // another thread of ours
    }
    quiet_state_ = state;
    return true;
}

void vi::break_for_local_error() noexcept {
    // By the state, for connect_peer_done() may not have been called yet; without the lock, as engines do it, for this
    // is called while polling.
    if (const std::uint64_t state = entry->state.load_acquire(); abi::link_of(state) == abi::link::connected) {
        (void)tables::break_link(*nic->memory, *entry, state, abi::break_reason::local_error,
                                 abi::break_reason::remote_error);
    }
}

/// No datagram may come in any more; one that is inside holds the lock.
result<void> vi::end_life(tables::patience p) {
    const tables::control_lock lock(*nic->memory, p);
    if (!lock) {
        return std::unexpected(nic->memory->fail_lock(errc::busy, "closing a VI"));
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
    return {};
}

// -- connected ---------------------------------------------------------------------------------------

connected_vi::~connected_vi() {
    if (nic != nullptr && !nic->forked()) {
        home.forget(*this);
    }
}

namespace {

/// False: the control lock was not free in time.
bool break_both_ends(tables::memory& m, abi::vi_entry& entry, tables::patience p) noexcept {
    const tables::control_lock lock(m, p);
    if (!lock) {
        return false;
    }
    const std::uint64_t state = entry.state.load_acquire();
    if (abi::link_of(state) == abi::link::connected) {
        (void)tables::break_link(m, entry, state, abi::break_reason::none, abi::break_reason::remote_disconnect);
    }
    break_other_end(m, entry, abi::break_reason::remote_disconnect);
    return true;
}

}  // namespace

void connected_vi::serve_waiting_sender() noexcept {
    const detail::draining_mark mark(*entry);
    if (mark.ok() && entry->state.load_acquire() == outgoing.connected) {
        drain_for_peer(incoming, peer_queue);
    }
}

/// Caches the peer's positions; from now on posts go through.
void connected_vi::on_connected() noexcept {
    tables::memory& m = *nic->memory;
    const std::uint64_t state = entry->state.load_acquire();
    abi::vi_entry& peer = m.vi(entry->peer.load_relaxed());
    const std::uint32_t peer_owner = peer.owner.load_relaxed();
    outgoing = {};
    outgoing.device = &m;
    outgoing.from = entry;
    outgoing.to = &peer;
    outgoing.target.look_at(m, peer);
    outgoing.from_domain = domain->id;
    outgoing.to_domain = peer.domain.load_relaxed();
    outgoing.to_process = peer_owner == 0 ? abi::none32 : peer_owner - 1;
    outgoing.fill = peer.receive_base.load_relaxed();
    const rules::receiver_table their_table(m.at<std::byte>(peer.kind_table.load_relaxed()),
                                            peer.kind_bytes.load_relaxed());
    outgoing.chooser = {rules::find_kind(peer.kind.load_relaxed(), their_table.size()), their_table};
    outgoing.tells = outgoing.chooser.kind != nullptr;
    outgoing.reliable = attributes.reliability != reliability::unreliable;
    outgoing.payload_max = rules::payload_max(attributes.reliability, service::connected);
    incoming = {};
    incoming.device = &m;
    incoming.from = &peer;
    incoming.to = entry;
    incoming.target = receives;
    incoming.from_domain = outgoing.to_domain;
    incoming.to_domain = domain->id;
    incoming.to_process = m.self();
    incoming.chooser = chooser;
    incoming.tells = chooser.kind != nullptr;
    incoming.connected = abi::make_state(entry->peer_epoch.load_relaxed(), abi::link::connected);
    incoming.reliable = outgoing.reliable;
    incoming.payload_max = outgoing.payload_max;
    peer_queue.look_at(m, peer);
    set_handed(false);
    waited_for = outgoing.fill - 1;
    stall_deadline_ns.store(0);
    // Last: the data path compares with it.
    outgoing.connected = abi::make_state(abi::epoch_of(state), abi::link::connected);
    for (;;) {
        // Between the line above, or the mark that the last round took away, and the look at the flag.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (entry->receive_attention.load_relaxed() == 0 || entry->state.load_acquire() != outgoing.connected) {
            return;
        }
        // The peer was quicker: its queue waits for us.  Another thread that posts receives leaves it to this one until
        // it sees `connected`, and while this one is inside.  Pairs with the light barrier in receives_posted.
        m.heavy_barrier();
        route look = incoming;  // the other thread may be using it
        look.resume_at(entry->receive_next.load_acquire());
        if (!is_ready_for_head(look, peer_queue)) {
            return;
        }
        (void)receives_posted();
    }
}

result<void> connected_vi::disconnect_now(tables::patience p) {
    tables::memory& m = *nic->memory;
    std::uint64_t state = entry->state.load_acquire();
    if (abi::link_of(state) == abi::link::connecting) {
        const tables::control_lock lock(m, p);
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
    home.forget(*this);
    m.heavy_barrier();
    const std::uint32_t peer = entry->peer.load_relaxed();
    if (!tables::wait_engine_outside(m, *entry, tables::engine_patience_ns) ||
        (peer < abi::vi_count && !tables::wait_engine_outside(m, m.vi(peer), tables::engine_patience_ns))) {
        return std::unexpected(nic->fail(errc::busy, "disconnecting a VI: its peer is stopped inside a transfer"));
    }
    state = entry->state.load_acquire();
    entry->receive_attention.store_relaxed(0);
    const tables::control_lock lock(m, p);
    if (!lock) {
        return std::unexpected(m.fail_lock(errc::busy, "disconnecting a VI"));
    }
    drop_request();  // connected by the other side, perhaps, and nobody has taken the outcome yet
    entry->peer.store_relaxed(abi::none32);
    entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
    flush_posted(rules::flushed_by(abi::reason_of(state)));
    return {};
}

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// vi.cc -- the life of a virtual interface, apart from connecting it (connect.cc).
#include <algorithm>
#include <atomic>

#include "device/processes.hpp"
#include "native/address.hpp"
#include "native/state.hpp"

namespace vinic {

namespace detail {

/// Caches the peer's positions; from now on posts go through.
void vi_state::on_connected() noexcept {
    device::memory& m = *nic->memory;
    const std::uint64_t state = entry->state.load_acquire();
    if (nic->isolated) {
        open_connection.store(abi::make_state(abi::epoch_of(state), abi::link::connected), std::memory_order_release);
        return;
    }
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
    incoming.connected = abi::make_state(entry->peer_epoch.load_relaxed(), abi::link::connected);
    incoming.reliable = outgoing.reliable;
    incoming.payload_max = outgoing.payload_max;
    peer_queue.look_at(m, peer);
    handed = false;
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
        const std::uint32_t next = entry->receive_next.load_acquire();
        if (receives.slots[next & receives.mask].descriptor.sequence.load_acquire() != next + 1) {
            return;
        }
        (void)receives_posted();
    }
}

result<void> vi_state::close(device::patience p) {
    if (!open) {
        return std::unexpected(nic->fail(errc::invalid_handle, "closing a VI"));
    }
    if (!nic->forked()) {
        if (auto r = disconnect(p); !r) {
            return r;
        }
        if (nic->isolated) {
            if (auto r = tell_device(abi::verb::destroy_vi, "closing a VI"); !r) {
                return r;
            }
        } else if (!forget_names(p)) {
            return std::unexpected(nic->memory->fail_lock(errc::busy, "closing a VI"));
        }
        if (attributes.service == service::datagram && !nic->isolated) {
            if (auto r = disconnect(p); !r) {
                return r;
            }
        }
    }
    open = false;
    cqs[abi::send_queue]->detach(entry->cq_bit[abi::send_queue].load_relaxed(), reinterpret_cast<queue_tag>(this));
    cqs[abi::receive_queue]->detach(entry->cq_bit[abi::receive_queue].load_relaxed(),
                                    reinterpret_cast<queue_tag>(this) | 1);
    if (!nic->forked()) {
        if (nic->isolated) {
            count_unreported();
        }
        const std::lock_guard hold(nic->mutex);
        std::erase(nic->vis, this);
        give_back(*nic, index, entry->receive_ring.load_relaxed(), attributes);
    }
    return {};
}

vi_state::~vi_state() {
    if (!open || entry == nullptr) {
        return;
    }
    const os::cancellation_off inside;
    const auto closed = [&] {
        try {
            return close(device::farewell).has_value();
        } catch (const std::bad_alloc&) {
            return !open;  // there was no memory for the words of why it failed
        }
    };
    if (!closed()) {
        // A stopped peer is inside our rings: they stay until this process leaves the device.
        const std::lock_guard hold(nic->mutex);
        std::erase(nic->vis, this);
        nic->unclosed.push_back({index, entry->peer.load_relaxed(), domain->id});  // create_vi has made room
        cqs[abi::send_queue]->detach(entry->cq_bit[abi::send_queue].load_relaxed(), reinterpret_cast<queue_tag>(this));
        cqs[abi::receive_queue]->detach(entry->cq_bit[abi::receive_queue].load_relaxed(),
                                        reinterpret_cast<queue_tag>(this) | 1);
    }
}

}  // namespace detail

virtual_interface::~virtual_interface() = default;

virtual_interface& virtual_interface::operator=(virtual_interface&& o) noexcept {
    std::shared_ptr<detail::vi_state> old = std::move(state_);
    state_ = std::move(o.state_);
    return *this;
}

result<void> virtual_interface::disconnect() try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "disconnecting a VI"});
    }
    return state_->disconnect();
} catch (const std::exception& e) {
    return detail::caught(e, "disconnecting a VI");
}

result<void> virtual_interface::close() try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "closing a VI"});
    }
    if (auto r = state_->close(); !r) {
        return r;
    }
    state_.reset();
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "closing a VI");
}

}  // namespace vinic

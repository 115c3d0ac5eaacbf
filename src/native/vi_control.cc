// SPDX-License-Identifier: Apache-2.0
//
// vi_control.cc -- what can be asked of a VI, and its domain.
#include <utility>

#include "native/state.hpp"

namespace vinic {

vi_state virtual_interface::state() const noexcept {
    if (!state_ || state_->nic->forked()) {
        return vi_state::error;
    }
    return static_cast<vi_state>(abi::link_of(state_->entry->state.load_acquire()));
}

vi_attributes virtual_interface::attributes() const { return state_ ? state_->attributes : vi_attributes{}; }

std::uint32_t virtual_interface::number() const noexcept { return state_ ? state_->index : 0; }

std::uint32_t virtual_interface::sends_outstanding() const noexcept {
    return state_ ? state_->send_posted.load() - state_->send_reported.load() : 0;
}

std::uint32_t virtual_interface::receives_outstanding() const noexcept {
    return state_ ? state_->receive_posted.load() - state_->receive_reported.load() : 0;
}

datagram_address virtual_interface::local_address() const noexcept {
    if (!state_ || state_->attributes.service != service::datagram) {
        return {};
    }
    return {state_->index | std::uint64_t{state_->entry->generation.load_relaxed()} << 32};
}

result<void> virtual_interface::set_domain(const domain& to) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "moving a VI to another domain"});
    }
    detail::vi_state& v = *state_;
    if (v.nic->forked()) {
        return std::unexpected(v.nic->fail(errc::forked, "moving a VI to another domain"));
    }
    if (!to.state_ || to.state_->nic != v.nic) {
        return std::unexpected(
            v.nic->fail(errc::invalid_argument, "moving a VI to another domain: it belongs to another nic"));
    }
    std::shared_ptr<detail::domain_state> old;  // outlives the locks
    const std::lock_guard hold(v.connect_mutex);
    const std::lock_guard known(v.nic->mutex);  // deregistration looks at the domains of VIs
    if (abi::link_of(v.entry->state.load_acquire()) != abi::link::idle) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "moving a VI to another domain: only in idle"));
    }
    old = std::exchange(v.domain, to.state_);
    v.outgoing.from_domain = v.polls_for = v.domain->id;
    v.entry->domain.store_release(v.domain->id);
    return {};
}

vi_statistics virtual_interface::statistics() const noexcept {
    vi_statistics s;
    if (!state_ || state_->nic->forked()) {
        return s;
    }
    const abi::vi_entry& e = *state_->entry;
    const std::uint64_t state = e.state.load_acquire();  // first: what broke it was counted before
    if (abi::link_of(state) == abi::link::error) {
        s.cause = static_cast<break_cause>(abi::reason_of(state));
    }
    s.no_descriptor = e.rx_no_descriptor_drops.load_relaxed();
    s.too_long = e.rx_length_drops.load_relaxed();
    s.receiver_busy = e.rx_busy_drops.load_relaxed();
    s.memory_refused = e.rx_protection_drops.load_relaxed();
    s.writes_refused = e.rx_write_refusals.load_relaxed();
    s.reads_refused = e.rx_read_refusals.load_relaxed();
    s.atomics_refused = e.rx_atomic_refusals.load_relaxed();
    return s;
}

}  // namespace vinic

// SPDX-License-Identifier: Apache-2.0
//
// vi_control.cc -- what can be asked of a VI, and its domain.
#include <utility>

#include "placement/call.hpp"
#include "placement/vi.hpp"

namespace vinic {

namespace detail {

void vi_body::publish_attributes() noexcept {
    const vi_attributes& a = attributes;
    entry->flags.store_relaxed(flags_of(a));
    entry->reliability.store_relaxed(static_cast<std::uint32_t>(a.reliability));
    entry->transfer_bytes_max.store_relaxed(a.transfer_bytes_max);
    entry->receiver_wait_ns.store_relaxed(wait_of(a));
    entry->context.store_relaxed(a.context);
}

}  // namespace detail

vi_state virtual_interface::state() const noexcept {
    if (!body_ || body_->nic->forked()) {
        return vi_state::error;
    }
    const abi::link link = body_->settled_link();
    return link == abi::link::none ? vi_state::error : static_cast<vi_state>(link);  // the NIC has forgotten it
}

vi_attributes virtual_interface::attributes() const { return body_ ? body_->attributes : vi_attributes{}; }

std::uint32_t virtual_interface::number() const noexcept { return body_ ? body_->index : 0; }

std::uint32_t virtual_interface::sends_outstanding() const noexcept {
    return body_ ? body_->send_posted.load() - body_->send_reported.load() : 0;
}

std::uint32_t virtual_interface::receives_outstanding() const noexcept {
    return body_ ? body_->receive_posted.load() - body_->receive_reported.load() : 0;
}

datagram_address virtual_interface::local_address() const noexcept {
    if (!body_ || body_->attributes.service != service::datagram) {
        return {};
    }
    return {abi::make_datagram_address(body_->index, body_->nic->provider->facts.function,
                                       body_->entry->generation.load_relaxed())};
}

result<void> virtual_interface::set_domain(const domain& to) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "moving a VI to another domain")) {
        return std::unexpected(*why);
    }
    detail::vi_body& v = *body_;
    if (!to.body_ || to.body_->nic != v.nic) {
        return std::unexpected(
            v.nic->fail(errc::invalid_argument, "moving a VI to another domain: it belongs to another nic"));
    }
    std::shared_ptr<detail::domain_body> old;  // outlives the locks
    const std::lock_guard hold(v.connect_mutex);
    const std::lock_guard known(v.nic->mutex);  // deregistration looks at the domains of VIs
    if (v.settled_link(v.nic->memory->lock_deadline(tables::control_patience.ns)) != abi::link::idle) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "moving a VI to another domain: only in idle"));
    }
    if (auto r = v.tell_change(v.attributes, *to.body_, "moving a VI to another domain"); !r) {
        return r;
    }
    old = std::exchange(v.domain, to.body_);
    v.polls_for = v.domain->id;
    v.entry->domain.store_release(v.domain->id);
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "moving a VI to another domain");
}

vi_statistics virtual_interface::statistics() const noexcept {
    vi_statistics s;
    if (!body_ || body_->nic->forked()) {
        return s;
    }
    const abi::vi_entry& e = *body_->entry;
    const std::uint64_t state = e.state.load_acquire();  // first: what broke it was counted before
    if (abi::link_of(state) == abi::link::error) {
        s.cause = static_cast<break_cause>(abi::reason_of(state));
    }
    s.no_descriptor = e.drops[abi::rx_no_descriptor].load_relaxed();
    s.too_long = e.drops[abi::rx_too_long].load_relaxed();
    s.receiver_busy = e.drops[abi::rx_busy].load_relaxed();
    s.memory_refused = e.drops[abi::rx_protection].load_relaxed();
    s.writes_refused = e.drops[abi::rx_refused_writes].load_relaxed();
    s.reads_refused = e.drops[abi::rx_refused_reads].load_relaxed();
    s.atomics_refused = e.drops[abi::rx_refused_atomics].load_relaxed();
    return s;
}

result<void> virtual_interface::set_attributes(const vi_attributes& wanted) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "changing a VI's attributes")) {
        return std::unexpected(*why);
    }
    detail::vi_body& v = *body_;
    const std::lock_guard hold(v.connect_mutex);
    if (v.settled_link(v.nic->memory->lock_deadline(tables::control_patience.ns)) != abi::link::idle) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "changing a VI's attributes: only in idle"));
    }
    if (wanted.reliability > reliability::reception || wanted.receiver_wait.count() < 0 ||
        wanted.service != v.attributes.service) {
        return std::unexpected(v.nic->fail(errc::invalid_argument, "changing a VI's attributes"));
    }
    if (auto r = v.tell_change(wanted, *v.domain, "changing a VI's attributes"); !r) {
        return r;
    }
    v.attributes.reliability = wanted.reliability;
    v.attributes.transfer_bytes_max = wanted.transfer_bytes_max;
    v.attributes.receiver_wait = wanted.receiver_wait;
    v.attributes.rdma_write = wanted.rdma_write;
    v.attributes.rdma_read = wanted.rdma_read;
    v.attributes.rdma_atomic = wanted.rdma_atomic;
    v.attributes.context = wanted.context;
    v.publish_attributes();
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "changing a VI's attributes");
}

result<void> virtual_interface::bind(const address& name) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "binding a name")) {
        return std::unexpected(*why);
    }
    detail::nic_body& nic = *body_->nic;
    if (body_->attributes.service != service::datagram) {
        return std::unexpected(
            nic.fail(errc::not_supported, "binding a name: only datagram VIs have one; use nic::listen"));
    }
    return nic.provider->bind(*body_, name);
} catch (const std::exception& e) {
    return detail::caught(e, "binding a name");
}

}  // namespace vinic

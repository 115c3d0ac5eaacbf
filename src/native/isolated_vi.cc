// SPDX-License-Identifier: Apache-2.0
//
// isolated_vi.cc -- what the device of the isolated placement is told of a VI's life.
#include "native/state.hpp"

namespace vinic::detail {

namespace {

abi::vi_description description_of(const abi::vi_entry& e) noexcept {
    abi::vi_description d{};
    d.domain = e.domain.load_relaxed();
    d.flags = e.flags.load_relaxed();
    d.reliability = e.reliability.load_relaxed();
    d.transfer_bytes_max = e.transfer_bytes_max.load_relaxed();
    d.receiver_wait_ns = e.receiver_wait_ns.load_relaxed();
    d.send_depth = e.send_depth.load_relaxed();
    d.receive_depth = e.receive_depth.load_relaxed();
    d.segments_max = e.segments_max.load_relaxed();
    d.inline_bytes_max = e.inline_bytes_max.load_relaxed();
    d.generation = e.generation.load_relaxed();
    for (const abi::queue_kind k : {abi::send_queue, abi::receive_queue}) {
        d.cq[k] = e.cq[k].load_relaxed();
        d.cq_bit[k] = e.cq_bit[k].load_relaxed();
    }
    d.receive_ring = e.receive_ring.load_relaxed();
    d.send_ring = e.send_ring.load_relaxed();
    return d;
}

}  // namespace

/// create_vi and destroy_vi.
result<void> vi_state::tell_device(abi::verb verb, const char* doing) {
    const abi::vi_description mine = description_of(*entry);
    const bool ends = verb == abi::verb::destroy_vi;
    const auto r = ends ? nic->isolated->call(verb, {index}) : nic->isolated->call(verb, {index}, mine);
    if (r.ok() || (ends && r.ok_or_gone())) {
        return {};
    }
    return std::unexpected(nic->fail(r.code, doing));
}

/// Before attributes or domain change here, so that what the device refuses has changed nothing.  Direct: nobody to
/// ask.
result<void> vi_state::ask_device(const vi_attributes& wanted, const domain_state& in, const char* doing) {
    if (!nic->isolated) {
        return {};
    }
    abi::vi_description d = description_of(*entry);
    d.domain = in.id;
    d.flags = flags_of(wanted);
    d.reliability = static_cast<std::uint32_t>(wanted.reliability);
    d.transfer_bytes_max = wanted.transfer_bytes_max;
    d.receiver_wait_ns = wait_of(wanted);
    if (const auto r = nic->isolated->call(abi::verb::change_vi, {index}, d); !r.ok()) {
        return std::unexpected(nic->fail(r.code, doing));
    }
    return {};
}

/// Where the next connection starts in the rings.
std::uint64_t vi_state::next_base() const noexcept {
    return std::uint64_t{send_posted.load()} << 32 | entry->receive_base.load_relaxed();
}

/// Under connect_mutex.
result<void> vi_state::disconnect_isolated(device::patience p) {
    device::memory& m = *nic->memory;
    const bool is_datagram = attributes.service == service::datagram;
    const std::uint64_t state = entry->state.load_acquire();
    if (abi::link_of(state) == abi::link::idle) {
        flush_posted(status::flushed);
        return {};
    }
    if (abi::link_of(state) == abi::link::connecting && nic->isolated->call(abi::verb::give_up, {index}).ok()) {
        // The device has forgotten the request, and nobody may wait for its answer any more.
        if (const device::control_lock lock(m, p); lock) {
            drop_request();
        } else {
            pending_request = abi::none32;  // the entry stays until this process leaves the window
        }
        flush_posted(status::flushed);
        return {};
    }
    const std::uint32_t sends_before = send_posted.load();
    const std::uint32_t receives_before = receive_posted.load();
    if (!is_datagram) {
        open_connection.store(abi::none64);
    }
    const auto r =
        nic->isolated->call(abi::verb::disconnect, {index, std::uint64_t{sends_before} << 32 | receives_before});
    if (!r.ok_or_gone()) {
        return std::unexpected(nic->fail(r.code, "disconnecting a VI"));
    }
    if (is_datagram) {
        // What it has sent goes on its way still.
        flush_limit[abi::receive_queue].store(receives_before, std::memory_order_release);
        device::signal(m, *entry, abi::receive_queue);
        return {};
    }
    if (!r.ok()) {
        // The device is gone, and with it the connection.
        entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
    }
    // A post of another thread that found the VI connected is inside still.
    m.heavy_barrier();
    (void)device::wait_engine_outside(m, *entry, device::engine_patience_ns);
    const device::control_lock lock(m, p);
    if (!lock) {
        return std::unexpected(m.fail_lock(errc::busy, "disconnecting a VI"));
    }
    drop_request();
    flush_posted(rules::flushed_by(r.ok() ? abi::reason_of(r.value[0]) : abi::break_reason::peer_died));
    return {};
}

}  // namespace vinic::detail

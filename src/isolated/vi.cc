// SPDX-License-Identifier: Apache-2.0
//
// vi.cc -- what the device of the isolated placement is told of a VI's life.
#include "isolated/vi.hpp"

namespace vinic::isolated {

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
    d.kind = e.kind.load_relaxed();
    d.kind_table = e.kind_table.load_relaxed();
    d.kind_bytes = e.kind_bytes.load_relaxed();
    return d;
}

}  // namespace

result<void> vi::fail_unless_ok(const mailbox::reply& r, const char* doing) const {
    return r.ok() ? result<void>{} : std::unexpected(nic->fail(r.code, doing));
}

/// The device writes the state.
result<void> vi::begin_life() {
    open_connection_.store(is_datagram() ? any_connection : abi::none64);
    return fail_unless_ok(device_.call(abi::verb::create_vi, {index}, description_of(*entry)), "creating a VI");
}

result<void> vi::tell_change(const vi_attributes& wanted, const domain_body& in, const char* doing) {
    abi::vi_description d = description_of(*entry);
    d.domain = in.id;
    d.flags = detail::flags_of(wanted);
    d.reliability = static_cast<std::uint32_t>(wanted.reliability);
    d.transfer_bytes_max = wanted.transfer_bytes_max;
    d.receiver_wait_ns = detail::wait_of(wanted);
    return fail_unless_ok(device_.call(abi::verb::change_vi, {index}, d), doing);
}

void vi::on_connected() noexcept {
    const std::uint64_t state = entry->state.load_acquire();
    open_connection_.store(abi::make_state(abi::epoch_of(state), abi::link::connected), std::memory_order_release);
}

void vi::break_for_local_error() noexcept {
    if (const std::uint64_t state = entry->state.load_acquire(); abi::link_of(state) == abi::link::connected) {
        (void)device_.call(abi::verb::break_link, {index, state});
    }
}

result<void> vi::end_life(tables::patience) {
    const auto r = device_.call(abi::verb::destroy_vi, {index});
    return r.ok_or_gone() ? result<void>{} : fail_unless_ok(r, "closing a VI");
}

/// Where the next connection starts in the rings.
std::uint64_t vi::next_base() const noexcept {
    return std::uint64_t{send_posted.load()} << 32 | entry->receive_base.load_relaxed();
}

result<void> vi::disconnect_now(tables::patience p) {
    tables::memory& m = *nic->memory;
    const std::uint64_t state = entry->state.load_acquire();
    if (abi::link_of(state) == abi::link::idle) {
        flush_posted(status::flushed);
        return {};
    }
    if (abi::link_of(state) == abi::link::connecting && device_.call(abi::verb::give_up, {index}).ok()) {
        // The device has forgotten the request, and nobody may wait for its answer any more.
        (void)abandon_request(pending_request, m.lock_deadline(p.ns));
        flush_posted(status::flushed);
        return {};
    }
    const std::uint32_t sends_before = send_posted.load();
    const std::uint32_t receives_before = receive_posted.load();
    if (!is_datagram()) {
        open_connection_.store(abi::none64);
    }
    const auto r = device_.call(abi::verb::disconnect, {index, std::uint64_t{sends_before} << 32 | receives_before});
    if (!r.ok_or_gone()) {
        return fail_unless_ok(r, "disconnecting a VI");
    }
    if (is_datagram()) {
        // What it has sent goes on its way still.
        flush_limit[abi::receive_queue].store(receives_before, std::memory_order_release);
        tables::signal(m, *entry, abi::receive_queue);
        return {};
    }
    if (!r.ok()) {
        // The device is gone, and with it the connection.
        entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
    }
    // A post of another thread that found the VI connected is inside still.
    m.heavy_barrier();
    (void)tables::wait_engine_outside(m, *entry, tables::engine_patience_ns);
    const tables::control_lock lock(m, p);
    if (!lock) {
        return std::unexpected(m.fail_lock(errc::busy, "disconnecting a VI"));
    }
    drop_request();
    flush_posted(rules::flushed_by(r.ok() ? abi::reason_of(r.value[0]) : abi::break_reason::peer_died));
    return {};
}

}  // namespace vinic::isolated

// SPDX-License-Identifier: Apache-2.0
//
// vi_verbs.cc -- VIs and regions come, change and go.
#include <bit>

#include "controller/control.hpp"
#include "controller/lease.hpp"
#include "controller/notify.hpp"
#include "rules/vi.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint32_t pages_of_a_vi = 4;  ///< its entry, and the first of its rings
constexpr std::uint32_t changeable_flags = abi::allow_write | abi::allow_read | abi::allow_atomic;

/// Whether a ring of so many entries may lie there: whole, aligned, and not where the tables are.
bool is_ring(const window& w, std::uint64_t offset, std::uint64_t entries, std::uint64_t entry_bytes) noexcept {
    return offset % (2 * abi::line_size) == 0 && offset >= abi::first_chunk * abi::chunk_size &&
           w.holds(offset, entries * entry_bytes);
}

bool is_valid(const window& w, const abi::vi_description& d) noexcept {
    const rules::vi_shape shape{
        d.send_depth, d.receive_depth, d.segments_max, d.inline_bytes_max,
        // A number that does not fit must not become one that does.
        static_cast<reliability>(std::min<std::uint32_t>(d.reliability, 0xff)),
        (d.flags & abi::is_datagram) != 0 ? vinic::service::datagram : vinic::service::connected};
    return (d.flags & ~(changeable_flags | abi::is_datagram)) == 0 && rules::wrong_with(shape) == nullptr &&
           d.kind == 0 && std::has_single_bit(d.send_depth) && std::has_single_bit(d.receive_depth) &&
           d.cq[0] < abi::cq_count && d.cq[1] < abi::cq_count && d.cq_bit[0] < 2 * abi::vi_count &&
           d.cq_bit[1] < 2 * abi::vi_count && is_ring(w, d.send_ring, d.send_depth, sizeof(abi::send_descriptor)) &&
           is_ring(w, d.receive_ring, d.receive_depth, sizeof(abi::receive_slot));
}

}  // namespace

errc control::create_vi(call& c) {
    function& f = c.f;
    const auto d = c.as<abi::vi_description>();
    if (c.v[0] >= abi::vi_count || f.find(c.v[0]) != nullptr || !is_valid(f.window, d)) {
        return errc::invalid_argument;
    }
    if (f.vis_used == f.options.vis_max || vis_used_ == vis_total_) {
        return errc::limit_reached;
    }
    if (!f.memory.take(pages_of_a_vi, f.window)) {
        count(f.counters.memory_refusals);
        return errc::out_of_memory;
    }
    auto made = std::make_unique<vi>();
    vi& v = *made;
    v.owner = &f;
    v.index = static_cast<std::uint32_t>(c.v[0]);
    v.context = c.context;
    v.d = d;
    v.entry = &f.window.vi(v.index);
    v.sends = f.window.at<abi::send_descriptor>(d.send_ring);
    v.receives = f.window.at<abi::receive_slot>(d.receive_ring);
    v.send_mask = d.send_depth - 1;
    v.send_depth_log2 = static_cast<std::uint32_t>(std::countr_zero(d.send_depth));
    v.receive_mask = d.receive_depth - 1;
    v.send_extra_bytes = abi::send_extra_bytes(d.segments_max, d.inline_bytes_max);
    v.receive_extra_per_slot = abi::receive_extra_segments(d.segments_max);
    v.epoch = abi::epoch_of(v.entry->state.load_relaxed());
    v.reserve_wait();
    const std::lock_guard lock(engines_.board);
    engines_.scheduler.prepare({f.number, v.index});
    f.vis[v.index].store(made.release(), std::memory_order_release);
    ++f.vis_used;
    ++vis_used_;
    f.vis_high = std::max(f.vis_high, v.index + 1);
    become(v, v.is_datagram() ? abi::link::connected : abi::link::idle);
    return errc::ok;
}

/// False: a kind that this device does not know, or its table lies where none may.
bool control::set_kind(vi& v, const abi::vi_description& d) const noexcept {
    const rules::receiver_kind* const kind = rules::find_kind(d.kind, d.kind_bytes);
    const window& w = v.owner->window;
    if (!rules::is_known(d.kind, d.kind_bytes) ||
        (kind != nullptr && !is_ring(w, d.kind_table, kind->table_bytes, 1))) {
        return false;
    }
    v.chooser = {kind, kind != nullptr ? rules::receiver_table(w.at<std::byte>(d.kind_table), kind->table_bytes)
                                       : rules::receiver_table()};
    return true;
}

errc control::change_vi(call& c) {
    vi* v = c.own_vi(c.v[0]);
    const auto d = c.as<abi::vi_description>();
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    const std::lock_guard lock(engines_.board);
    if (v->link.load() != abi::link::idle) {
        return errc::invalid_state;
    }
    if (d.reliability > static_cast<std::uint32_t>(reliability::reception) ||
        (d.flags & ~changeable_flags) != 0) {  // datagram VIs are never idle
        return errc::invalid_argument;
    }
    if (!set_kind(*v, d)) {
        return errc::invalid_argument;
    }
    v->d.domain = d.domain;
    v->d.flags = d.flags;
    v->d.reliability = d.reliability;
    v->d.transfer_bytes_max = d.transfer_bytes_max;
    v->d.receiver_wait_ns = d.receiver_wait_ns;
    return errc::ok;
}

/// Under the board: a new epoch, and the window knows.
void control::become(vi& v, abi::link l) {
    ++v.epoch;
    set_link(v, l);
    v.reason = abi::break_reason::none;
    publish_state(v);
}

void control::detach(vi& v, abi::break_reason own, abi::break_reason peers) {
    if (v.request != 0) {
        forget_request(requests_.find(v.request));
    }
    if (v.link.load() == abi::link::connected && !v.is_datagram()) {
        engines_.break_link(v, own, peers);
    }
    engines_.withdraw(v);
}

void control::let_go(vi& v) {
    engines_.publish_break(v);
    if (v.peer != nullptr) {
        v.peer->peer = nullptr;
        v.peer = nullptr;
    }
    v.pending.reset();  // nobody holds a lease: v has left `connected`, and the leases of before are over
}

std::uint64_t control::unlink(vi& v, abi::break_reason peers) {
    std::uint64_t word = 0;
    {
        const std::lock_guard lock(engines_.board);
        word = abi::make_state(v.epoch, v.link.load(), v.reason);
        detach(v, abi::break_reason::none, peers);
    }
    engines_.quiesce();
    const std::lock_guard lock(engines_.board);
    let_go(v);
    return word;
}

bool control::is_busy(const vi& v) {
    for (const vi* x : {&v, static_cast<const vi*>(v.peer)}) {
        if (x != nullptr && x->link.load() == abi::link::connected && !x->waits &&
            (x->leased || x->pending != nullptr || x->has_posted())) {
            return true;
        }
    }
    return false;
}

errc control::disconnect(call& c) {
    vi* v = c.own_vi(c.v[0]);
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    if (v->is_datagram()) {
        // What it has sent goes on; what it was to receive begins anew.
        c.r[0] = abi::make_state(v->epoch, abi::link::connected);
        const receives_lock hold(*v);
        v->receive_next = static_cast<std::uint32_t>(c.v[1]);
        v->filled_by = nullptr;
        return errc::ok;
    }
    c.r[0] = unlink(*v, abi::break_reason::remote_disconnect);
    const std::lock_guard lock(engines_.board);
    if (v->link.load() != abi::link::idle) {
        become(*v, abi::link::idle);
    }
    return errc::ok;
}

/// Their names are gone.  Leases are waited for once for all of them.
void control::destroy(std::span<vi* const> vis, abi::break_reason peers) {
    // Each by itself: a break is told to two clients, whose pages may have to be made, and engines wait for the board.
    for (vi* v : vis) {
        const std::lock_guard lock(engines_.board);
        function& f = *v->owner;
        f.vis[v->index].store(nullptr, std::memory_order_release);  // datagrams no longer find it
        // If its owner lives, the device is what has died for it.
        detach(*v, abi::break_reason::peer_died, peers);
        if (v->is_datagram()) {
            set_link(*v, abi::link::idle);
        }
        --f.vis_used;
        --vis_used_;
    }
    engines_.quiesce();
    for (vi* v : vis) {
        if (v->is_datagram() && v->pending != nullptr) {
            stop_filling(find(functions_, v->pending->remote_address), *v);
        }
    }
    for (vi* v : vis) {
        const std::lock_guard lock(engines_.board);
        let_go(*v);
    }
    for (vi* v : vis) {
        v->entry->state.store_release(abi::make_state(v->epoch + 1, abi::link::none));
        delete v;
    }
}

errc control::destroy_vi(call& c) {
    vi* v = c.own_vi(c.v[0]);
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    destroy({&v, 1}, abi::break_reason::remote_disconnect);
    return errc::ok;
}

errc control::break_link(call& c) {
    vi* v = c.own_vi(c.v[0]);
    if (v == nullptr) {
        return errc::invalid_handle;
    }
    {
        const std::lock_guard lock(engines_.board);
        if (v->is_datagram() || v->link.load() != abi::link::connected ||
            c.v[1] != abi::make_state(v->epoch, abi::link::connected)) {
            return errc::invalid_state;
        }
        engines_.break_link(*v, abi::break_reason::local_error, abi::break_reason::remote_error);
    }
    engines_.quiesce();
    const std::lock_guard lock(engines_.board);
    engines_.publish_break(*v);
    return errc::ok;
}

// -- vectors ------------------------------------------------------------------------------------

errc control::vector(call& c) {
    if (c.v[0] >= c.f.vectors.count()) {
        return errc::invalid_argument;
    }
    const auto index = static_cast<std::uint32_t>(c.v[0]);
    if ((c.v[1] & abi::change_vector) != 0) {
        if (const errc how = c.f.vectors.set(index, (c.v[1] & abi::vector_masked) != 0, c.v[2], c.v[3], c.f.times);
            how != errc::ok) {
            return how;
        }
        deliver_due(c.f);
        engines_.quiesce();
        const std::lock_guard lock(engines_.board);
        engines_.call_for_deliveries();
    }
    const vector_status now = c.f.vectors.status(index);
    c.r[0] = now.pending;
    c.r[1] = now.settings.masked ? std::uint64_t{abi::vector_masked} : 0;
    c.r[2] = now.settings.count;
    c.r[3] = static_cast<std::uint64_t>(now.settings.period.count());
    return errc::ok;
}

// -- regions ------------------------------------------------------------------------------------

errc control::register_region(call& c) {
    function& f = c.f;
    const auto key = static_cast<std::uint32_t>(c.v[0]);
    const std::uint32_t generation = key & 0xff;
    const std::uint64_t address = c.v[3];
    const std::uint64_t length = c.v[4];
    const std::uint64_t offset = c.v[5];
    const bool whole_space = length == abi::none64;
    if (c.v[0] > ~std::uint32_t{0} || key >> 8 >= abi::region_count || generation == 0 || generation == 0xff ||
        c.v[2] > 15 || length == 0 || (whole_space && (address != 0 || offset != abi::none64)) ||
        (!whole_space && address + length < address) ||
        (offset != abi::none64 && (offset < abi::first_chunk * abi::chunk_size || !f.window.holds(offset, length)))) {
        return errc::invalid_argument;
    }
    region& r = f.regions[key >> 8];
    if (r.key.load() != 0) {
        return errc::busy;
    }
    if (f.regions_used == f.options.regions_max) {
        return errc::limit_reached;
    }
    if (!f.memory.take(1, f.window)) {
        count(f.counters.memory_refusals);
        return errc::out_of_memory;  // a function that lacks room learns it here, not in the middle of a message
    }
    r.context = c.context;
    r.domain.store(static_cast<std::uint32_t>(c.v[1]), std::memory_order_relaxed);
    r.rights.store(static_cast<std::uint32_t>(c.v[2]), std::memory_order_relaxed);
    r.address = address;
    r.length = length;
    r.offset = offset;
    r.key.store(key, std::memory_order_release);
    ++f.regions_used;
    f.regions_high = std::max(f.regions_high, (key >> 8) + 1);
    return errc::ok;
}

errc control::deregister_region(call& c) {
    const auto key = static_cast<std::uint32_t>(c.v[0]);
    region& r = c.f.regions[key >> 8 & (abi::region_count - 1)];
    if (key == 0 || c.v[0] > ~std::uint32_t{0} || r.key.load() != key || r.context != c.context) {
        return errc::invalid_handle;
    }
    r.key.store(0, std::memory_order_release);
    --c.f.regions_used;
    engines_.quiesce();
    return errc::ok;
}

errc control::change_region(call& c) {
    const auto key = static_cast<std::uint32_t>(c.v[0]);
    region& r = c.f.regions[key >> 8 & (abi::region_count - 1)];
    if (key == 0 || c.v[0] > ~std::uint32_t{0} || r.key.load() != key || r.context != c.context) {
        return errc::invalid_handle;
    }
    if (c.v[2] > 15) {
        return errc::invalid_argument;
    }
    // Rights that both sides of the change do not share are never there while an engine may pair them with the
    // other side's domain.
    const auto wanted = static_cast<std::uint32_t>(c.v[2]);
    r.rights.store(r.rights.load() & wanted);
    engines_.quiesce();
    r.domain.store(static_cast<std::uint32_t>(c.v[1]));
    engines_.quiesce();
    r.rights.store(wanted);
    return errc::ok;
}

}  // namespace vinic::controller

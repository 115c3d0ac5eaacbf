// SPDX-License-Identifier: Apache-2.0
//
// vi_create.cc -- what a virtual interface takes of the device, and how it comes to be; vi.cc has the rest of its life.
//
//   The order in which things are taken is the order of create_vi; whatever fails, a system call or memory for the
//   process' own books, unfinished_vi gives back what there was.
#include <algorithm>
#include <cstring>

#include "native/cq.hpp"
#include "placement/call.hpp"
#include "rules/vi.hpp"
#include "tables/arena.hpp"
#include "tables/processes.hpp"

namespace vinic {

namespace detail {

namespace {

/// What the rings of a VI take.
struct ring_sizes {
    std::uint64_t receive;
    std::uint64_t send;
    [[nodiscard]] std::uint64_t all() const noexcept { return receive + send; }
};

ring_sizes sizes_of(const nic_body& nic, const vi_attributes& a) noexcept {
    // Only a VI whose messages may wait for the receiver hands its queue over; set_attributes may make any connected
    // VI such a one.
    const bool has_ring = a.service == service::connected || nic.provider->facts.every_send_is_queued;
    return {std::uint64_t{a.receive_depth} * sizeof(abi::receive_slot),
            has_ring ? std::uint64_t{a.send_depth} * sizeof(abi::send_descriptor) : 0};
}

/// What take_room() gives a queue.
std::uint64_t extra_bytes(const vi_attributes& a, abi::queue_kind kind) noexcept {
    if (kind == abi::send_queue) {
        return std::uint64_t{a.send_depth} * abi::send_extra_bytes(a.segments_max, a.inline_bytes_max);
    }
    return std::uint64_t{a.receive_depth} * abi::receive_extra_segments(a.segments_max) * sizeof(abi::segment);
}

const char* refuse(const vi_attributes& a) noexcept {
    if (a.send_cq == nullptr || a.receive_cq == nullptr || !*a.send_cq || !*a.receive_cq) {
        return "send_cq and receive_cq are needed";
    }
    if (a.receiver_wait.count() < 0) {
        return "receiver_wait is not negative";
    }
    return rules::wrong_with(
        {a.send_depth, a.receive_depth, a.segments_max, a.inline_bytes_max, a.reliability, a.service});
}

/// Everything in the entry starts at zero but for what outlives its users: owner and generation.
void reset_entry(abi::vi_entry& e) noexcept {
    const std::uint32_t owner = e.owner.load_relaxed();
    const std::uint32_t generation = e.generation.load_relaxed() % 0x7fffffff + 1;
    const std::uint32_t epoch = abi::epoch_of(e.state.load_relaxed());
    const std::uint32_t executing[abi::engine_kinds] = {e.executing[0].load_relaxed(), e.executing[1].load_relaxed(),
                                                        e.executing[2].load_relaxed()};
    std::memset(static_cast<void*>(&e), 0, sizeof e);
    e.owner.store_relaxed(owner);
    e.generation.store_relaxed(generation);
    e.state.store_relaxed(abi::make_state(epoch, abi::link::none));
    for (std::uint32_t k = 0; k < abi::engine_kinds; ++k) {
        e.executing[k].store_relaxed((executing[k] + 1) & ~1u);  // a dead owner may have left it odd
    }
    e.peer.store_relaxed(abi::none32);
    e.cq[0].store_relaxed(abi::none32);
    e.cq[1].store_relaxed(abi::none32);
    e.notify[0].store_relaxed(1);
    e.notify[1].store_relaxed(1);
}

}  // namespace

/// The entry of a VI, and its rings if it has some (0: none).
void vi_body::give_back(nic_body& nic, std::uint32_t vi, std::uint64_t rings, const vi_attributes& a) noexcept {
    abi::vi_entry& e = nic.memory->vi(vi);
    const std::uint64_t extras[2] = {e.send_extra.load_relaxed(), e.receive_extra.load_relaxed()};
    const std::uint64_t table = e.kind_table.load_relaxed();
    const std::uint32_t table_bytes = e.kind_bytes.load_relaxed();
    {
        const tables::control_lock lock(*nic.memory, tables::farewell);
        if (!lock) {
            return;  // entry and rings stay until this process leaves the device
        }
        e.cq[0].store_release(abi::none32);
        e.cq[1].store_release(abi::none32);
        e.state.store_release(abi::make_state(abi::epoch_of(e.state.load_relaxed()) + 1, abi::link::none));
        tables::retire_counters(*nic.memory, e);
        nic.memory->give(abi::vis, vi);
    }
    if (rings != 0) {
        nic.arena.give(rings, sizes_of(nic, a).all());
    }
    for (const abi::queue_kind kind : {abi::send_queue, abi::receive_queue}) {
        if (extras[kind] != 0) {
            nic.arena.give(extras[kind], extra_bytes(a, kind));
        }
    }
    if (table != 0) {
        nic.arena.give(table, table_bytes);
    }
}

result<void> vi_body::become(const rules::receiver_kind& kind) {
    const std::lock_guard hold(connect_mutex);
    const std::lock_guard known(nic->mutex);
    const char* const doing = "giving a VI another kind of receiver";
    if (is_datagram() || kind.table_bytes == 0 || kind.table_bytes > rules::table_bytes_max) {
        return std::unexpected(nic->fail(errc::invalid_argument, doing));
    }
    if (settled_link() != abi::link::idle || receive_posted.load() != 0 || send_posted.load() != 0 ||
        chooser.kind != nullptr) {
        return std::unexpected(nic->fail(errc::invalid_state, doing));
    }
    const auto at = nic->arena.take(kind.table_bytes);
    if (!at) {
        return std::unexpected(at.error());
    }
    const rules::receiver_table table(nic_memory->at<std::byte>(*at), kind.table_bytes);
    std::ranges::fill(table, std::byte{0});
    const auto enter = [&](std::uint32_t number, std::uint64_t offset) {
        entry->kind.store_relaxed(number);
        entry->kind_bytes.store_relaxed(kind.table_bytes);
        entry->kind_table.store_relaxed(offset);
    };
    enter(kind.number, *at);
    result<void> told;
    try {
        told = tell_change(attributes, *domain, doing);
    } catch (const std::exception& e) {
        told = caught(e, doing);
    }
    if (!told) {
        enter(0, 0);
        nic->arena.give(*at, kind.table_bytes);
        return told;
    }
    chooser = {&kind, table};
    polls_tellings = true;
    return {};
}

errc vi_body::take_room(abi::queue_kind kind) noexcept {
    if (kind == abi::send_queue && !nic->provider->facts.every_send_is_queued &&
        (attributes.reliability == reliability::unreliable || attributes.receiver_wait.count() == 0)) {
        return errc::ok;  // never handed over
    }
    if (nic->forked()) {
        return errc::forked;
    }
    const os::cancellation_off inside;
    const std::lock_guard hold(nic->mutex);
    abi::word64& offset = kind == abi::send_queue ? entry->send_extra : entry->receive_extra;
    if (offset.load_relaxed() == 0) {
        try {
            auto taken = nic->arena.take(extra_bytes(attributes, kind));
            if (!taken) {
                return errc::out_of_memory;
            }
            offset.store_release(*taken);
        } catch (const std::bad_alloc&) {
            return errc::out_of_memory;
        }
    }
    return errc::ok;
}

/// What the entry and this process know of a VI that has rings.
void vi_body::lay_out(std::uint64_t rings, std::uint64_t receive_bytes) {
    const vi_attributes& a = attributes;
    entry->domain.store_relaxed(domain->id);
    publish_attributes();
    entry->send_depth.store_relaxed(a.send_depth);
    entry->receive_depth.store_relaxed(a.receive_depth);
    entry->segments_max.store_relaxed(a.segments_max);
    entry->inline_bytes_max.store_relaxed(a.inline_bytes_max);
    entry->receive_ring.store_relaxed(rings);
    entry->send_ring.store_relaxed(rings + receive_bytes);
    receives.look_at(*nic_memory, *entry);
    queue.look_at(*nic_memory, *entry);
    sends = std::make_unique<send_entry[]>(a.send_depth);
    send_mask = a.send_depth - 1;
    polls_for = domain->id;
    polls_datagrams = polls_tellings = is_datagram();
}

/// Attached to its completion queues, and alive.  On failure as it was before.
result<void> vi_body::begin() {
    const auto tag = reinterpret_cast<queue_tag>(this);
    std::uint32_t attached = 0;
    result<void> r;
    try {
        for (std::uint32_t k = 0; k < 2 && r; ++k) {
            const auto bit = cqs[k]->attach(tag | k);
            r = bit ? result<void>{} : std::unexpected(bit.error());
            if (bit) {
                ++attached;
                entry->cq_bit[k].store_relaxed(*bit);
                entry->cq[k].store_release(cqs[k]->index);
            }
        }
        if (r) {
            r = begin_life();
        }
    } catch (const std::exception& e) {
        r = caught(e, "creating a VI");
    }
    for (std::uint32_t k = 0; !r && k < attached; ++k) {
        cqs[k]->detach(entry->cq_bit[k].load_relaxed(), tag | k);
    }
    return r;
}

namespace {

/// Whoever has it last lets go of it.
std::shared_ptr<vi_body> share(std::unique_ptr<vi_body> v) {
    return {v.release(), [](vi_body* last) {
                last->let_go();
                delete last;
            }};
}

/// In every list that a VI may have to be entered in where nothing can fail.  Under the nic's mutex.
void make_room_for_vi(nic_body& nic) {
    const std::size_t vis = nic.vis.size() + 1;
    make_room(nic.vis, vis);
    make_room(nic.unclosed, nic.unclosed.size() + vis);  // each may have to be given up
}

/// What a VI has taken that is not made after all: goes back, however that ends.
struct unfinished_vi {
    nic_body& nic;
    vi_body& made;
    std::uint64_t rings = 0;
    bool taken = false;
    unfinished_vi(nic_body& n, vi_body& v) noexcept : nic(n), made(v) {}
    unfinished_vi(const unfinished_vi&) = delete;
    unfinished_vi& operator=(const unfinished_vi&) = delete;
    ~unfinished_vi() {
        if (taken) {
            made.entry = nullptr;
            vi_body::give_back(nic, made.index, rings, made.attributes);
        }
    }
};

}  // namespace

}  // namespace detail

result<virtual_interface> domain::create_vi(const vi_attributes& wanted) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "creating a VI")) {
        return std::unexpected(*why);
    }
    detail::nic_body& nic = *body_->nic;
    if (const char* why = detail::refuse(wanted); why != nullptr) {
        return std::unexpected(nic.fail(errc::invalid_argument, std::string("creating a VI: ") + why));
    }
    std::shared_ptr<detail::vi_body> made;  // outlives the lock, which what it holds may take when it goes
    const std::lock_guard hold(nic.mutex);
    made = detail::share(nic.provider->make_vi(nic, wanted.service));
    made->nic = body_->nic;
    made->nic_memory = body_->nic->memory.get();
    made->domain = body_;
    made->cqs[abi::send_queue] = wanted.send_cq->body_;
    made->cqs[abi::receive_queue] = wanted.receive_cq->body_;
    if (made->cqs[0]->nic != made->nic || made->cqs[1]->nic != made->nic) {
        return std::unexpected(
            nic.fail(errc::invalid_argument, "creating a VI: its completion queues belong to another nic"));
    }
    vi_attributes& a = made->attributes;
    a = wanted;
    a.send_cq = nullptr;
    a.receive_cq = nullptr;
    a.send_depth = detail::next_power_of_two(a.send_depth);
    a.receive_depth = detail::next_power_of_two(a.receive_depth);
    const detail::ring_sizes sizes = detail::sizes_of(nic, a);
    tables::memory& m = *nic.memory;

    detail::make_room_for_vi(nic);
    detail::unfinished_vi unfinished{nic, *made};
    {
        const tables::control_lock lock(m);
        if (!lock) {
            return std::unexpected(m.fail_lock(errc::busy, "creating a VI"));
        }
        auto i = m.take(abi::vis);
        if (!i) {
            return std::unexpected(i.error());
        }
        made->index = *i;
        detail::reset_entry(m.vi(*i));
    }
    unfinished.taken = true;
    abi::vi_entry& e = m.vi(made->index);
    auto rings = nic.arena.take(sizes.all());
    if (!rings) {
        return std::unexpected(rings.error());
    }
    unfinished.rings = *rings;
    made->entry = &e;
    made->lay_out(*rings, sizes.receive);
    if (auto r = made->begin(); !r) {
        return std::unexpected(r.error());
    }
    nic.vis.push_back(made.get());
    unfinished.rings = 0;
    unfinished.taken = false;
    made->open = true;
    virtual_interface v;
    v.body_ = std::move(made);
    return v;
} catch (const std::exception& e) {
    return detail::caught(e, "creating a VI");
}

}  // namespace vinic

// SPDX-License-Identifier: Apache-2.0
//
// runner_object.cc -- making, changing and closing everything that has a handle.
#include <algorithm>
#include <utility>

#include "runner.hpp"

namespace fuzz {

using vinic::errc;

namespace {

constexpr std::size_t area_bytes = 32 * 1024;
constexpr std::size_t heap_bytes = 8 * 1024;

}  // namespace

void runner::make_world() {
    open_nic(nics_[0], 0);
    if (in_.one_in(2))
        open_nic(nics_[1], 0);
    model_.bytes.add(area_kind::anonymous, nullptr, 0, area_bytes);
    model_.bytes.add(area_kind::shared, nullptr, 0, area_bytes / 2);
    model_.bytes.add(area_kind::heap, nullptr, 0, heap_bytes);
    for (nic_slot& slot : nics_) {
        if (slot.handle)
            model_.bytes.add(area_kind::device, &slot.handle, slot.id, area_bytes);
    }
    for (std::size_t i = 0; i < 2; ++i) {
        nic_slot& owner = nics_[i].handle ? nics_[i] : nics_[0];
        create_domain(owner, domains_[i]);
        create_cq(owner, cqs_[i], true);
        for (int k = 0; k < 3; ++k) register_region(domains_[i], in_.of(model_.bytes), true);
    }
    const vinic::address names[2] = {"left", "right"};
    const vinic::vi_attributes both = random_attributes(true);
    for (std::size_t i = 0; i < 2; ++i) {
        vinic::vi_attributes a = random_attributes(true);
        a.reliability = both.reliability;
        a.transfer_bytes_max = both.transfer_bytes_max;
        create_vi(vis_[i], domains_[i], a);
        if (vis_[i].handle)
            ask_peer(vis_[i], names[i], names[1 - i], false);
    }
    for (std::size_t i = 0; i < 2; ++i) connect_peer_done(vis_[i]);
    compare();
}

void runner::open_nic(nic_slot& slot, int device) {
    vinic::open_options options;
    options.directory = directory_;
    auto opened = vinic::nic::open(device == 0 ? "shm:fuzz" : "shm:fuzz-other", options);
    expect(outcome(opened), {}, "nic::open");
    slot.handle = std::move(*opened);
    slot.id = next_id_++;
    slot.device = device;
    auto made = slot.handle.create_completion_queue();
    expect(outcome(made), {}, "create_completion_queue");
    slot.housekeeping = std::move(*made);
}

void runner::create_domain(nic_slot& owner, domain_slot& slot) {
    note("create a domain of nic " + std::to_string(owner.id));
    auto made = owner.handle.create_domain();
    expect(outcome(made), owner.handle ? codes{} : codes{errc::invalid_handle}, "create_domain");
    if (made)
        slot = {std::move(*made), next_id_++, owner.id, owner.device};
}

void runner::close_domain(domain_slot& slot) {
    note("close domain " + std::to_string(slot.id));
    codes refusals;
    const bool used =
        std::any_of(model_.regions.begin(), model_.regions.end(), [&](auto& r) { return r.domain == slot.id; }) ||
        std::any_of(model_.vis.begin(), model_.vis.end(), [&](auto& v) { return v->open && v->domain == slot.id; });
    if (!slot.handle)
        refusals.insert(errc::invalid_handle);
    else if (used)
        refusals.insert(errc::busy);
    expect(outcome(slot.handle.close()), refusals, "domain::close");
}

void runner::create_cq(nic_slot& owner, cq_slot& slot, bool gently) {
    vinic::cq_attributes wanted;
    const std::uint32_t many[] = {16384, 16384, 16384, 1, 2, 3, 65, 0, 131072, 131073, 0xffffffff};
    if (!gently)
        wanted.queues_max = in_.of(many);
    wanted.thread_safe = in_.one_in(4);
    wanted.spin_max = std::chrono::microseconds(static_cast<int>(in_.below(20)) - (!gently && in_.one_in(8) ? 20 : 0));
    note("create a completion queue for " + std::to_string(wanted.queues_max) + " of nic " + std::to_string(owner.id));
    codes refusals;
    if (!owner.handle)
        refusals.insert(errc::invalid_handle);
    if (wanted.queues_max == 0 || wanted.queues_max > 131072 || wanted.spin_max.count() < 0)
        refusals.insert(errc::invalid_argument);
    auto made = owner.handle.create_completion_queue(wanted);
    expect(outcome(made), refusals, "create_completion_queue");
    if (made)
        slot = {std::move(*made), next_id_++, owner.id, wanted.queues_max, false};
}

std::uint32_t runner::attached(int cq) const {
    std::uint32_t n = 0;
    for (const auto& v : model_.vis) {
        if (v->open)
            n += (v->send_cq == cq ? 1u : 0u) + (v->receive_cq == cq ? 1u : 0u);
    }
    return n;
}

void runner::close_cq(cq_slot& slot) {
    if (slot.handle && in_.one_in(8)) {
        note("drop completion queue " + std::to_string(slot.id));
        slot = {};  // its VIs go on without anybody who polls
        return;
    }
    note("close completion queue " + std::to_string(slot.id));
    codes refusals;
    if (!slot.handle)
        refusals.insert(errc::invalid_handle);
    else if (attached(slot.id) != 0)
        refusals.insert(errc::busy);
    expect(outcome(slot.handle.close()), refusals, "completion_queue::close");
}

void runner::resize_cq() {
    cq_slot& slot = some_cq();
    const std::uint32_t many[] = {0, 1, 2, 4, 64, 65, 200, 4096, 131072, 131073};
    const std::uint32_t wanted = in_.of(many);
    note("resize completion queue " + std::to_string(slot.id) + " to " + std::to_string(wanted));
    codes refusals;
    if (!slot.handle)
        refusals.insert(errc::invalid_handle);
    else if (wanted == 0 || wanted > 131072)
        refusals.insert(errc::invalid_argument);
    else if (wanted < attached(slot.id))
        refusals.insert(errc::busy);
    expect(outcome(slot.handle.resize(wanted)), refusals, "resize");
    if (refusals.empty())
        slot.queues_max = wanted;
    if (slot.handle)
        require(slot.handle.queues_max() == slot.queues_max, "queues_max() is what was set last");
}

void runner::register_region(domain_slot& owner, area& a, bool gently) {
    region_slot& slot = some_free(regions_);
    if (slot.handle && !in_.one_in(4))
        return;
    if (slot.handle)
        close_region(slot);
    const std::uint8_t form = gently ? in_.byte() % 4u : in_.byte();
    auto rights = static_cast<vinic::access>(form % 8 != 2 ? 15u : in_.below(17));
    const bool whole = form % 16 == 3;
    std::span<const std::byte> range = a.bytes();
    bool good = true;
    if (form % 16 == 4 || form % 16 == 5) {
        const std::uint32_t from = in_.below(static_cast<std::uint32_t>(range.size()));
        range = range.subspan(from).first(1 + in_.below(static_cast<std::uint32_t>(range.size()) - from));
    } else if (form % 32 == 6) {
        const std::uint64_t at = in_.one_in(2) ? never_mapped : ~std::uint64_t{0} - 100;
        range = {reinterpret_cast<const std::byte*>(at), in_.one_in(2) ? 4096u : 0u};
        good = false;
    }
    if (!whole && !(a.kind() == area_kind::device && a.nic() == owner.nic)) {
        // Whether memory that is not the device's can be adopted is not for the model to say.
        rights = static_cast<vinic::access>(static_cast<std::uint32_t>(rights) & ~8u);
    }
    codes refusals;
    if (!owner.handle)
        refusals.insert(errc::invalid_handle);
    if ((!good && !whole) || static_cast<std::uint32_t>(rights) > 15)
        refusals.insert(errc::invalid_argument);
    note("register " + std::to_string(range.size()) + " bytes of kind " + std::to_string(static_cast<int>(a.kind())) +
         (whole ? " (whole space)" : "") + " in domain " + std::to_string(owner.id) + ", rights " +
         std::to_string(static_cast<unsigned>(rights)));
    auto made =
        whole ? owner.handle.register_address_space(rights)
              : owner.handle.register_memory(range, rights, {in_.one_in(2) ? vinic::adopt::no : vinic::adopt::safe});
    expect(outcome(made), refusals, "register_memory");
    if (!made)
        return;
    slot = {std::move(*made), owner.device};
    const vinic::region& r = slot.handle;
    const std::uint32_t key = r.key();
    require(key != 0 && key != ~0u, "a key is neither 0 nor ~0");
    require(model_.find_region(owner.device, key) == nullptr, "every region has a key of its own");
    require(r.rights() == rights && r.backing() <= vinic::backing::mixed, "a region tells its rights");
    note("    key " + std::to_string(key) + ", " + vinic::name(r.backing()));
    model_.regions.push_back({owner.device, owner.id, key, r.address(), r.length(), whole, rights, r.backing()});
}

void runner::close_region(region_slot& slot) {
    if (!slot.handle) {
        expect(outcome(slot.handle.close()), {errc::invalid_handle}, "region::close");
        return;
    }
    const std::uint32_t key = slot.handle.key();
    note("close region " + std::to_string(key));
    const auto found = std::find_if(model_.regions.begin(), model_.regions.end(),
                                    [&](const region_model& r) { return r.key == key && r.device == slot.device; });
    require(found != model_.regions.end() && found->address == slot.handle.address(), "a handle keeps its key");
    model_.regions.erase(found);
    stale_keys_.push_back(key);
    if (in_.one_in(3)) {
        slot.handle = vinic::region{};
        return;
    }
    // Adopted pages that another open region overlaps stay where they are; the key is refused all the same.
    const bool is_adopted =
        slot.handle.backing() == vinic::backing::adopted || slot.handle.backing() == vinic::backing::mixed;
    const errc answer = outcome(slot.handle.close());
    const bool stays = is_adopted && answer == errc::busy;
    expect(answer, stays ? codes{errc::busy} : codes{}, "region::close");
    if (stays)
        slot.handle = vinic::region{};
}

vinic::vi_attributes runner::random_attributes(bool gently) {
    using namespace std::chrono_literals;
    vinic::vi_attributes a;
    const auto byte = [&] { return gently ? in_.byte() % 250u : in_.byte(); };
    const std::uint32_t b = byte();
    a.reliability = static_cast<vinic::reliability>(b == 255 ? 3 : b % 16 < 8 ? 1 : b % 16 < 11 ? 0 : 2);
    if (!gently && in_.one_in(4)) {
        a.service = vinic::service::datagram;
        if (b < 240)
            a.reliability = vinic::reliability::unreliable;
    }
    const vinic::nanoseconds waits[] = {vinic::forever, 1h, 0s, 1ms, -1ns};
    const std::uint32_t w = byte();
    a.receiver_wait = waits[w < 160 ? 0 : w < 200 ? 1 : w < 240 ? 2 : w < 255 ? 3 : 4];
    const std::uint32_t depths[] = {64, 1, 2, 3, 8, 16, 0, 32769};
    const std::uint32_t pieces[] = {3, 1, 2, 8, 256, 4, 0, 257};
    const std::uint32_t inlines[] = {48, 0, 1024, 64, 1, 200, 100, 1025};
    const std::uint32_t sizes[] = {1u << 31, 1u << 31, 1u << 31, 4096, 100, 0, 0xffffffff, 48};
    const std::uint32_t c = byte();
    a.send_depth = depths[c < 128 ? c % 6 : c < 250 ? 0 : c % 8];
    a.receive_depth = depths[byte() < 252 ? c / 8 % 6 : 6];
    a.segments_max = pieces[c < 128 ? c / 2 % 6 : c < 250 ? 0 : c % 8];
    const std::uint32_t d = byte();
    a.inline_bytes_max = inlines[d < 253 ? d % 7 : 7];
    a.transfer_bytes_max = sizes[d < 200 ? 0 : d % 8];
    const std::uint32_t e = byte();
    a.rdma_write = e % 16 != 1;
    a.rdma_read = e % 16 != 2;
    a.rdma_atomic = e % 16 != 3;
    a.thread_safe = e >= 192;
    return a;
}

runner::cq_slot& runner::some_cq_of(int nic) {
    cq_slot& any = some_cq();
    if (any.nic == nic || in_.byte() > 240)
        return any;
    const auto own = std::find_if(cqs_.begin(), cqs_.end(), [&](auto& c) { return c.handle && c.nic == nic; });
    return own == cqs_.end() ? any : *own;
}

void runner::create_vi(vi_slot& slot, domain_slot& owner, vinic::vi_attributes a) {
    if (slot.handle)
        close_vi(slot);
    cq_slot& sends = some_cq_of(owner.nic);
    cq_slot& receives = some_cq_of(owner.nic);
    a.send_cq = in_.byte() == 255 ? nullptr : &sends.handle;
    a.receive_cq = &receives.handle;
    a.context = static_cast<std::uint64_t>(next_id_++);
    codes refusals;
    const bool fits = a.reliability <= vinic::reliability::reception && a.receiver_wait.count() >= 0 &&
                      a.send_depth - 1 < 32768 && a.receive_depth - 1 < 32768 && a.segments_max - 1 < 256 &&
                      a.inline_bytes_max <= 1024 && a.send_cq != nullptr && sends.handle && receives.handle &&
                      (a.service == vinic::service::connected || a.reliability == vinic::reliability::unreliable) &&
                      sends.nic == owner.nic && receives.nic == owner.nic;
    if (!owner.handle)
        refusals.insert(errc::invalid_handle);
    if (!fits)
        refusals.insert(errc::invalid_argument);
    if (refusals.empty() && (attached(sends.id) + (&sends == &receives ? 2u : 1u) > sends.queues_max ||
                             attached(receives.id) >= receives.queues_max))
        refusals.insert(errc::limit_reached);
    note("create VI " + std::to_string(a.context) + " in domain " + std::to_string(owner.id));
    auto made = owner.handle.create_vi(a);
    expect(outcome(made), refusals, "create_vi");
    if (!made)
        return;
    auto v = std::make_unique<vi_model>();
    v->attributes = made->attributes();
    require(v->attributes.send_depth >= a.send_depth && v->attributes.receive_depth >= a.receive_depth &&
                v->attributes.segments_max >= a.segments_max && v->attributes.context == a.context,
            "a VI has at least the attributes that were asked for");
    v->context = a.context;
    v->number = made->number();
    v->device = owner.device;
    v->nic = owner.nic;
    v->domain = owner.id;
    v->send_cq = sends.id;
    v->receive_cq = receives.id;
    v->datagram = made->local_address().value;
    v->state = a.service == vinic::service::datagram ? vinic::vi_state::connected : vinic::vi_state::idle;
    require((v->datagram != 0) == v->is_datagram(), "datagram VIs, and only they, have an address");
    slot = {std::move(*made), v.get()};
    model_.vis.push_back(std::move(v));
}

void runner::forget_vi(vi_slot& slot) {
    model_.disconnect(*slot.is);
    slot.is->open = false;
    std::erase_if(names_, [&](const bound_name& n) {
        return n.datagram != 0 && n.device == slot.is->device && n.datagram == slot.is->datagram;
    });
    slot.is = nullptr;
}

void runner::close_vi(vi_slot& slot) {
    if (!slot.handle) {
        expect(outcome(slot.handle.close()), {errc::invalid_handle}, "virtual_interface::close");
        return;
    }
    note("close VI " + std::to_string(slot.is->context));
    forget_vi(slot);
    if (in_.one_in(3))
        slot.handle = vinic::virtual_interface{};
    else
        expect(outcome(slot.handle.close()), {}, "virtual_interface::close");
}

void runner::change_attributes() {
    vi_slot& slot = some_vi();
    vinic::vi_attributes a = random_attributes(false);
    codes refusals;
    if (!slot.handle) {
        refusals.insert(errc::invalid_handle);
    } else {
        a.context = slot.is->context;
        a.service = in_.one_in(16) ? vinic::service::datagram : slot.is->attributes.service;
        if (slot.is->state != vinic::vi_state::idle)
            refusals.insert(errc::invalid_state);
        if (a.reliability > vinic::reliability::reception || a.receiver_wait.count() < 0 ||
            a.service != slot.is->attributes.service)
            refusals.insert(errc::invalid_argument);
    }
    note("change attributes");
    expect(outcome(slot.handle.set_attributes(a)), refusals, "set_attributes");
    if (refusals.empty()) {
        const vinic::vi_attributes now = slot.handle.attributes();
        require(now.reliability == a.reliability && now.transfer_bytes_max == a.transfer_bytes_max &&
                    now.receiver_wait == a.receiver_wait && now.rdma_write == a.rdma_write &&
                    now.rdma_read == a.rdma_read && now.rdma_atomic == a.rdma_atomic &&
                    now.send_depth == slot.is->attributes.send_depth,
                "attributes are what was set");
        slot.is->attributes = now;
    }
}

/// Handles may be moved, onto themselves too; what they stood for goes on.
void runner::move_handles() {
    note("move handles");
    vi_slot& a = some_vi();
    vi_slot& b = some_vi();
    std::swap(a, b);
    region_slot& r = some(regions_);
    std::swap(r, in_.of(regions_));
    vinic::virtual_interface taken = std::move(a.handle);
    require(!a.handle && a.handle.post_receive(std::span<const vinic::segment>{}, 1) == errc::invalid_handle,
            "a VI that was moved from is an invalid handle");
    a.handle = std::move(taken);
}

}  // namespace fuzz

// SPDX-License-Identifier: Apache-2.0
//
// connect.cc -- direct placement: requests and answers are made in the callers' processes, under the control lock.
//
//   client                       device file                              server
//   ask -> connecting ---------> request: pending ---- take_request ---> taken
//                                request: accepted <-- answer(vi) ------- both VIs connected
//                                request: rejected <-- answer(nullptr) --
#include "direct/provider.hpp"
#include "rules/vi.hpp"

namespace vinic::direct {

using abi::request_stage;
using detail::bytes_of;
using detail::put;
using detail::same;
using detail::state_of;

namespace {

rules::vi_terms terms_of(const abi::vi_entry& e) noexcept {
    return {e.reliability.load_relaxed(), e.transfer_bytes_max.load_relaxed()};
}

/// Both ends become connected.  The order lets a half-done connection be recognised from either end if the caller dies
/// in between.
void link(const tables::memory& m, std::uint32_t a, std::uint32_t b) noexcept {
    abi::vi_entry* ends[2] = {&m.vi(a), &m.vi(b)};
    const std::uint32_t numbers[2] = {a, b};
    const std::uint32_t epochs[2] = {abi::epoch_of(ends[0]->state.load_relaxed()) + 1,
                                     abi::epoch_of(ends[1]->state.load_relaxed()) + 1};
    for (std::uint32_t i = 0; i < 2; ++i) {
        ends[i]->peer.store_relaxed(numbers[1 - i]);
        ends[i]->peer_epoch.store_relaxed(epochs[1 - i]);
        ends[i]->receive_attention.store_relaxed(0);
        ends[i]->hand_over.store_relaxed(abi::make_hand_over(0, abi::queue_holder::owner));
    }
    for (std::uint32_t i = 0; i < 2; ++i) {
        ends[i]->state.store_release(abi::make_state(epochs[i], abi::link::connected));
    }
}

abi::peer_description description_of(const tables::memory& m, std::uint32_t vi) noexcept {
    const abi::vi_entry& e = m.vi(vi);
    const std::uint32_t owner = e.owner.load_relaxed();
    abi::peer_description d{};
    d.vi = vi;
    d.process_id = owner == 0 ? 0 : m.process(owner - 1).pid.load_relaxed();
    d.user = owner == 0 ? unknown_user : m.process(owner - 1).user.load_relaxed() - 1;
    d.flags = e.flags.load_relaxed();
    d.reliability = e.reliability.load_relaxed();
    d.receiver_wait_ns = e.receiver_wait_ns.load_relaxed();
    d.transfer_bytes_max = e.transfer_bytes_max.load_relaxed();
    d.send_depth = e.send_depth.load_relaxed();
    d.receive_depth = e.receive_depth.load_relaxed();
    d.segments_max = e.segments_max.load_relaxed();
    d.inline_bytes_max = e.inline_bytes_max.load_relaxed();
    return d;
}

void settle(abi::request_entry& r, request_stage s) noexcept {
    r.state.store_release(static_cast<std::uint32_t>(s));
    os::futex_wake(&r.state.raw_);
}

/// The oldest pending request of somebody who lives; none32: there is none.
template <class Suits>
std::uint32_t oldest_request(const tables::memory& m, Suits suits) {
    std::uint32_t oldest = abi::none32;
    for (std::uint32_t i = 0; i < m.backed(abi::requests); ++i) {
        const abi::request_entry& r = m.request(i);
        if (r.owner.load_relaxed() != 0 && state_of(r) == request_stage::pending && suits(r) &&
            m.alive(r.owner.load_relaxed() - 1) &&
            (oldest == abi::none32 || r.order.load_relaxed() < m.request(oldest).order.load_relaxed())) {
            oldest = i;
        }
    }
    return oldest;
}

/// What each side of a pair gets of the other's request.
void exchange(const tables::memory& m, abi::request_entry& to, const abi::request_entry& from) noexcept {
    std::memcpy(to.answer, from.data, sizeof to.answer);
    to.answer_bytes = from.data_bytes;
    to.peer_vi = from.vi.load_relaxed();
    to.peer = description_of(m, to.peer_vi);
}

}  // namespace

void vi::become_connecting(std::uint32_t request) noexcept {
    attempt = abi::make_state(abi::epoch_of(entry->state.load_relaxed()) + 1, abi::link::connecting);
    entry->state.store_release(attempt);
    pending_request = request;
}

result<std::uint32_t> vi::ask(const wish& w) {
    const tables::control_lock lock(*nic->memory, detail::lock_deadline(w.deadline));
    if (!lock) {
        return std::unexpected(nic->memory->fail_lock(errc::timed_out, w.doing));
    }
    return w.local != nullptr ? ask_peer(w) : ask_listener(w);
}

result<std::uint32_t> vi::ask_listener(const wish& w) {
    tables::memory& m = *nic->memory;
    const std::uint32_t name = detail::find_name(m, w.remote);
    if (name == abi::none32 ||
        m.name(name).kind.load_relaxed() != static_cast<std::uint32_t>(abi::name_kind::listener) ||
        !m.alive(m.name(name).owner.load_relaxed() - 1)) {
        return std::unexpected(nic->fail(m.removed() ? errc::device_removed : errc::no_listener, w.doing));
    }
    const auto made = detail::make_request(*this, w.data);
    if (made) {
        abi::request_entry& r = m.request(*made);
        r.name.store_relaxed(name);
        r.name_generation.store_relaxed(m.name(name).generation.load_relaxed());
        become_connecting(*made);
        r.state.store_release(static_cast<std::uint32_t>(request_stage::pending));
        m.name(name).arrivals.fetch_add(1);
        os::futex_wake(&m.name(name).arrivals.raw_);
    }
    return made;
}

result<std::uint32_t> vi::ask_peer(const wish& w) {
    tables::memory& m = *nic->memory;
    const std::uint32_t other = oldest_request(m, [&](const abi::request_entry& r) {
        return r.name.load_relaxed() == abi::none32 && same(r.local, w.remote) && same(r.remote, *w.local);
    });
    const auto made = detail::make_request(*this, w.data);
    if (!made) {
        return made;
    }
    abi::request_entry& mine = m.request(*made);
    mine.local = *w.local;
    mine.remote = w.remote;
    become_connecting(*made);
    if (other == abi::none32) {
        mine.state.store_release(static_cast<std::uint32_t>(request_stage::pending));
        return made;
    }
    abi::request_entry& theirs = m.request(other);
    exchange(m, mine, theirs);
    exchange(m, theirs, mine);
    const bool suits = terms_of(m.vi(mine.peer_vi)) == terms_of(*entry);
    if (suits) {
        link(m, mine.peer_vi, index);
    }
    const request_stage how = suits ? request_stage::accepted : request_stage::mismatch;
    mine.state.store_release(static_cast<std::uint32_t>(how));
    settle(theirs, how);
    return made;
}

result<bool> vi::withdraw(std::uint32_t request, std::uint64_t attempt_made, std::uint64_t deadline) {
    tables::memory& m = *nic->memory;
    const tables::control_lock hold(m, detail::lock_deadline(deadline));
    if (!hold) {
        overdue = attempt_made;
        return std::unexpected(m.fail_lock(errc::timed_out, "connecting"));
    }
    if (pending_request != request) {
        return false;  // disconnect() was quicker
    }
    if (const request_stage s = state_of(m.request(request));
        s != request_stage::pending && s != request_stage::taken) {
        return false;
    }
    drop_request();
    entry->state.store_release(abi::make_state(abi::epoch_of(entry->state.load_relaxed()) + 1, abi::link::idle));
    return true;
}

result<std::shared_ptr<detail::request_body>> provider::take_request(const std::shared_ptr<detail::listener_body>& l,
                                                                     std::uint64_t deadline) {
    tables::memory& m = *l->nic->memory;
    auto taken = std::make_shared<detail::request_body>();
    const tables::control_lock hold(m, detail::lock_deadline(deadline));
    if (!hold) {
        return std::unexpected(m.fail_lock(errc::timed_out, "waiting for a connection request"));
    }
    const std::uint32_t oldest = oldest_request(m, [&](const abi::request_entry& r) {
        return r.name.load_relaxed() == l->index && r.name_generation.load_relaxed() == l->generation;
    });
    if (oldest == abi::none32) {
        return std::unexpected(error{errc::not_done, 0, {}});
    }
    abi::request_entry& r = m.request(oldest);
    taken->nic = l->nic;
    taken->listener = l;
    taken->ticket = std::uint64_t{r.generation.load_relaxed()} << 32 | oldest;
    taken->peer = detail::describe(description_of(m, r.vi.load_relaxed()));
    taken->peer.private_data = bytes_of(r.data, r.data_bytes);
    taken->answered = false;
    r.state.store_release(static_cast<std::uint32_t>(request_stage::taken));
    return taken;
}

result<void> provider::answer(detail::request_body& q, vi_body* vi, std::span<const std::byte> data, tables::patience p,
                              const char* doing) {
    nic_body& nic = *q.nic;
    tables::memory& m = *nic.memory;
    if (vi != nullptr) {
        (void)vi->settled_link(m.lock_deadline(p.ns));
    }
    const tables::control_lock hold(m, p);
    if (!hold) {
        return std::unexpected(m.fail_lock(errc::busy, doing));
    }
    abi::request_entry& r = m.request(static_cast<std::uint32_t>(q.ticket));
    const std::uint32_t owner = r.owner.load_relaxed();
    if (owner == 0 || r.generation.load_relaxed() != static_cast<std::uint32_t>(q.ticket >> 32) ||
        state_of(r) != request_stage::taken || !m.alive(owner - 1)) {
        q.answered = true;
        return std::unexpected(nic.fail(errc::peer_gone, std::string(doing) + ": the requester gave up"));
    }
    if (vi == nullptr) {
        q.answered = true;
        r.answer_bytes = put(r.answer, data);
        settle(r, request_stage::rejected);
        return {};
    }
    if (auto suitable = suits(q, *vi, doing); !suitable) {
        return suitable;
    }
    if (abi::link_of(vi->entry->state.load_acquire()) != abi::link::idle) {
        return std::unexpected(nic.fail(errc::invalid_state, std::string(doing) + ": the VI is not idle"));
    }
    const std::uint32_t requester = r.vi.load_relaxed();
    if (terms_of(m.vi(requester)) != terms_of(*vi->entry)) {
        return std::unexpected(nic.fail(errc::attribute_mismatch, doing));
    }
    q.answered = true;
    r.answer_bytes = put(r.answer, data);
    r.peer_vi = vi->index;
    r.peer = description_of(m, vi->index);
    link(m, requester, vi->index);
    // Before the requester hears of it: another thread of ours may answer its first message at once.
    vi->on_connected();
    settle(r, request_stage::accepted);
    return {};
}

}  // namespace vinic::direct

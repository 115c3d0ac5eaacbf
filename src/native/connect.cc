// SPDX-License-Identifier: Apache-2.0
//
// connect.cc -- names, listeners, and the two ways to connect.
//
//   client                       device                                   server
//   connect() -> connecting ---> request: pending --- listener::wait ---> taken
//                                request: accepted <-- accept(vi) ------- both VIs connected
//                                request: rejected <-- reject() ---------
//
//   All of it runs in the callers' processes under the control plane's lock.  Whoever waits sleeps on
//   a word of the request or of the name, a slice at a time, and looks whether the other side lives.
#include <algorithm>
#include <cstring>

#include "device/processes.hpp"
#include "native/address.hpp"
#include "native/state.hpp"

namespace vinic {

namespace detail {

namespace {

constexpr std::uint64_t sleep_slice_ns = 20'000'000;

std::uint64_t deadline_of(nanoseconds timeout) noexcept {
    if (timeout == forever) {
        return abi::none64;
    }
    return os::now_ns() + static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0));
}

bool match(const abi::vi_entry& a, const abi::vi_entry& b) noexcept {
    return a.reliability.load_relaxed() == b.reliability.load_relaxed() &&
           a.transfer_bytes_max.load_relaxed() == b.transfer_bytes_max.load_relaxed();
}

/// Under the lock: both ends become connected.  The order lets a half-done connection be recognised
/// from either end if the caller dies in between.
void link(const device::memory& m, std::uint32_t a, std::uint32_t b) noexcept {
    abi::vi_entry* ends[2] = {&m.vi(a), &m.vi(b)};
    const std::uint32_t numbers[2] = {a, b};
    const std::uint32_t epochs[2] = {abi::epoch_of(ends[0]->state.load_relaxed()) + 1,
                                     abi::epoch_of(ends[1]->state.load_relaxed()) + 1};
    for (std::uint32_t i = 0; i < 2; ++i) {
        ends[i]->peer.store_relaxed(numbers[1 - i]);
        ends[i]->peer_epoch.store_relaxed(epochs[1 - i]);
        ends[i]->receive_attention.store_relaxed(0);
        ends[i]->hand_over.store_relaxed(abi::make_hand_over(0, abi::executor::owner));
    }
    for (std::uint32_t i = 0; i < 2; ++i) {
        ends[i]->state.store_release(abi::make_state(epochs[i], abi::link::connected));
    }
}

peer_information describe_vi(const device::memory& m, std::uint32_t vi) {
    const abi::vi_entry& e = m.vi(vi);
    peer_information p;
    p.vi = vi;
    p.attributes.reliability = static_cast<reliability>(e.reliability.load_relaxed());
    p.attributes.transfer_bytes_max = e.transfer_bytes_max.load_relaxed();
    const std::uint64_t wait = e.receiver_wait_ns.load_relaxed();
    p.attributes.receiver_wait = wait == abi::none64 ? forever : nanoseconds(static_cast<std::int64_t>(wait));
    const std::uint32_t flags = e.flags.load_relaxed();
    p.attributes.rdma_write = (flags & abi::allow_write) != 0;
    p.attributes.rdma_read = (flags & abi::allow_read) != 0;
    p.attributes.rdma_atomic = (flags & abi::allow_atomic) != 0;
    p.attributes.send_depth = e.send_depth.load_relaxed();
    p.attributes.receive_depth = e.receive_depth.load_relaxed();
    p.attributes.segments_max = e.segments_max.load_relaxed();
    p.attributes.inline_bytes_max = e.inline_bytes_max.load_relaxed();
    if (const std::uint32_t owner = e.owner.load_relaxed(); owner != 0) {
        p.process_id = m.process(owner - 1).pid.load_relaxed();
    }
    return p;
}

std::vector<std::byte> bytes_of(const std::uint8_t* data, std::uint16_t bytes) {
    const auto* from = reinterpret_cast<const std::byte*>(data);
    return {from, from + std::min<std::size_t>(bytes, abi::private_data_bytes_max)};
}

template <std::size_t Size>
std::uint16_t put(std::uint8_t (&to)[Size], std::span<const std::byte> data) noexcept {
    if (!data.empty()) {
        std::memcpy(to, data.data(), data.size());
    }
    return static_cast<std::uint16_t>(data.size());
}

abi::request_state state_of(const abi::request_entry& r) noexcept {
    return static_cast<abi::request_state>(r.state.load_acquire());
}

void settle(abi::request_entry& r, abi::request_state s) noexcept {
    r.state.store_release(static_cast<std::uint32_t>(s));
    os::futex_wake(&r.state.raw_);
}

/// Under the lock: a request of VI v, not yet visible (state 0).
result<std::uint32_t> make_request(vi_state& v, std::span<const std::byte> data) {
    device::memory& m = *v.nic->memory;
    auto i = m.take(abi::requests);
    if (!i) {
        return i;
    }
    abi::request_entry& r = m.request(*i);
    r.state.store_relaxed(0);
    r.generation.add_single_writer(1);
    r.vi.store_relaxed(v.index);
    r.name.store_relaxed(abi::none32);
    r.peer_vi = abi::none32;
    r.order.store_relaxed(m.header().order.fetch_add(1));
    r.data_bytes = put(r.data, data);
    r.answer_bytes = 0;
    return i;
}

}  // namespace

result<std::uint32_t> make_name(nic_state& nic, const address& at, abi::name_kind kind, std::uint64_t target) {
    auto key = to_key(at);
    if (!key) {
        return std::unexpected(key.error());
    }
    device::memory& m = *nic.memory;
    const device::control_lock hold(m);
    for (int attempt = 0; attempt < 2; ++attempt) {
        const std::uint32_t there = find_name(m, *key);
        if (there == abi::none32) {
            break;
        }
        // A name of somebody who has just died is free.
        if (attempt != 0 || m.alive(m.name(there).owner.load_relaxed() - 1)) {
            return std::unexpected(nic.fail(errc::name_in_use, "entering the name '" + at.name + "'"));
        }
        (void)device::bury_the_dead(m);
    }
    auto i = m.take(abi::names);
    if (!i) {
        return i;
    }
    abi::name_entry& n = m.name(*i);
    n.generation.add_single_writer(1);
    n.kind.store_relaxed(static_cast<std::uint32_t>(kind));
    n.target.store_relaxed(target);
    n.at = *key;
    return i;
}

listener_state::~listener_state() {
    if (nic->forked()) {
        return;
    }
    const device::control_lock hold(*nic->memory);
    abi::name_entry& n = nic->memory->name(index);
    if (n.owner.load_relaxed() == nic->memory->owner_word() && n.generation.load_relaxed() == generation) {
        device::fail_requests_of(*nic->memory, index, abi::request_state::closed);
        std::memset(&n.at, 0, sizeof n.at);
        nic->memory->give(abi::names, index);
    }
}

/// Accepts with `vi`, or rejects without.
result<void> request_state::answer(vi_state* vi, std::span<const std::byte> data) {
    const char* doing = vi != nullptr ? "accepting a connection" : "rejecting a connection";
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, doing));
    }
    if (data.size() > abi::private_data_bytes_max) {
        return std::unexpected(
            nic->fail(errc::invalid_argument, std::string(doing) + ": private data has at most 256 bytes"));
    }
    if (answered) {
        return std::unexpected(nic->fail(errc::invalid_handle, std::string(doing) + ": it was answered before"));
    }
    device::memory& m = *nic->memory;
    {
        const device::control_lock hold(m);
        abi::request_entry& r = m.request(index);
        const std::uint32_t owner = r.owner.load_relaxed();
        if (owner == 0 || r.generation.load_relaxed() != generation || state_of(r) != abi::request_state::taken ||
            !m.alive(owner - 1)) {
            answered = true;
            return std::unexpected(nic->fail(errc::peer_gone, std::string(doing) + ": the requester gave up"));
        }
        if (vi == nullptr) {
            answered = true;
            r.answer_bytes = put(r.answer, data);
            settle(r, abi::request_state::rejected);
            return {};
        }
        if (vi->nic != nic) {
            return std::unexpected(
                nic->fail(errc::invalid_argument, "accepting a connection: the VI belongs to another nic"));
        }
        if (abi::link_of(vi->entry->state.load_acquire()) != abi::link::idle) {
            return std::unexpected(nic->fail(errc::invalid_state, "accepting a connection: the VI is not idle"));
        }
        const std::uint32_t requester = r.vi.load_relaxed();
        if (!match(m.vi(requester), *vi->entry)) {
            return std::unexpected(nic->fail(errc::attribute_mismatch, "accepting a connection"));
        }
        answered = true;
        r.answer_bytes = put(r.answer, data);
        r.peer_vi = vi->index;
        link(m, requester, vi->index);
        // Before the requester hears of it: another thread of ours may answer its first message at once.
        vi->on_connected();
        settle(r, abi::request_state::accepted);
    }
    return {};
}

request_state::~request_state() {
    if (!answered && !nic->forked()) {
        (void)answer(nullptr, {});
    }
}

/// Takes the outcome of a settled request and frees it; errc::not_done while it is open.
result<peer_information> vi_state::finish_request(std::uint32_t request) {
    device::memory& m = *nic->memory;
    peer_information peer;
    bool answered = false;
    {
        const device::control_lock hold(m);
        abi::request_entry& r = m.request(request);
        if (pending_request != request) {
            return std::unexpected(nic->fail(errc::invalid_state, "connecting: given up by disconnect()"));
        }
        const abi::request_state s = state_of(r);
        const std::uint64_t state = entry->state.load_acquire();
        const bool broken = abi::link_of(state) == abi::link::error;
        if (!broken && (s == abi::request_state::pending || s == abi::request_state::taken)) {
            return std::unexpected(nic->fail(errc::not_done, "connecting"));
        }
        if (s == abi::request_state::accepted) {
            answered = true;
            peer = describe_vi(m, r.peer_vi);
            peer.private_data = bytes_of(r.answer, r.answer_bytes);
        } else if (s == abi::request_state::rejected || s == abi::request_state::mismatch) {
            rejection = bytes_of(r.answer, r.answer_bytes);
        }
        m.give(abi::requests, request);
        pending_request = abi::none32;
        if (s != abi::request_state::accepted && !broken) {
            entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
            switch (s) {
                case abi::request_state::rejected:
                    return std::unexpected(nic->fail(errc::rejected, "connecting"));
                case abi::request_state::mismatch:
                    return std::unexpected(nic->fail(errc::attribute_mismatch, "connecting"));
                case abi::request_state::closed:
                    return std::unexpected(nic->fail(errc::no_listener, "connecting: the listener was closed"));
                default:
                    return std::unexpected(nic->fail(errc::peer_gone, "connecting: the listener's process died"));
            }
        }
    }
    on_connected();
    if (!answered) {
        return std::unexpected(nic->fail(errc::peer_gone, "connecting: the acceptor died while it answered"));
    }
    return peer;
}

}  // namespace detail

result<listener> nic::listen(const address& at) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "listening"});
    }
    if (state_->forked()) {
        return std::unexpected(state_->fail(errc::forked, "listening"));
    }
    auto i = detail::make_name(*state_, at, abi::name_kind::listener, 0);
    if (!i) {
        return std::unexpected(i.error());
    }
    listener l;
    l.state_ = std::make_shared<detail::listener_state>(state_, *i, state_->memory->name(*i).generation.load_relaxed());
    return l;
}

result<connection_request> listener::wait(nanoseconds timeout) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "waiting for a connection request"});
    }
    detail::nic_state& nic = *state_->nic;
    device::memory& m = *nic.memory;
    const std::uint64_t deadline = detail::deadline_of(timeout);
    for (;;) {
        if (nic.forked()) {
            return std::unexpected(nic.fail(errc::forked, "waiting for a connection request"));
        }
        abi::name_entry& n = m.name(state_->index);
        const std::uint32_t seen = n.arrivals.load_acquire();
        {
            const device::control_lock hold(m);
            std::uint32_t oldest = abi::none32;
            for (std::uint32_t i = 0; i < m.backed(abi::requests); ++i) {
                abi::request_entry& r = m.request(i);
                if (r.owner.load_relaxed() != 0 && detail::state_of(r) == abi::request_state::pending &&
                    r.name.load_relaxed() == state_->index && r.name_generation.load_relaxed() == state_->generation &&
                    m.alive(r.owner.load_relaxed() - 1) &&
                    (oldest == abi::none32 || r.order.load_relaxed() < m.request(oldest).order.load_relaxed())) {
                    oldest = i;
                }
            }
            if (oldest != abi::none32) {
                abi::request_entry& r = m.request(oldest);
                r.state.store_release(static_cast<std::uint32_t>(abi::request_state::taken));
                connection_request q;
                q.state_ = std::make_shared<detail::request_state>();
                q.state_->nic = state_->nic;
                q.state_->listener = state_;
                q.state_->index = oldest;
                q.state_->generation = r.generation.load_relaxed();
                q.state_->peer = detail::describe_vi(m, r.vi.load_relaxed());
                q.state_->peer.private_data = detail::bytes_of(r.data, r.data_bytes);
                return q;
            }
        }
        const std::uint64_t now = os::now_ns();
        if (now >= deadline) {
            return std::unexpected(nic.fail(errc::timed_out, "waiting for a connection request"));
        }
        os::futex_wait(&n.arrivals.raw_, seen, std::min(detail::sleep_slice_ns, deadline - now));
        nic.tick();
    }
}

const peer_information& connection_request::peer() const noexcept {
    static const peer_information none;
    return state_ ? state_->peer : none;
}

result<void> connection_request::accept(virtual_interface& vi, std::span<const std::byte> data) {
    if (!state_ || !vi.state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "accepting a connection"});
    }
    const std::lock_guard hold(vi.state_->connect_mutex);
    return state_->answer(vi.state_.get(), data);
}

result<void> connection_request::reject(std::span<const std::byte> data) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "rejecting a connection"});
    }
    return state_->answer(nullptr, data);
}

namespace {

/// What connect and connect_peer check alike.  Under connect_mutex.
result<void> may_connect(detail::vi_state& v, std::span<const std::byte> data, nanoseconds timeout) {
    if (v.nic->forked()) {
        return std::unexpected(v.nic->fail(errc::forked, "connecting"));
    }
    if (data.size() > abi::private_data_bytes_max || timeout.count() <= 0) {
        return std::unexpected(v.nic->fail(errc::invalid_argument,
                                           "connecting: private data has at most 256 bytes, the time-out is positive"));
    }
    if (v.attributes.service == service::datagram) {
        return std::unexpected(v.nic->fail(errc::not_supported, "connecting: a datagram VI has no peer; use send_to"));
    }
    if (abi::link_of(v.entry->state.load_acquire()) != abi::link::idle) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "connecting: the VI is not idle"));
    }
    return {};
}

void become_connecting(detail::vi_state& v) noexcept {
    v.entry->state.store_release(
        abi::make_state(abi::epoch_of(v.entry->state.load_relaxed()) + 1, abi::link::connecting));
}

/// Waits for a request's outcome, and gives the request up at the deadline.
result<peer_information> await(detail::vi_state& v, std::uint32_t request, std::uint64_t deadline) {
    device::memory& m = *v.nic->memory;
    for (;;) {
        {
            const device::control_lock hold(m);
            if (v.pending_request != request) {
                return std::unexpected(v.nic->fail(errc::invalid_state, "connecting: given up by disconnect()"));
            }
        }
        auto done = v.finish_request(request);
        if (done || done.error().code != errc::not_done) {
            return done;
        }
        const std::uint64_t now = os::now_ns();
        if (now >= deadline) {
            const device::control_lock hold(m);
            const abi::request_state s = detail::state_of(m.request(request));
            if (v.pending_request != request) {
                continue;
            }
            if (s != abi::request_state::pending && s != abi::request_state::taken) {
                continue;  // settled at the last moment
            }
            m.give(abi::requests, request);
            v.pending_request = abi::none32;
            v.entry->state.store_release(
                abi::make_state(abi::epoch_of(v.entry->state.load_relaxed()) + 1, abi::link::idle));
            return std::unexpected(v.nic->fail(errc::timed_out, "connecting"));
        }
        const std::uint32_t seen = m.request(request).state.load_acquire();
        if (seen == static_cast<std::uint32_t>(abi::request_state::pending) ||
            seen == static_cast<std::uint32_t>(abi::request_state::taken)) {
            os::futex_wait(&m.request(request).state.raw_, seen, std::min(detail::sleep_slice_ns, deadline - now));
        }
        v.nic->tick_now();
    }
}

}  // namespace

result<peer_information> virtual_interface::connect(const address& to, nanoseconds timeout,
                                                    std::span<const std::byte> data) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting"});
    }
    detail::vi_state& v = *state_;
    auto key = detail::to_key(to);
    if (!key) {
        return std::unexpected(key.error());
    }
    std::unique_lock hold(v.connect_mutex);
    if (auto r = may_connect(v, data, timeout); !r) {
        return std::unexpected(r.error());
    }
    device::memory& m = *v.nic->memory;
    std::uint32_t request = 0;
    {
        const device::control_lock lock(m);
        const std::uint32_t name = detail::find_name(m, *key);
        if (name == abi::none32 ||
            m.name(name).kind.load_relaxed() != static_cast<std::uint32_t>(abi::name_kind::listener) ||
            !m.alive(m.name(name).owner.load_relaxed() - 1)) {
            return std::unexpected(v.nic->fail(errc::no_listener, "connecting to '" + to.name + "'"));
        }
        auto made = detail::make_request(v, data);
        if (!made) {
            return std::unexpected(made.error());
        }
        request = *made;
        abi::request_entry& r = m.request(request);
        r.name.store_relaxed(name);
        r.name_generation.store_relaxed(m.name(name).generation.load_relaxed());
        become_connecting(v);
        v.pending_request = request;
        r.state.store_release(static_cast<std::uint32_t>(abi::request_state::pending));
        m.name(name).arrivals.fetch_add(1);
        os::futex_wake(&m.name(name).arrivals.raw_);
    }
    hold.unlock();  // so that disconnect() can end the waiting
    return await(v, request, detail::deadline_of(timeout));
}

std::vector<std::byte> virtual_interface::rejection_data() const {
    return state_ ? state_->rejection : std::vector<std::byte>{};
}

result<void> virtual_interface::connect_peer(const address& local, const address& remote, nanoseconds timeout,
                                             std::span<const std::byte> data) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting to a peer"});
    }
    detail::vi_state& v = *state_;
    auto local_key = detail::to_key(local);
    auto remote_key = detail::to_key(remote);
    if (!local_key || !remote_key) {
        return std::unexpected(!local_key ? local_key.error() : remote_key.error());
    }
    const std::lock_guard hold(v.connect_mutex);
    if (auto r = may_connect(v, data, timeout); !r) {
        return std::unexpected(r.error());
    }
    device::memory& m = *v.nic->memory;
    const device::control_lock lock(m);
    std::uint32_t other = abi::none32;
    for (std::uint32_t i = 0; i < m.backed(abi::requests); ++i) {
        abi::request_entry& r = m.request(i);
        if (r.owner.load_relaxed() != 0 && detail::state_of(r) == abi::request_state::pending &&
            r.name.load_relaxed() == abi::none32 && detail::same(r.local, *remote_key) &&
            detail::same(r.remote, *local_key) && m.alive(r.owner.load_relaxed() - 1) &&
            (other == abi::none32 || r.order.load_relaxed() < m.request(other).order.load_relaxed())) {
            other = i;
        }
    }
    auto made = detail::make_request(v, data);
    if (!made) {
        return std::unexpected(made.error());
    }
    abi::request_entry& mine = m.request(*made);
    mine.local = *local_key;
    mine.remote = *remote_key;
    become_connecting(v);
    v.pending_request = *made;
    v.request_deadline_ns = detail::deadline_of(timeout);
    if (other == abi::none32) {
        mine.state.store_release(static_cast<std::uint32_t>(abi::request_state::pending));
        return {};
    }
    abi::request_entry& theirs = m.request(other);
    const std::uint32_t their_vi = theirs.vi.load_relaxed();
    for (auto [to, from, vi] : {std::tuple(&mine, &theirs, their_vi), std::tuple(&theirs, &mine, v.index)}) {
        std::memcpy(to->answer, from->data, sizeof to->answer);
        to->answer_bytes = from->data_bytes;
        to->peer_vi = vi;
    }
    if (!detail::match(m.vi(their_vi), *v.entry)) {
        mine.state.store_release(static_cast<std::uint32_t>(abi::request_state::mismatch));
        detail::settle(theirs, abi::request_state::mismatch);
        return {};
    }
    detail::link(m, their_vi, v.index);
    mine.state.store_release(static_cast<std::uint32_t>(abi::request_state::accepted));
    detail::settle(theirs, abi::request_state::accepted);
    return {};
}

result<peer_information> virtual_interface::connect_peer_done() {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting to a peer"});
    }
    detail::vi_state& v = *state_;
    const std::lock_guard hold(v.connect_mutex);
    if (v.nic->forked()) {
        return std::unexpected(v.nic->fail(errc::forked, "connecting to a peer"));
    }
    if (v.pending_request == abi::none32) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "connecting to a peer: no request is pending"));
    }
    v.nic->tick();
    if (auto done = v.finish_request(v.pending_request);
        done || done.error().code != errc::not_done || os::now_ns() < v.request_deadline_ns) {
        return done;
    }
    return await(v, v.pending_request, 0);
}

result<peer_information> virtual_interface::connect_peer_wait() {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting to a peer"});
    }
    detail::vi_state& v = *state_;
    std::unique_lock hold(v.connect_mutex);
    if (v.nic->forked()) {
        return std::unexpected(v.nic->fail(errc::forked, "connecting to a peer"));
    }
    const std::uint32_t request = v.pending_request;
    if (request == abi::none32) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "connecting to a peer: no request is pending"));
    }
    hold.unlock();
    return await(v, request, v.request_deadline_ns);
}

}  // namespace vinic

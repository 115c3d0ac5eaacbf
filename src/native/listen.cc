// SPDX-License-Identifier: Apache-2.0
//
// listen.cc -- names, listeners, and answers to connection requests; connect.cc draws how it fits together.
#include "device/processes.hpp"
#include "native/request.hpp"

namespace vinic {

namespace detail {

result<std::uint32_t> make_name(nic_state& nic, const address& at, abi::name_kind kind, std::uint64_t target) {
    auto key = to_key(at);
    if (!key) {
        return std::unexpected(key.error());
    }
    device::memory& m = *nic.memory;
    const device::control_lock hold(m);
    if (!hold) {
        return std::unexpected(m.fail_lock(errc::busy, "entering the name '" + at.name + "'"));
    }
    for (int attempt = nic.isolated ? 2 : 0; attempt < 2; ++attempt) {  // there the device knows who has which name
        const std::uint32_t there = find_name(m, *key);
        if (there == abi::none32) {
            break;
        }
        // A name of a process that has just died is free.
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
    if (nic == nullptr || nic->forked()) {
        return;
    }
    const os::cancellation_off inside;
    if (is_known) {
        (void)nic->isolated->call(abi::verb::unlisten, {index});
    }
    const device::control_lock hold(*nic->memory, device::farewell);
    abi::name_entry& n = nic->memory->name(index);
    if (hold && n.owner.load_relaxed() == nic->memory->owner_word() && n.generation.load_relaxed() == generation) {
        device::fail_requests_of(*nic->memory, index, abi::request_stage::closed);
        std::memset(&n.at, 0, sizeof n.at);
        nic->memory->give(abi::names, index);
    }
}

/// Accepts with `vi`, or rejects without.
result<void> request_state::answer(vi_state* vi, std::span<const std::byte> data, device::patience p) {
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
    if (nic->isolated) {
        return answer_isolated(vi, data, doing);
    }
    device::memory& m = *nic->memory;
    if (vi != nullptr) {
        (void)vi->settled_link(m.lock_deadline(p.ns));
    }
    {
        const device::control_lock hold(m, p);
        if (!hold) {
            return std::unexpected(m.fail_lock(errc::busy, doing));
        }
        abi::request_entry& r = m.request(index);
        const std::uint32_t owner = r.owner.load_relaxed();
        if (owner == 0 || r.generation.load_relaxed() != generation || state_of(r) != abi::request_stage::taken ||
            !m.alive(owner - 1)) {
            answered = true;
            return std::unexpected(nic->fail(errc::peer_gone, std::string(doing) + ": the requester gave up"));
        }
        if (vi == nullptr) {
            answered = true;
            r.answer_bytes = put(r.answer, data);
            settle(r, abi::request_stage::rejected);
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
        if (terms_of(m.vi(requester)) != terms_of(*vi->entry)) {
            return std::unexpected(nic->fail(errc::attribute_mismatch, "accepting a connection"));
        }
        answered = true;
        r.answer_bytes = put(r.answer, data);
        r.peer_vi = vi->index;
        link(m, requester, vi->index);
        // Before the requester hears of it: another thread of ours may answer its first message at once.
        vi->on_connected();
        settle(r, abi::request_stage::accepted);
    }
    return {};
}

request_state::~request_state() {
    if (!answered && !nic->forked()) {
        const os::cancellation_off inside;
        try {
            (void)answer(nullptr, {}, device::farewell);
        } catch (const std::bad_alloc&) {
            // It was answered, or could not be; there was no memory to say which.
        }
    }
}

}  // namespace detail

result<listener> nic::listen(const address& at) try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "listening"});
    }
    if (state_->forked()) {
        return std::unexpected(state_->fail(errc::forked, "listening"));
    }
    if (state_->memory->removed()) {
        return std::unexpected(state_->memory->fail(errc::device_removed, 0, "listening at '" + at.name + "'"));
    }
    listener l;
    l.state_ = std::make_shared<detail::listener_state>();
    auto i = detail::make_name(*state_, at, abi::name_kind::listener, 0);
    if (!i) {
        return std::unexpected(i.error());
    }
    l.state_->index = *i;
    l.state_->generation = state_->memory->name(*i).generation.load_relaxed();
    l.state_->nic = state_;
    if (state_->isolated) {
        if (const auto r = state_->isolated->call(abi::verb::listen, {*i}, state_->memory->name(*i).at); !r.ok()) {
            return std::unexpected(
                state_->fail(r.code, detail::refused_name(r.code, "listening at '" + at.name + "'")));
        }
        l.state_->is_known = true;
    }
    return l;
} catch (const std::exception& e) {
    return detail::caught(e, "listening");
}

result<connection_request> listener::wait(nanoseconds timeout) try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "waiting for a connection request"});
    }
    detail::nic_state& nic = *state_->nic;
    device::memory& m = *nic.memory;
    const std::uint64_t deadline = detail::deadline_of(timeout);
    for (;;) {
        inside.point();
        if (nic.forked()) {
            return std::unexpected(nic.fail(errc::forked, "waiting for a connection request"));
        }
        abi::name_entry& n = m.name(state_->index);
        const std::uint32_t seen = n.arrivals.load_acquire();
        if (nic.isolated) {
            if (auto taken = state_->take_isolated(state_); taken) {
                connection_request q;
                q.state_ = std::move(*taken);
                return q;
            } else if (taken.error().code != errc::not_done) {
                return std::unexpected(taken.error());
            }
        } else if (const device::control_lock hold(m, detail::lock_deadline(deadline)); !hold) {
            return std::unexpected(m.fail_lock(errc::timed_out, "waiting for a connection request"));
        } else {
            connection_request q;
            q.state_ = std::make_shared<detail::request_state>();
            q.state_->answered = true;  // there is none yet
            std::uint32_t oldest = abi::none32;
            for (std::uint32_t i = 0; i < m.backed(abi::requests); ++i) {
                abi::request_entry& r = m.request(i);
                if (r.owner.load_relaxed() != 0 && detail::state_of(r) == abi::request_stage::pending &&
                    r.name.load_relaxed() == state_->index && r.name_generation.load_relaxed() == state_->generation &&
                    m.alive(r.owner.load_relaxed() - 1) &&
                    (oldest == abi::none32 || r.order.load_relaxed() < m.request(oldest).order.load_relaxed())) {
                    oldest = i;
                }
            }
            if (oldest != abi::none32) {
                abi::request_entry& r = m.request(oldest);
                q.state_->nic = state_->nic;
                q.state_->listener = state_;
                q.state_->index = oldest;
                q.state_->generation = r.generation.load_relaxed();
                q.state_->peer = detail::describe_vi(m, r.vi.load_relaxed());
                q.state_->peer.private_data = detail::bytes_of(r.data, r.data_bytes);
                q.state_->answered = false;
                r.state.store_release(static_cast<std::uint32_t>(abi::request_stage::taken));
                return q;
            }
        }
        if (m.removed()) {  // clients that come from now on come to another device of that name
            return std::unexpected(m.fail(errc::device_removed, 0, "waiting for a connection request"));
        }
        const std::uint64_t now = os::now_ns();
        if (now >= deadline) {
            return std::unexpected(nic.fail(errc::timed_out, "waiting for a connection request"));
        }
        os::futex_wait(&n.arrivals.raw_, seen, std::min(detail::sleep_slice_ns, deadline - now));
        nic.tick();
    }
} catch (const std::exception& e) {
    return detail::caught(e, "waiting for a connection request");
}

const peer_information& connection_request::peer() const noexcept {
    static const peer_information none;
    return state_ ? state_->peer : none;
}

result<void> connection_request::accept(virtual_interface& vi, std::span<const std::byte> data) try {
    const os::cancellation_off inside;
    if (!state_ || !vi.state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "accepting a connection"});
    }
    const std::lock_guard hold(vi.state_->connect_mutex);
    return state_->answer(vi.state_.get(), data);
} catch (const std::exception& e) {
    return detail::caught(e, "accepting a connection");
}

result<void> connection_request::reject(std::span<const std::byte> data) try {
    const os::cancellation_off inside;
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "rejecting a connection"});
    }
    return state_->answer(nullptr, data);
} catch (const std::exception& e) {
    return detail::caught(e, "rejecting a connection");
}

}  // namespace vinic

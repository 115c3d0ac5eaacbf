// SPDX-License-Identifier: Apache-2.0
//
// connect.cc -- the two ways to connect: a request is entered, and waited for.
//
//   What a request is, and who answers it, stands in direct/connect.cc and isolated/connect.cc.  Whoever waits sleeps
//   on a word of the request, a slice at a time, and looks whether the other side lives.
#include "placement/call.hpp"
#include "placement/request.hpp"

namespace vinic {

namespace detail {

/// Takes the outcome of a settled request and frees it; errc::not_done while it is open, or while the lock that settles
/// it cannot be taken by the deadline.
result<peer_information> vi_body::finish_request(std::uint32_t request, std::uint64_t deadline) {
    tables::memory& m = *nic->memory;
    peer_information peer;
    bool answered = false;
    {
        const tables::control_lock hold(m, deadline);
        if (!hold) {
            return std::unexpected(m.fail_lock(errc::not_done, "connecting"));
        }
        abi::request_entry& r = m.request(request);
        if (pending_request != request) {
            return std::unexpected(nic->fail(errc::invalid_state, "connecting: given up by disconnect()"));
        }
        const abi::request_stage s = state_of(r);
        const std::uint64_t state = entry->state.load_acquire();
        const bool broken = abi::link_of(state) == abi::link::error || nic->provider->gone();
        if (!broken && (s == abi::request_stage::pending || s == abi::request_stage::taken)) {
            return std::unexpected(nic->fail(errc::not_done, "connecting"));
        }
        if (s == abi::request_stage::accepted) {
            answered = true;
            peer = describe(r.peer);
            peer.private_data = bytes_of(r.answer, r.answer_bytes);
        } else if (s == abi::request_stage::rejected || s == abi::request_stage::mismatch) {
            rejection = bytes_of(r.answer, r.answer_bytes);
        }
        drop_request();
        if (s != abi::request_stage::accepted && !broken) {
            if (abi::link_of(state) == abi::link::connecting) {  // and whoever settled it has not seen to that
                entry->state.store_release(abi::make_state(abi::epoch_of(state) + 1, abi::link::idle));
            }
            switch (s) {
                case abi::request_stage::rejected:
                    return std::unexpected(nic->fail(errc::rejected, "connecting"));
                case abi::request_stage::mismatch:
                    return std::unexpected(nic->fail(errc::attribute_mismatch, "connecting"));
                case abi::request_stage::closed:
                    return std::unexpected(nic->fail(errc::no_listener, "connecting: the listener was closed"));
                default:
                    return std::unexpected(nic->fail(errc::peer_gone, "connecting: the listener's process died"));
            }
        }
    }
    on_connected();
    if (!answered) {
        return std::unexpected(nic->fail(errc::peer_gone, "connecting: the peer died while it answered"));
    }
    return peer;
}

/// No connect() that has returned leaves its VI connecting: what it could not take back is taken back here, before
/// anybody looks.  It stays so only while the lock is still held; and a connection that was made late stays a
/// connection.
abi::link vi_body::settled_link(std::uint64_t deadline) noexcept {
    if (const std::uint64_t late = overdue; late == entry->state.load_acquire()) {
        if (nic->memory->lock_of_dead()) {
            nic->memory->unlock();
        }
        const tables::control_lock hold(*nic->memory, deadline);
        if (hold && late == entry->state.load_acquire()) {  // that attempt still, and no later one
            drop_request();
            entry->state.store_release(abi::make_state(abi::epoch_of(late) + 1, abi::link::idle));
        }
    }
    return abi::link_of(entry->state.load_acquire());
}

}  // namespace detail

namespace {

/// What connect and connect_peer check alike.  Under connect_mutex.
result<void> may_connect(detail::vi_body& v, std::span<const std::byte> data, nanoseconds timeout) {
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
    if (const abi::link link = v.settled_link(detail::lock_deadline(detail::deadline_of(timeout)));
        link != abi::link::idle) {
        if (v.overdue != abi::none64) {
            if (link == abi::link::connecting) {
                return std::unexpected(v.nic->memory->fail_lock(errc::timed_out, "connecting"));
            }
            return std::unexpected(
                v.nic->fail(errc::invalid_state,
                            "connecting: the attempt before, which ran out of time, was answered late; disconnect"));
        }
        // A device that has reset the function no longer knows this VI, and nobody but connect() may ever ask.
        const bool gone = v.nic->provider->found_gone();
        return std::unexpected(
            v.nic->fail(gone ? errc::peer_gone : errc::invalid_state, "connecting: the VI is not idle"));
    }
    return {};
}

/// Waits for a request's outcome, and gives the request up at the deadline.  `inside`: a cancelled thread ends here,
/// and the request is as before.
result<peer_information> await(detail::vi_body& v, std::uint32_t request, std::uint64_t attempt, std::uint64_t deadline,
                               const os::cancellation_off* inside = nullptr) {
    tables::memory& m = *v.nic->memory;
    for (;;) {
        if (inside != nullptr) {
            inside->point();
        }
        auto done = v.finish_request(request, detail::lock_deadline(deadline));
        if (done || done.error().code != errc::not_done) {
            return done;
        }
        const std::uint64_t now = os::now_ns();
        if (now >= deadline) {
            const auto withdrawn = v.withdraw(request, attempt, deadline);
            if (!withdrawn) {
                return std::unexpected(withdrawn.error());
            }
            if (*withdrawn) {
                return std::unexpected(v.nic->fail(m.removed() ? errc::device_removed : errc::timed_out, "connecting"));
            }
            v.nic->tick_now();  // settled at the last moment
            std::this_thread::yield();
            continue;
        }
        const std::uint32_t seen = m.request(request).state.load_acquire();
        if (seen == static_cast<std::uint32_t>(abi::request_stage::pending) ||
            seen == static_cast<std::uint32_t>(abi::request_stage::taken)) {
            os::futex_wait(&m.request(request).state.raw_, seen, std::min(detail::sleep_slice_ns, deadline - now));
        }
        v.nic->tick_now();
    }
}

}  // namespace

result<peer_information> virtual_interface::connect(const address& to, nanoseconds timeout,
                                                    std::span<const std::byte> data) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting"});
    }
    detail::vi_body& v = *body_;
    auto key = detail::to_key(to);
    if (!key) {
        return std::unexpected(key.error());
    }
    const std::uint64_t deadline = detail::deadline_of(timeout);
    std::unique_lock hold(v.connect_mutex);
    if (auto r = may_connect(v, data, timeout); !r) {
        return std::unexpected(r.error());
    }
    const auto request = v.ask({*key, nullptr, data, deadline, "connecting to '" + to.name + "'"});
    if (!request) {
        return std::unexpected(request.error());
    }
    const std::uint64_t attempt = v.attempt;
    hold.unlock();  // so that disconnect() can end the waiting
    return await(v, *request, attempt, deadline);
} catch (const std::exception& e) {
    return detail::caught(e, "connecting");
}

std::vector<std::byte> virtual_interface::rejection_data() const try {
    return body_ ? body_->rejection : std::vector<std::byte>{};
} catch (const std::bad_alloc&) {
    return {};
}

result<void> virtual_interface::connect_peer(const address& local, const address& remote, nanoseconds timeout,
                                             std::span<const std::byte> data) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting to a peer"});
    }
    detail::vi_body& v = *body_;
    auto local_key = detail::to_key(local);
    auto remote_key = detail::to_key(remote);
    if (!local_key || !remote_key) {
        return std::unexpected(!local_key ? local_key.error() : remote_key.error());
    }
    const std::lock_guard hold(v.connect_mutex);
    if (auto r = may_connect(v, data, timeout); !r) {
        return std::unexpected(r.error());
    }
    v.request_deadline_ns = detail::deadline_of(timeout);
    const auto asked =
        v.ask({*remote_key, &*local_key, data, v.request_deadline_ns, "connecting to a peer as '" + local.name + "'"});
    return asked ? result<void>{} : std::unexpected(asked.error());
} catch (const std::exception& e) {
    return detail::caught(e, "connecting to a peer");
}

result<peer_information> virtual_interface::connect_peer_done() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting to a peer"});
    }
    detail::vi_body& v = *body_;
    const std::lock_guard hold(v.connect_mutex);
    if (v.nic->forked()) {
        return std::unexpected(v.nic->fail(errc::forked, "connecting to a peer"));
    }
    if (v.pending_request == abi::none32) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "connecting to a peer: no request is pending"));
    }
    v.nic->tick();
    if (auto done = v.finish_request(v.pending_request, detail::lock_deadline(0));
        done || done.error().code != errc::not_done || os::now_ns() < v.request_deadline_ns) {
        return done;
    }
    return await(v, v.pending_request, v.attempt, 0);
} catch (const std::exception& e) {
    return detail::caught(e, "connecting to a peer");
}

result<peer_information> virtual_interface::connect_peer_wait() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "connecting to a peer"});
    }
    detail::vi_body& v = *body_;
    std::unique_lock hold(v.connect_mutex);
    if (v.nic->forked()) {
        return std::unexpected(v.nic->fail(errc::forked, "connecting to a peer"));
    }
    const std::uint32_t request = v.pending_request;
    if (request == abi::none32) {
        return std::unexpected(v.nic->fail(errc::invalid_state, "connecting to a peer: no request is pending"));
    }
    const std::uint64_t attempt = v.attempt;
    hold.unlock();
    return await(v, request, attempt, v.request_deadline_ns, &inside);
} catch (const std::exception& e) {
    return detail::caught(e, "connecting to a peer");
}

}  // namespace vinic

// SPDX-License-Identifier: Apache-2.0
//
// listen.cc -- listeners, and answers to connection requests.
#include "placement/call.hpp"
#include "placement/request.hpp"
#include "tables/processes.hpp"

namespace vinic {

namespace detail {

listener_body::~listener_body() {
    if (nic == nullptr || nic->forked()) {
        return;
    }
    const os::cancellation_off inside;
    nic->provider->unlisten(index);
    const tables::control_lock hold(*nic->memory, tables::farewell);
    abi::name_entry& n = nic->memory->name(index);
    if (hold && n.owner.load_relaxed() == nic->memory->owner_word() && n.generation.load_relaxed() == generation) {
        tables::fail_requests_of(*nic->memory, index, abi::request_stage::closed);
        std::memset(&n.at, 0, sizeof n.at);
        nic->memory->give(abi::names, index);
    }
}

/// Accepts with `vi`, or rejects without.
result<void> request_body::answer(vi_body* vi, std::span<const std::byte> data, tables::patience p) {
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
    return nic->provider->answer(*this, vi, data, p, doing);
}

request_body::~request_body() {
    if (!answered && !nic->forked()) {
        const os::cancellation_off inside;
        try {
            (void)answer(nullptr, {}, tables::farewell);
        } catch (const std::bad_alloc&) {
            // It was answered, or could not be; there was no memory to say which.
        }
    }
}

}  // namespace detail

result<listener> nic::listen(const address& at) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "listening")) {
        return std::unexpected(*why);
    }
    listener l;
    l.body_ = std::make_shared<detail::listener_body>();
    const auto i = body_->provider->listen(*body_, at);
    if (!i) {
        return std::unexpected(i.error());
    }
    l.body_->index = *i;
    l.body_->generation = body_->memory->name(*i).generation.load_relaxed();
    l.body_->nic = body_;
    return l;
} catch (const std::exception& e) {
    return detail::caught(e, "listening");
}

result<connection_request> listener::wait(nanoseconds timeout) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "waiting for a connection request"});
    }
    detail::nic_body& nic = *body_->nic;
    tables::memory& m = *nic.memory;
    const std::uint64_t deadline = detail::deadline_of(timeout);
    for (;;) {
        inside.point();
        if (nic.forked()) {
            return std::unexpected(nic.fail(errc::forked, "waiting for a connection request"));
        }
        abi::name_entry& n = m.name(body_->index);
        const std::uint32_t seen = n.arrivals.load_acquire();
        if (auto taken = nic.provider->take_request(body_, deadline); taken) {
            connection_request q;
            q.body_ = std::move(*taken);
            return q;
        } else if (taken.error().code != errc::not_done) {
            return std::unexpected(taken.error());
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
    return body_ ? body_->peer : none;
}

result<void> connection_request::accept(virtual_interface& vi, std::span<const std::byte> data) try {
    const os::cancellation_off inside;
    if (!body_ || !vi.body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "accepting a connection"});
    }
    const std::lock_guard hold(vi.body_->connect_mutex);
    return body_->answer(vi.body_.get(), data);
} catch (const std::exception& e) {
    return detail::caught(e, "accepting a connection");
}

result<void> connection_request::reject(std::span<const std::byte> data) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "rejecting a connection"});
    }
    return body_->answer(nullptr, data);
} catch (const std::exception& e) {
    return detail::caught(e, "rejecting a connection");
}

}  // namespace vinic

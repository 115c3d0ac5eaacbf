// SPDX-License-Identifier: Apache-2.0
//
// connect.cc -- connecting through the device of the isolated placement.
//
//   client                          device                            server
//   request entry, verb connect -->  request  -- arrivals bumped -->  verb take_request
//   sleeps on the entry's state                                       verb accept or reject
//   the outcome in the entry   <---  both VIs connected  ---------->  answer
//
//   The entry lies in the client's window; the server sees a ticket instead.
#include "isolated/provider.hpp"

namespace vinic::isolated {

using detail::put;

/// The device has forgotten the request, and nobody may wait for its answer any more.  False: it is not pending here,
/// for disconnect() was quicker.
bool vi::abandon_request(std::uint32_t request, std::uint64_t lock_until) noexcept {
    const tables::control_lock lock(*nic->memory, lock_until);
    if (!lock) {
        pending_request = abi::none32;  // the entry stays until this process leaves the window
        return true;
    }
    if (pending_request != request) {
        return false;
    }
    drop_request();
    return true;
}

result<std::uint32_t> vi::ask(const wish& w) {
    tables::memory& m = *nic->memory;
    std::uint32_t request = 0;
    {
        const tables::control_lock lock(m, detail::lock_deadline(w.deadline));
        if (!lock) {
            return std::unexpected(m.fail_lock(errc::timed_out, w.doing));
        }
        auto made = detail::make_request(*this, {});
        if (!made) {
            return made;
        }
        request = *made;
        m.request(request).state.store_release(static_cast<std::uint32_t>(abi::request_stage::pending));
        pending_request = request;
    }
    const std::initializer_list<std::uint64_t> values = {index, next_base(), request};
    mailbox::reply r;
    if (w.local != nullptr) {
        abi::peer_mail mail{};
        mail.local = *w.local;
        mail.remote = w.remote;
        mail.data_bytes = put(mail.data, w.data);
        r = device_.call(abi::verb::connect_peer, values, mail);
    } else {
        abi::connect_mail mail{};
        mail.at = w.remote;
        mail.data_bytes = put(mail.data, w.data);
        r = device_.call(abi::verb::connect, values, mail);
    }
    if (r.ok()) {
        return request;
    }
    (void)abandon_request(request, detail::lock_deadline(w.deadline));
    return std::unexpected(nic->fail(r.code, refused_name(r.code, w.doing)));
}

result<bool> vi::withdraw(std::uint32_t request, std::uint64_t, std::uint64_t) {
    return device_.call(abi::verb::give_up, {index}).ok() && abandon_request(request, detail::lock_deadline(0));
}

mailbox::reply vi::accept(std::uint64_t ticket, const abi::answer_mail& mail) noexcept {
    // Another thread of ours may answer the first message before the device's answer is seen here.
    open_connection_.store(any_connection);
    const auto r = device_.call(abi::verb::accept, {ticket, index, next_base()}, mail);
    if (r.ok()) {
        on_connected();
    } else {
        open_connection_.store(abi::none64);
    }
    return r;
}

result<std::shared_ptr<detail::request_body>> provider::take_request(const std::shared_ptr<detail::listener_body>& l,
                                                                     std::uint64_t) {
    abi::taken_mail mail{};
    auto taken = std::make_shared<detail::request_body>();
    std::vector<std::byte> data;
    data.reserve(abi::private_data_bytes_max);
    const auto r = mailbox_.call(abi::verb::take_request, {l->index}, {}, std::as_writable_bytes(std::span(&mail, 1)));
    if (!r.ok()) {
        return std::unexpected(l->nic->fail(r.code, "waiting for a connection request"));
    }
    // The device has given it away: from here on nothing can fail.
    taken->nic = l->nic;
    taken->listener = l;
    taken->ticket = r.value[0];
    taken->peer = detail::describe(mail.peer);
    const auto* sent = reinterpret_cast<const std::byte*>(mail.data);
    data.assign(sent, sent + std::min<std::size_t>(mail.data_bytes, abi::private_data_bytes_max));
    taken->peer.private_data = std::move(data);
    taken->answered = false;
    return taken;
}

result<void> provider::answer(detail::request_body& q, vi_body* vi, std::span<const std::byte> data, tables::patience,
                              const char* doing) {
    const auto fail = [&](errc code) { return std::unexpected(q.nic->fail(code, doing)); };
    abi::answer_mail mail{};
    mail.data_bytes = put(mail.data, data);
    if (vi == nullptr) {
        q.answered = true;
        const auto r = mailbox_.call(abi::verb::reject, {q.ticket}, mail);
        return r.ok() ? result<void>{} : fail(r.code);
    }
    if (auto r = suits(q, *vi, doing); !r) {
        return r;
    }
    if (abi::link_of(vi->entry->state.load_acquire()) != abi::link::idle) {
        return std::unexpected(q.nic->fail(found_gone() ? errc::peer_gone : errc::invalid_state,
                                           std::string(doing) + ": the VI is not idle"));
    }
    const auto r = static_cast<isolated::vi*>(vi)->accept(q.ticket, mail);
    q.answered = r.ok() || r.code == errc::peer_gone;
    return r.ok() ? result<void>{} : fail(r.code);
}

}  // namespace vinic::isolated

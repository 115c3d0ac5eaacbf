// SPDX-License-Identifier: Apache-2.0
//
// isolated_connect.cc -- connecting through the device of the isolated placement.
//
//   client                          device                            server
//   request entry, verb connect -->  request  -- arrivals bumped -->  verb take_request
//   sleeps on the entry's state                                       verb accept or reject
//   the outcome in the entry   <---  both VIs connected  ---------->  answer
//
//   The entry lies in the client's window; the server sees a ticket instead.
#include "native/request.hpp"

namespace vinic::detail {

/// A request of this VI and the verb that enters it.  Under connect_mutex.
result<std::uint32_t> vi_state::request_isolated(abi::verb verb, std::span<const std::byte> mail,
                                                 const std::string& doing, std::uint64_t deadline) {
    device::memory& m = *nic->memory;
    std::uint32_t request = 0;
    {
        const device::control_lock lock(m, lock_deadline(deadline));
        if (!lock) {
            return std::unexpected(m.fail_lock(errc::timed_out, doing));
        }
        auto made = make_request(*this, {});
        if (!made) {
            return made;
        }
        request = *made;
        m.request(request).state.store_release(static_cast<std::uint32_t>(abi::request_stage::pending));
        pending_request = request;
    }
    const auto r = nic->isolated->call(verb, {index, next_base(), request}, mail);
    if (r.ok()) {
        return request;
    }
    if (const device::control_lock lock(m, lock_deadline(deadline)); lock) {
        drop_request();
    } else {
        pending_request = abi::none32;  // the entry stays until this process leaves the window
    }
    return std::unexpected(nic->fail(r.code, refused_name(r.code, doing)));
}

/// The time is over.  True: the request is withdrawn; false: it is settled by now, or the device is gone.
bool vi_state::withdraw_isolated(std::uint32_t request) {
    if (!nic->isolated->call(abi::verb::give_up, {index}).ok()) {
        return false;
    }
    const device::control_lock lock(*nic->memory, lock_deadline(0));
    if (!lock) {
        pending_request = abi::none32;  // the entry stays until this process leaves the window
        return true;
    }
    if (pending_request != request) {
        return false;  // disconnect() was quicker
    }
    drop_request();
    return true;
}

/// errc::not_done: nobody asks.
result<std::shared_ptr<request_state>> listener_state::take_isolated(const std::shared_ptr<listener_state>& self) {
    abi::taken_mail mail{};
    auto taken = std::make_shared<request_state>();
    taken->answered = true;  // there is none yet
    std::vector<std::byte> data;
    data.reserve(abi::private_data_bytes_max);
    const auto r =
        nic->isolated->call(abi::verb::take_request, {index}, {}, std::as_writable_bytes(std::span(&mail, 1)));
    if (!r.ok()) {
        return std::unexpected(nic->fail(r.code, "waiting for a connection request"));
    }
    // The device has given it away: from here on nothing can fail.
    taken->nic = nic;
    taken->listener = self;
    taken->ticket = r.value[0];
    taken->peer = describe(mail.peer);
    const auto* sent = reinterpret_cast<const std::byte*>(mail.data);
    data.assign(sent, sent + std::min<std::size_t>(mail.data_bytes, abi::private_data_bytes_max));
    taken->peer.private_data = std::move(data);
    taken->answered = false;
    return taken;
}

/// As answer(), which has checked `data`.
result<void> request_state::answer_isolated(vi_state* vi, std::span<const std::byte> data, const char* doing) {
    abi::answer_mail mail{};
    mail.data_bytes = put(mail.data, data);
    if (vi == nullptr) {
        answered = true;
        const auto r = nic->isolated->call(abi::verb::reject, {ticket}, mail);
        return r.ok() ? result<void>{} : std::unexpected(nic->fail(r.code, doing));
    }
    if (vi->nic != nic) {
        return std::unexpected(
            nic->fail(errc::invalid_argument, "accepting a connection: the VI belongs to another nic"));
    }
    if (abi::link_of(vi->entry->state.load_acquire()) != abi::link::idle) {
        return std::unexpected(nic->fail(nic->isolated->found_gone() ? errc::peer_gone : errc::invalid_state,
                                         "accepting a connection: the VI is not idle"));
    }
    // Another thread of ours may answer the first message before the device's answer is seen here.
    vi->open_connection.store(vi_state::any_connection);
    const auto r = nic->isolated->call(abi::verb::accept, {ticket, vi->index, vi->next_base()}, mail);
    if (r.ok()) {
        answered = true;
        vi->on_connected();
        return {};
    }
    vi->open_connection.store(abi::none64);
    answered = r.code == errc::peer_gone;
    return std::unexpected(nic->fail(r.code, doing));
}

/// Names that have a listener or a bound datagram VI.
result<std::vector<address>> names_isolated(nic_state& nic) {
    constexpr std::size_t keys_max = abi::mail_payload_bytes / sizeof(abi::address_key);
    std::vector<address> all;
    abi::address_key keys[keys_max];
    std::span<const abi::address_key> last;
    for (bool more = true; more;) {
        const auto r = nic.isolated->call(abi::verb::names, {}, std::as_bytes(last),
                                          std::as_writable_bytes(std::span(keys, keys_max)));
        if (!r.ok()) {
            return std::unexpected(nic.fail(r.code, "listing names"));
        }
        const std::size_t count = std::min<std::uint64_t>(r.value[1], r.payload_bytes / sizeof(abi::address_key));
        for (std::size_t i = 0; i < count; ++i) {
            all.push_back(to_address(keys[i]));
        }
        more = r.value[0] != 0 && count != 0;
        last = std::span(keys).first(count).last(std::min<std::size_t>(count, 1));
    }
    return all;
}

}  // namespace vinic::detail

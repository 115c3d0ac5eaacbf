// SPDX-License-Identifier: Apache-2.0
//
// connect.cc -- both ways to connect, in terms of native listeners, requests and peer requests.
//
//   A host address and a discriminator are the native address "vipl-" + 12 hexadecimal digits and the
//   same discriminator.  What VIPL tells the other side and the native interface does not know (the
//   local address, the quality of service) travels as private data.
#include "vipl/connect.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "os/cancellation.hpp"
#include "vipl/door.hpp"
#include "vipl/state.hpp"

using namespace vipl;

namespace vipl {

namespace {

using vinic::errc;

constexpr auto look_interval = std::chrono::milliseconds(20);  ///< how soon a waiting server sees the NIC close

/// Says that a thread is in a connection call on a VI: it is not destroyed meanwhile, and sends wait for
/// the connection to be there or not.
class visitor {
public:
    explicit visitor(vi& v) noexcept : vi_(v) { vi_.inside.fetch_add(1); }
    visitor(const visitor&) = delete;
    visitor& operator=(const visitor&) = delete;
    ~visitor() { vi_.inside.fetch_sub(1); }

private:
    vi& vi_;
};

VIP_RETURN connection_code(errc e) noexcept {
    switch (e) {
        case errc::no_listener:
            return VIP_NO_MATCH;
        case errc::rejected:
            return VIP_REJECT;
        case errc::timed_out:
        case errc::peer_gone:
            return VIP_TIMEOUT;
        case errc::invalid_state:
            return VIP_INVALID_STATE;
        case errc::not_done:
            return VIP_NOT_DONE;
        case errc::invalid_argument:
        case errc::invalid_handle:
            return VIP_INVALID_PARAMETER;
        default:
            return VIP_ERROR_RESOURCE;
    }
}

VIP_RETURN wait_at(nic& n, const std::string& discriminator, VIP_ULONG timeout_ms, VIP_NET_ADDRESS* remote,
                   VIP_VI_ATTRIBUTES* attributes, VIP_CONN_HANDLE* handle) {
    using clock = std::chrono::steady_clock;
    VIP_RETURN why = VIP_SUCCESS;
    const std::shared_ptr<door> at = enter_door(n, discriminator, why);
    if (!at) {
        return why;
    }
    door_use use(n, discriminator);
    const auto limit = is_infinite(timeout_ms) ? clock::time_point::max() : clock::now() + duration_of(timeout_ms);
    vinic::result<vinic::connection_request> taken = std::unexpected(vinic::error{});
    do {
        const auto slice =
            limit == clock::time_point::max()
                ? vinic::nanoseconds(look_interval)
                : std::clamp<vinic::nanoseconds>(limit - clock::now(), vinic::nanoseconds(0), look_interval);
        taken = at->listener.wait(slice);
        const std::lock_guard hold(n.mutex);
        if (!n.open) {
            why = VIP_INVALID_PARAMETER;
        }
    } while (!taken && taken.error().code == errc::timed_out && why == VIP_SUCCESS && clock::now() < limit);
    connection* const c = taken && why == VIP_SUCCESS ? all().connections.take() : nullptr;
    if (c == nullptr) {
        why = why != VIP_SUCCESS ? why : taken ? VIP_ERROR_RESOURCE : connection_code(taken.error().code);
        taken = std::unexpected(vinic::error{});  // rejected, if there was one
        return why;
    }
    const greeting from(taken->peer().private_data);
    from.write_address(*remote);
    *attributes = attributes_of(taken->peer(), from);
    c->owner = &n;
    c->request = std::move(*taken);
    c->discriminator = discriminator;
    const std::lock_guard hold(n.mutex);
    n.connections.push_back(c);
    use.stays = true;
    *handle = all().connections.publish(*c);
    return VIP_SUCCESS;
}

/// The request was answered.  Under its mutex; its handle is dead.
void consume(connection& c) noexcept {
    c.request = {};
    leave_door(*c.owner, c.discriminator);
    {
        const std::lock_guard hold(c.owner->mutex);
        std::erase(c.owner->connections, &c);
    }
    all().connections.give(c);
}

VIP_RETURN accept(connection& c, VIP_CONN_HANDLE handle, vi& v, VIP_VI_HANDLE vi_handle) {
    const std::lock_guard answering(c.mutex);
    const std::lock_guard control(v.control);
    if (c.opaque() != handle || v.opaque() != vi_handle || c.owner != v.owner) {
        return VIP_INVALID_PARAMETER;
    }
    if (v.state() != VIP_STATE_IDLE) {
        return VIP_INVALID_STATE;
    }
    const greeting theirs(c.request.peer().private_data);
    if (const VIP_RETURN r = compare(v.attributes, attributes_of(c.request.peer(), theirs)); r != VIP_SUCCESS) {
        return r;
    }
    const visitor connecting(v);
    const auto done = c.request.accept(v.native, greeting(v.attributes, nullptr).bytes());
    if (done) {
        watch(v);
    } else if (done.error().code != errc::peer_gone) {
        return connection_code(done.error().code);
    }
    if (all().connections.retire(c, handle)) {
        consume(c);
    }
    return done ? VIP_SUCCESS : VIP_TIMEOUT;
}

VIP_RETURN request(vi& v, VIP_VI_HANDLE handle, const VIP_NET_ADDRESS& local, const VIP_NET_ADDRESS& remote,
                   VIP_ULONG timeout_ms, VIP_VI_ATTRIBUTES* attributes) {
    const vinic::address to = native_address(remote);
    std::optional<visitor> stays;
    VIP_VI_ATTRIBUTES mine{};
    std::uint32_t disconnects = 0;
    {
        const std::lock_guard control(v.control);
        if (v.opaque() != handle) {
            return VIP_INVALID_PARAMETER;
        }
        if (v.state() != VIP_STATE_IDLE) {
            return VIP_INVALID_STATE;
        }
        mine = v.attributes;
        disconnects = v.disconnects.load();
        stays.emplace(v);
    }
    const auto peer = ask(v, disconnects, to, timeout_ms, greeting(mine, &local).bytes());
    if (!peer) {
        if (v.native.state() == vinic::vi_state::error) {
            // The server died while it answered: the attempt has failed, and the VI may try again.
            const std::lock_guard control(v.control);
            (void)disconnect(v);
        }
        return connection_code(peer.error().code);
    }
    watch(v);
    *attributes = attributes_of(*peer, greeting(peer->private_data));
    return VIP_SUCCESS;
}

VIP_RETURN peer_request(vi& v, VIP_VI_HANDLE handle, const VIP_NET_ADDRESS& local, const VIP_NET_ADDRESS& remote,
                        VIP_ULONG timeout_ms) {
    const std::lock_guard control(v.control);
    if (v.opaque() != handle) {
        return VIP_INVALID_PARAMETER;
    }
    if (v.state() != VIP_STATE_IDLE) {
        return VIP_INVALID_STATE;
    }
    v.peer_pending.store(true);
    const auto begun = v.native.connect_peer(native_address(local), native_address(remote), duration_of(timeout_ms),
                                             greeting(v.attributes, &local).bytes());
    if (!begun) {
        v.peer_pending.store(false);
        return connection_code(begun.error().code);
    }
    return VIP_SUCCESS;
}

/// The outcome of a peer request.  Under control.
VIP_RETURN outcome(vi& v, const vinic::result<vinic::peer_information>& peer, VIP_VI_ATTRIBUTES* attributes) {
    if (!peer) {
        if (peer.error().code == errc::not_done) {
            return VIP_NOT_DONE;
        }
        v.peer_pending.store(false);
        if (v.native.state() == vinic::vi_state::error) {
            (void)disconnect(v);
        }
        if (peer.error().code != errc::attribute_mismatch) {
            return connection_code(peer.error().code);
        }
        const greeting theirs(v.native.rejection_data());
        const VIP_RETURN r = compare(v.attributes, theirs.attributes());
        return r != VIP_SUCCESS ? r : VIP_INVALID_RELIABILITY_LEVEL;
    }
    const greeting theirs(peer->private_data);
    if (theirs.attributes().QoS != v.attributes.QoS) {
        // The device does not know of this attribute; both sides find it out here.
        v.peer_pending.store(false);
        (void)v.native.disconnect();
        return VIP_INVALID_QOS;
    }
    watch(v);
    v.peer_pending.store(false);
    *attributes = attributes_of(*peer, theirs);
    return VIP_SUCCESS;
}

VIP_RETURN peer_done(vi& v, VIP_VI_HANDLE handle, VIP_VI_ATTRIBUTES* attributes) {
    const std::lock_guard control(v.control);
    if (v.opaque() != handle) {
        return VIP_INVALID_PARAMETER;
    }
    if (!v.peer_pending.load()) {
        return VIP_INVALID_STATE;
    }
    const visitor connecting(v);
    return outcome(v, v.native.connect_peer_done(), attributes);
}

VIP_RETURN peer_wait(vi& v, VIP_VI_HANDLE handle, VIP_VI_ATTRIBUTES* attributes) {
    std::optional<visitor> stays;
    {
        const std::lock_guard control(v.control);
        if (v.opaque() != handle) {
            return VIP_INVALID_PARAMETER;
        }
        if (!v.peer_pending.load()) {
            return VIP_INVALID_STATE;
        }
        stays.emplace(v);
    }
    const auto peer = v.native.connect_peer_wait();  // so that VipDisconnect can end it
    const std::lock_guard control(v.control);
    return v.peer_pending.load() ? outcome(v, peer, attributes) : VIP_INVALID_STATE;
}

template <class Call>
VIP_RETURN guarded(Call call) {
    try {
        return call();
    } catch (const std::bad_alloc&) {
        return VIP_ERROR_RESOURCE;
    }
}

}  // namespace

/// Handles are dead and the NIC is marked as closed.
void close_doors(nic& n) noexcept {
    const vinic::os::cancellation_off inside;
    for (;;) {
        connection* c = nullptr;
        void* handle = nullptr;  // read where nobody consumes it: later it may be somebody else's
        {
            const std::lock_guard hold(n.mutex);
            if (!n.connections.empty()) {
                c = n.connections.back();
                handle = c->opaque();
            } else if (n.doors.empty()) {
                return;
            }
        }
        if (c == nullptr) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));  // threads in VipConnectWait leave
            continue;
        }
        const std::lock_guard answering(c->mutex);
        if (handle != nullptr && all().connections.retire(*c, handle)) {
            consume(*c);
        }
    }
}

}  // namespace vipl

extern "C" {

VIP_RETURN VipConnectWait(VIP_NIC_HANDLE NicHandle, VIP_NET_ADDRESS* LocalAddr, VIP_ULONG Timeout,
                          VIP_NET_ADDRESS* RemoteAddr, VIP_VI_ATTRIBUTES* RemoteViAttribs,
                          VIP_CONN_HANDLE* ConnHandle) {
    if (ConnHandle == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *ConnHandle = nullptr;
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr || RemoteAddr == nullptr || RemoteViAttribs == nullptr || !is_complete(LocalAddr) ||
        std::memcmp(LocalAddr->HostAddress, n->host.data(), host_bytes) != 0) {
        return VIP_INVALID_PARAMETER;
    }
    return guarded(
        [&] { return wait_at(*n, discriminator_of(*LocalAddr), Timeout, RemoteAddr, RemoteViAttribs, ConnHandle); });
}

VIP_RETURN VipConnectAccept(VIP_CONN_HANDLE ConnHandle, VIP_VI_HANDLE ViHandle) {
    connection* const c = all().connections.find(ConnHandle);
    vi* const v = all().vis.find(ViHandle);
    if (c == nullptr || v == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return guarded([&] { return accept(*c, ConnHandle, *v, ViHandle); });
}

VIP_RETURN VipConnectReject(VIP_CONN_HANDLE ConnHandle) {
    connection* const c = all().connections.find(ConnHandle);
    if (c == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard answering(c->mutex);
    if (!all().connections.retire(*c, ConnHandle)) {
        return VIP_INVALID_PARAMETER;
    }
    (void)c->request.reject();  // a requester that has gone needs no answer
    consume(*c);
    return VIP_SUCCESS;
}

VIP_RETURN VipConnectRequest(VIP_VI_HANDLE ViHandle, VIP_NET_ADDRESS* LocalAddr, VIP_NET_ADDRESS* RemoteAddr,
                             VIP_ULONG Timeout, VIP_VI_ATTRIBUTES* RemoteViAttribs) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr || RemoteViAttribs == nullptr || Timeout == 0 || !is_tellable(LocalAddr) ||
        !is_complete(RemoteAddr)) {
        return VIP_INVALID_PARAMETER;
    }
    return guarded([&] { return request(*v, ViHandle, *LocalAddr, *RemoteAddr, Timeout, RemoteViAttribs); });
}

VIP_RETURN VipConnectPeerRequest(VIP_VI_HANDLE ViHandle, VIP_NET_ADDRESS* LocalAddr, VIP_NET_ADDRESS* RemoteAddr,
                                 VIP_ULONG Timeout) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr || Timeout == 0 || !is_complete(LocalAddr) || !is_complete(RemoteAddr)) {
        return VIP_INVALID_PARAMETER;
    }
    return guarded([&] { return peer_request(*v, ViHandle, *LocalAddr, *RemoteAddr, Timeout); });
}

VIP_RETURN VipConnectPeerDone(VIP_VI_HANDLE ViHandle, VIP_VI_ATTRIBUTES* RemoteViAttribs) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr || RemoteViAttribs == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return guarded([&] { return peer_done(*v, ViHandle, RemoteViAttribs); });
}

VIP_RETURN VipConnectPeerWait(VIP_VI_HANDLE ViHandle, VIP_VI_ATTRIBUTES* RemoteViAttribs) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr || RemoteViAttribs == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return guarded([&] { return peer_wait(*v, ViHandle, RemoteViAttribs); });
}

}  // extern "C"

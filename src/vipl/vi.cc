// SPDX-License-Identifier: Apache-2.0
//
// vi.cc -- the life of a VI, apart from connecting it.
#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>

#include "vipl/notify.hpp"
#include "vipl/state.hpp"

using namespace vipl;

namespace vipl {

namespace {

constexpr auto flush_patience = std::chrono::seconds(2);

/// Holds the locks of both completers of a VI, which may be one.
class both_completers {
public:
    explicit both_completers(vi& v) noexcept
        : first_(std::min(v.send.done.get(), v.receive.done.get(), std::less<>())),
          second_(std::max(v.send.done.get(), v.receive.done.get(), std::less<>())) {
        second_ = second_ == first_ ? nullptr : second_;
        first_->lock.lock();
        if (second_ != nullptr) {
            second_->lock.lock();
        }
    }
    both_completers(const both_completers&) = delete;
    both_completers& operator=(const both_completers&) = delete;
    ~both_completers() {
        if (second_ != nullptr) {
            second_->lock.unlock();
        }
        first_->lock.unlock();
    }

private:
    completer* first_;
    completer* second_;
};

/// Holds everything that the data path of a VI could be inside.
struct data_path_lock {
    explicit data_path_lock(vi& v) noexcept : send(v.send.posting), receive(v.receive.posting), completers(v) {}
    std::lock_guard<spin_lock> send;
    std::lock_guard<spin_lock> receive;
    both_completers completers;
};

VIP_RETURN refuse(const VIP_VI_ATTRIBUTES& a) noexcept {
    if (a.ReliabilityLevel != VIP_SERVICE_UNRELIABLE && a.ReliabilityLevel != VIP_SERVICE_RELIABLE_DELIVERY &&
        a.ReliabilityLevel != VIP_SERVICE_RELIABLE_RECEPTION) {
        return VIP_INVALID_RELIABILITY_LEVEL;
    }
    if (a.MaxTransferSize == 0 || a.MaxTransferSize > transfer_max) {
        return VIP_INVALID_MTU;
    }
    return a.EnableRdmaRead != 0 && a.ReliabilityLevel == VIP_SERVICE_UNRELIABLE ? VIP_INVALID_RDMAREAD : VIP_SUCCESS;
}

void take_over(const VIP_VI_ATTRIBUTES& from, vinic::vi_attributes& to) noexcept {
    to.reliability = from.ReliabilityLevel == VIP_SERVICE_UNRELIABLE          ? vinic::reliability::unreliable
                     : from.ReliabilityLevel == VIP_SERVICE_RELIABLE_DELIVERY ? vinic::reliability::delivery
                                                                              : vinic::reliability::reception;
    to.transfer_bytes_max = static_cast<std::uint32_t>(from.MaxTransferSize);
    to.receiver_wait = vinic::nanoseconds(0);  // VIA: a message that finds no descriptor breaks the connection
    to.rdma_write = from.EnableRdmaWrite != 0;
    to.rdma_read = from.EnableRdmaRead != 0;
    to.rdma_atomic = false;
}

/// What the data path needs.
void cache(vi& v, const VIP_VI_ATTRIBUTES& a) noexcept {
    v.attributes = a;
    v.tag_handle = a.Ptag;
    v.transfer_bytes_max = a.MaxTransferSize;
    v.level = a.ReliabilityLevel;
}

void hold_tag(vi& v, tag* protection) noexcept {
    if (v.protection != nullptr) {
        --v.protection->users;
    }
    v.protection = protection;
    if (protection != nullptr) {
        ++protection->users;
    }
}

/// An empty queue that reports to `shared`, or to a completer of its own.
bool prepare(queue& q, vi& v, cq* shared, bool receives) {
    if (!q.slots) {
        q.slots.reset(new (std::nothrow) slot[depth]);
        if (!q.slots) {
            return false;
        }
    }
    q.owner = &v;
    q.receives = receives;
    q.head.store(0, std::memory_order_relaxed);
    q.completed = 0;
    q.entries = 0;
    q.waiting.clear();
    q.tail.store(0, std::memory_order_release);
    q.done = shared != nullptr ? &shared->done : &q.own;
    if (shared == nullptr) {
        q.own.only = &q;
        return start(q.own, *v.owner, 1);
    }
    vinic::completion_queue& native = shared->done.native;
    const std::uint32_t needed = native.queues_attached() + 2;
    return needed <= native.queues_max() || native.resize(needed * 2).has_value();
}

VIP_RETURN create(nic& n, const VIP_VI_ATTRIBUTES& a, cq* send_cq, cq* receive_cq, VIP_VI_HANDLE* handle) {
    const std::lock_guard hold(n.mutex);
    tag* protection = nullptr;
    vinic::domain* domain = nullptr;
    const auto belongs = [&](cq* c) { return c == nullptr || (c->done.owner == &n && c->opaque() != nullptr); };
    if (!n.open || !belongs(send_cq) || !belongs(receive_cq)) {
        return VIP_INVALID_PARAMETER;
    }
    if (const VIP_RETURN r = refuse(a); r != VIP_SUCCESS) {
        return r;
    }
    if (const VIP_RETURN r = domain_of(n, a.Ptag, protection, domain); r != VIP_SUCCESS) {
        return r;
    }
    vi* const v = all().vis.take();
    if (v == nullptr) {
        return VIP_ERROR_RESOURCE;
    }
    v->owner = &n;
    const auto fail = [&] {
        v->send.own.native = {};
        v->receive.own.native = {};
        all().vis.give(*v);
        return VIP_ERROR_RESOURCE;
    };
    if (!prepare(v->send, *v, send_cq, false) || !prepare(v->receive, *v, receive_cq, true)) {
        return fail();
    }
    vinic::vi_attributes native;
    take_over(a, native);
    native.send_cq = &v->send.done->native;
    native.receive_cq = &v->receive.done->native;
    native.send_depth = native.receive_depth = depth;
    native.segments_max = segments_max;
    native.inline_bytes_max = 0;
    native.context = reinterpret_cast<std::uint64_t>(v);
    n.vis.reserve(n.vis.size() + 1);
    auto made = domain->create_vi(native);
    if (!made) {
        return fail();
    }
    v->native = std::move(*made);
    cache(*v, a);
    hold_tag(*v, protection);
    v->peer_pending.store(false);
    v->user_data.store(nullptr);
    v->watched = false;
    for (cq* c : {send_cq, receive_cq}) {
        if (c != nullptr) {
            ++c->users;
        }
    }
    n.vis.push_back(v);
    const data_path_lock nobody(*v);  // a thread with a handle from the object's last life may be looking
    *handle = all().vis.publish(*v);
    return VIP_SUCCESS;
}

VIP_RETURN set_attributes(vi& v, VIP_VI_HANDLE handle, const VIP_VI_ATTRIBUTES& a) {
    const std::lock_guard control(v.control);
    if (v.opaque() != handle) {
        return VIP_INVALID_PARAMETER;
    }
    if (v.state() != VIP_STATE_IDLE || v.inside.load() != 0) {
        return VIP_INVALID_STATE;
    }
    if (const VIP_RETURN r = refuse(a); r != VIP_SUCCESS) {
        return r;
    }
    const std::lock_guard hold(v.owner->mutex);
    tag* protection = nullptr;
    vinic::domain* domain = nullptr;
    if (const VIP_RETURN r = domain_of(*v.owner, a.Ptag, protection, domain); r != VIP_SUCCESS) {
        return r;
    }
    vinic::vi_attributes native = v.native.attributes();
    take_over(a, native);
    const data_path_lock nobody(v);
    if (!v.native.set_domain(*domain) || !v.native.set_attributes(native)) {
        return VIP_INVALID_STATE;  // a connection began meanwhile
    }
    cache(v, a);
    hold_tag(v, protection);
    return VIP_SUCCESS;
}

}  // namespace

VIP_VI_STATE vi::state() const noexcept {
    switch (native.state()) {
        case vinic::vi_state::idle:
            return peer_pending.load() ? VIP_STATE_CONNECT_PENDING : VIP_STATE_IDLE;
        case vinic::vi_state::connecting:
            return VIP_STATE_CONNECT_PENDING;
        case vinic::vi_state::connected:
            return peer_pending.load() ? VIP_STATE_CONNECT_PENDING : VIP_STATE_CONNECTED;
        case vinic::vi_state::error:
            break;
    }
    return VIP_STATE_ERROR;
}

/// Flushed descriptors come from the device; they are all applied before this returns, so that the
/// program's loop over Done finds every one of them.  Under control.
VIP_RETURN disconnect(vi& v) noexcept {
    {
        const std::lock_guard hold(v.owner->mutex);
        examine(v, false);  // a side that ends the connection itself has not lost it
        v.watched = false;
    }
    std::uint32_t ends[2];
    ends[0] = v.send.tail.load(std::memory_order_acquire);
    {
        // A receive that is entered must have reached the device, or the flush would not find it.
        const std::lock_guard entered(v.receive.posting);
        ends[1] = v.receive.tail.load(std::memory_order_acquire);
    }
    const auto ended = v.native.disconnect();
    v.disconnects.fetch_add(1);
    v.peer_pending.store(false);
    if (!ended) {
        return VIP_ERROR_RESOURCE;
    }
    const auto limit = std::chrono::steady_clock::now() + flush_patience;
    for (queue* q : {&v.send, &v.receive}) {
        for (;;) {
            {
                const std::lock_guard hold(q->done->lock);
                const bool any = q->done->poll();
                if (any) {
                    q->done->tell();
                }
                if (static_cast<std::int32_t>(q->completed - ends[q->receives ? 1 : 0]) >= 0) {
                    break;
                }
            }
            if (std::chrono::steady_clock::now() > limit) {
                return VIP_ERROR_RESOURCE;
            }
            std::this_thread::yield();
        }
    }
    return VIP_SUCCESS;
}

void demolish(vi& v) noexcept {
    nic& n = *v.owner;
    for (queue* q : {&v.send, &v.receive}) {
        if (q->done.get() == &q->own) {
            forget_notifications(q->own);
        }
        if (q->own.native) {
            end_sleepers(q->own);
        }
        const std::lock_guard hold(q->done->lock);
        q->done->native.wake();
    }
    {
        const std::lock_guard hold(n.mutex);
        std::erase(n.vis, &v);
        v.watched = false;
    }
    {
        const data_path_lock nobody(v);
        v.native = {};
        for (queue* q : {&v.send, &v.receive}) {
            if (q->done->visible != nullptr) {
                q->done->visible->purge(v);
            }
            q->waiting.clear();
            q->own.notifications = 0;
            q->own.native = {};
        }
    }
    {
        const std::lock_guard hold(n.mutex);
        hold_tag(v, nullptr);
        for (const queue* q : {&v.send, &v.receive}) {
            if (q->done->visible != nullptr) {
                --q->done->visible->users;
            }
        }
    }
    all().vis.give(v);
}

}  // namespace vipl

extern "C" {

VIP_RETURN VipCreateVi(VIP_NIC_HANDLE NicHandle, VIP_VI_ATTRIBUTES* ViAttribs, VIP_CQ_HANDLE SendCQHandle,
                       VIP_CQ_HANDLE RecvCQHandle, VIP_VI_HANDLE* ViHandle) {
    if (ViHandle == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *ViHandle = nullptr;
    nic* const n = all().nics.find(NicHandle);
    cq* const send_cq = all().cqs.find(SendCQHandle);
    cq* const receive_cq = all().cqs.find(RecvCQHandle);
    if (n == nullptr || ViAttribs == nullptr || (SendCQHandle != nullptr && send_cq == nullptr) ||
        (RecvCQHandle != nullptr && receive_cq == nullptr)) {
        return VIP_INVALID_PARAMETER;
    }
    try {
        return create(*n, *ViAttribs, send_cq, receive_cq, ViHandle);
    } catch (const std::bad_alloc&) {
        return VIP_ERROR_RESOURCE;
    }
}

VIP_RETURN VipDestroyVi(VIP_VI_HANDLE ViHandle) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    nic* owner = nullptr;
    {
        const std::lock_guard control(v->control);
        if (v->opaque() != ViHandle) {
            return VIP_INVALID_PARAMETER;
        }
        if (v->state() != VIP_STATE_IDLE) {
            return VIP_INVALID_STATE;
        }
        if (v->inside.load() != 0) {
            return VIP_ERROR_RESOURCE;
        }
        // After the above: a send that waits for a connection call to end holds a lock of the data path.
        const data_path_lock nobody(*v);
        if (!v->send.empty() || !v->receive.empty()) {
            return VIP_ERROR_RESOURCE;
        }
        owner = v->owner;
        owner->leaving.fetch_add(1);
        if (!all().vis.retire(*v, ViHandle)) {  // the NIC is being closed
            owner->leaving.fetch_sub(1);
            return VIP_INVALID_PARAMETER;
        }
    }
    demolish(*v);
    owner->leaving.fetch_sub(1);
    return VIP_SUCCESS;
}

VIP_RETURN VipQueryVi(VIP_VI_HANDLE ViHandle, VIP_VI_STATE* State, VIP_VI_ATTRIBUTES* ViAttribs,
                      VIP_BOOLEAN* ViSendQEmpty, VIP_BOOLEAN* ViRecvQEmpty) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr || State == nullptr || ViAttribs == nullptr || ViSendQEmpty == nullptr ||
        ViRecvQEmpty == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard control(v->control);
    if (v->opaque() != ViHandle) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard hold(v->owner->mutex);
    *State = v->state();
    if (*State == VIP_STATE_ERROR) {
        examine(*v, true);  // told before the program can react to it by disconnecting
    }
    *ViAttribs = v->attributes;
    *ViSendQEmpty = v->send.empty() ? VIP_TRUE : VIP_FALSE;
    *ViRecvQEmpty = v->receive.empty() ? VIP_TRUE : VIP_FALSE;
    return VIP_SUCCESS;
}

VIP_RETURN VipSetViAttributes(VIP_VI_HANDLE ViHandle, VIP_VI_ATTRIBUTES* ViAttribs) {
    vi* const v = all().vis.find(ViHandle);
    return v == nullptr || ViAttribs == nullptr ? VIP_INVALID_PARAMETER : set_attributes(*v, ViHandle, *ViAttribs);
}

VIP_RETURN VipDisconnect(VIP_VI_HANDLE ViHandle) {
    vi* const v = all().vis.find(ViHandle);
    if (v == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard control(v->control);
    return v->opaque() == ViHandle ? disconnect(*v) : VIP_INVALID_PARAMETER;
}

}  // extern "C"

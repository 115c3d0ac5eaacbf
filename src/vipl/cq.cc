// SPDX-License-Identifier: Apache-2.0
//
// cq.cc -- completion queues of the program: a FIFO of entries on top of a native completion queue.
#include <algorithm>
#include <mutex>

#include "vipl/notify.hpp"
#include "vipl/state.hpp"
#include "vipl/wait.hpp"

namespace vipl {

/// Grows when it is full: a software queue has no reason to lose an entry.
void cq::push(const entry& e) noexcept {
    if (count == ring.size()) {
        std::vector<entry> grown(std::max<std::size_t>(ring.size() * 2, 64));
        for (std::uint32_t i = 0; i < count; ++i) {
            grown[i] = ring[(first + i) % ring.size()];
        }
        ring = std::move(grown);
        first = 0;
    }
    ring[(first + count++) % ring.size()] = e;
}

/// The oldest entry of a VI that is not being destroyed.
bool cq::pop(entry& out) noexcept {
    while (count != 0) {
        out = ring[first % ring.size()];
        first = static_cast<std::uint32_t>((first + 1) % ring.size());
        --count;
        --(out.receive ? out.v->receive : out.v->send).entries;
        if (out.v->opaque() != nullptr) {
            return true;
        }
    }
    return false;
}

void cq::purge(const vi& v) noexcept {
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const entry& e = ring[(first + i) % ring.size()];
        if (e.v != &v) {
            ring[(first + kept++) % ring.size()] = e;
        }
    }
    count = kept;
}

VIP_RETURN take_entry(cq& c, VIP_VI_HANDLE* v, VIP_BOOLEAN* receive) noexcept {
    entry e{};
    if (!c.pop(e)) {
        if (!c.done.poll()) {
            return VIP_NOT_DONE;
        }
        c.done.tell();
        if (!c.pop(e)) {
            return VIP_NOT_DONE;
        }
    }
    *v = e.v->opaque();
    *receive = e.receive ? VIP_TRUE : VIP_FALSE;
    return VIP_SUCCESS;
}

void demolish(cq& c) noexcept {
    end_sleepers(c.done);
    {
        const std::lock_guard hold(c.done.lock);
        c.waiting.clear();
        c.done.notifications = 0;
        c.ring.clear();
        c.first = c.count = 0;
    }
    c.done.native = {};
    all().cqs.give(c);
}

}  // namespace vipl

using namespace vipl;

extern "C" {

VIP_RETURN VipCreateCQ(VIP_NIC_HANDLE NicHandle, VIP_ULONG EntryCount, VIP_CQ_HANDLE* CQHandle) {
    if (CQHandle == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *CQHandle = nullptr;
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr || EntryCount == 0) {
        return VIP_INVALID_PARAMETER;
    }
    if (EntryCount > cq_entries_max) {
        return VIP_ERROR_RESOURCE;
    }
    const std::lock_guard hold(n->mutex);
    if (!n->open || n->opaque() != NicHandle) {
        return VIP_INVALID_PARAMETER;
    }
    cq* const c = all().cqs.take();
    if (c == nullptr) {
        return VIP_ERROR_RESOURCE;
    }
    if (!start(c->done, *n, cq_queues_first)) {
        all().cqs.give(*c);
        return VIP_ERROR_RESOURCE;
    }
    c->done.visible = c;
    c->entry_count = EntryCount;
    c->users = 0;
    n->cqs.push_back(c);
    *CQHandle = all().cqs.publish(*c);
    return VIP_SUCCESS;
}

VIP_RETURN VipDestroyCQ(VIP_CQ_HANDLE CQHandle) {
    cq* const c = all().cqs.find(CQHandle);
    if (c == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    nic& n = *c->done.owner;
    {
        const std::lock_guard hold(n.mutex);
        if (c->opaque() != CQHandle) {
            return VIP_INVALID_PARAMETER;
        }
        if (c->users != 0) {
            return VIP_ERROR_RESOURCE;
        }
        if (!all().cqs.retire(*c, CQHandle)) {
            return VIP_INVALID_PARAMETER;
        }
        std::erase(n.cqs, c);
        n.leaving.fetch_add(1);
    }
    forget_notifications(c->done);
    demolish(*c);
    n.leaving.fetch_sub(1);
    return VIP_SUCCESS;
}

VIP_RETURN VipResizeCQ(VIP_CQ_HANDLE CQHandle, VIP_ULONG EntryCount) {
    cq* const c = all().cqs.find(CQHandle);
    if (c == nullptr || EntryCount == 0) {
        return VIP_INVALID_PARAMETER;
    }
    if (EntryCount > cq_entries_max) {
        return VIP_ERROR_RESOURCE;
    }
    const std::lock_guard hold(c->done.lock);
    if (c->opaque() != CQHandle) {
        return VIP_INVALID_PARAMETER;
    }
    c->entry_count = EntryCount;
    return VIP_SUCCESS;
}

VIP_RETURN VipCQDone(VIP_CQ_HANDLE CQHandle, VIP_VI_HANDLE* ViHandle, VIP_BOOLEAN* RecvQueue) {
    if (ViHandle == nullptr || RecvQueue == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *ViHandle = nullptr;
    cq* const c = all().cqs.find(CQHandle);
    if (c == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard hold(c->done.lock);
    return c->opaque() == CQHandle ? take_entry(*c, ViHandle, RecvQueue) : VIP_INVALID_PARAMETER;
}

VIP_RETURN VipCQWait(VIP_CQ_HANDLE CQHandle, VIP_ULONG Timeout, VIP_VI_HANDLE* ViHandle, VIP_BOOLEAN* RecvQueue) {
    if (ViHandle == nullptr || RecvQueue == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *ViHandle = nullptr;
    cq* const c = all().cqs.find(CQHandle);
    if (c == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return wait_on(c->done, Timeout, [&] {
        return c->opaque() == CQHandle ? take_entry(*c, ViHandle, RecvQueue) : VIP_INVALID_PARAMETER;
    });
}

VIP_RETURN VipCQNotify(VIP_CQ_HANDLE CQHandle, VIP_PVOID Context, VIP_CQ_CALLBACK Handler) {
    cq* const c = all().cqs.find(CQHandle);
    if (c == nullptr || Handler == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return add_notification(c->done, [&] {
        if (c->opaque() != CQHandle) {
            return false;
        }
        c->waiting.push_back({Context, Handler});
        return true;
    });
}

VIP_RETURN VipAddTagCQ(VIP_CQ_HANDLE CQHandle, VIP_EVENT_HANDLE* Event, VIP_ULONG Tag, VIP_ULONG Priority) {
    (void)Event;
    (void)Tag;
    (void)Priority;
    return all().cqs.find(CQHandle) == nullptr ? VIP_INVALID_PARAMETER : VIP_ERROR_NOT_SUPPORTED;
}

VIP_RETURN VipRemoveTagCQ(VIP_CQ_HANDLE CQHandle, VIP_EVENT_HANDLE Event, VIP_ULONG Tag) {
    (void)Event;
    (void)Tag;
    return all().cqs.find(CQHandle) == nullptr ? VIP_INVALID_PARAMETER : VIP_ERROR_NOT_SUPPORTED;
}

}  // extern "C"

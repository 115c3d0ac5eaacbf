// SPDX-License-Identifier: Apache-2.0
//
// memory.cc -- protection tags and registered memory.
#include <algorithm>
#include <mutex>
#include <new>
#include <span>

#include "vipl/state.hpp"

using namespace vipl;

namespace vipl {

VIP_RETURN domain_of(nic& n, VIP_PROTECTION_HANDLE handle, tag*& found, vinic::domain*& domain) {
    found = nullptr;
    domain = &n.open_domain;
    if (handle == nullptr) {
        return n.strict ? VIP_INVALID_PTAG : VIP_SUCCESS;
    }
    found = all().tags.find(handle);
    if (found == nullptr || found->owner != &n) {
        return VIP_INVALID_PTAG;
    }
    domain = &found->domain;
    return VIP_SUCCESS;
}

namespace {

vinic::access rights_of(const VIP_MEM_ATTRIBUTES& a) noexcept {
    return vinic::access::local_write | (a.EnableRdmaWrite != 0 ? vinic::access::remote_write : vinic::access::none) |
           (a.EnableRdmaRead != 0 ? vinic::access::remote_read : vinic::access::none);
}

VIP_RETURN registration_code(vinic::errc e) noexcept {
    switch (e) {
        case vinic::errc::ok:
            return VIP_SUCCESS;
        case vinic::errc::invalid_argument:
        case vinic::errc::not_supported:
        case vinic::errc::invalid_handle:
            return VIP_INVALID_PARAMETER;
        default:
            return VIP_ERROR_RESOURCE;
    }
}

/// The live registration that `address` lies in.  Under the table's mutex.
region_table::details* find(nic& n, const void* address, VIP_MEM_HANDLE handle) noexcept {
    const auto it = n.regions.all.find(handle);
    if (it == n.regions.all.end() || it->second.dead ||
        reinterpret_cast<std::uint64_t>(address) - it->second.address >= it->second.length) {
        return nullptr;
    }
    return &it->second;
}

/// Enters a registration that was made for it.  Under nobody's lock.
VIP_RETURN enter(nic& n, vinic::region&& made, tag* protection, VIP_ULONG length, const VIP_MEM_ATTRIBUTES& a) {
    const std::lock_guard hold(n.mutex);
    if (!n.open) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard table(n.regions.mutex);
    const std::uint32_t key = made.key();
    const std::uint64_t at = made.address();
    try {
        region_table::details& kept = n.regions.all[key];
        n.regions.add(key, at, length, a.Ptag);
        kept = {std::move(made), protection, at, length, a.EnableRdmaWrite != 0, a.EnableRdmaRead != 0, false};
    } catch (const std::bad_alloc&) {
        n.regions.all.erase(key);
        return VIP_ERROR_RESOURCE;
    }
    return VIP_SUCCESS;
}

/// Registering may move pages, so it is done without the NIC's lock; the tag is held by its count.
VIP_RETURN register_memory(nic& n, void* address, VIP_ULONG length, const VIP_MEM_ATTRIBUTES& a,
                           VIP_MEM_HANDLE* handle) {
    tag* protection = nullptr;
    vinic::domain* domain = nullptr;
    {
        const std::lock_guard hold(n.mutex);
        if (!n.open) {
            return VIP_INVALID_PARAMETER;
        }
        if (const VIP_RETURN r = domain_of(n, a.Ptag, protection, domain); r != VIP_SUCCESS) {
            return r;
        }
        if (protection != nullptr) {
            ++protection->users;
        }
        n.registering.fetch_add(1);
    }
    // A program of another user than the device's is reached only where its pages are the device's, too, all of them.
    const vinic::registration how{n.native.reaches_foreign_memory() ? vinic::adopt::no : vinic::adopt::force};
    auto made = domain->register_memory({static_cast<const std::byte*>(address), length}, rights_of(a), how);
    const std::uint32_t key = made ? made->key() : 0;
    const VIP_RETURN r =
        made ? enter(n, std::move(*made), protection, length, a) : registration_code(made.error().code);
    if (r == VIP_SUCCESS) {
        *handle = key;
    } else if (protection != nullptr) {
        const std::lock_guard hold(n.mutex);
        --protection->users;
    }
    n.registering.fetch_sub(1);  // last: closing waits for it before tags go
    return r;
}

VIP_RETURN deregister_memory(nic& n, const void* address, VIP_MEM_HANDLE handle) {
    region_table::details leaving;
    {
        const std::lock_guard table(n.regions.mutex);
        const auto it = n.regions.all.find(handle);
        if (it == n.regions.all.end() || it->second.address != reinterpret_cast<std::uint64_t>(address)) {
            return VIP_INVALID_PARAMETER;
        }
        n.regions.remove(handle);
        leaving = std::move(it->second);
        n.regions.all.erase(it);
    }
    {
        // A thread that is writing back a descriptor that lies there has looked whether it may: let it finish.
        const std::lock_guard hold(n.mutex);
        for (vi* v : n.vis) {
            for (const queue* q : {&v->send, &v->receive}) {
                const std::lock_guard out(q->done->lock);
            }
        }
    }
    const auto closed = leaving.region.close();
    if (!closed && closed.error().code == vinic::errc::busy) {
        leaving.dead = true;
        const std::lock_guard table(n.regions.mutex);
        n.regions.all[handle] = std::move(leaving);
        return VIP_ERROR_RESOURCE;
    }
    if (leaving.protection != nullptr) {
        const std::lock_guard hold(n.mutex);
        --leaving.protection->users;
    }
    return VIP_SUCCESS;
}

VIP_RETURN set_attributes(nic& n, const void* address, VIP_MEM_HANDLE handle, const VIP_MEM_ATTRIBUTES& a) {
    const std::lock_guard hold(n.mutex);
    tag* protection = nullptr;
    vinic::domain* domain = nullptr;
    if (const VIP_RETURN r = domain_of(n, a.Ptag, protection, domain); r != VIP_SUCCESS) {
        return r;
    }
    const std::lock_guard table(n.regions.mutex);
    region_table::details* d = find(n, address, handle);
    if (d == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    vinic::access rights = rights_of(a);
    auto changed = d->region.set_attributes(*domain, rights);
    if (!changed && changed.error().code == vinic::errc::not_supported && a.EnableRdmaWrite == 0) {
        rights = a.EnableRdmaRead != 0 ? vinic::access::remote_read : vinic::access::none;
        changed = d->region.set_attributes(*domain, rights);
    }
    if (!changed && changed.error().code != vinic::errc::busy) {
        return registration_code(changed.error().code);
    }
    if (d->protection != nullptr) {
        --d->protection->users;
    }
    if (protection != nullptr) {
        ++protection->users;
    }
    d->protection = protection;
    d->remote_write = a.EnableRdmaWrite != 0;
    d->remote_read = a.EnableRdmaRead != 0;
    n.regions.change(handle, a.Ptag);
    return changed ? VIP_SUCCESS : VIP_ERROR_RESOURCE;
}

}  // namespace

}  // namespace vipl

extern "C" {

VIP_RETURN VipCreatePtag(VIP_NIC_HANDLE NicHandle, VIP_PROTECTION_HANDLE* Ptag) {
    if (Ptag == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *Ptag = nullptr;
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard hold(n->mutex);
    if (!n->open || n->opaque() != NicHandle) {
        return VIP_INVALID_PARAMETER;
    }
    auto made = n->native.create_domain();
    tag* const t = made ? all().tags.take() : nullptr;
    if (t == nullptr) {
        return VIP_ERROR_RESOURCE;
    }
    t->owner = n;
    t->domain = std::move(*made);
    t->users = 0;
    n->tags.push_back(t);
    *Ptag = all().tags.publish(*t);
    return VIP_SUCCESS;
}

VIP_RETURN VipDestroyPtag(VIP_NIC_HANDLE NicHandle, VIP_PROTECTION_HANDLE Ptag) {
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard hold(n->mutex);
    tag* const t = all().tags.find(Ptag);
    if (t == nullptr || t->owner != n) {
        return VIP_INVALID_PTAG;
    }
    if (t->users != 0) {
        return VIP_ERROR_RESOURCE;
    }
    (void)all().tags.retire(*t, Ptag);
    std::erase(n->tags, t);
    t->domain = {};
    all().tags.give(*t);
    return VIP_SUCCESS;
}

VIP_RETURN VipRegisterMem(VIP_NIC_HANDLE NicHandle, VIP_PVOID VirtualAddress, VIP_ULONG Length,
                          VIP_MEM_ATTRIBUTES* MemAttribs, VIP_MEM_HANDLE* MemHandle) {
    if (MemHandle == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *MemHandle = 0;
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr || VirtualAddress == nullptr || Length == 0) {
        return VIP_INVALID_PARAMETER;
    }
    const VIP_MEM_ATTRIBUTES none{};  // programs that were written for M-VIA and cLAN give no attributes
    try {
        return register_memory(*n, VirtualAddress, Length, MemAttribs != nullptr ? *MemAttribs : none, MemHandle);
    } catch (const std::bad_alloc&) {
        return VIP_ERROR_RESOURCE;
    }
}

VIP_RETURN VipDeregisterMem(VIP_NIC_HANDLE NicHandle, VIP_PVOID VirtualAddress, VIP_MEM_HANDLE MemHandle) {
    nic* const n = all().nics.find(NicHandle);
    return n == nullptr ? VIP_INVALID_PARAMETER : deregister_memory(*n, VirtualAddress, MemHandle);
}

VIP_RETURN VipQueryMem(VIP_NIC_HANDLE NicHandle, VIP_PVOID Address, VIP_MEM_HANDLE MemHandle,
                       VIP_MEM_ATTRIBUTES* MemAttribs) {
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr || MemAttribs == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard table(n->regions.mutex);
    const region_table::details* d = find(*n, Address, MemHandle);
    if (d == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    MemAttribs->Ptag = d->protection == nullptr ? nullptr : d->protection->opaque();
    MemAttribs->EnableRdmaWrite = d->remote_write ? VIP_TRUE : VIP_FALSE;
    MemAttribs->EnableRdmaRead = d->remote_read ? VIP_TRUE : VIP_FALSE;
    return VIP_SUCCESS;
}

VIP_RETURN VipSetMemAttributes(VIP_NIC_HANDLE NicHandle, VIP_PVOID Address, VIP_MEM_HANDLE MemHandle,
                               VIP_MEM_ATTRIBUTES* MemAttribs) {
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr || MemAttribs == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return set_attributes(*n, Address, MemHandle, *MemAttribs);
}

}  // extern "C"

// SPDX-License-Identifier: Apache-2.0
//
// nic.cc -- opening and closing NIC handles.
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "os/cancellation.hpp"
#include "vipl/monitor.hpp"
#include "vipl/names.hpp"
#include "vipl/notify.hpp"
#include "vipl/settings.hpp"
#include "vipl/state.hpp"

using namespace vipl;

namespace vipl {

constinit eternal eternal_tables;

void spin_lock::wait() noexcept {
    for (std::uint32_t turn = 0;; ++turn) {
        while (word_.load(std::memory_order_relaxed) != 0) {
            if (turn < 200) {
                __builtin_ia32_pause();
            } else if (turn < 400) {
                (void)::sched_yield();
            } else {
                const vinic::os::cancellation_off inside;
                std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
            ++turn;
        }
        if (word_.exchange(1, std::memory_order_acquire) == 0) {
            return;
        }
    }
}

namespace {

constexpr VIP_ULONG version_number = 0x0001'0000;  // major << 16 | minor: VIPL 1.0
constexpr VIP_ULONG register_bytes_max = VIP_ULONG{1} << 47;
constexpr VIP_ULONG wire_unit = 65536;

/// Each function of a vinicd is a host of its own, whatever the path to its socket.
std::string_view function_of(std::string_view address) noexcept {
    const std::size_t mark = address.find('#');
    const std::string_view rest = mark == std::string_view::npos ? std::string_view() : address.substr(mark + 1);
    return rest.empty() || rest.starts_with("user=") ? "vf0" : rest.substr(0, rest.find(','));
}

/// Why there is no handle goes to stderr: the return code cannot say it.
VIP_RETURN refuse(const std::string& why, VIP_RETURN code = VIP_ERROR_RESOURCE) noexcept {
    if (!why.empty()) {
        std::fprintf(stderr, "vipl: %s\n", why.c_str());
    }
    return code;
}

VIP_RETURN open(const char* program_says, VIP_NIC_HANDLE* handle) {
    const auto [known, device, why_not] = device_of(program_says);
    if (known != VIP_SUCCESS) {
        return refuse(why_not, known);
    }
    std::string why;
    std::chrono::milliseconds grace{};
    if (!read_grace(grace, why)) {
        return refuse(why);
    }
    const bool is_isolated = device.starts_with(isolated_scheme);
    host_address host = host_of_device(is_isolated ? function_of(device) : device);
    if (const char* name = environment("VINIC_VIPL_HOST"); name != nullptr) {
        const auto names = name_table::read(nullptr, why);
        const auto found = names ? names->find(name, 0, host) : std::nullopt;
        if (!found) {
            return refuse(names ? "VINIC_VIPL_HOST: no host '" + std::string(name) + "'" : why);
        }
        host = *found;
    }
    auto native = vinic::nic::open(is_isolated ? device : "shm:" + device);
    if (!native) {
        return refuse(native.error().message());
    }
    auto open_domain = native->create_open_domain();
    auto pulse = native->create_completion_queue({.queues_max = 1});
    if (!open_domain || !pulse) {
        return refuse(open_domain ? pulse.error().message() : open_domain.error().message());
    }
    nic* const n = all().nics.take();
    if (n == nullptr) {
        return refuse("too many NIC handles");
    }
    const std::lock_guard hold(n->mutex);
    auto watcher = std::make_shared<monitor>(*n);
    try {
        watcher->start();
    } catch (const std::system_error& e) {
        all().nics.give(*n);
        return refuse(std::string("starting the provider's thread: ") + e.what());
    }
    n->native = std::move(*native);
    n->open_domain = std::move(*open_domain);
    n->pulse = std::move(*pulse);
    n->address = n->native.device_address();
    n->host = host;
    n->strict = is_set("VINIC_VIPL_STRICT");
    n->grace = grace;
    n->process = ::getpid();
    n->watcher = std::move(watcher);
    n->open = true;
    *handle = all().nics.publish(*n);
    all().opened.store(true);
    return VIP_SUCCESS;
}

/// Everything that was made through the handle, in the order in which it depends on each other.  The
/// handles are dead, so nobody new comes in.
void tear_down(nic& n, const std::vector<vi*>& vis, const std::vector<cq*>& cqs) noexcept {
    for (vi* v : vis) {
        {
            const std::lock_guard control(v->control);
            (void)disconnect(*v);  // also ends what blocks in a connection call
        }
        while (v->inside.load() != 0) {
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
    }
    close_doors(n);
    for (vi* v : vis) {
        vipl::demolish(*v);
    }
    while (n.leaving.load() != 0) {  // threads in VipDestroyVi and VipDestroyCQ
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    for (cq* c : cqs) {
        forget_notifications(c->done);
        vipl::demolish(*c);
    }
    n.watcher->end();
    if (n.notifies) {
        n.notifies->end();
    }
    while (n.registering.load() != 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    {
        const std::lock_guard table(n.regions.mutex);
        n.regions.clear();
    }
    const std::lock_guard hold(n.mutex);
    for (tag* t : n.tags) {
        t->domain = {};
        all().tags.give(*t);
    }
    n.tags.clear();
    n.names.reset();
    n.notifies.reset();
    n.open_domain = {};
    n.pulse = {};
    n.native = {};
}

}  // namespace

}  // namespace vipl

extern "C" {

VIP_RETURN VipOpenNic(const VIP_CHAR* DeviceName, VIP_NIC_HANDLE* NicHandle) {
    if (DeviceName == nullptr || NicHandle == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *NicHandle = nullptr;
    const vinic::os::cancellation_off inside;
    try {
        return vipl::open(DeviceName, NicHandle);
    } catch (const std::bad_alloc&) {
        return VIP_ERROR_RESOURCE;
    }
}

VIP_RETURN VipCloseNic(VIP_NIC_HANDLE NicHandle) {
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    if (n->process != ::getpid()) {
        // In a forked child: what stands behind the handle is the parent's, its locks as they were at the fork.
        return all().nics.retire(*n, NicHandle) ? VIP_SUCCESS : VIP_INVALID_PARAMETER;
    }
    const vinic::os::cancellation_off inside;
    std::vector<vi*> vis;
    std::vector<cq*> cqs;
    {
        const std::lock_guard hold(n->mutex);
        if (!all().nics.retire(*n, NicHandle)) {
            return VIP_INVALID_PARAMETER;
        }
        n->open = false;
        for (vi* v : n->vis) {
            if (void* handle = v->opaque(); handle != nullptr && all().vis.retire(*v, handle)) {
                vis.push_back(v);  // otherwise a thread in VipDestroyVi has it
            }
        }
        for (cq* c : n->cqs) {
            if (void* handle = c->opaque(); handle != nullptr && all().cqs.retire(*c, handle)) {
                cqs.push_back(c);
            }
        }
        n->cqs.clear();
        for (tag* t : n->tags) {
            (void)all().tags.retire(*t, t->opaque());
        }
    }
    vipl::tear_down(*n, vis, cqs);
    all().nics.give(*n);
    return VIP_SUCCESS;
}

VIP_RETURN VipQueryNic(VIP_NIC_HANDLE NicHandle, VIP_NIC_ATTRIBUTES* Attributes) {
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr || Attributes == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    VIP_NIC_ATTRIBUTES a{};
    const std::lock_guard hold(n->mutex);
    if (!n->open || n->opaque() != NicHandle) {
        return VIP_INVALID_PARAMETER;
    }
    std::strncpy(a.Name, n->address.c_str(), sizeof a.Name - 1);
    a.HardwareVersion = version_number;
    a.ProviderVersion = version_number;
    a.NicAddressLen = host_bytes;
    a.LocalNicAddress = n->host.data();
    a.ThreadSafe = VIP_TRUE;
    a.MaxDiscriminatorLen = discriminator_max;
    a.MaxRegisterBytes = register_bytes_max;
    a.MaxRegisterRegions = regions_max;
    a.MaxRegisterBlockBytes = register_bytes_max;
    a.MaxVI = vis_max;
    a.MaxDescriptorsPerQueue = depth;
    a.MaxSegmentsPerDesc = segments_max;
    a.MaxCQ = cqs_max;
    a.MaxCQEntries = cq_entries_max;
    a.MaxTransferSize = transfer_max;
    a.NativeMTU = wire_unit;
    a.MaxPtags = tags_max;
    a.ReliabilityLevelSupport = VIP_SERVICE_UNRELIABLE | VIP_SERVICE_RELIABLE_DELIVERY | VIP_SERVICE_RELIABLE_RECEPTION;
    a.RDMAReadSupport = VIP_SERVICE_RELIABLE_DELIVERY | VIP_SERVICE_RELIABLE_RECEPTION;
    *Attributes = a;
    return VIP_SUCCESS;
}

}  // extern "C"

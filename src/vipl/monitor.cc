// SPDX-License-Identifier: Apache-2.0
//
// monitor.cc -- the thread, the queue of errors that it reports, and VipErrorCallback.
#include "vipl/monitor.hpp"

#include <array>
#include <chrono>
#include <cstdio>

#include "os/cancellation.hpp"

namespace vipl {

namespace {

constexpr auto state_interval = std::chrono::milliseconds(5);
/// Nobody takes them this slowly; what is more is dropped, since each says the same.
constexpr std::size_t errors_max = 4096;

constexpr auto error_words = std::to_array<const char*>({
    "VIP_ERROR_POST_DESC: a descriptor's alignment, memory handle or Next field is bad",
    "VIP_ERROR_CONN_LOST: the connection is lost",
    "VIP_ERROR_RECVQ_EMPTY: a message was dropped because no receive descriptor was posted",
    "VIP_ERROR_VI_OVERRUN: too many descriptors are posted to a queue",
    "VIP_ERROR_RDMAW_PROT: an RDMA write of the peer was refused",
    "VIP_ERROR_RDMAW_DATA: an RDMA write of the peer arrived corrupt",
    "VIP_ERROR_RDMAW_ABORT: an RDMA write of the peer ended half-way",
    "VIP_ERROR_RDMAR_PROT: an RDMA read of the peer was refused",
    "VIP_ERROR_COMP_PROT: a descriptor's memory was deregistered before it completed",
    "VIP_ERROR_RDMA_TRANSPORT: the transport failed under an RDMA operation",
    "VIP_ERROR_CATASTROPHIC: the device is unusable",
});
static_assert(error_words.size() == VIP_ERROR_CATASTROPHIC + 1);

void log_error(const VIP_ERROR_DESCRIPTOR& e) noexcept {
    const auto code = static_cast<std::size_t>(e.ErrorCode);
    std::fprintf(stderr, "vipl: %s (NIC %p, VI %p, descriptor %p)\n",
                 code < error_words.size() ? error_words[code] : "unknown error", e.NicHandle, e.ViHandle,
                 static_cast<void*>(e.DescriptorPtr));
}

}  // namespace

void monitor::start() {
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
}

void monitor::handle_with(VIP_PVOID context, VIP_ERROR_HANDLER handler) noexcept {
    const std::lock_guard hold(mutex_);
    context_ = context;
    handler_ = handler;
}

void monitor::await_handler() noexcept {
    std::unique_lock hold(mutex_);
    const std::uint64_t seen = handlings_;
    handled_.wait(hold, [&] {
        return in_handler_ == std::thread::id{} || in_handler_ == std::this_thread::get_id() || handlings_ != seen;
    });
}

void monitor::report(const VIP_ERROR_DESCRIPTOR& error) noexcept {
    {
        const std::lock_guard hold(mutex_);
        if (ending_ || errors_.size() >= errors_max) {
            return;
        }
        try {
            errors_.push_back(error);
        } catch (const std::bad_alloc&) {
            return;  // there is nobody else to tell
        }
    }
    wake_.notify_one();
}

void monitor::suspect() noexcept {
    if (!suspicious_.exchange(true)) {
        wake_.notify_one();
    }
}

void monitor::watch() noexcept {
    {
        const std::lock_guard hold(mutex_);
        watching_ = true;
    }
    wake_.notify_one();
}

/// A handler has ended its thread, which is ours: another one goes on.
void monitor::go_on() noexcept {
    const std::lock_guard hold(mutex_);
    in_handler_ = {};
    handled_.notify_all();
    if (!ending_) {
        replace_thread(thread_, shared_from_this());
    }
}

void monitor::run() {
    const vinic::os::cancellation_off inside;
    goes_on<monitor> thread(*this);
    std::unique_lock hold(mutex_);
    while (!ending_) {
        if (!errors_.empty()) {
            VIP_ERROR_DESCRIPTOR e = errors_.front();
            errors_.pop_front();
            const VIP_ERROR_HANDLER handler = handler_;
            const VIP_PVOID context = context_;
            ++handlings_;
            in_handler_ = std::this_thread::get_id();
            hold.unlock();
            if (handler != nullptr) {
                handler(context, &e);
            } else {
                log_error(e);
            }
            hold.lock();
            in_handler_ = {};
            handled_.notify_all();
            continue;
        }
        if (watching_) {
            (void)wake_.wait_for(hold, state_interval);
        } else {
            wake_.wait(hold);
        }
        if (ending_) {
            break;
        }
        hold.unlock();
        suspicious_.store(false);
        look();
        hold.lock();
    }
    thread.is_over();
}

void monitor::look() noexcept {
    // nic::mutex comes before ours, so whether to go on watching is decided while no VI can begin to be.
    const std::lock_guard vis(nic_.mutex);
    if (nic_.pulse) {
        (void)nic_.pulse.prepare_wait();  // nobody else may be calling, and a peer that died says nothing
    }
    bool any = false;
    for (vi* v : nic_.vis) {
        if (v->watched) {
            examine(*v, true);
            any = any || v->watched;
        }
    }
    const std::lock_guard hold(mutex_);
    watching_ = any;
}

void monitor::end() noexcept {
    {
        const std::lock_guard hold(mutex_);
        ending_ = true;
        errors_.clear();
    }
    wake_.notify_one();
    const vinic::os::cancellation_off inside;
    if (thread_.get_id() == std::this_thread::get_id()) {
        thread_.detach();  // a handler closes its own NIC: the thread ends when the handler returns
    } else {
        thread_.join();
    }
}

void report(nic& n, vi* v, VIP_ERROR_CODE code, VIP_DESCRIPTOR* descriptor, VIP_ULONG operation) noexcept {
    VIP_ERROR_DESCRIPTOR e{};
    e.NicHandle = n.opaque();
    e.ViHandle = v != nullptr ? v->opaque() : nullptr;
    e.DescriptorPtr = descriptor;
    e.OpCode = operation;
    e.ResourceCode = descriptor != nullptr ? VIP_RESOURCE_DESCRIPTOR
                     : v != nullptr        ? VIP_RESOURCE_VI
                                           : VIP_RESOURCE_NIC;
    e.ErrorCode = code;
    n.watcher->report(e);
}

void suspect(nic& n) noexcept { n.watcher->suspect(); }

void watch(vi& v) noexcept {
    const std::lock_guard hold(v.owner->mutex);
    v.seen = v.native.statistics();
    v.watched = true;
    v.owner->watcher->watch();
}

void examine(vi& v, bool lost) noexcept {
    if (!v.watched) {
        return;
    }
    const bool broken = v.native.state() == vinic::vi_state::error;  // before what broke it is looked at
    const vinic::vi_statistics now = v.native.statistics();
    if (now.no_descriptor != v.seen.no_descriptor) {
        report(*v.owner, &v, VIP_ERROR_RECVQ_EMPTY, nullptr, VIP_STATUS_OP_RECEIVE);
    }
    if (now.writes_refused != v.seen.writes_refused) {
        report(*v.owner, &v, VIP_ERROR_RDMAW_PROT, nullptr, VIP_STATUS_OP_REMOTE_RDMA_WRITE);
    }
    if (now.reads_refused != v.seen.reads_refused) {
        report(*v.owner, &v, VIP_ERROR_RDMAR_PROT, nullptr, VIP_STATUS_OP_RDMA_READ);
    }
    v.seen = now;
    if (broken) {
        v.watched = false;
        if (lost) {
            report(*v.owner, &v, VIP_ERROR_CONN_LOST);
        }
    }
}

}  // namespace vipl

extern "C" {

VIP_RETURN VipErrorCallback(VIP_NIC_HANDLE NicHandle, VIP_PVOID Context, VIP_ERROR_HANDLER Handler) {
    vipl::nic* const n = vipl::all().nics.find(NicHandle);
    if (n == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const vinic::os::cancellation_off inside;
    std::shared_ptr<vipl::monitor> watcher;
    {
        const std::lock_guard hold(n->mutex);
        if (!n->open || n->opaque() != NicHandle) {
            return VIP_INVALID_PARAMETER;
        }
        watcher = n->watcher;
        watcher->handle_with(Context, Handler);
    }
    watcher->await_handler();  // which may call VIPL itself
    return VIP_SUCCESS;
}

}  // extern "C"

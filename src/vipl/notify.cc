// SPDX-License-Identifier: Apache-2.0
//
// notify.cc -- the thread, what it sleeps on, and the calls that register a handler.
#include "vipl/notify.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "os/cancellation.hpp"

namespace vipl {

namespace {
constexpr int sleep_ms = 50;  ///< a completion rings; this is for what cannot, such as a peer's death
}

notifier::~notifier() {
    const vinic::os::cancellation_off inside;
    bell_.reset();
}

bool notifier::start() noexcept {
    bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!bell_) {
        return false;
    }
    try {
        thread_ = std::thread([self = shared_from_this()] { self->run(); });
    } catch (const std::system_error&) {
        return false;
    }
    return true;
}

void notifier::kick() noexcept {
    const vinic::os::cancellation_off inside;
    const std::uint64_t one = 1;
    (void)!::write(bell_.get(), &one, sizeof one);
}

bool notifier::add(completer& c) noexcept {
    try {
        const std::lock_guard hold(mutex_);
        if (std::find(served_.begin(), served_.end(), &c) == served_.end()) {
            served_.push_back(&c);
        }
    } catch (const std::bad_alloc&) {
        return false;
    }
    kick();
    return true;
}

void notifier::forget(completer& c) noexcept {
    const vinic::os::cancellation_off inside;
    std::unique_lock hold(mutex_);
    std::erase(served_, &c);
    left_.wait(hold, [&] { return inside_ != &c; });
}

void notifier::end() noexcept {
    {
        const std::lock_guard hold(mutex_);
        ending_ = true;
        served_.clear();
    }
    kick();
    const vinic::os::cancellation_off inside;
    if (thread_.get_id() == std::this_thread::get_id()) {
        thread_.detach();
    } else {
        thread_.join();
    }
}

/// A handler has ended its thread, which is ours: another one goes on.
void notifier::go_on() noexcept {
    const std::lock_guard hold(mutex_);
    if (!ending_) {
        replace_thread(thread_, shared_from_this());
    }
}

void notifier::run() {
    const vinic::os::cancellation_off inside;
    goes_on<notifier> thread(*this);
    for (;;) {
        while (serve()) {
        }
        {
            const std::lock_guard hold(mutex_);
            if (ending_) {
                thread.is_over();
                return;
            }
        }
        sleep();
    }
}

/// One round: every completer once.
bool notifier::serve() {
    bool any = false;
    for (std::size_t i = 0;; ++i) {
        completer* c = nullptr;
        {
            const std::lock_guard hold(mutex_);
            if (ending_ || i >= served_.size()) {
                return any && !ending_;
            }
            c = served_[i];
            inside_ = c;
        }
        any = serve_one(*c) || any;
    }
}

/// Calls the handler of the oldest registration, if there is something for it.  `inside_` is given up
/// before: the handler may destroy what it is called for.
bool notifier::serve_one(completer& c) {
    nic& n = *c.owner;
    VIP_NIC_HANDLE const nic_handle = n.opaque();
    notification<VIP_CQ_CALLBACK> for_cq{nullptr, nullptr};
    notification<VIP_VI_CALLBACK> for_vi{nullptr, nullptr};
    VIP_VI_HANDLE v = nullptr;
    VIP_BOOLEAN receive = VIP_FALSE;
    VIP_DESCRIPTOR* descriptor = nullptr;
    {
        const std::lock_guard hold(c.lock);
        if (c.visible != nullptr && !c.visible->waiting.empty() &&
            take_entry(*c.visible, &v, &receive) == VIP_SUCCESS) {
            for_cq = c.visible->waiting.front();
            c.visible->waiting.pop_front();
            --c.notifications;
        } else if (c.only != nullptr && !c.only->waiting.empty() && take(*c.only, &descriptor) != VIP_NOT_DONE &&
                   descriptor != nullptr) {
            for_vi = c.only->waiting.front();
            c.only->waiting.pop_front();
            v = c.only->owner->opaque();
            --c.notifications;
        }
    }
    {
        const std::lock_guard hold(mutex_);
        const std::lock_guard still(c.lock);
        if (c.notifications == 0) {
            std::erase(served_, &c);
        }
        inside_ = nullptr;
    }
    left_.notify_all();
    if (for_cq.handler != nullptr) {
        for_cq.handler(for_cq.context, nic_handle, v, receive);
    } else if (for_vi.handler != nullptr) {
        for_vi.handler(for_vi.context, nic_handle, v, descriptor);
    }
    return for_cq.handler != nullptr || for_vi.handler != nullptr;
}

void notifier::sleep() noexcept {
    std::vector<::pollfd> watched;
    try {
        watched.push_back({bell_.get(), POLLIN, 0});
        for (std::size_t i = 0;; ++i) {
            completer* c = nullptr;
            {
                const std::lock_guard hold(mutex_);
                if (i >= served_.size()) {
                    break;
                }
                c = served_[i];
                inside_ = c;
            }
            bool ready = false;
            {
                const std::lock_guard hold(c->lock);
                const auto armed = c->native.arm();
                ready = armed && !*armed;
                if (const auto fd = c->native.fd(); fd) {
                    watched.push_back({*fd, POLLIN, 0});
                }
            }
            {
                const std::lock_guard hold(mutex_);
                inside_ = nullptr;
            }
            left_.notify_all();
            if (ready) {
                return;
            }
        }
    } catch (const std::bad_alloc&) {
        watched.resize(std::min<std::size_t>(watched.size(), 1));
    }
    // A descriptor that is closed meanwhile is a spurious wake-up or the next time-out at worst.
    if (::poll(watched.data(), watched.size(), sleep_ms) < 0 && errno != EINTR) {
        // Where the process may have fewer files than these, there is nothing but to look again and again.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::uint64_t count = 0;
    (void)!::read(bell_.get(), &count, sizeof count);
}

void completer::kick() noexcept {
    // Under the completer's lock, and notifications are registered: so the notifier exists.
    served_by->kick();
}

std::shared_ptr<notifier> notifier_of(nic& n) noexcept {
    const std::lock_guard hold(n.mutex);
    if (!n.open) {
        return nullptr;
    }
    if (!n.notifies) {
        try {
            auto made = std::make_shared<notifier>();
            if (!made->start()) {
                return nullptr;
            }
            n.notifies = std::move(made);
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }
    return n.notifies;
}

void forget_notifications(completer& c) noexcept {
    std::shared_ptr<notifier> serves;
    {
        const std::lock_guard hold(c.owner->mutex);
        serves = c.owner->notifies;
    }
    if (serves) {
        serves->forget(c);
    }
}

namespace {

VIP_RETURN notify(VIP_VI_HANDLE handle, queue vi::* which, VIP_PVOID context, VIP_VI_CALLBACK handler) noexcept {
    vi* const v = all().vis.find(handle);
    if (v == nullptr || handler == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    queue& q = v->*which;
    if (q.done.get() != &q.own) {
        return VIP_INVALID_PARAMETER;
    }
    return add_notification(q.own, [&] {
        if (!v->alive(reinterpret_cast<std::uint64_t>(handle))) {
            return false;
        }
        q.waiting.push_back({context, handler});
        return true;
    });
}

}  // namespace

}  // namespace vipl

extern "C" {

VIP_RETURN VipSendNotify(VIP_VI_HANDLE ViHandle, VIP_PVOID Context, VIP_VI_CALLBACK Handler) {
    return vipl::notify(ViHandle, &vipl::vi::send, Context, Handler);
}

VIP_RETURN VipRecvNotify(VIP_VI_HANDLE ViHandle, VIP_PVOID Context, VIP_VI_CALLBACK Handler) {
    return vipl::notify(ViHandle, &vipl::vi::receive, Context, Handler);
}

}  // extern "C"

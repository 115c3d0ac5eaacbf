// SPDX-License-Identifier: Apache-2.0
//
// device_double.cc -- a controller::device that moves nothing, linked instead of the real one.
//
//   What surrounds a device is tested with it: sockets, rights, configuration, counters, signals.  Its figures are
//   known beforehand (every enter() counts as some traffic), and it can be told by VINICD_DOUBLE to behave in a way
//   that a real device rarely does:
//
//     stuck     drain() returns when stop() is called, not before
//     noisy     enter() tells 10,000 events
//     slow      add() is busy for 300 ms after remove()
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>

#include "controller/device.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint32_t noise = 10'000;
constexpr std::uint64_t slowness_ns = 300'000'000;

bool told(std::string_view word) {
    const char* is = std::getenv("VINICD_DOUBLE");
    return is != nullptr && word == is;
}

}  // namespace

struct device::state {
    struct function {
        function_status status;
        os::unique_fd window;
        os::unique_fd doorbell;
        os::unique_fd mailbox;
        std::map<std::uint32_t, std::uint32_t> entered;  ///< context to its epoch
        bool removed = false;
        std::uint64_t removed_ns = 0;
    };

    device_options options;
    std::function<void(const event&)> handler;
    mutable std::mutex mutex;
    std::condition_variable changed;
    bool stopped = false;
    std::uint64_t sequence = 0;
    std::vector<function> functions;

    void tell(event_kind kind, std::uint32_t number, std::uint32_t context, pid_t process, const std::string& text) {
        event e;
        e.sequence = ++sequence;
        e.time_ns = os::now_ns();
        e.kind = kind;
        e.function = number;
        e.context = context;
        e.process_id = static_cast<std::uint32_t>(process);
        e.text = text;
        if (handler) {
            handler(e);
        }
    }
    [[nodiscard]] function* find(std::uint32_t number) {
        return number < functions.size() && !functions[number].removed ? &functions[number] : nullptr;
    }
};

namespace {

std::unexpected<error> no_function() { return std::unexpected(error{errc::unknown_address, 0, "no such function"}); }

}  // namespace

device::device(std::unique_ptr<state> s) noexcept : state_(std::move(s)) {}
device::~device() { stop(); }

result<std::unique_ptr<device>> device::create(const device_options& options) {
    auto s = std::make_unique<state>();
    s->options = options;
    s->functions.resize(options.functions + 1);
    for (std::uint32_t i = 0; i <= options.functions; ++i) {
        auto& f = s->functions[i];
        f.status.number = i;
        f.status.name = function_name(i);
        f.status.options = options.defaults;
        f.status.owner = ::geteuid();
        f.status.epoch = 1;
        f.window.reset(::memfd_create("double", MFD_CLOEXEC));
        f.doorbell.reset(::eventfd(0, EFD_CLOEXEC));
        f.mailbox.reset(::eventfd(0, EFD_CLOEXEC));
        if (!f.window || ::ftruncate(f.window.get(), static_cast<off_t>(options.defaults.window_bytes)) != 0) {
            return std::unexpected(error{errc::os_failure, errno, "making a window"});
        }
    }
    return std::unique_ptr<device>(new device(std::move(s)));
}

result<void> device::start() { return {}; }

void device::drain(nanoseconds) {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [&] { return state_->stopped || !told("stuck"); });
}

void device::stop() noexcept {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
    state_->changed.notify_all();
}

result<attachment> device::attach(std::uint32_t number, uid_t /*user*/) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return no_function();
    }
    const auto copy_of = [](const os::unique_fd& fd) { return os::unique_fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)); };
    attachment given{.window = shared_fd(copy_of(f->window)),
                     .doorbell = copy_of(f->doorbell),
                     .mailbox = copy_of(f->mailbox),
                     .window_bytes = f->status.options.window_bytes,
                     .epoch = f->status.epoch};
    if (!given.window || !given.doorbell || !given.mailbox) {
        return std::unexpected(error{errc::limit_reached, errno, "copying a descriptor"});
    }
    return given;
}

result<std::uint32_t> device::enter(std::uint32_t number, std::uint32_t epoch, std::uint32_t context,
                                    const credentials& who) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return no_function();
    }
    const auto context_epoch = static_cast<std::uint32_t>(f->status.counters.doorbells + 1);
    if (epoch != f->status.epoch || !f->entered.emplace(context, context_epoch).second) {
        return std::unexpected(error{errc::busy, 0, "entering context " + std::to_string(context)});
    }
    ++f->status.contexts;
    function_counters& c = f->status.counters;
    c.tx_messages += 10;
    c.tx_bytes += 1000;
    c.rx_messages += 7;
    c.rx_bytes += 700;
    c.rx_no_descriptor_drops += 2;
    c.rx_unknown_destination_drops += 1;
    c.scheduling.engine_ns += 123'456'789;
    state_->tell(event_kind::attached, number, context, who.process, "context " + std::to_string(context));
    for (std::uint32_t i = 0; told("noisy") && i < noise; ++i) {
        state_->tell(event_kind::changed, number, context, 0, "noise");
    }
    ++c.doorbells;
    return context_epoch;
}

void device::leave(std::uint32_t number, std::uint32_t context, std::uint32_t context_epoch, bool died) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return;
    }
    if (const auto at = f->entered.find(context); at != f->entered.end() && at->second == context_epoch) {
        f->entered.erase(at);
        --f->status.contexts;
        state_->tell(died ? event_kind::died : event_kind::detached, number, context, 0, "");
    }
}

std::uint32_t device::functions() const noexcept { return static_cast<std::uint32_t>(state_->functions.size()); }

result<function_status> device::status(std::uint32_t number) const {
    const std::lock_guard lock(state_->mutex);
    const auto* f = state_->find(number);
    return f == nullptr ? result<function_status>(no_function()) : f->status;
}

result<void> device::set_entitlement(std::uint32_t number, const entitlement& s, const std::string& by) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return no_function();
    }
    f->status.options.quality = s;
    state_->tell(event_kind::changed, number, 0, 0, by);
    return {};
}

result<void> device::set_memory(std::uint32_t number, std::uint64_t bytes, const std::string& /*by*/) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return no_function();
    }
    f->status.options.memory_bytes = bytes;
    return {};
}

result<void> device::set(std::uint32_t number, const entitlement& s, std::uint64_t memory_bytes,
                         const std::string& by) {
    const auto done = set_memory(number, memory_bytes);
    return done ? set_entitlement(number, s, by) : done;
}

void device::forsake(std::uint32_t, std::uint32_t) {}

result<void> device::end_tenancy(std::uint32_t number, const std::string& by) { return reset(number, by); }

void device::settle() {}

result<void> device::give_names(std::uint32_t number, const std::vector<std::string>&, const std::string& /*by*/) {
    return number < state_->functions.size() ? result<void>() : result<void>(no_function());
}

bool device::has(std::uint32_t number) const {
    const std::lock_guard lock(state_->mutex);
    return state_->find(number) != nullptr;
}

result<void> device::remove(std::uint32_t number, const std::string& by) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return no_function();
    }
    if (number == 0) {
        return std::unexpected(error{errc::invalid_argument, 0, "the PF cannot be removed"});
    }
    f->removed = true;
    f->removed_ns = os::now_ns();
    f->entered.clear();
    state_->tell(event_kind::removed, number, 0, 0, by);
    return {};
}

result<void> device::add(std::uint32_t number, const entitlement& s, const std::string& by) {
    const std::lock_guard lock(state_->mutex);
    if (number >= state_->functions.size() || !state_->functions[number].removed) {
        return std::unexpected(error{errc::invalid_state, 0, "it is there already"});
    }
    auto& f = state_->functions[number];
    if (told("slow") && os::now_ns() - f.removed_ns < slowness_ns) {
        return std::unexpected(error{errc::busy, 0, "it is still being taken away"});
    }
    f.removed = false;
    f.status.contexts = 0;
    f.status.counters = {};
    f.status.options.quality = s;
    ++f.status.epoch;
    state_->tell(event_kind::added, number, 0, 0, by);
    return {};
}

result<void> device::reset(std::uint32_t number, const std::string& by) {
    const std::lock_guard lock(state_->mutex);
    auto* f = state_->find(number);
    if (f == nullptr) {
        return no_function();
    }
    ++f->status.epoch;
    ++f->status.counters.resets;
    f->status.contexts = 0;
    f->entered.clear();
    state_->tell(event_kind::reset, number, 0, 0, by);
    return {};
}

result<std::vector<std::byte>> device::configuration(std::uint32_t number) const {
    const std::lock_guard lock(state_->mutex);
    if (state_->find(number) == nullptr) {
        return no_function();
    }
    return std::vector<std::byte>(4096, std::byte{0xff});  // as a bus without an answer reads
}

result<void> device::configure(std::uint32_t number, std::uint32_t, std::uint32_t, std::uint32_t,
                               const std::string& by) {
    const std::lock_guard lock(state_->mutex);
    if (state_->find(number) == nullptr) {
        return no_function();
    }
    state_->tell(event_kind::changed, number, 0, 0, by);
    return {};
}

const device_options& device::options() const noexcept { return state_->options; }

void device::on_event(std::function<void(const event&)> handler) { state_->handler = std::move(handler); }

}  // namespace vinic::controller

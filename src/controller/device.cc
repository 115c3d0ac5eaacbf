// SPDX-License-Identifier: Apache-2.0
//
// device.cc -- making, starting and stopping a device, and giving a function a new window.
#include "controller/device.hpp"

#include <thread>

#include "controller/device_settings.hpp"
#include "controller/device_state.hpp"
#include "controller/notices.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

/// Where firmware would have put the windows.
constexpr std::uint64_t configuration_base = 1ULL << 40;

}  // namespace

result<function*> device::state::find(std::uint32_t number) const {
    if (number >= functions.size()) {
        return std::unexpected(refuse(errc::unknown_address, "function " + function_name(number) + " of " +
                                                                 std::to_string(functions.size() - 1) + " VFs"));
    }
    return functions[number].get();
}

void device::state::tell(event_kind kind, const function& f, std::uint32_t context, std::uint32_t process_id,
                         std::string text) {
    const std::lock_guard hold(event_mutex);
    ++event_sequence;
    try {
        if (on_event) {
            on_event({event_sequence, os::now_ns(), kind, f.number, context, process_id, std::move(text)});
        }
    } catch (const std::bad_alloc&) {
        // What happened has happened; a listener sees that a number is missing.
    }
}

/// Under control->mutex, for a function that has none: a new object, so that a process that still maps the old one sees
/// nothing of the next ones.
result<void> device::state::renew_window(function& f) {
    auto made = window::create(f.number, f.options.window_bytes);
    if (!made) {
        return std::unexpected(made.error());
    }
    for (kicks* k : {&doorbell_kicks, &mailbox_kicks}) {
        if (auto r = k->renew(f.number); !r) {
            return r;
        }
    }
    outdate(f);
    f.outdated = false;
    abi::identity_page& id = made->identity();
    id.version.store_relaxed(abi::window_version);
    id.function.store_relaxed(f.number);
    id.epoch.store_relaxed(f.epoch);
    id.state.store_relaxed(static_cast<std::uint32_t>(abi::device_state::running));
    id.window_bytes.store_relaxed(f.options.window_bytes);
    id.contexts_max.store_relaxed(f.options.contexts_max);
    id.vis_max.store_relaxed(f.options.vis_max);
    id.regions_max.store_relaxed(f.options.regions_max);
    id.vectors.store_relaxed(f.vectors.count());
    id.memory_bytes.store_relaxed(f.memory.limit());
    id.magic.store_release(abi::window_magic);
    f.window = std::move(*made);
    f.memory.forget();
    f.vectors.reset(f.times);
    f.notices = 0;
    f.services = 0;
    publish_service(f, false);
    f.handed_out = false;
    f.vis_high = 0;
    f.regions_high = 0;
    return {};
}

// -- life ---------------------------------------------------------------------------------------

device::device(std::unique_ptr<state> s) noexcept : state_(std::move(s)) {}

device::~device() { stop(); }

result<std::unique_ptr<device>> device::create(const device_options& options) {
    if (auto r = check(options); !r) {
        return std::unexpected(r.error());
    }
    auto st = std::make_unique<state>(options);
    for (kicks* k : {&st->doorbell_kicks, &st->mailbox_kicks}) {
        auto made = kicks::create();
        if (!made) {
            return std::unexpected(made.error());
        }
        *k = std::move(*made);
    }
    try {
        for (std::uint32_t i = 0; i <= options.functions; ++i) {
            st->functions.push_back(std::make_unique<function>(i, options.defaults, st->deliveries));
            if (auto r = st->renew_window(*st->functions.back()); !r) {
                return std::unexpected(r.error());
            }
        }
    } catch (const std::bad_alloc&) {
        return std::unexpected(refuse(errc::out_of_memory, "making tables (a limit on address space?)", ENOMEM));
    }
    configuration_options pci;
    pci.vfs_total = options.functions;
    pci.window_bytes = options.defaults.window_bytes;
    pci.vectors = static_cast<std::uint16_t>(options.defaults.vectors);
    auto space = configuration_space::create(pci);
    if (!space) {
        return std::unexpected(space.error());
    }
    st->configuration = std::move(*space);
    if (auto r = st->configuration->bring_up(configuration_base, options.functions); !r) {
        return std::unexpected(r.error());
    }
    for (const auto& f : st->functions) {  // as their drivers would
        (void)st->configuration->write(f->number, pci::msix + 2, 2, pci::msix_enable);
    }
    st->engines = std::make_unique<class engines>(st->options, st->functions, st->doorbell_kicks, st->deliveries);
    st->control = std::make_unique<class control>(st->functions, *st->engines, options.vis_total);
    for (const auto& f : st->functions) {
        st->engines->scheduler.set_entitlement(f->number, f->options.quality, clock_ns());
    }
    return std::unique_ptr<device>(new device(std::move(st)));
}

result<void> device::start() {
    state& s = *state_;
    try {
        s.engines->start();
        (void)s.retired.tend(os::now_ns());
        s.reaper = std::thread([&s] { s.reap(); });
        s.reaping.store(true);
        s.mailboxes = std::thread([&s] { s.serve_mailboxes(); });
    } catch (const std::system_error& e) {
        stop();
        return std::unexpected(refuse(errc::os_failure, "starting threads", e.code().value()));
    }
    return {};
}

void device::drain(nanoseconds at_most) {
    state_->begin_to_end();
    const auto end = std::chrono::steady_clock::now() + at_most;
    while (!state_->engines->idle() && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
}

void device::stop() noexcept {
    state& s = *state_;
    s.begin_to_end();
    if (!s.stopping.exchange(true)) {
        s.engines->stop();
        s.mailbox_kicks.wake();
        if (s.mailboxes.joinable()) {
            s.mailboxes.join();
        }
        s.reaping.store(false);
        s.call_reaper();
        if (s.reaper.joinable()) {
            s.reaper.join();
        }
        s.call_reaper();
        s.retired.stop();
        const std::lock_guard hold(s.control->mutex);
        for (const auto& f : s.functions) {
            if (f->window) {
                f->window.identity().state.store_release(static_cast<std::uint32_t>(abi::device_state::stopped));
            }
        }
    }
}

std::uint32_t device::functions() const noexcept { return static_cast<std::uint32_t>(state_->functions.size()); }
const device_options& device::options() const noexcept { return state_->options; }
void device::on_event(std::function<void(const event&)> handler) { state_->on_event = std::move(handler); }

}  // namespace vinic::controller

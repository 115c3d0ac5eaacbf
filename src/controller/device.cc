// SPDX-License-Identifier: Apache-2.0
#include "controller/device.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <thread>

#include "controller/device_state.hpp"
#include "controller/notices.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t memory_bytes_least = 16ULL << 20;  // tables, rings and some buffers
constexpr std::uint64_t window_bytes_least = abi::window_chunks_least * abi::chunk_size;

/// Where firmware would have put the windows.
constexpr std::uint64_t configuration_base = 1ULL << 40;

result<void> check(const function_options& o, const std::string& name) {
    const service& q = o.quality;
    const char* why = nullptr;
    if (!std::has_single_bit(o.window_bytes) || o.window_bytes < window_bytes_least ||
        o.window_bytes > abi::file_size) {
        why = "a window is a power of two from 512 MiB to 256 GiB";
    } else if (o.vis_max == 0 || o.vis_max > abi::vi_count) {
        why = "it may have 1 to 65536 VIs";
    } else if (o.regions_max == 0 || o.regions_max > abi::region_count) {
        why = "it may have 1 to 1048576 regions";
    } else if (o.contexts_max == 0 || o.contexts_max > abi::context_count) {
        why = "it serves 1 to 64 processes";
    } else if (o.vectors == 0 || o.vectors > abi::vectors_max) {
        why = "it has 1 to 64 completion vectors";
    } else if (o.memory_bytes != 0 && o.memory_bytes < memory_bytes_least) {
        why = "its memory limit is 16 MiB at least";
    } else if (q.weight == 0 || q.weight > 10000) {
        why = "a weight is 1 to 10000";
    } else if (q.priority > 7) {
        why = "a priority is 0 to 7";
    } else if (q.cap != 0 && q.guarantee > q.cap) {
        why = "its guarantee is above its cap";
    }
    if (why != nullptr) {
        return std::unexpected(refuse(errc::invalid_argument, "function " + name + ": " + why));
    }
    return {};
}

}  // namespace

std::string function_name(std::uint32_t number) { return number == 0 ? "pf" : "vf" + std::to_string(number - 1); }

std::optional<std::uint32_t> function_number(std::string_view name) {
    if (name == "pf") {
        return 0;
    }
    std::uint32_t n = 0;
    if (!name.starts_with("vf") || name.size() < 3 || (name.size() > 3 && name[2] == '0')) {
        return std::nullopt;
    }
    const auto [end, e] = std::from_chars(name.data() + 2, name.data() + name.size(), n);
    if (e != std::errc() || end != name.data() + name.size() || n >= abi::function_count_max - 1) {
        return std::nullopt;
    }
    return n + 1;
}

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
        // What happened has happened; whoever listens sees that a number is missing.
    }
}

/// Under control->mutex, for a function that has none: a new object, so that whoever still maps the old one sees
/// nothing of who comes next.
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
    if (options.functions == 0 || options.functions > abi::function_count_max - 1) {
        return std::unexpected(refuse(errc::invalid_argument, "a device has 1 to 256 VFs"));
    }
    const scheduler_options& s = options.scheduling;
    if (s.engines == 0 || s.engines > 64 || s.queues == 0 || s.queues > 1024) {
        return std::unexpected(refuse(errc::invalid_argument, "a device has 1 to 64 engines and 1 to 1024 queues"));
    }
    if (options.vis_total == 0) {
        return std::unexpected(refuse(errc::invalid_argument, "a device has at least one VI"));
    }
    if (s.lease_descriptors == 0 || s.bytes_per_second == 0 || options.verbs_per_second == 0) {
        return std::unexpected(refuse(errc::invalid_argument, "a lease, a rate and a second's requests are not 0"));
    }
    if (auto r = check(options.defaults, "default"); !r) {
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
        st->engines->scheduler.set_service(f->number, f->options.quality, clock_ns());
    }
    return std::unique_ptr<device>(new device(std::move(st)));
}

result<void> device::start() {
    state& s = *state_;
    try {
        s.engines->start();
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
        const std::lock_guard hold(s.control->mutex);
        for (const auto& f : s.functions) {
            if (f->window) {
                f->window.identity().state.store_release(static_cast<std::uint32_t>(abi::device_state::stopped));
            }
        }
    }
}

// -- administration -----------------------------------------------------------------------------

std::uint32_t device::functions() const noexcept { return static_cast<std::uint32_t>(state_->functions.size()); }
const device_options& device::options() const noexcept { return state_->options; }
void device::on_event(std::function<void(const event&)> handler) { state_->on_event = std::move(handler); }

result<function_status> device::status(std::uint32_t number) const {
    auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    const std::lock_guard hold(state_->control->mutex);
    if (auto r = state::is_present(f); !r) {
        return std::unexpected(r.error());
    }
    function_status s;
    s.number = number;
    s.name = function_name(number);
    s.options = f.options;
    s.epoch = f.epoch;
    s.contexts = static_cast<std::uint32_t>(std::ranges::count_if(f.contexts, &context::active));
    s.vis = f.vis_used;
    s.regions = f.regions_used;
    s.vis_connected = f.vis_connected.load();
    s.memory_retired_bytes = f.memory.retired();
    s.memory_bytes = f.memory.used(f.window);
    for (std::uint32_t i = 0; i < f.vectors.count(); ++i) {
        s.vectors.push_back(f.vectors.status(i));
    }
    s.counters = since(state_->counted(f), f.before);
    return s;
}

/// Under control->mutex.
result<void> device::state::put_service(function& f, const service& wanted) {
    function_options o = f.options;
    o.quality = wanted;
    if (auto r = check(o, function_name(f.number)); !r) {
        return r;
    }
    std::uint64_t guaranteed = wanted.guarantee;
    for (const auto& other : functions) {
        guaranteed += other.get() == &f ? 0 : other->options.quality.guarantee;
    }
    const std::uint64_t all = options.scheduling.bytes_per_second * options.scheduling.engines;
    if (guaranteed > all) {
        return std::unexpected(refuse(errc::invalid_argument, "guarantees of " + std::to_string(guaranteed) +
                                                                  " bytes/s together, but the "
                                                                  "device is said to move " +
                                                                  std::to_string(all)));
    }
    const service& now = f.options.quality;
    const bool is_new = now.guarantee != wanted.guarantee || now.cap != wanted.cap || now.weight != wanted.weight ||
                        now.priority != wanted.priority;
    f.options.quality = wanted;
    {
        const std::lock_guard lock(engines->board);
        engines->scheduler.set_service(f.number, wanted, clock_ns());
    }
    if (is_new && f.present) {
        publish_service(f, true);
    }
    return {};
}

result<void> device::set_service(std::uint32_t number, const service& wanted, const std::string& by) {
    auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (auto r = state::is_present(f); !r) {
            return r;
        }
        if (auto r = state_->put_service(f, wanted); !r) {
            return r;
        }
    }
    state_->tell(event_kind::changed, f, 0, 0, by);
    return {};
}

result<void> device::set_memory(std::uint32_t number, std::uint64_t bytes, const std::string& by) {
    auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (auto r = state::is_present(f); !r) {
            return r;
        }
        function_options o = f.options;
        o.memory_bytes = bytes;
        if (auto r = check(o, function_name(number)); !r || f.options.memory_bytes == bytes) {
            return r;
        }
        f.options = o;
        f.memory.set_limit(f.options.memory());
        if (f.window) {
            f.window.identity().memory_bytes.store_relaxed(f.memory.limit());
        }
    }
    state_->tell(event_kind::changed, f, 0, 0, by);
    return {};
}

result<std::vector<std::byte>> device::configuration(std::uint32_t number) const {
    const auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    const std::lock_guard hold(state_->control->mutex);
    if (auto r = state::is_present(**found); !r) {
        return std::unexpected(r.error());
    }
    const auto image = state_->configuration->image(number);
    return std::vector<std::byte>(image.begin(), image.end());
}

result<void> device::configure(std::uint32_t number, std::uint32_t offset, std::uint32_t width, std::uint32_t value,
                               const std::string& by) {
    const auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 || offset > pci::space_bytes - width) {
        return std::unexpected(
            refuse(errc::invalid_argument, "a configuration write has 1, 2 or 4 bytes, aligned, below 4096"));
    }
    configuration_effects effects;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (auto r = state::is_present(**found); !r) {
            return r;
        }
        effects = state_->configuration->write(number, offset, width, value);
        state_->allow_all();
    }
    state_->call_reaper();  // what was posted meanwhile goes on
    if (effects.bus_master || effects.vectors) {
        state_->engines->quiesce();
    }
    if (effects != configuration_effects{}) {
        state_->tell(event_kind::changed, **found, 0, 0, by);
    }
    if (number == 0 && (effects.functions || effects.memory)) {
        for (std::uint32_t f = 1; f < functions(); ++f) {
            if (has(f)) {
                state_->tell(event_kind::changed, *state_->functions[f], 0, 0, "registers of the PF, " + by);
            }
        }
    }
    return effects.reset ? reset(number, by) : result<void>{};
}

}  // namespace vinic::controller

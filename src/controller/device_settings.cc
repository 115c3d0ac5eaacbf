// SPDX-License-Identifier: Apache-2.0
//
// device_settings.cc -- what a function is given, how it does, and its configuration space.
#include "controller/device_settings.hpp"

#include <algorithm>
#include <optional>

#include "controller/device_state.hpp"
#include "controller/notices.hpp"

namespace vinic::controller {

namespace {

/// A function that is there, and stays as it is.
struct held_function {
    std::unique_lock<board_lock> hold;  ///< control->mutex
    function* is;
};

result<held_function> find_present(const device::state& s, std::uint32_t number) {
    const auto found = s.find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    std::unique_lock hold(s.control->mutex);
    if (const auto r = device::state::is_present(**found); !r) {
        return std::unexpected(r.error());
    }
    return held_function{std::move(hold), *found};
}

/// What is not said stays.
struct setting {
    std::optional<entitlement> quality;
    std::optional<std::uint64_t> memory_bytes;
};

result<void> put(device::state& s, std::uint32_t number, const setting& wanted, const std::string& by) {
    auto held = find_present(s, number);
    if (!held) {
        return std::unexpected(held.error());
    }
    function& f = *held->is;
    function_options o = f.options;
    o.quality = wanted.quality.value_or(o.quality);
    o.memory_bytes = wanted.memory_bytes.value_or(o.memory_bytes);
    if (auto r = check(o, function_name(number)); !r) {
        return r;
    }
    const bool is_other = o.quality != f.options.quality;
    if (auto r = is_other ? s.put_entitlement(f, o.quality) : result<void>(); !r) {
        return r;
    }
    const bool has_other = o.memory_bytes != f.options.memory_bytes;
    if (has_other) {
        f.options.memory_bytes = o.memory_bytes;
        f.memory.set_limit(f.options.memory());
        if (f.window) {
            f.window.identity().memory_bytes.store_relaxed(f.memory.limit());
        }
    }
    held->hold.unlock();
    if (is_other || has_other || !by.empty()) {
        s.tell(event_kind::changed, f, 0, 0, by);
    }
    return {};
}

}  // namespace

result<function_status> device::status(std::uint32_t number) const {
    const auto held = find_present(*state_, number);
    if (!held) {
        return std::unexpected(held.error());
    }
    const function& f = *held->is;
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
result<void> device::state::put_entitlement(function& f, const entitlement& wanted) {
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
    const entitlement& now = f.options.quality;
    const bool is_new = now.guarantee != wanted.guarantee || now.cap != wanted.cap || now.weight != wanted.weight ||
                        now.priority != wanted.priority;
    f.options.quality = wanted;
    {
        const std::lock_guard lock(engines->board);
        engines->scheduler.set_entitlement(f.number, wanted, clock_ns());
    }
    if (is_new && f.present) {
        publish_service(f, true);
    }
    return {};
}

result<void> device::set(std::uint32_t number, const entitlement& wanted, std::uint64_t memory_bytes,
                         const std::string& by) {
    return put(*state_, number, {wanted, memory_bytes}, by);
}

result<void> device::set_entitlement(std::uint32_t number, const entitlement& wanted, const std::string& by) {
    return put(*state_, number, {wanted, {}}, by);
}

result<void> device::set_memory(std::uint32_t number, std::uint64_t bytes, const std::string& by) {
    return put(*state_, number, {{}, bytes}, by);
}

result<std::vector<std::byte>> device::configuration(std::uint32_t number) const {
    const auto held = find_present(*state_, number);
    if (!held) {
        return std::unexpected(held.error());
    }
    const auto image = state_->configuration->image(number);
    return std::vector<std::byte>(image.begin(), image.end());
}

result<void> device::configure(std::uint32_t number, std::uint32_t offset, std::uint32_t width, std::uint32_t value,
                               const std::string& by) {
    auto held = find_present(*state_, number);
    if (!held) {
        return std::unexpected(held.error());
    }
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 || offset > pci::space_bytes - width) {
        return std::unexpected(
            refuse(errc::invalid_argument, "a configuration write has 1, 2 or 4 bytes, aligned, below 4096"));
    }
    const configuration_effects effects = state_->configuration->write(number, offset, width, value);
    state_->allow_all();
    held->hold.unlock();
    state_->call_reaper();  // what was posted meanwhile goes on
    if (effects.bus_master || effects.vectors) {
        state_->engines->quiesce();
    }
    if (effects != configuration_effects{}) {
        state_->tell(event_kind::changed, *held->is, 0, 0, by);
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

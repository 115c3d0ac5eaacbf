// SPDX-License-Identifier: Apache-2.0
//
// device_presence.cc -- VFs come and go one at a time, while the others run.
//
//     there                                            away
//       refused to newcomers, service given up           nothing can be posted, nothing is leased
//       contexts are dropped, window emptied and closed  its number, doorbells and tables wait for the next
//       taken out of the configuration space
//
//   What outlives all of it: the names that only a function may use (give_names).
//
//   Nothing of other functions is touched but connections that ended here.  A client of the removed one keeps what
//   it has mapped until it lets go of it; no engine writes there any more.
#include <algorithm>
#include <array>

#include "controller/device_state.hpp"
#include "controller/notices.hpp"
#include "controller/notify.hpp"

namespace vinic::controller {

namespace {

constexpr std::array counters_of_functions = {
    &function_counters::tx_messages,
    &function_counters::tx_bytes,
    &function_counters::rx_messages,
    &function_counters::rx_bytes,
    &function_counters::rx_no_descriptor_drops,
    &function_counters::rx_unknown_destination_drops,
    &function_counters::protection_errors,
    &function_counters::malformed_descriptors,
    &function_counters::foreign_copies,
    &function_counters::doorbells,
    &function_counters::empty_doorbells,
    &function_counters::mailbox_requests,
    &function_counters::mailbox_refusals,
    &function_counters::resets,
    &function_counters::memory_refusals,
};

constexpr std::array counters_of_scheduling = {
    &scheduling_counters::grants,    &scheduling_counters::bytes,           &scheduling_counters::descriptors,
    &scheduling_counters::engine_ns, &scheduling_counters::queue_waits,     &scheduling_counters::wait_ns,
    &scheduling_counters::capped_ns, &scheduling_counters::received_charge,
};

// A counter that is new is new here, too.
static_assert(sizeof(scheduling_counters) ==
              counters_of_scheduling.size() * sizeof(std::uint64_t) + sizeof(scheduling_counters::long_waits));
static_assert(sizeof(function_counters) ==
              counters_of_functions.size() * sizeof(std::uint64_t) + sizeof(scheduling_counters));

}  // namespace

function_counters since(function_counters now, const function_counters& before) {
    for (const auto each : counters_of_functions) {
        now.*each -= before.*each;
    }
    for (const auto each : counters_of_scheduling) {
        now.scheduling.*each -= before.scheduling.*each;
    }
    for (std::size_t i = 0; i < now.scheduling.long_waits.size(); ++i) {
        now.scheduling.long_waits[i] -= before.scheduling.long_waits[i];
    }
    return now;
}

function_counters device::state::counted(const function& f) const {
    const live_counters& c = f.counters;
    const std::lock_guard lock(engines->board);
    return {c.tx_messages,
            c.tx_bytes,
            c.rx_messages,
            c.rx_bytes,
            c.rx_no_descriptor_drops,
            c.rx_unknown_destination_drops,
            c.protection_errors,
            c.malformed_descriptors,
            c.foreign_copies,
            c.doorbells,
            c.empty_doorbells,
            c.mailbox_requests,
            c.mailbox_refusals,
            c.resets,
            c.memory_refusals,
            engines->scheduler.counters(f.number)};
}

result<void> device::state::is_present(const function& f) {
    if (f.present) {
        return {};
    }
    return std::unexpected(refuse(errc::unknown_address, "function " + function_name(f.number) + " was removed"));
}

/// Under control->mutex.  Whose engines work again: the reaper looks for what was posted meanwhile.
void device::state::allow_all() {
    for (const auto& f : functions) {
        const bool may_write = configuration->bus_master(f->number);
        if (engines->allow(*f, may_write)) {
            f->resume_next = 0;
            resumes = true;
        }
        f->vectors.enable(may_write && configuration->msix_enabled(f->number) && !configuration->msix_masked(f->number),
                          f->times);
        deliver_due(*f);
    }
    const std::lock_guard lock(engines->board);
    engines->call_for_deliveries();
}

bool device::has(std::uint32_t number) const {
    const auto found = state_->find(number);
    if (!found) {
        return false;
    }
    const std::lock_guard hold(state_->control->mutex);
    return (*found)->present;
}

result<void> device::remove(std::uint32_t number, const std::string& by) {
    const auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    if (number == 0) {
        return std::unexpected(refuse(errc::invalid_argument, "the PF cannot be removed"));
    }
    std::optional<state::ended_function> ended;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (auto r = state::is_present(f); !r) {
            return r;
        }
        f.present = false;                     // from here on nobody enters
        (void)state_->put_entitlement(f, {});  // the initial one asks for nothing and fits always
        state_->begin_to_end(f, eviction::removal, abi::notice::removal_imminent, by);
        ended = state_->end_if_empty(f);
    }
    if (ended) {
        state_->tell(ended->kind, f, 0, 0, std::move(ended->by));
    }
    state_->call_reaper();
    return {};
}

result<void> device::add(std::uint32_t number, const entitlement& wanted, const std::string& by) {
    const auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (f.present) {
            return std::unexpected(
                refuse(errc::invalid_state, "function " + function_name(number) + " is there already"));
        }
        if (f.ends != eviction::none) {
            return std::unexpected(refuse(
                errc::busy, "function " + function_name(number) + " is still being taken away: ask again in a moment"));
        }
        if (auto r = state_->put_entitlement(f, wanted); !r) {
            return r;
        }
        f.before = state_->counted(f);
        f.present = true;
        state_->configuration->set_present(number, true);
        (void)state_->configuration->write(number, pci::command_status, 2, pci::command_bus_master);
        (void)state_->configuration->write(number, pci::msix + 2, 2, pci::msix_enable);
        state_->allow_all();
    }
    state_->call_reaper();
    state_->tell(event_kind::added, f, 0, 0, by);
    return {};
}

result<void> device::give_names(std::uint32_t number, const std::vector<std::string>& prefixes, const std::string& by) {
    const auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    const bool fit = std::ranges::all_of(prefixes, [](const std::string& each) {
        return !each.empty() && each.size() <= abi::name_bytes_max && !each.contains('\0');
    });
    if (!fit || prefixes.size() > prefixes_max) {
        return std::unexpected(
            refuse(errc::invalid_argument, "a function has at most 64 prefixes of names, each of 1 to 63 bytes"));
    }
    try {
        const std::lock_guard hold(state_->control->mutex);
        state_->control->give_names(number, prefixes);
    } catch (const std::bad_alloc&) {
        return std::unexpected(refuse(errc::out_of_memory, "giving names to a function"));
    }
    if (!by.empty()) {
        state_->tell(event_kind::changed, **found, 0, 0, by);
    }
    return {};
}

}  // namespace vinic::controller

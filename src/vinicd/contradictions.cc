// SPDX-License-Identifier: Apache-2.0
//
// contradictions.cc -- options that are well each by itself, but not together.
#include "controller/device_settings.hpp"
#include "vinicd/machine_memory.hpp"
#include "vinicd/options.hpp"

namespace vinic::vinicd {

namespace {

/// Function `f` as the device will be asked for it.
controller::function_options wanted_of(const options& o, std::uint32_t f) {
    controller::function_options wanted = o.device.defaults;
    wanted.quality = entitlement_of(o, f);
    wanted.memory_bytes = memory_of(o, f);
    return wanted;
}

}  // namespace

std::vector<std::string> contradictions(const options& o) {
    std::vector<std::string> found;
    if (!o.every_function.names.empty()) {
        found.push_back("names in [function.default] would be everybody's: give them to the functions that are meant");
    }
    const auto fits = controller::check(o.device);
    if (!fits) {
        found.push_back(fits.error().doing);
    }
    const auto& scheduling = o.device.scheduling;
    std::uint64_t guaranteed = 0;
    std::uint64_t reserved = 0;
    const auto place = [&](std::uint32_t f) {
        const auto known = o.places.find(f);
        return known == o.places.end() ? std::string() : known->second;
    };
    for (std::uint32_t f = 0; f <= o.device.functions; ++f) {
        if (!is_present(o, f)) {
            if (f == 0) {
                found.push_back(place(f) + "function pf: present = false does not do, the device goes with its PF");
            }
            continue;
        }
        const controller::entitlement s = entitlement_of(o, f);
        guaranteed += s.guarantee;
        reserved += choice_of(o, f).reserved_queues.value_or(0);
        if (s.cap != 0 && s.guarantee > s.cap) {
            found.push_back(place(f) + "function " + controller::function_name(f) + ": the guarantee of " +
                            rate_text(s.guarantee) + " is above the cap of " + rate_text(s.cap));
        } else if (const auto its = controller::check(wanted_of(o, f), controller::function_name(f)); fits && !its) {
            found.push_back(place(f) + its.error().doing);
        }
    }
    const std::uint64_t moved = scheduling.engines * scheduling.bytes_per_second;
    if (guaranteed > moved) {
        found.push_back("the guarantees add up to " + rate_text(guaranteed) + ", but " +
                        std::to_string(scheduling.engines) + " engine(s) of " + rate_text(scheduling.bytes_per_second) +
                        " move " + rate_text(moved) +
                        ": lower them, or set engines or engine-rate to what this machine does");
    }
    if (reserved > scheduling.queues) {
        found.push_back("the reserved-queues add up to " + std::to_string(reserved) + ", but there are " +
                        std::to_string(scheduling.queues) + " queues: reserve fewer, or set queues higher");
    }
    if (o.socket.size() > socket_path_bytes_max) {
        found.push_back("the socket's path has " + std::to_string(o.socket.size()) + " bytes: name one with " +
                        std::to_string(socket_path_bytes_max) + " at most");
    }
    for (const auto& [function, choice] : o.functions) {
        if (function > o.device.functions) {
            found.push_back(place(function) + "function " + controller::function_name(function) +
                            " is configured, but with functions = " + std::to_string(o.device.functions) +
                            " the last one is " + controller::function_name(o.device.functions));
        }
    }
    return found;
}

}  // namespace vinic::vinicd

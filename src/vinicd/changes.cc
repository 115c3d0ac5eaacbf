// SPDX-License-Identifier: Apache-2.0
//
// changes.cc -- writes a change in words, and adds a function as the options say.
#include "vinicd/changes.hpp"

#include "vinicd/machine_memory.hpp"

namespace vinic::vinicd {

namespace {

std::string entitlement_text(const controller::entitlement& s) {
    return "guarantee " + rate_text(s.guarantee) + ", cap " + rate_text(s.cap) + ", weight " +
           std::to_string(s.weight) + ", priority " + std::to_string(s.priority) + ", " +
           std::to_string(s.reserved_queues) + " reserved queue(s), ";
}

std::string memory_text(std::uint64_t bytes) { return "memory = " + size_text(bytes) + ", "; }

std::string rights_text(const function_choice& was, const function_choice& is) {
    std::string all;
    if (was.owner != is.owner) {
        all += "owner = " + (is.owner ? std::to_string(*is.owner) : "nobody") + ", ";
    }
    if (was.group != is.group) {
        all += "group = " + (is.group ? std::to_string(*is.group) : "none") + ", ";
    }
    if (const bool enabled = is.enabled.value_or(true); enabled != was.enabled.value_or(true)) {
        all += std::string("enabled = ") + (enabled ? "true" : "false") + ", ";
    }
    return all;
}

}  // namespace

std::string changes_of(const controller::function_status& now, const options& was, const options& next) {
    const controller::entitlement wanted = entitlement_of(next, now.number);
    const std::uint64_t memory = memory_of(next, now.number);
    return (wanted == now.options.quality ? "" : entitlement_text(wanted)) +
           (memory == now.options.memory_bytes ? "" : memory_text(memory)) +
           rights_text(choice_of(was, now.number), choice_of(next, now.number));
}

result<void> add_as_said(controller::device& d, std::uint32_t function, const options& o, const std::string& by) {
    if (auto done = d.add(function, entitlement_of(o, function), by); !done) {
        return done;
    }
    const auto now = d.status(function);
    const std::uint64_t memory = memory_of(o, function);
    if (!now || now->options.memory_bytes == memory) {
        return {};
    }
    return d.set_memory(function, memory, memory_text(memory) + by);
}

}  // namespace vinic::vinicd

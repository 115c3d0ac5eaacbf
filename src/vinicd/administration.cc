// SPDX-License-Identifier: Apache-2.0
//
// administration.cc -- who asks for what, and what is only told; administration_change.cc changes something.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "controller/configuration_space.hpp"
#include "controller/configuration_text.hpp"
#include "vinicd/administration_parts.hpp"
#include "vinicd/events.hpp"

namespace vinic::vinicd {

namespace {

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string hex(const std::vector<std::byte>& bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        text += digits[std::to_integer<std::size_t>(b) >> 4];
        text += digits[std::to_integer<std::size_t>(b) & 15];
    }
    return text;
}

controller::configuration_view view_of(const std::vector<std::byte>& bytes) {
    return controller::configuration_view(bytes.data(), controller::pci::space_bytes);
}

/// Where the function is on its bus, as the SR-IOV capability of the PF says.
std::uint16_t routing_id_of(std::uint32_t function, controller::configuration_view of_pf) {
    std::uint64_t id = controller::configuration_options{}.pf_routing_id;
    for (const auto& each : controller::decode_configuration(of_pf)) {
        id += function != 0 && each.name == "sriov.first_vf_offset" ? each.value : 0;
        id += function != 0 && each.name == "sriov.vf_stride" ? each.value * (function - 1) : 0;
    }
    return static_cast<std::uint16_t>(id);
}

json vectors_of(const controller::function_status& s) {
    json all = json::array();
    for (const vector_status& v : s.vectors) {
        all.push_back({{"masked", v.settings.masked},
                       {"pending", v.pending},
                       {"count", v.settings.count},
                       {"period_ns", v.settings.period.count()}});
    }
    return all;
}

/// Parsing such a thing, and letting go of it, would cost more than any request.
bool is_deep(std::string_view text) {
    constexpr int depth_max = 8;
    int depth = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted && c == '\\') {
            ++i;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '[' || c == '{') && ++depth > depth_max) {
            return true;
        } else if (!quoted && (c == ']' || c == '}')) {
            --depth;
        }
    }
    return false;
}

json counters_of(const controller::function_counters& c) {
    json values = json::object();
    for (const counter& each : counters()) {
        values[each.name] = each.read(c);
    }
    return values;
}

}  // namespace

std::vector<controller::function_status> all_functions(const controller::device& d) {
    std::vector<controller::function_status> all;
    for (std::uint32_t f = 0; f < d.functions(); ++f) {
        if (auto status = d.status(f)) {
            all.push_back(std::move(*status));
        }
    }
    return all;
}

std::string administration::answer(const peer& who, std::string_view text, bool& monitor) {
    ++counted_.requests;
    request r;
    reply answered;
    if (is_deep(text)) {
        answered = {failure(errc::invalid_argument, "no request nests so deeply")};
    } else if (r.document = json::parse(text, nullptr, false);
               !r.document.is_object() || !r.document.contains("command") || !r.document["command"].is_string()) {
        answered = {
            failure(errc::invalid_argument, "this is no request: send one JSON object with a \"command\" per packet")};
    } else {
        r.command = r.document["command"].get<std::string>();
        answered = dispatch(who, r, monitor);
    }
    if (answered.document.contains("error")) {
        ++counted_.refused_requests;
    }
    return dump(answered.document);
}

administration::reply administration::dispatch(const peer& who, const request& r, bool& monitor) {
    struct known {
        const char* command;
        bool of_function;
    };
    static constexpr std::array commands = {
        known{"functions", false}, known{"device", false},  known{"monitor", false},      known{"function", true},
        known{"set", true},        known{"reset", true},    known{"configuration", true}, known{"add", true},
        known{"remove", true},     known{"configure", true}};
    const auto* found = std::ranges::find_if(commands, [&](const known& k) { return r.command == k.command; });
    if (found == commands.end()) {
        return {failure(errc::not_supported,
                        "'" + r.command +
                            "' is no command: send functions, function, configuration, device, configure, "
                            "set, reset, add, remove or monitor")};
    }
    std::uint32_t number = 0;
    for (const auto& [key, value] : r.document.items()) {
        if (key == "command" || r.command == "set" || r.command == "configure") {
            continue;  // these look at their own keys
        }
        if (key != "function" || !found->of_function) {
            return {failure(errc::invalid_argument, "'" + key + "' means nothing to the command " + r.command)};
        }
    }
    if (found->of_function) {
        if (!r.document.contains("function") || !r.document["function"].is_string()) {
            return {failure(errc::invalid_argument, "a \"function\" is missing, such as \"vf0\" or \"pf\"")};
        }
        const std::string word = r.document["function"].get<std::string>();
        const auto known_number = controller::function_number(word);
        const bool in_range = known_number && *known_number < device_.functions();
        // Whose it is, and whether it is there, is told to those it concerns.
        if (!access::may_administer(who) && !(in_range && access_.may_use(*known_number, who))) {
            return {failure(errc::permission_denied, not_given(word))};
        }
        if (!in_range) {
            return {failure(errc::unknown_address, no_such_function(word, device_.functions()))};
        }
        number = *known_number;
        if (r.command != "add" && !device_.has(number)) {
            return {failure(errc::unknown_address, removed_function(word))};
        }
    }
    if (r.command == "functions") {
        return functions(who);
    }
    if (r.command == "device") {
        return whole_device(who);
    }
    if (r.command == "function") {
        return function(number);
    }
    if (r.command == "configuration") {
        return configuration(number);
    }
    if (r.command != "monitor") {
        return change(who, r, number);
    }
    if (!access_.is_tenant(who)) {
        return {failure(errc::permission_denied, "no function was given to this user, so there is nothing to be told")};
    }
    monitor = true;
    return {{{"schema", schema}, {"monitor", true}}};
}

administration::reply administration::functions(const peer& who) const {
    json names = json::array();
    for (std::uint32_t f = 0; f < device_.functions(); ++f) {
        if (access_.may_use(f, who) && device_.has(f)) {
            names.push_back(controller::function_name(f));
        }
    }
    return {{{"schema", schema}, {"functions", std::move(names)}}};
}

administration::reply administration::function(std::uint32_t number) const {
    const auto status = device_.status(number);
    if (!status) {
        return {failure(status.error().code, status.error().message())};
    }
    const controller::entitlement& s = status->options.quality;
    const auto group = access_.group(number);
    json document = {{"schema", schema},
                     {"name", status->name},
                     {"number", status->number},
                     {"enabled", access_.is_enabled(number) && status->options.enabled},
                     {"owner", names_.user(access_.owner(number))},
                     {"group", group ? json(names_.group(*group)) : json(nullptr)},
                     {"guarantee_bytes_per_second", s.guarantee},
                     {"cap_bytes_per_second", s.cap},
                     {"weight", s.weight},
                     {"priority", s.priority},
                     {"reserved_queues", s.reserved_queues},
                     {"contexts", status->contexts},
                     {"contexts_max", status->options.contexts_max},
                     {"vis", status->vis},
                     {"vis_connected", status->vis_connected},
                     {"vis_max", status->options.vis_max},
                     {"regions", status->regions},
                     {"regions_max", status->options.regions_max},
                     {"memory_bytes", status->memory_bytes},
                     {"memory_retired_bytes", status->memory_retired_bytes},
                     {"memory_limit_bytes", status->options.memory()},
                     {"window_bytes", status->options.window_bytes},
                     {"names", choice_of(options_, number).names},
                     {"epoch", status->epoch},
                     {"vectors", vectors_of(*status)},
                     {"counters", counters_of(status->counters)}};
    return {std::move(document)};
}

administration::reply administration::configuration(std::uint32_t number) const {
    const auto bytes = device_.configuration(number);
    const auto of_pf = device_.configuration(0);
    if (!bytes || !of_pf) {
        const error& why = bytes ? of_pf.error() : bytes.error();
        return {failure(why.code, why.message())};
    }
    const auto image = view_of(*bytes);
    const auto routing_id = routing_id_of(number, view_of(*of_pf));
    json registers = json::array();
    for (const auto& each : controller::decode_configuration(image)) {
        registers.push_back({{"name", each.name}, {"offset", each.offset}, {"value", each.value}});
    }
    json lines = json::array();
    std::istringstream text(controller::configuration_text(routing_id, image));
    for (std::string line; std::getline(text, line);) {
        lines.push_back(line);
    }
    return {{{"schema", schema},
             {"name", controller::function_name(number)},
             {"routing_id", routing_id},
             {"registers", std::move(registers)},
             {"decoded", std::move(lines)},
             {"bytes", hex(*bytes)}}};
}

administration::reply administration::whole_device(const peer& who) const {
    const controller::device_options& o = device_.options();
    json document = {{"schema", schema}, {"version", version()}};
    if (!access_.is_tenant(who)) {
        return {std::move(document)};
    }
    const json made_of = {{"process_id", static_cast<std::uint64_t>(::getpid())},
                          {"engines", o.scheduling.engines},
                          {"queues", o.scheduling.queues},
                          {"lease_bytes", o.scheduling.lease_bytes},
                          {"lease_messages", o.scheduling.lease_descriptors},
                          {"engine_bytes_per_second", o.scheduling.bytes_per_second},
                          {"policy", name(o.scheduling.order)},
                          {"foreign", o.foreign_memory},
                          {"idle_spin_ns", o.idle_spin_ns},
                          {"yield", o.yield},
                          {"verbs_per_second", o.verbs_per_second},
                          {"violations_per_second", o.violations_per_second}};
    document.update(made_of);
    if (access::may_administer(who)) {
        document["functions"] = device_.functions();
        document["connections"] = counted_.connections;
        document["clients"] = counted_.clients;
        document["monitors"] = counted_.monitors;
        document["accepted_connections"] = counted_.accepted;
        document["malformed_packets"] = counted_.malformed_packets;
        document["refused_attachments"] = counted_.refused_attachments;
        document["limits_reached"] = counted_.limits_reached;
        document["displaced_connections"] = counted_.displaced;
        document["requests"] = counted_.requests;
        document["refused_requests"] = counted_.refused_requests;
        document["lost_events"] = counted_.lost_events;
        // What others do is nobody's business but the administrator's.
        json sums = json::object();
        const auto all = all_functions(device_);
        for (const counter& each : counters()) {
            std::uint64_t sum = 0;
            for (const auto& f : all) {
                sum += each.read(f.counters);
            }
            sums[each.name] = sum;
        }
        document["counters"] = std::move(sums);
    }
    return {std::move(document)};
}

std::string administration::event_text(const controller::event& e, std::uint64_t lost) {
    return dump({{"event", name(e.kind)},
                 {"sequence", e.sequence},
                 {"time_ns", e.time_ns},
                 {"function", controller::function_name(e.function)},
                 {"context", e.context},
                 {"process_id", e.process_id},
                 {"text", e.text},
                 {"lost", lost}});
}

std::string administration::failure_text(errc code, const std::string& message) { return dump(failure(code, message)); }

}  // namespace vinic::vinicd

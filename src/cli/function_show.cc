// SPDX-License-Identifier: Apache-2.0
//
// function_show.cc -- `vinic function show|set|reset|config|add|remove`, and a vinicd among the devices.
#include "cli/function_show.hpp"

#include <algorithm>
#include <charconv>

#include "vinicd/units.hpp"

namespace vinic::cli {

namespace {

struct shown {
    const char* key;
    const char* heading;  ///< nullptr: with -d only
    enum { plain, rate, size, counter } from = plain;
};

// The counters that are not here follow with -d.
constexpr shown columns[] = {{"name", "FUNCTION"},
                             {"owner", "OWNER"},
                             {"group", "GROUP"},
                             {"enabled", "ENABLED"},
                             {"guarantee_bytes_per_second", "GUARANTEE", shown::rate},
                             {"cap_bytes_per_second", "CAP", shown::rate},
                             {"weight", "WEIGHT"},
                             {"priority", "PRIORITY"},
                             {"contexts", "CONTEXTS"},
                             {"vis", "VIS"},
                             {"regions", "REGIONS"},
                             {"memory_bytes", "MEMORY", shown::size},
                             {"memory_limit_bytes", "MEMORY-LIMIT", shown::size},
                             {"tx_messages", "TX-MESSAGES", shown::counter},
                             {"tx_bytes", "TX-BYTES", shown::counter},
                             {"rx_messages", "RX-MESSAGES", shown::counter},
                             {"rx_bytes", "RX-BYTES", shown::counter},
                             {"number", nullptr},
                             {"reserved_queues", nullptr},
                             {"contexts_max", nullptr},
                             {"vis_connected", nullptr},
                             {"vis_max", nullptr},
                             {"regions_max", nullptr},
                             {"memory_retired_bytes", nullptr},
                             {"window_bytes", nullptr},
                             {"names", nullptr},
                             {"epoch", nullptr}};

value cell(const object& function, const shown& what) {
    switch (what.from) {
        case shown::rate: {
            const std::uint64_t rate = number_of(function, what.key);
            return rate == 0 ? value() : value(vinicd::rate_text(rate));
        }
        case shown::size:
            return vinicd::size_text(number_of(function, what.key));
        case shown::counter:
            return counter_of(function, what.key);
        default:
            const value* found = find(function, what.key);
            return found != nullptr ? *found : value();
    }
}

table table_of(const std::vector<object>& functions) {
    table t;
    for (const shown& each : columns) {
        t.columns.push_back({each.key, each.heading != nullptr ? each.heading : ""});
    }
    const auto headed = [](const std::string& key) {
        return std::ranges::any_of(columns, [&](const shown& c) { return key == c.key; });
    };
    for (const object& function : functions) {
        std::vector<value> row;
        for (const shown& each : columns) {
            row.push_back(cell(function, each));
        }
        const value* found = find(function, "counters");
        const auto* counters = found != nullptr ? std::get_if<object>(&found->is) : nullptr;
        for (const auto& [key, counted] : counters != nullptr ? *counters : object{}) {
            if (!headed(key)) {
                if (t.rows.empty()) {
                    t.columns.push_back({key});
                }
                row.push_back(counted);
            }
        }
        row.resize(t.columns.size());
        t.rows.push_back(std::move(row));
    }
    return t;
}

std::string document_of(const function_client& c, std::vector<object> functions) {
    list all;
    for (object& each : functions) {
        all.emplace_back(std::move(each));
    }
    return to_json({{"schema", json_schema}, {"device", c.address()}, {"functions", std::move(all)}}) + "\n";
}

/// The function that is meant, by its own word or by the address.
answer<std::string> wanted_function(const function_options& o, const function_client& c) {
    if (!o.function.empty() && !c.function().empty() && o.function != c.function()) {
        return std::unexpected(
            failure{"the address names " + c.function() + ", the command " + o.function + ": leave one out", 2});
    }
    return o.function.empty() ? c.function() : o.function;
}

/// The lines that say what a configuration space holds.
std::string configuration_text(const object& reply) {
    std::string text = "\nConfiguration space of " + text_of(reply, "name") + ":\n";
    const value* found = find(reply, "decoded");
    const auto* lines = found != nullptr ? std::get_if<list>(&found->is) : nullptr;
    for (const value& each : lines != nullptr ? *lines : list{}) {
        text += "    " + to_text(each) + "\n";
    }
    return text;
}

/// One line per completion vector.
std::string vectors_text(const object& function) {
    std::string text = "\nVectors of " + text_of(function, "name") + ":\n";
    const value* found = find(function, "vectors");
    const auto* vectors = found != nullptr ? std::get_if<list>(&found->is) : nullptr;
    std::size_t number = 0;
    for (const value& each : vectors != nullptr ? *vectors : list{}) {
        const auto* v = std::get_if<object>(&each.is);
        if (v == nullptr) {
            continue;
        }
        const value* masked = find(*v, "masked");
        const auto* is_masked = masked != nullptr ? std::get_if<bool>(&masked->is) : nullptr;
        const std::uint64_t period_ns = number_of(*v, "period_ns");
        const std::uint64_t count = number_of(*v, "count");
        text += "    " + std::to_string(number++) + ": " + (is_masked != nullptr && *is_masked ? "masked" : "open") +
                ", " + std::to_string(number_of(*v, "pending")) + " pending, " +
                (period_ns == 0 ? "wakes at once" : "wakes after " + vinicd::time_text(period_ns)) +
                (period_ns == 0 || count == 0 ? "" : " or " + std::to_string(count) + " completions") + "\n";
    }
    return text;
}

/// Puts the configuration space into each function; as text, too.
answer<std::string> add_configurations(function_client& client, std::vector<object>& functions) {
    std::string text;
    for (object& each : functions) {
        const auto reply = client.ask({{"command", "configuration"}, {"function", text_of(each, "name")}});
        if (!reply) {
            return std::unexpected(reply.error());
        }
        text += vectors_text(each) + configuration_text(*reply);
        object configuration;
        for (const auto& [key, content] : *reply) {
            if (key != "schema" && key != "name") {
                configuration.emplace_back(key, content);
            }
        }
        each.emplace_back("configuration_space", std::move(configuration));
    }
    return text;
}

}  // namespace

answer<std::string> show_functions(const function_options& o) {
    auto client = function_client::open(o.device);
    if (!client) {
        return std::unexpected(client.error());
    }
    const auto wanted = wanted_function(o, *client);
    if (!wanted) {
        return std::unexpected(wanted.error());
    }
    auto functions = client->functions(*wanted);
    if (!functions) {
        return std::unexpected(functions.error());
    }
    std::string configurations;
    if (o.details) {
        const auto added = add_configurations(*client, *functions);
        if (!added) {
            return std::unexpected(added.error());
        }
        configurations = *added;
    }
    return o.json ? document_of(*client, std::move(*functions))
                  : to_text(table_of(*functions), o.details) + configurations;
}

answer<std::string> set_function(const function_set_options& o) {
    auto client = function_client::open(o.device);
    if (!client) {
        return std::unexpected(client.error());
    }
    const auto wanted = wanted_function(o, *client);
    if (!wanted) {
        return std::unexpected(wanted.error());
    }
    object request{{"command", "set"}, {"function", *wanted}};
    for (const auto& [key, word] : o.settings) {
        request.emplace_back(key, word);
    }
    auto reply = client->ask(request);
    if (!reply) {
        return std::unexpected(reply.error());
    }
    std::erase_if(*reply, [](const auto& member) { return member.first == "schema"; });
    return o.json ? document_of(*client, {std::move(*reply)}) : to_text(table_of({*reply}), o.details);
}

namespace {

/// Asks for it and says how it went.
answer<std::string> change_function(const function_options& o, const char* command,
                                    std::string (*told)(const std::string& function, const object& reply)) {
    auto client = function_client::open(o.device);
    if (!client) {
        return std::unexpected(client.error());
    }
    const auto wanted = wanted_function(o, *client);
    if (!wanted) {
        return std::unexpected(wanted.error());
    }
    auto reply = client->ask({{"command", command}, {"function", *wanted}});
    if (!reply) {
        return std::unexpected(reply.error());
    }
    std::erase_if(*reply, [](const auto& member) { return member.first == "schema"; });
    return o.json ? document_of(*client, {std::move(*reply)}) : told(*wanted, *reply);
}

std::string with_epoch(const object& reply) { return ": epoch " + std::to_string(number_of(reply, "epoch")) + "\n"; }

}  // namespace

answer<std::string> reset_function(const function_options& o) {
    return change_function(o, "reset",
                           [](const std::string& f, const object& reply) { return "reset " + f + with_epoch(reply); });
}

answer<std::string> add_vf(const function_options& o) {
    return change_function(o, "add",
                           [](const std::string& f, const object& reply) { return "added " + f + with_epoch(reply); });
}

answer<std::string> remove_vf(const function_options& o) {
    return change_function(o, "remove", [](const std::string& f, const object&) { return "removed " + f + "\n"; });
}

std::optional<register_write> parse_register_write(std::string_view typed) {
    const auto number = [](std::string_view text, std::uint32_t& to) {
        const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
        text.remove_prefix(is_hex ? 2 : 0);
        const auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), to, is_hex ? 16 : 10);
        return e == std::errc() && end == text.data() + text.size();
    };
    register_write w;
    const std::size_t equals = typed.find('=');
    if (equals == std::string_view::npos || !number(typed.substr(equals + 1), w.value)) {
        return std::nullopt;
    }
    std::string_view where = typed.substr(0, equals);
    if (where.size() > 2 && where[where.size() - 2] == '.') {
        const char width = where.back();
        w.width = width == 'b' ? 1 : width == 'w' ? 2 : width == 'l' ? 4 : 0;
        where.remove_suffix(2);
    }
    return w.width != 0 && number(where, w.offset) ? std::optional(w) : std::nullopt;
}

answer<std::string> configure_function(const function_config_options& o) {
    auto client = function_client::open(o.device);
    if (!client) {
        return std::unexpected(client.error());
    }
    const auto wanted = wanted_function(o, *client);
    if (!wanted) {
        return std::unexpected(wanted.error());
    }
    object request{{"command", o.writes.empty() ? "configuration" : "configure"}, {"function", *wanted}};
    list writes;
    for (const register_write& w : o.writes) {
        writes.emplace_back(object{{"offset", w.offset}, {"width", w.width}, {"value", w.value}});
    }
    if (!writes.empty()) {
        request.emplace_back("writes", std::move(writes));
    }
    auto reply = client->ask(request);
    if (!reply) {
        return std::unexpected(reply.error());
    }
    std::erase_if(*reply, [](const auto& member) { return member.first == "schema"; });
    return o.json ? document_of(*client, {std::move(*reply)}) : configuration_text(*reply).substr(1);
}

result<std::string> show_vinicd(const show_options& o) {
    const auto refuse = [&](const failure& f) { return std::unexpected(error{errc::unknown_address, 0, f.sentence}); };
    auto client = function_client::open(o.device);
    if (!client) {
        return refuse(client.error());
    }
    auto reply = client->ask({{"command", "device"}});
    if (!reply) {
        return refuse(reply.error());
    }
    std::erase_if(*reply, [](const auto& member) { return member.first == "schema"; });
    object device{{"device", client->address()}, {"state", "live"}};
    device.insert(device.end(), reply->begin(), reply->end());
    if (o.json) {
        return to_json({{"schema", json_schema}, {"devices", list{value(std::move(device))}}}) + "\n";
    }
    table t;
    t.columns = {{"device", "DEVICE"},   {"state", "STATE"},     {"process_id", "PID"}, {"functions", "FUNCTIONS"},
                 {"clients", "CLIENTS"}, {"engines", "ENGINES"}, {"queues", "QUEUES"},  {"policy", "POLICY"}};
    std::vector<value> row;
    for (const column& each : t.columns) {
        const value* found = find(device, each.key);
        row.push_back(found != nullptr ? *found : value());
    }
    const auto add = [&](const std::string& key, const value& v) {
        if (std::ranges::none_of(t.columns, [&](const column& c) { return c.key == key; })) {
            t.columns.push_back({key});
            row.push_back(v);
        }
    };
    for (const auto& [key, content] : device) {
        if (const auto* inner = std::get_if<object>(&content.is)) {
            for (const auto& [counter, counted] : *inner) {
                add(counter, counted);
            }
        } else {
            add(key, content);
        }
    }
    t.rows.push_back(std::move(row));
    return to_text(t, o.details);
}

}  // namespace vinic::cli

// SPDX-License-Identifier: Apache-2.0
//
// function_monitor.cc -- `vinic monitor`: what happens to functions, a line each.
#include <cstdio>

#include "cli/function_show.hpp"

namespace vinic::cli {

namespace {

/// "26410.095257 vf3 attached, context 5, process 123: words".
std::string line_of(const object& event) {
    const std::uint64_t time = number_of(event, "time_ns");
    char moment[48];
    std::snprintf(moment, sizeof moment, "%llu.%06llu", static_cast<unsigned long long>(time / 1'000'000'000),
                  static_cast<unsigned long long>(time / 1000 % 1'000'000));
    std::string line = moment;
    line += " " + text_of(event, "function") + " " + text_of(event, "event");
    if (const std::uint64_t process = number_of(event, "process_id"); process != 0) {
        line += ", context " + std::to_string(number_of(event, "context")) + ", process " + std::to_string(process);
    }
    if (const std::string words = text_of(event, "text"); !words.empty()) {
        line += ": " + words;
    }
    if (const std::uint64_t lost = number_of(event, "lost"); lost != 0) {
        line += " (" + std::to_string(lost) + " events before it were lost)";
    }
    return line + "\n";
}

}  // namespace

answer<void> monitor_functions(const watch_options& o, const printer& print) {
    auto client = function_client::open(o.device);
    if (!client) {
        return std::unexpected(client.error());
    }
    const std::string one = o.function.empty() ? client->function() : o.function;
    if (!one.empty()) {
        // Nothing would ever be told of one that is not there.
        if (const auto known = client->ask({{"command", "function"}, {"function", one}}); !known) {
            return std::unexpected(known.error());
        }
    }
    if (const auto begun = client->ask({{"command", "monitor"}}); !begun) {
        return std::unexpected(begun.error());
    }
    for (std::uint64_t n = 0; o.count == 0 || n < o.count;) {
        const auto packet = client->next(-1);
        if (!packet) {
            return std::unexpected(packet.error());
        }
        const auto event = *packet ? parse_json(**packet) : std::nullopt;
        if (const value* error = event ? find(*event, "error") : nullptr) {
            const auto* told = std::get_if<object>(&error->is);  // the last that it is told
            return std::unexpected(failure{told != nullptr ? text_of(*told, "message") : "hung up"});
        }
        if (!event || (!one.empty() && text_of(*event, "function") != one)) {
            continue;
        }
        print(o.json ? to_json(*event, true) + "\n" : line_of(*event));
        ++n;
    }
    return {};
}

}  // namespace vinic::cli

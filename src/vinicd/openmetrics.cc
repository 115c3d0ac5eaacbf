// SPDX-License-Identifier: Apache-2.0
//
// openmetrics.cc -- the text, after the OpenMetrics specification 1.0: metric families one after the other, a
// counter's samples end in _total, seconds instead of nanoseconds, "# EOF" last.
#include <array>
#include <cstdio>

#include "vinicd/administration.hpp"
#include "vinicd/metrics.hpp"
#include "vinicd/units.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::string_view ns_suffix = "_ns";

/// Nanoseconds as seconds, exactly: sums of what is written are sums of what was counted.
std::string seconds_text(std::uint64_t ns) {
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%llu.%09llu", static_cast<unsigned long long>(ns / ns_per_second),
                  static_cast<unsigned long long>(ns % ns_per_second));
    return text.data();
}

class page {
public:
    /// Begins a metric family.
    void family(const std::string& metric, const char* type, const std::string& help, const char* unit = "") {
        text_ += "# TYPE " + metric + " " + type + "\n";
        if (*unit != '\0') {
            text_ += "# UNIT " + metric + " " + unit + "\n";
        }
        text_ += "# HELP " + metric + " " + help + ".\n";
    }
    void sample(const std::string& name, const std::string& function, const std::string& value) {
        text_ += name + (function.empty() ? "" : "{function=\"" + function + "\"}") + " " + value + "\n";
    }
    void single(const std::string& metric, const char* type, const std::string& help, std::uint64_t value) {
        family(metric, type, help);
        sample(metric + (std::string_view(type) == "counter" ? "_total" : ""), "", std::to_string(value));
    }
    void line(const std::string& whole) { text_ += whole + "\n"; }
    [[nodiscard]] std::string finish() && { return std::move(text_) + "# EOF\n"; }

private:
    std::string text_;
};

using statuses = std::vector<controller::function_status>;

void put_counters(page& p, const statuses& all) {
    for (const counter& each : counters()) {
        std::string base = each.name;
        const bool time = base.ends_with(ns_suffix);
        if (time) {
            base.replace(base.size() - ns_suffix.size(), ns_suffix.size(), "_seconds");
        }
        const char* unit = time ? "seconds" : base.ends_with("_bytes") ? "bytes" : "";
        const auto value = [&](std::uint64_t n) { return time ? seconds_text(n) : std::to_string(n); };
        std::uint64_t sum = 0;
        p.family("vinic_function_" + base, "counter", each.help, unit);
        for (const auto& f : all) {
            sum += each.read(f.counters);
            p.sample("vinic_function_" + base + "_total", f.name, value(each.read(f.counters)));
        }
        p.family("vinic_device_" + base, "counter", each.help + std::string(", over all functions"), unit);
        p.sample("vinic_device_" + base + "_total", "", value(sum));
    }
}

struct gauge {
    const char* name;
    const char* help;
    const char* unit;
    std::uint64_t (*read)(const controller::function_status&);
};

using status = const controller::function_status&;
constexpr std::array gauges = {
    gauge{"contexts", "Processes that use the function", "", [](status f) { return std::uint64_t{f.contexts}; }},
    gauge{"vis", "Virtual interfaces", "", [](status f) { return std::uint64_t{f.vis}; }},
    gauge{"vis_connected", "Virtual interfaces that are connected", "",
          [](status f) { return std::uint64_t{f.vis_connected}; }},
    gauge{"regions", "Registered regions", "", [](status f) { return std::uint64_t{f.regions}; }},
    gauge{"memory_bytes", "Memory that it holds, windows that are being given back included", "bytes",
          [](status f) { return f.memory_bytes; }},
    gauge{"memory_retired_bytes", "Memory that it holds in windows that are being given back", "bytes",
          [](status f) { return f.memory_retired_bytes; }},
    gauge{"memory_limit_bytes", "Memory that it may hold", "bytes", [](status f) { return f.options.memory(); }},
    gauge{"guarantee_bytes", "Bytes per second that it gets whatever the others do, 0 for none", "bytes",
          [](status f) { return f.options.quality.guarantee; }},
    gauge{"cap_bytes", "Bytes per second that it never exceeds, 0 for none", "bytes",
          [](status f) { return f.options.quality.cap; }},
    gauge{"weight", "Its share of what is left", "", [](status f) { return std::uint64_t{f.options.quality.weight}; }},
    gauge{"priority", "Its class", "", [](status f) { return std::uint64_t{f.options.quality.priority}; }},
    gauge{"epoch", "Counts resets", "", [](status f) { return std::uint64_t{f.epoch}; }},
};

void put_gauges(page& p, const statuses& all) {
    for (const gauge& each : gauges) {
        const std::string metric = "vinic_function_" + std::string(each.name);
        p.family(metric, "gauge", each.help, each.unit);
        for (const auto& f : all) {
            p.sample(metric, f.name, std::to_string(each.read(f)));
        }
    }
}

}  // namespace

std::string openmetrics_text(const controller::device& d, const house_counters& house) {
    const statuses all = all_functions(d);
    page p;
    p.family("vinicd", "info", "The program");
    p.line("vinicd_info{version=\"" + std::string(version()) + "\",policy=\"" + name(d.options().scheduling.order) +
           "\"} 1");
    put_counters(p, all);
    put_gauges(p, all);
    p.single("vinic_device_engines", "gauge", "Threads that move data", d.options().scheduling.engines);
    p.single("vinicd_connections", "gauge", "Connections of clients and administrators", house.connections);
    p.single("vinicd_clients", "gauge", "Connections that use a context", house.clients);
    p.single("vinicd_monitors", "gauge", "Connections that are told events", house.monitors);
    p.single("vinicd_accepted_connections", "counter", "Connections since the start", house.accepted);
    p.single("vinicd_malformed_packets", "counter", "Packets that did not fit", house.malformed_packets);
    p.single("vinicd_refused_attachments", "counter", "Requests for a function that were refused",
             house.refused_attachments);
    p.single("vinicd_limits_reached", "counter", "Connections refused because there were too many",
             house.limits_reached);
    p.single("vinicd_displaced_connections", "counter", "Connections that gave their place to a newer one",
             house.displaced);
    p.single("vinicd_requests", "counter", "Requests of the administration", house.requests);
    p.single("vinicd_refused_requests", "counter", "Requests of the administration that were refused",
             house.refused_requests);
    p.single("vinicd_lost_events", "counter", "Events that a monitor was too slow for", house.lost_events);
    return std::move(p).finish();
}

}  // namespace vinic::vinicd

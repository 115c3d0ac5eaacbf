// SPDX-License-Identifier: Apache-2.0
//
// show_counter.cc -- samples, differences and rates, and their three forms: table, JSON, OpenMetrics.
#include "cli/show_counter.hpp"

#include <chrono>
#include <cstdio>
#include <thread>

#include "cli/counter_sample.hpp"
#include "os/sync.hpp"

namespace vinic::cli {

namespace {

using tables::counter_values;

constexpr double rate_seconds_default = 1;

struct watched {
    device_file file;
    counter_sample before{};
    counter_sample now{};
    double elapsed_seconds = 0;  ///< between the two
};

/// What a VI (or the whole device) counted, now and before; nothing before if it is another VI by now.
struct pair_of_values {
    const counter_values* now;
    const counter_values* before;
};

value rate_of(const pair_of_values& p, std::uint32_t i, double seconds) {
    if (p.before == nullptr || seconds <= 0 || (*p.now)[i] < (*p.before)[i]) {
        return {};
    }
    return static_cast<double>((*p.now)[i] - (*p.before)[i]) / seconds;
}

const counter_values* find_before(const counter_sample& before, const counter_sample::of_vi& v) {
    for (const auto& each : before.vis) {
        if (each.number == v.number && each.generation == v.generation && each.owner == v.owner) {
            return &each.counted;
        }
    }
    return nullptr;
}

/// f(index, value, rate) for the counters that are to be seen.
template <class F>
void for_each_counter(const counter_options& o, const pair_of_values& p, double seconds, F f) {
    for (std::uint32_t i = 0; i < tables::counters_max; ++i) {
        if (tables::counters()[i].name == nullptr) {
            continue;
        }
        const value rate = o.rate ? rate_of(p, i, seconds) : value();
        const auto* moves = std::get_if<double>(&rate.is);
        const bool zero = moves != nullptr ? *moves == 0 : (*p.now)[i] == 0;
        if (!o.nonzero || !zero) {
            f(i, (*p.now)[i], rate);
        }
    }
}

void add_rows(const counter_options& o, const value& vi, const pair_of_values& p, double seconds, table& t) {
    for_each_counter(o, p, seconds, [&](std::uint32_t i, std::uint64_t counted, const value& rate) {
        std::vector<value> row{tables::counters()[i].name, counted};
        if (t.columns.front().key == "vi") {
            row.insert(row.begin(), vi);
        }
        if (o.rate) {
            row.push_back(rate);
        }
        t.rows.push_back(std::move(row));
    });
}

std::string as_text(const counter_options& o, const watched& w) {
    table t;
    if (o.details || !o.vis.empty()) {
        t.columns.push_back({"vi", "VI"});
    }
    t.columns.push_back({"counter", "COUNTER"});
    t.columns.push_back({"value", "VALUE"});
    if (o.rate) {
        t.columns.push_back({"per_second", "PER-SECOND"});
    }
    if (o.vis.empty()) {
        add_rows(o, "all", {&w.now.device, &w.before.device}, w.elapsed_seconds, t);
    }
    for (const auto& v : w.now.vis) {
        add_rows(o, v.number, {&v.counted, find_before(w.before, v)}, w.elapsed_seconds, t);
    }
    return to_text(t, false);
}

void add_members(const counter_options& o, const pair_of_values& p, double seconds, object& to) {
    object values;
    object rates;
    for_each_counter(o, p, seconds, [&](std::uint32_t i, std::uint64_t counted, const value& rate) {
        values.emplace_back(tables::counters()[i].name, counted);
        rates.emplace_back(tables::counters()[i].name, rate);
    });
    to.emplace_back("counters", std::move(values));
    if (o.rate) {
        to.emplace_back("rates_per_second", std::move(rates));
    }
}

object as_object(const counter_options& o, const watched& w) {
    object document = begin_document(w.file);
    document.emplace_back("elapsed_seconds", o.rate ? value(w.elapsed_seconds) : value());
    if (o.vis.empty()) {
        add_members(o, {&w.now.device, &w.before.device}, w.elapsed_seconds, document);
    }
    const process_list processes(w.file, false);
    list vis;
    for (const auto& v : w.now.vis) {
        object one{{"vi", v.number}, {"pid", processes.pid_of(v.owner)}, {"command", processes.command_of(v.owner)}};
        add_members(o, {&v.counted, find_before(w.before, v)}, w.elapsed_seconds, one);
        vis.emplace_back(std::move(one));
    }
    document.emplace_back("vis", std::move(vis));
    return document;
}

std::string as_openmetrics(const counter_options& o, const std::vector<watched>& devices) {
    std::string text;
    const auto begin = [&](const std::string& metric, const char* type, const char* help) {
        text += "# TYPE " + metric + " " + type + "\n# HELP " + metric + " " + help + ".\n";
    };
    begin("vinic_device_size_bytes", "gauge", "Storage that the device file takes");
    for (const watched& w : devices) {
        text +=
            "vinic_device_size_bytes{device=\"" + w.file.name() + "\"} " + std::to_string(w.file.size_bytes()) + "\n";
    }
    begin("vinic_device_processes", "gauge", "Living processes that have the device open");
    for (const watched& w : devices) {
        text += "vinic_device_processes{device=\"" + w.file.name() + "\"} " +
                std::to_string(process_list(w.file, false).living()) + "\n";
    }
    for (std::uint32_t i = 0; i < tables::counters_max; ++i) {
        const auto [name, meaning] = tables::counters()[i];
        if (name == nullptr) {
            continue;
        }
        // A VI has metrics of its own: summed up together with the device's, all would count twice.
        if (o.vis.empty()) {
            begin(std::string("vinic_") + name, "counter", meaning);
            for (const watched& w : devices) {
                text += std::string("vinic_") + name + "_total{device=\"" + w.file.name() + "\"} " +
                        std::to_string(w.now.device[i]) + "\n";
            }
        }
        if (o.details || !o.vis.empty()) {
            begin(std::string("vinic_vi_") + name, "counter", meaning);
            for (const watched& w : devices) {
                for (const auto& v : w.now.vis) {
                    text += std::string("vinic_vi_") + name + "_total{device=\"" + w.file.name() + "\",vi=\"" +
                            std::to_string(v.number) + "\"} " + std::to_string(v.counted[i]) + "\n";
                }
            }
        }
    }
    return text + "# EOF\n";
}

result<std::vector<watched>> wanted_devices(const counter_options& o) {
    std::vector<watched> all;
    if (!o.device.empty()) {
        auto f = open_readable(o.device, o.directory);
        if (!f) {
            return std::unexpected(f.error());
        }
        all.push_back({std::move(*f)});
        return all;
    }
    auto names = device_names(o.directory);
    if (!names) {
        return std::unexpected(names.error());
    }
    for (const std::string& each : *names) {
        if (auto f = device_file::open(each, o.directory); f && f->readable() && f->believed()) {
            all.push_back({std::move(*f)});
        }
    }
    return all;
}

/// A process that was stopped while it held a device's lock must not keep anybody from looking, however many devices
/// there are; one that was only put aside comes back by then.
constexpr std::uint64_t sample_patience_ns = 1'000'000'000;

result<void> sample_all(const counter_options& o, std::vector<watched>& devices) {
    const std::uint64_t end_ns = os::now_ns() + sample_patience_ns;
    for (watched& w : devices) {
        if (!w.file.still_there()) {
            return std::unexpected(
                error{errc::unknown_address, 0, "device " + address_of(w.file) + ", which its last process has left"});
        }
        w.before = std::move(w.now);
        w.now = take_sample(w.file, o.vis, o.details, end_ns);
        if (auto r = read_to_the_end(w.file); !r) {
            return r;
        }
        w.elapsed_seconds = static_cast<double>(w.now.taken_ns - w.before.taken_ns) / 1e9;
        for (const std::uint32_t wanted : o.vis) {
            if (std::none_of(w.now.vis.begin(), w.now.vis.end(), [&](const auto& v) { return v.number == wanted; })) {
                return std::unexpected(error{errc::invalid_handle, 0,
                                             "VI " + std::to_string(wanted) + " of device " + address_of(w.file)});
            }
        }
    }
    return {};
}

void print_all(const counter_options& o, const std::vector<watched>& devices,
               const std::function<void(const std::string&)>& print) {
    if (o.openmetrics) {
        print(as_openmetrics(o, devices));
        return;
    }
    if (!o.json) {
        for (const watched& w : devices) {
            const bool one_of_many = o.device.empty() || o.interval_seconds > 0;
            print((one_of_many ? address_of(w.file) + "\n" : "") + as_text(o, w) + (one_of_many ? "\n" : ""));
        }
        return;
    }
    // One device: its document; several: a list of them.  Repeated ones go on a line each.
    const bool compact = o.interval_seconds > 0;
    if (!o.device.empty()) {
        print(to_json(as_object(o, devices.front()), compact) + "\n");
        return;
    }
    list all;
    for (const watched& w : devices) {
        all.emplace_back(as_object(o, w));
    }
    print(to_json({{"schema", json_schema}, {"devices", std::move(all)}}, compact) + "\n");
}

}  // namespace

result<void> show_counters(const counter_options& o, const std::function<void(const std::string&)>& print) {
    auto devices = wanted_devices(o);
    if (!devices) {
        return std::unexpected(devices.error());
    }
    if (auto r = sample_all(o, *devices); !r) {
        return r;
    }
    const std::chrono::duration<double> interval(o.interval_seconds > 0 ? o.interval_seconds : rate_seconds_default);
    const std::uint64_t count = o.interval_seconds > 0 ? o.count : 1;
    auto next = std::chrono::steady_clock::now();
    const auto sample_next = [&] {
        next += std::chrono::duration_cast<std::chrono::steady_clock::duration>(interval);
        std::this_thread::sleep_until(next);
        return sample_all(o, *devices);
    };
    if (o.rate) {
        if (auto r = sample_next(); !r) {
            return r;
        }
    }
    for (std::uint64_t done = 1;; ++done) {
        print_all(o, *devices, print);
        if (done == count) {
            return {};
        }
        if (auto r = sample_next(); !r) {
            return r;
        }
    }
}

}  // namespace vinic::cli

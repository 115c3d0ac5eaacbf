// SPDX-License-Identifier: Apache-2.0
//
// doctor.cc -- runs the groups of examinations one after the other.
#include "cli/doctor.hpp"

#include <array>
#include <cstdio>

namespace vinic::cli {

namespace {

const char* name(verdict v) noexcept {
    static constexpr const char* names[] = {"ok", "warn", "fail"};
    return names[static_cast<std::size_t>(v)];
}

}  // namespace

std::string size_in_words(std::uint64_t bytes) {
    static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto amount = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (amount >= 1024 && unit + 1 < std::size(units)) {
        amount /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", amount, units[unit]);
    return text.data();
}

diagnosis diagnose(const show_options& o) {
    const std::string directory = directory_or_default(o.directory);
    findings all;
    check_directory(directory, all);
    check_file_system(directory, all);
    check_memory_limit(directory, all);
    check_machine(all);
    if (!o.device.starts_with("vinicd:")) {
        const auto only = o.device.empty() ? std::string() : device_name(o.device).value_or(o.device);
        check_removed(directory, only, all);
    }
    if (o.device.empty()) {
        check_devices(directory, all);
    } else {
        check_device(o.device, directory, all);
    }
    std::uint32_t counts[3] = {};
    table t{.columns = {{"result"}, {"check"}, {"found"}, {"cure"}}};
    std::string text;
    for (const finding& f : all) {
        ++counts[static_cast<std::size_t>(f.result)];
        t.rows.push_back({name(f.result), f.check, f.found, f.cure.empty() ? value() : value(f.cure)});
        std::array<char, 32> head{};
        std::snprintf(head.data(), head.size(), "%-4s  %-14s  ", name(f.result), f.check.c_str());
        text += head.data() + f.found + (f.cure.empty() ? "" : "; " + f.cure) + "\n";
    }
    const bool failed = counts[2] != 0;
    if (o.json) {
        return {to_json({{"schema", json_schema},
                         {"directory", directory},
                         {"ok", counts[0]},
                         {"warnings", counts[1]},
                         {"failures", counts[2]},
                         {"checks", to_list(t)}}) +
                    "\n",
                failed};
    }
    text.append("\n").append(std::to_string(counts[0])).append(" ok, ").append(std::to_string(counts[1]));
    text.append(" warn, ").append(std::to_string(counts[2])).append(" fail\n");
    return {text, failed};
}

}  // namespace vinic::cli

// SPDX-License-Identifier: Apache-2.0
//
// bench_report.cc -- the only file of the benchmarks that includes fmt and nlohmann/json.
#include "cli/bench_report.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "cli/bench_failure.hpp"

namespace vinic::cli::bench {
namespace {

// Ordered, so that a reader finds columns as the table has them.
using json = nlohmann::ordered_json;

std::string text_of(const value& content, int decimals) {
    if (const auto* whole = std::get_if<std::int64_t>(&content)) {
        return fmt::format("{}", *whole);
    }
    if (const auto* number = std::get_if<double>(&content)) {
        return std::isfinite(*number) ? fmt::format("{:.{}f}", *number, decimals) : "-";
    }
    if (const auto* text = std::get_if<std::string>(&content)) {
        return *text;
    }
    return "-";
}

json json_of(const value& content) {
    if (const auto* whole = std::get_if<std::int64_t>(&content)) {
        return *whole;
    }
    if (const auto* number = std::get_if<double>(&content)) {
        return std::isfinite(*number) ? json(*number) : json(nullptr);
    }
    if (const auto* text = std::get_if<std::string>(&content)) {
        return *text;
    }
    return nullptr;
}

std::string cell(const std::string& text, int width, bool left) {
    return left ? fmt::format(" {:<{}}", text, width) : fmt::format(" {:>{}}", text, width);
}

}  // namespace

struct reporter::state {
    std::string command;
    bool as_json = false;
    table current;
    json document;
};

namespace {

/// Ends the run when nobody can read what it prints.
void write_out() {
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        throw failure(std::string("writing the output: ") + std::strerror(errno));
    }
}

}  // namespace

reporter::reporter(std::string command, bool json_wanted) : state_(std::make_unique<state>()) {
    state_->as_json = json_wanted;
    state_->document = {{"schema", 1}, {"command", command}};
    state_->command = std::move(command);
}

reporter::~reporter() = default;

void reporter::environment(const std::vector<field>& fields) {
    json& block = state_->document["environment"];
    for (const auto& [key, content] : fields) {
        block[key] = json_of(content);
        if (!state_->as_json) {
            fmt::print(" {:<18} {}\n", key, text_of(content, 3));
        }
    }
}

void reporter::begin(table description) {
    state_->current = std::move(description);
    state_->document[state_->current.key] = json::array();
    if (state_->as_json) {
        return;
    }
    fmt::print("\n{}\n", state_->current.title);
    std::string line;
    for (const auto& each : state_->current.columns) {
        if (!each.heading.empty()) {
            line += cell(each.heading, each.width, each.words);
        }
    }
    fmt::print("{}\n", line);
    write_out();
}

void reporter::add(const std::vector<value>& row) {
    const auto& columns = state_->current.columns;
    if (row.size() != columns.size()) {
        throw std::logic_error("a row of table " + state_->current.key + " has the wrong number of values");
    }
    json object = json::object();
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
        object[columns[i].key] = json_of(row[i]);
        if (!columns[i].heading.empty()) {
            line += cell(text_of(row[i], columns[i].decimals), columns[i].width, columns[i].words);
        }
    }
    state_->document[state_->current.key].push_back(std::move(object));
    if (!state_->as_json) {
        fmt::print("{}\n", line);
        write_out();
    }
}

void reporter::note(const std::string& sentence) {
    state_->document["notes"].push_back(sentence);
    if (!state_->as_json) {
        fmt::print(" {}\n", sentence);
    }
}

void reporter::finish() {
    if (state_->as_json) {
        fmt::print("{}\n", state_->document.dump(2));
    }
    write_out();
}

}  // namespace vinic::cli::bench

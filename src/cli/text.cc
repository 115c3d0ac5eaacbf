// SPDX-License-Identifier: Apache-2.0
//
// text.cc -- values as text.
#include <algorithm>
#include <array>
#include <cstdio>

#include "cli/value.hpp"

namespace vinic::cli {

namespace {

constexpr std::size_t detail_columns_max = 100;

std::string joined(const list& l) {
    std::string text;
    for (const value& each : l) {
        text += text.empty() ? "" : ",";
        text += to_text(each);
    }
    return text.empty() ? "-" : text;
}

/// Characters on the screen, one for each that begins: enough for what is printed here.
std::size_t width_of(std::string_view s) {
    return static_cast<std::size_t>(
        std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

bool is_number(const value& v) {
    return std::holds_alternative<std::uint64_t>(v.is) || std::holds_alternative<double>(v.is);
}

void put_cell(std::string& line, const std::string& text, std::size_t width, bool right) {
    const std::string space(width - std::min(width, width_of(text)), ' ');
    line += line.empty() ? "" : "  ";
    line += right ? space + text : text + space;
}

void end_line(std::string& out, std::string& line) {
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
    line.clear();
}

void put_details(std::string& out, const table& t, const std::vector<value>& row) {
    std::string line;
    for (std::size_t c = 0; c < t.columns.size(); ++c) {
        if (!t.columns[c].heading.empty()) {
            continue;
        }
        const std::string word = t.columns[c].key + " " + to_text(row[c], t.columns[c].form);
        if (!line.empty() && line.size() + 2 + word.size() > detail_columns_max) {
            end_line(out, line);
        }
        line += (line.empty() ? "    " : "  ") + word;
    }
    if (!line.empty()) {
        end_line(out, line);
    }
}

}  // namespace

value::value() noexcept = default;
value::value(const value&) = default;
value::value(value&&) noexcept = default;
value& value::operator=(const value&) = default;
value& value::operator=(value&&) noexcept = default;
value::~value() = default;

std::string hex_digits(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        text += digits[static_cast<unsigned char>(c) >> 4];
        text += digits[static_cast<unsigned char>(c) & 15];
    }
    return text;
}

std::string to_text(const value& v, column_form form) {
    std::array<char, 40> buffer{};
    if (const auto* number = std::get_if<std::uint64_t>(&v.is)) {
        std::snprintf(buffer.data(), buffer.size(), form == column_form::hex ? "0x%llx" : "%llu",
                      static_cast<unsigned long long>(*number));
        return buffer.data();
    }
    if (const auto* number = std::get_if<double>(&v.is)) {
        std::snprintf(buffer.data(), buffer.size(), "%.1f", *number);
        return buffer.data();
    }
    if (const auto* yes = std::get_if<bool>(&v.is)) {
        return *yes ? "yes" : "no";
    }
    if (const auto* text = std::get_if<std::string>(&v.is)) {
        return text->empty() ? "-" : *text;
    }
    if (const auto* items = std::get_if<list>(&v.is)) {
        return joined(*items);
    }
    return "-";
}

std::string to_text(const table& t, bool details) {
    std::vector<std::size_t> widths;
    std::vector<bool> right;
    for (std::size_t c = 0; c < t.columns.size(); ++c) {
        std::size_t width = width_of(t.columns[c].heading);
        for (const auto& row : t.rows) {
            width = std::max(width, width_of(to_text(row[c], t.columns[c].form)));
        }
        widths.push_back(width);
        right.push_back(t.columns[c].form == column_form::plain &&
                        std::any_of(t.rows.begin(), t.rows.end(), [&](const auto& row) { return is_number(row[c]); }));
    }
    std::string out;
    std::string line;
    for (std::size_t c = 0; c < t.columns.size(); ++c) {
        if (!t.columns[c].heading.empty()) {
            put_cell(line, t.columns[c].heading, widths[c], right[c]);
        }
    }
    end_line(out, line);
    for (const auto& row : t.rows) {
        for (std::size_t c = 0; c < t.columns.size(); ++c) {
            if (!t.columns[c].heading.empty()) {
                put_cell(line, to_text(row[c], t.columns[c].form), widths[c], right[c]);
            }
        }
        end_line(out, line);
        if (details) {
            put_details(out, t, row);
        }
    }
    return out;
}

list to_list(const table& t) {
    list all;
    for (const auto& row : t.rows) {
        object o;
        for (std::size_t c = 0; c < t.columns.size(); ++c) {
            o.emplace_back(t.columns[c].key, row[c]);
        }
        all.emplace_back(std::move(o));
    }
    return all;
}

}  // namespace vinic::cli

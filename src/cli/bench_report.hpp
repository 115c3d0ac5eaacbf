// SPDX-License-Identifier: Apache-2.0
//
// bench_report.hpp -- one way to say results: as text while they come, or as one JSON document.
//
//     {"schema": 1, "command": "bench lat", "environment": {...}, "results": [{...}, ...], "notes": [...]}
//
// A table's rows go to the JSON array of the table's key; a column's key carries its unit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace vinic::cli::bench {

/// monostate: nothing to say here ("-" in text, null in JSON).
using value = std::variant<std::monostate, std::int64_t, double, std::string>;

struct field {
    std::string key;
    value content;
};

struct column {
    std::string key;      ///< in JSON, snake_case with the unit last
    std::string heading;  ///< in text; empty: JSON only
    int width = 10;
    int decimals = 2;
    bool words = false;  ///< to the left instead of to the right
};

struct table {
    std::string key;    ///< in JSON
    std::string title;  ///< in text, above the headings
    std::vector<column> columns;
};

class reporter {
public:
    /// Text goes to standard output at once; JSON is written by finish().
    reporter(std::string command, bool json);
    reporter(const reporter&) = delete;
    reporter& operator=(const reporter&) = delete;
    ~reporter();

    void environment(const std::vector<field>& fields);
    void begin(table description);
    /// One value per column of the table begun last.
    void add(const std::vector<value>& row);
    void note(const std::string& sentence);
    void finish();

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace vinic::cli::bench

// SPDX-License-Identifier: Apache-2.0
//
// units.cc -- tables of units, parsing, and the shortest exact way to write a number.
#include "vinicd/units.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <vector>

namespace vinic::vinicd {

namespace {

struct unit {
    std::string_view name;
    std::uint64_t factor;
    std::uint64_t divisor = 1;  ///< a bit is an eighth of a byte
};

constexpr std::uint64_t thousand = 1000;
constexpr std::uint64_t million = thousand * thousand;
constexpr std::uint64_t milliard = million * thousand;
constexpr std::uint64_t billion = milliard * thousand;

// The greatest first, so that the first one that divides a value gives the shortest text.
constexpr std::array size_units = {
    unit{"TiB", 1ULL << 40}, unit{"GiB", 1ULL << 30},
    unit{"MiB", 1ULL << 20}, unit{"KiB", 1ULL << 10},
    unit{"TB", billion},     unit{"GB", milliard},
    unit{"MB", million},     unit{"kB", thousand},
    unit{"KB", thousand},    unit{"B", 1},
};
constexpr std::array rate_units = {
    unit{"TiB/s", 1ULL << 40},   unit{"GiB/s", 1ULL << 30},
    unit{"MiB/s", 1ULL << 20},   unit{"KiB/s", 1ULL << 10},
    unit{"TB/s", billion},       unit{"GB/s", milliard},
    unit{"MB/s", million},       unit{"kB/s", thousand},
    unit{"KB/s", thousand},      unit{"B/s", 1},
    unit{"Gbit/s", milliard, 8}, unit{"Mbit/s", million, 8},
    unit{"kbit/s", thousand, 8},
};
constexpr std::array time_units = {unit{"s", milliard}, unit{"ms", million}, unit{"us", thousand}, unit{"ns", 1}};

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The digits at the front, taken away; nothing if there are none or too many.
std::optional<std::uint64_t> take_digits(std::string_view& text) {
    if (text.empty() || !is_digit(text.front())) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    while (!text.empty() && is_digit(text.front())) {
        const auto digit = static_cast<std::uint64_t>(text.front() - '0');
        if (value > (most - digit) / 10) {
            return std::nullopt;
        }
        value = value * 10 + digit;
        text.remove_prefix(1);
    }
    return value;
}

/// whole.fraction x unit, exactly or not at all: "1.5KiB" is 1536, "1.0001B" is nothing.
std::optional<std::uint64_t> scaled(std::uint64_t whole, std::string_view fraction, const unit& u) {
    __extension__ using wide = unsigned __int128;  // 64 bits, six digits of fraction and 40 bits of unit
    wide scale = 1;
    wide digits = whole;
    for (const char c : fraction) {
        scale *= 10;
        digits = digits * 10 + static_cast<unsigned>(c - '0');
    }
    const wide value = digits * u.factor;
    const wide divisor = scale * u.divisor;
    if (value % divisor != 0 || value / divisor > most) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(value / divisor);
}

template <class Units>
understood<std::uint64_t> parse(std::string_view typed, const Units& units, std::uint64_t alone, const char* kind,
                                const char* examples) {
    const auto refuse = [&] {
        return std::unexpected("'" + std::string(typed) + "' is no " + kind + ": write " + examples);
    };
    std::string_view text = typed;
    const auto whole = take_digits(text);
    if (!whole) {
        return refuse();
    }
    std::string_view fraction;
    if (text.starts_with('.')) {
        text.remove_prefix(1);
        const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
        fraction = text.substr(0, static_cast<std::size_t>(end - text.begin()));
        text.remove_prefix(fraction.size());
        if (fraction.empty() || fraction.size() > 6) {
            return refuse();
        }
    }
    if (text.starts_with(' ')) {
        text.remove_prefix(1);
    }
    unit in{"", alone};
    if (!text.empty()) {
        const auto found = std::find_if(units.begin(), units.end(), [&](const unit& u) { return u.name == text; });
        if (found == units.end()) {
            return refuse();
        }
        in = *found;
    }
    const auto value = scaled(*whole, fraction, in);
    return value ? understood<std::uint64_t>(*value) : refuse();
}

template <class Units>
std::string shortest(std::uint64_t value, const Units& units, const char* zero) {
    if (value == 0) {
        return zero;
    }
    std::string best;
    for (const unit& u : units) {
        if (u.divisor == 1 && value % u.factor == 0) {
            std::string text = std::to_string(value / u.factor) + std::string(u.name);
            if (best.empty() || text.size() < best.size()) {
                best = std::move(text);
            }
        }
    }
    return best;
}

}  // namespace

understood<std::uint64_t> parse_number(std::string_view text) {
    std::string_view rest = text;
    const auto value = take_digits(rest);
    if (!value || !rest.empty()) {
        return std::unexpected("'" + std::string(text) + "' is no number: write digits only, such as 8");
    }
    return *value;
}

understood<std::uint64_t> parse_size(std::string_view text) {
    return parse(text, size_units, 1, "size", "bytes, or a number with a unit, such as 64KiB, 512MiB or 4GiB");
}

understood<std::uint64_t> parse_rate(std::string_view text) {
    if (text == "none") {
        return 0;
    }
    return parse(text, rate_units, 1, "rate", "a number with a unit, such as 500MB/s, 2GB/s or 10Gbit/s, or none");
}

understood<std::uint64_t> parse_time(std::string_view text) {
    return parse(text, time_units, thousand, "time", "microseconds, or a number with a unit, such as 50us, 1ms or 5s");
}

std::string size_text(std::uint64_t bytes) { return shortest(bytes, size_units, "0"); }
std::string rate_text(std::uint64_t rate) { return shortest(rate, rate_units, "none"); }
std::string time_text(std::uint64_t ns) { return shortest(ns, time_units, "0"); }

std::size_t letters_apart(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

}  // namespace vinic::vinicd

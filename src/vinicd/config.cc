// SPDX-License-Identifier: Apache-2.0
//
// config.cc -- the configuration file.  The only file that includes toml++.
#include "vinicd/config.hpp"

#include <toml++/toml.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

namespace vinic::vinicd {

namespace {

constexpr std::size_t file_bytes_max = 1 << 20;

class reader {
public:
    reader(std::string name, options& o) : name_(std::move(name)), options_(o) {}

    void read(const toml::table& top) {
        for (const auto& [key, node] : top) {
            if (key.str() == "function") {
                read_functions(node);
            } else {
                put(settings(), options_, key, node, "at the top of the file", true);
            }
        }
    }
    void complain(const toml::source_region& where, const std::string& what) {
        problems_.emplace(where.begin.line, name_ + ":" + std::to_string(where.begin.line) + ": " + what);
    }
    /// From the first line to the last; a table knows no order.
    [[nodiscard]] std::vector<std::string> problems() const {
        std::vector<std::string> all;
        for (const auto& [line, what] : problems_) {
            all.push_back(what);
        }
        return all;
    }

private:
    template <class Table, class Target>
    void put(const Table& table, Target& target, const toml::key& key, const toml::node& node, const std::string& where,
             bool top) {
        std::vector<std::string> known;
        for (const auto& each : table) {
            if (key.str() == each.key) {
                put_value(each, target, key, node);
                return;
            }
            known.emplace_back(each.key);
        }
        std::string what = "unknown key '" + std::string(key.str()) + "' " + where;
        if (const std::string meant = nearest(key.str(), known); !meant.empty()) {
            what += ": did you mean '" + meant + "'?";
        } else {
            std::string all;
            for (const std::string& each : known) {
                all += (all.empty() ? "" : ", ") + each;
            }
            what += ": known are " + all + (top ? ", and tables [function.vf0] and so on" : "");
        }
        complain(key.source(), what);
    }

    template <class Setting, class Target>
    void put_value(const Setting& s, Target& target, const toml::key& key, const toml::node& node) {
        const std::string start = std::string(key.str()) + ": ";
        const bool number = std::string_view(s.argument) == "N";
        const bool list = std::string_view(s.argument).starts_with('[');
        std::optional<written> value;
        if (const auto* text = node.as_string(); text != nullptr && !number) {
            value = text->get();
        } else if (const auto* digits = node.as_integer()) {
            value = digits->get();
        } else if (const auto* truth = node.as_boolean(); truth != nullptr && !number) {
            value = truth->get();
        } else if (const auto* items = node.as_array(); items != nullptr && list) {
            value = words_of(*items);
        }
        if (node.is_table()) {
            complain(key.source(), start + "is one value and no table; those of functions are called [function.vf0]");
            return;
        }
        if (!value) {
            std::ostringstream kind;
            kind << node.type();
            complain(
                node.source(),
                start + "a value of type " + kind.str() + " does not do: write " +
                    (number ? "a whole number without quotes, such as " + std::string(key.str()) + " = 8"
                     : list ? "a list of words in quotes, such as " + std::string(key.str()) + " = [\"bank/\"]"
                            : "one value in quotes, such as " + std::string(key.str()) + " = \"" + s.argument + "\""));
            return;
        }
        if (const auto done = s.put(target, *value); !done) {
            complain(node.source(), start + done.error());
        }
        if constexpr (std::is_same_v<Target, options>) {
            target.given[s.key] = as_text(*value);
        }
    }

    /// Nothing: one of them is not a word.
    static std::optional<written> words_of(const toml::array& items) {
        std::vector<std::string> words;
        for (const toml::node& each : items) {
            const auto* word = each.as_string();
            if (word == nullptr) {
                return std::nullopt;
            }
            words.push_back(word->get());
        }
        return words;
    }

    void read_functions(const toml::node& node) {
        const auto* all = node.as_table();
        if (all == nullptr) {
            complain(node.source(), "function is a table: write [function.vf0] or [function.default] on a line");
            return;
        }
        for (const auto& [key, each] : *all) {
            const std::string function(key.str());
            const auto number = controller::function_number(function);
            if (!number && function != "default") {
                complain(key.source(), "[function." + function +
                                           "] names no function: write [function.vf0], [function.vf1] and so on, "
                                           "[function.pf] or [function.default]");
                continue;
            }
            const auto* table = each.as_table();
            if (table == nullptr) {
                complain(each.source(), "function." + function + " is a table: write [function." + function +
                                            "] on a line of its own and its keys below");
                continue;
            }
            if (number) {
                options_.places[*number] = name_ + ":" + std::to_string(key.source().begin.line) + ": ";
            }
            function_choice& target = number ? options_.functions[*number] : options_.every_function;
            for (const auto& [setting_key, value] : *table) {
                put(function_settings(), target, setting_key, value, "in [function." + function + "]", false);
            }
        }
    }

    std::string name_;
    options& options_;
    std::multimap<std::uint32_t, std::string> problems_;
};

}  // namespace

std::vector<std::string> read_config(std::string_view text, const std::string& name, options& o) {
    reader r(name, o);
    try {
        r.read(toml::parse(text, name));
    } catch (const toml::parse_error& why) {
        std::string what(why.description());
        if (what.find("leading zeroes") != std::string::npos) {
            what += ": write a mode in quotes, such as mode = \"0660\"";
        } else if (what.find("redefine") != std::string::npos) {
            what += ": write each key once";
        } else {
            what += ": write key = value, and a value that is no mere number in quotes, such as \"64KiB\" or \"vf1\"";
        }
        r.complain(why.source(), what);
    }
    return r.problems();
}

std::vector<std::string> read_config(const std::string& path, options& o) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string text;
    if (file) {
        // One byte more than is allowed shows that there is more; /dev/zero has an end here, too.
        text.resize(file_bytes_max + 1);
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<std::size_t>(file.gcount()));
    }
    if (!file && !file.eof()) {
        return {path + ": cannot be read: " + std::strerror(errno)};
    }
    if (text.size() > file_bytes_max) {
        return {path + ": has more than 1 MiB, which is no configuration"};
    }
    return read_config(text, path, o);
}

}  // namespace vinic::vinicd

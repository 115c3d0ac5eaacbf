// SPDX-License-Identifier: Apache-2.0
//
// administration_change.cc -- requests that change a function: set, configure, reset, add, remove.
#include <unistd.h>

#include <algorithm>

#include "controller/configuration_registers.hpp"
#include "vinicd/administration_parts.hpp"

namespace vinic::vinicd {

namespace {

/// The keys of the file have dashes, JSON's have underscores.
std::string setting_key(std::string key) {
    std::ranges::replace(key, '_', '-');
    return key;
}

std::optional<written> written_of(const json& value) {
    if (value.is_string()) {
        return value.get<std::string>();
    }
    if (value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX)) {
        return value.get<std::int64_t>();
    }
    if (value.is_boolean()) {
        return value.get<bool>();
    }
    return std::nullopt;
}

struct register_write {
    std::uint32_t offset = 0;
    std::uint32_t width = 0;
    std::uint32_t value = 0;
};

/// Nothing: it is none that the bus could carry.
std::optional<register_write> write_of(const json& asked) {
    register_write w;
    if (!asked.is_object() || asked.size() != 3) {
        return std::nullopt;
    }
    for (const auto& [key, to] :
         {std::pair{"offset", &w.offset}, std::pair{"width", &w.width}, std::pair{"value", &w.value}}) {
        const auto found = asked.find(key);
        if (found == asked.end() || !found->is_number_unsigned() || found->get<std::uint64_t>() > UINT32_MAX) {
            return std::nullopt;
        }
        *to = found->get<std::uint32_t>();
    }
    const bool is_width = w.width == 1 || w.width == 2 || w.width == 4;
    const bool fits = is_width && w.offset % w.width == 0 && w.offset <= controller::pci::space_bytes - w.width &&
                      (w.width == 4 || w.value >> 8 * w.width == 0);
    return fits ? std::optional(w) : std::nullopt;
}

std::string only_administrators(const char* do_what) {
    return "only root and " + user_name(::geteuid()) + ", who runs this vinicd, may " + do_what;
}

}  // namespace

administration::reply administration::change(const peer& who, const request& r, std::uint32_t number) {
    return r.command == "set"         ? set(who, r, number)
           : r.command == "reset"     ? reset(who, number)
           : r.command == "configure" ? configure(who, r, number)
           : r.command == "add"       ? add(who, number)
                                      : remove(who, number);
}

administration::reply administration::set(const peer& who, const request& r, std::uint32_t number) {
    if (!access::may_administer(who)) {
        return {failure(errc::permission_denied, only_administrators("set what a function gets"))};
    }
    options wanted = options_;
    wanted.places.clear();  // what is wrong now does not stand in the file
    function_choice& choice = wanted.functions[number];
    bool anything = false;
    for (const auto& [key, value] : r.document.items()) {
        if (key == "command" || key == "function") {
            continue;
        }
        const auto table = function_settings();
        const auto found = std::ranges::find_if(
            table, [&, word = setting_key(key)](const function_setting& s) { return word == s.key; });
        if (found == table.end() || key == "present") {
            return {failure(errc::invalid_argument,
                            "'" + key +
                                "' is no setting of a function: guarantee, cap, weight, priority, reserved_queues, "
                                "owner, group and enabled are")};
        }
        const auto word = written_of(value);
        const auto put = word ? found->put(choice, *word)
                              : understood<void>(std::unexpect, "a number, a word or a truth value is wanted");
        if (!put) {
            return {failure(errc::invalid_argument, key + ": " + put.error())};
        }
        anything = true;
    }
    if (!anything) {
        return {failure(errc::invalid_argument, "nothing to set: give a guarantee, cap, weight, priority, ...")};
    }
    if (const auto wrong = contradictions(wanted); !wrong.empty()) {
        return {failure(errc::invalid_argument, wrong.front())};
    }
    if (const auto done = device_.set_service(number, service_of(wanted, number)); !done) {
        return {failure(done.error().code, done.error().message())};
    }
    options_ = std::move(wanted);
    return function(number);
}

/// As a driver of the function would; nothing is written if one of the writes is wrong.
administration::reply administration::configure(const peer& who, const request& r, std::uint32_t number) {
    if (!access_.may_reset(number, who)) {
        return {failure(errc::permission_denied, "only root, " + user_name(::geteuid()) + " and the function's owner " +
                                                     user_name(access_.owner(number)) +
                                                     " may write to its configuration space")};
    }
    std::vector<register_write> writes;
    for (const auto& [key, value] : r.document.items()) {
        if (key == "command" || key == "function") {
            continue;
        }
        if (key != "writes" || !value.is_array()) {
            return {failure(errc::invalid_argument, "'" + key + "' means nothing to the command configure")};
        }
        for (const json& each : value) {
            const auto understood = write_of(each);
            if (!understood) {
                return {failure(errc::invalid_argument,
                                "a write has an offset below 4096, a width of 1, 2 or 4 bytes that divides it, and a "
                                "value of that width")};
            }
            writes.push_back(*understood);
        }
    }
    if (writes.empty()) {
        return {failure(errc::invalid_argument, "\"writes\" are missing, such as [{\"offset\": 4, ...}]")};
    }
    for (const register_write& w : writes) {
        if (const auto done = device_.configure(number, w.offset, w.width, w.value); !done) {
            return {failure(done.error().code, done.error().doing)};
        }
    }
    return configuration(number);
}

administration::reply administration::reset(const peer& who, std::uint32_t number) {
    if (!access_.may_reset(number, who)) {
        return {failure(errc::permission_denied, "only root, " + user_name(::geteuid()) + " and the function's owner " +
                                                     user_name(access_.owner(number)) + " may reset it")};
    }
    if (const auto done = device_.reset(number); !done) {
        return {failure(done.error().code, done.error().message())};
    }
    return function(number);
}

/// Settings are those of the file: what was set before it was removed went with it.
administration::reply administration::add(const peer& who, std::uint32_t number) {
    if (!access::may_administer(who)) {
        return {failure(errc::permission_denied, only_administrators("add functions"))};
    }
    options wanted = options_;
    wanted.places.clear();
    wanted.functions.erase(number);
    if (const auto file = options_.configured.find(number); file != options_.configured.end()) {
        wanted.functions.insert(*file);
    }
    wanted.functions[number].present = true;
    if (const auto wrong = contradictions(wanted); !wrong.empty()) {
        return {failure(errc::invalid_argument, wrong.front())};
    }
    if (const auto done = device_.add(number, service_of(wanted, number)); !done) {
        return {failure(done.error().code, done.error().doing)};
    }
    options_ = std::move(wanted);
    return function(number);
}

administration::reply administration::remove(const peer& who, std::uint32_t number) {
    if (!access::may_administer(who)) {
        return {failure(errc::permission_denied, only_administrators("remove functions"))};
    }
    if (const auto done = device_.remove(number); !done) {
        return {failure(done.error().code, done.error().doing)};
    }
    options_.functions[number].present = false;
    return {{{"schema", schema}, {"name", controller::function_name(number)}, {"removed", true}}};
}

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// administration_change.cc -- requests that change a function: set, configure, reset, add, remove.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "controller/configuration_registers.hpp"
#include "vinicd/administration_parts.hpp"
#include "vinicd/changes.hpp"
#include "vinicd/machine_memory.hpp"

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

// Each waits until the leases of its moment have ended; a request is one turn of the thread that serves everybody.
constexpr std::size_t writes_max = 16;

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

/// Whether it asks for a function-level reset, which takes long.
bool resets(const register_write& w) {
    constexpr std::uint32_t at = controller::pci::express + controller::pci::express_device_control;
    return w.offset / 4 == at / 4 &&
           (std::uint64_t{w.value} << 8 * (w.offset - at) & controller::pci::express_reset) != 0;
}

/// What is set, as an event and the log have it: "weight = 9, cap = 4GB/s".
void append(std::string& all, std::string_view key, const std::string& value) {
    all += (all.empty() ? "" : ", ") + std::string(key) + " = " + value;
}

std::string hex(std::uint32_t value) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "0x%x", value);
    return text.data();
}

}  // namespace

/// Every change passes here, so that none is without a line that says who made it.  An administrator's are never left
/// out; an owner can make any number of them, of the function that is the owner's.
void administration::record(const peer& who, std::uint32_t number, const std::string& what) {
    const std::string line = "function " + controller::function_name(number) + ": " + what;
    if (access::may_administer(who)) {
        log_.info(line);
    } else {
        log_.caused(log_level::info, ("changes of " + controller::function_name(number)).c_str(), line);
    }
}

std::string administration::only_administrators(const char* do_what) const {
    return "only root and " + names_.user(::geteuid()) + ", who runs this vinicd, may " + do_what;
}

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
    std::string what;
    for (const auto& [key, value] : r.document.items()) {
        if (key == "command" || key == "function") {
            continue;
        }
        const auto table = function_settings();
        const auto found = std::ranges::find_if(
            table, [&, word = setting_key(key)](const function_setting& s) { return word == s.key; });
        if (found == table.end() || key == "present" || key == "names") {
            return {failure(errc::invalid_argument,
                            "'" + key +
                                "' is no setting of a function: guarantee, cap, weight, priority, reserved_queues, "
                                "memory, owner, group and enabled are")};
        }
        const auto word = written_of(value);
        const auto put = word ? found->put(choice, *word)
                              : understood<void>(std::unexpect, "a number, a word or a truth value is wanted");
        if (!put) {
            return {failure(errc::invalid_argument, key + ": " + put.error())};
        }
        append(what, found->key, as_text(*word));
    }
    if (what.empty()) {
        return {failure(errc::invalid_argument, "nothing to set: give a guarantee, cap, weight, priority, ...")};
    }
    if (const auto wrong = contradictions(wanted); !wrong.empty()) {
        return {failure(errc::invalid_argument, wrong.front())};
    }
    const auto now = device_.status(number);
    if (!now) {
        return {failure(now.error().code, now.error().message())};
    }
    const bool is_news = !changes_of(*now, options_, wanted).empty();
    const std::string by = what + ", asked by " + actor_text(who.who.process, who.who.user);
    if (is_news) {
        if (const auto done = device_.set(number, entitlement_of(wanted, number), memory_of(wanted, number), by);
            !done) {
            return {failure(done.error().code, done.error().message())};
        }
        record(who, number, by);
    }
    options_ = std::move(wanted);  // it may say now what was so before
    changed_();
    return function(number);
}

/// As a driver of the function would; nothing is written if one of the writes is wrong.
administration::reply administration::configure(const peer& who, const request& r, std::uint32_t number) {
    if (!access_.may_configure(number, who)) {
        return {failure(errc::permission_denied,
                        number == 0
                            ? only_administrators("write to the PF's configuration space, which acts on all VFs")
                            : "only root, " + names_.user(::geteuid()) + " and the function's owner " +
                                  names_.user(access_.owner(number)) + " may write to its configuration space")};
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
    if (writes.size() > writes_max) {
        return {failure(errc::limit_reached, "a request writes at most " + std::to_string(writes_max) +
                                                 " registers: send several requests")};
    }
    if (std::ranges::any_of(writes.begin(), writes.end() - 1, resets)) {
        return {failure(errc::invalid_argument, "a function-level reset is the last write of its request")};
    }
    for (const register_write& w : writes) {
        std::string by;
        append(by, hex(w.offset) + (w.width == 1 ? ".b" : w.width == 2 ? ".w" : ".l"), hex(w.value));
        by += ", asked by " + actor_text(who.who.process, who.who.user);
        if (const auto done = device_.configure(number, w.offset, w.width, w.value, by); !done) {
            return {failure(done.error().code, done.error().doing)};
        }
        record(who, number, by);
    }
    return configuration(number);
}

administration::reply administration::reset(const peer& who, std::uint32_t number) {
    if (!access_.may_reset(number, who)) {
        return {failure(errc::permission_denied, "only root, " + names_.user(::geteuid()) +
                                                     " and the function's owner " + names_.user(access_.owner(number)) +
                                                     " may reset it")};
    }
    const std::string by = "asked by " + actor_text(who.who.process, who.who.user);
    if (const auto done = device_.reset(number, by); !done) {
        return {failure(done.error().code, done.error().message())};
    }
    record(who, number, "reset, " + by);
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
    const std::string by = "asked by " + actor_text(who.who.process, who.who.user);
    if (const auto done = add_as_said(device_, number, wanted, by); !done) {
        return {failure(done.error().code, done.error().doing)};
    }
    options_ = std::move(wanted);
    changed_();
    record(who, number, "added, " + by);
    return function(number);
}

administration::reply administration::remove(const peer& who, std::uint32_t number) {
    if (!access::may_administer(who)) {
        return {failure(errc::permission_denied, only_administrators("remove functions"))};
    }
    const std::string by = "asked by " + actor_text(who.who.process, who.who.user);
    if (const auto done = device_.remove(number, by); !done) {
        return {failure(done.error().code, done.error().doing)};
    }
    record(who, number, "removed, " + by);
    options_.functions[number].present = false;
    return {{{"schema", schema}, {"name", controller::function_name(number)}, {"removed", true}}};
}

}  // namespace vinic::vinicd

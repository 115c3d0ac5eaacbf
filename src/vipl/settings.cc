// SPDX-License-Identifier: Apache-2.0
//
// settings.cc -- reads the variables, and turns a name into the address of a device.
#include "vipl/settings.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "vipl/names.hpp"

namespace vipl {

namespace {

constexpr std::size_t device_bytes_max = 63;

bool is_plain(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

std::string_view last_component(std::string_view path) noexcept { return path.substr(path.find_last_of("/\\") + 1); }

/// A name that has to be changed to be one of a device gets a mark of its own, so that two of them do not become one.
std::string device_named(std::string_view last) {
    std::string name;
    bool changed = last.size() > device_bytes_max || last == "." || last == "..";
    for (const char c : last.substr(0, device_bytes_max)) {
        changed = changed || !is_plain(c);
        name += is_plain(c) ? c : '_';
    }
    if (changed) {
        name.resize(std::min<std::size_t>(name.size(), device_bytes_max - 9));
        const host_address mark = host_of_device(last);
        char text[10];
        std::snprintf(text, sizeof text, "-%02x%02x%02x%02x", mark[1], mark[2], mark[3], mark[4]);
        name += text;
    }
    return name;
}

/// A device as a setting or a program writes it.
std::string device_written(std::string_view text) {
    return std::string(text.starts_with(shared_scheme) ? text.substr(shared_scheme.size()) : text);
}

/// Whether the name could be the second or a later one of a program that counts.
bool is_counted_on(std::string_view name) noexcept {
    const std::size_t digits = name.find_last_not_of("0123456789") + 1;  // npos + 1: all of it
    return name.substr(digits).find_first_not_of('0') != std::string_view::npos;
}

/// One entry of the list.
struct entry {
    std::string_view name;
    std::string_view device;
};

entry next_entry(std::string_view& list) noexcept {
    const std::string_view item = trimmed(list.substr(0, std::min(list.find(';'), list.size())));
    list.remove_prefix(std::min(list.find(';'), list.size() - 1) + 1);
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos) {
        return {last_component(item), {}};
    }
    return {last_component(trimmed(item.substr(0, equals))), trimmed(item.substr(equals + 1))};
}

/// The device that the list gives a name, perhaps none.  Nothing: there is no such name.
std::optional<std::string_view> listed(std::string_view list, std::string_view name) noexcept {
    bool any = false;
    while (!list.empty()) {
        const entry e = next_entry(list);
        if (!e.name.empty() && e.name == name) {
            return e.device;
        }
        any = any || e.name == "*";
    }
    return any ? std::optional(std::string_view()) : std::nullopt;
}

named_device absent(std::string_view name, const char* list) {
    std::string why;
    if (!all().opened.load()) {  // otherwise it may be the end of a count, which needs no words
        why =
            "there is no NIC '" + std::string(name) + "': " +
            (list != nullptr
                 ? "VINIC_VIPL_NICS has '" + std::string(list) + "'"
                 : "one whose name ends in a number other than 0 is there when VINIC_VIPL_NICS has it (NAME;NAME;...)");
    }
    return {VIP_INVALID_PARAMETER, {}, std::move(why)};
}

}  // namespace

const char* environment(const char* name) noexcept {
    const char* value = ::secure_getenv(name);
    return value == nullptr || *value == '\0' ? nullptr : value;
}

bool is_set(const char* name) noexcept {
    const char* value = environment(name);
    return value != nullptr && std::strcmp(value, "0") != 0;
}

named_device device_of(std::string_view program_says) {
    const char* const chosen = environment("VINIC_VIPL_DEVICE");
    if (program_says.starts_with(isolated_scheme) || program_says.starts_with(shared_scheme)) {
        return {VIP_SUCCESS, device_written(chosen != nullptr ? chosen : program_says), {}};
    }
    const std::string_view name = last_component(program_says);
    if (name.empty()) {
        return {VIP_INVALID_PARAMETER, {}, {}};
    }
    const char* const list = environment("VINIC_VIPL_NICS");
    std::string_view device;
    if (list != nullptr) {
        const auto found = listed(list, name);
        if (!found) {
            return absent(name, list);
        }
        device = *found;
    } else if (is_counted_on(name)) {
        return absent(name, nullptr);
    }
    if (device.empty() && chosen != nullptr) {
        device = chosen;
    }
    return {VIP_SUCCESS, device.empty() ? device_named(name) : device_written(device), {}};
}

bool read_grace(std::chrono::milliseconds& grace, std::string& why) {
    constexpr std::uint32_t most = 1'000'000'000;
    grace = {};
    const char* const said = environment("VINIC_VIPL_CONNECT_GRACE");
    if (said == nullptr) {
        return true;
    }
    const std::string_view text(said);
    std::uint32_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(read.ptr, static_cast<std::size_t>(text.data() + text.size() - read.ptr));
    const std::uint32_t each = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "min" ? 60'000 : 0;
    if (read.ec != std::errc{} || number > most || each == 0) {
        why = "VINIC_VIPL_CONNECT_GRACE: '" + std::string(text) + "' is not a number with a unit: 500ms, 10s, 1min";
        return false;
    }
    grace = std::chrono::milliseconds(std::uint64_t{number} * each);
    return true;
}

}  // namespace vipl

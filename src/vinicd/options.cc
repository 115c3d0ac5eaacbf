// SPDX-License-Identifier: Apache-2.0
//
// options.cc -- the two tables, a parser for each kind of value, and what holds for a function.
#include "vinicd/options.hpp"

#include <grp.h>
#include <pwd.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "abi/layout.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t window_least = 512ULL << 20;
constexpr std::uint64_t window_most = abi::file_size;
constexpr std::uint64_t memory_most = 1ULL << 40;

understood<void> wanted(const written& w, const std::string& what) {
    return std::unexpected("'" + as_text(w) + "' does not do: write " + what);
}

/// Text or a number goes through `parse`; the result must lie in [least, most].
template <class Parse>
understood<std::uint64_t> measured(const written& w, Parse parse, std::uint64_t least, std::uint64_t most,
                                   std::string (*show)(std::uint64_t)) {
    if (std::holds_alternative<bool>(w)) {
        return std::unexpected("'" + as_text(w) + "' is a truth value: write from " + show(least) + " to " +
                               show(most));
    }
    const auto value = parse(as_text(w));
    if (value && (*value < least || *value > most)) {
        return std::unexpected(as_text(w) + " is out of range: write from " + show(least) + " to " + show(most));
    }
    return value;
}

std::string number_text(std::uint64_t n) { return std::to_string(n); }

void store(std::uint64_t& to, std::uint64_t value) { to = value; }
void store(std::optional<std::uint64_t>& to, std::uint64_t value) { to = value; }
void store(std::uint32_t& to, std::uint64_t value) { to = static_cast<std::uint32_t>(value); }
void store(std::optional<std::uint32_t>& to, std::uint64_t value) { to = static_cast<std::uint32_t>(value); }

/// `most` is what `to` can hold, at most.
template <class To, class Parse>
understood<void> put_measured(To& to, const written& w, Parse parse, std::uint64_t least, std::uint64_t most,
                              std::string (*show)(std::uint64_t)) {
    const auto value = measured(w, parse, least, most, show);
    if (!value) {
        return std::unexpected(value.error());
    }
    store(to, *value);
    return {};
}

template <class To>
understood<void> put_number(To& to, const written& w, std::uint64_t least, std::uint64_t most) {
    return put_measured(to, w, parse_number, least, most, number_text);
}

constexpr std::uint64_t rate_most = 1'000'000'000'000;  // 1 TB/s: beyond it tags of the scheduler lose their meaning

template <class To>
understood<void> put_rate(To& to, const written& w) {
    return put_measured(to, w, parse_rate, 0, rate_most, rate_text);
}

understood<void> put_time(std::uint64_t& to, const written& w, std::uint64_t most) {
    return put_measured(to, w, parse_time, 0, most, time_text);
}

template <class To>
understood<void> put_truth(To& to, const written& w) {
    const std::string text = as_text(w);
    if (std::holds_alternative<std::int64_t>(w) ||
        (text != "on" && text != "off" && text != "true" && text != "false")) {
        return wanted(w, "on or off (in the file also true or false)");
    }
    to = text == "on" || text == "true";
    return {};
}

template <class To, std::size_t n>
understood<void> put_choice(To& to, const written& w, const std::array<std::pair<const char*, To>, n>& choices) {
    std::string all;
    for (const auto& [word, value] : choices) {
        if (as_text(w) == word) {
            to = value;
            return {};
        }
        all += (all.empty() ? "" : ", ") + std::string(word);
    }
    return wanted(w, "one of " + all);
}

understood<void> put_text(std::string& to, const written& w, const char* what) {
    if (!std::holds_alternative<std::string>(w) || as_text(w).empty()) {
        return wanted(w, what);
    }
    to = as_text(w);
    return {};
}

understood<void> put_user(std::optional<uid_t>& to, const written& w) {
    const std::string text = as_text(w);
    if (std::holds_alternative<std::string>(w)) {
        if (const passwd* found = ::getpwnam(text.c_str())) {
            to = found->pw_uid;
            return {};
        }
    }
    const auto number = parse_number(text);
    if (!number || *number >= std::numeric_limits<uid_t>::max()) {
        return wanted(w, "the name or the number of a user of this machine (see `getent passwd`)");
    }
    to = static_cast<uid_t>(*number);
    return {};
}

understood<void> put_group(std::optional<gid_t>& to, const written& w) {
    const std::string text = as_text(w);
    if (std::holds_alternative<std::string>(w)) {
        if (const ::group* found = ::getgrnam(text.c_str())) {
            to = found->gr_gid;
            return {};
        }
    }
    const auto number = parse_number(text);
    if (!number || *number >= std::numeric_limits<gid_t>::max()) {
        return wanted(w, "the name or the number of a group of this machine (see `getent group`)");
    }
    to = static_cast<gid_t>(*number);
    return {};
}

understood<void> put_mode(std::optional<std::uint32_t>& to, const written& w) {
    const std::string text = as_text(w);
    const bool octal = std::holds_alternative<std::string>(w) && text.size() >= 3 && text.size() <= 4 &&
                       std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '7'; });
    std::uint32_t mode = 0;
    for (const char c : text) {
        mode = mode * 8 + static_cast<std::uint32_t>(octal ? c - '0' : 0);
    }
    if (!octal || mode > 0777 || (mode & 0600) != 0600) {
        return wanted(w, "octal digits that let the owner read and write, such as \"0660\" (in the file with quotes)");
    }
    to = mode;
    return {};
}

understood<void> put_names(std::vector<std::string>& to, const written& w) {
    const auto* list = std::get_if<std::vector<std::string>>(&w);
    const bool fits = list != nullptr && list->size() <= controller::prefixes_max &&
                      std::ranges::all_of(*list, [](const std::string& each) {
                          return !each.empty() && each.size() <= abi::name_bytes_max && !each.contains('\0');
                      });
    if (!fits) {
        return wanted(w, "a list of at most 64 beginnings of names, each of 1 to 63 bytes, such as [\"bank/\"]");
    }
    to = *list;
    return {};
}

understood<void> put_window(options& o, const written& w) {
    std::uint64_t bytes = 0;
    auto put = put_measured(bytes, w, parse_size, window_least, window_most, size_text);
    if (put && !std::has_single_bit(bytes)) {
        return wanted(w, "a power of two, such as 512MiB, 1GiB or 4GiB");
    }
    if (put) {
        o.device.defaults.window_bytes = bytes;
    }
    return put;
}

using choice = const written&;
constexpr std::array all_settings = {
    setting{"socket", "PATH", "Where clients connect; needed unless systemd hands over a socket",
            [](options& o, choice w) { return put_text(o.socket, w, "a path, such as /run/vinic/vinicd.socket"); }},
    setting{"mode", "OCTAL", "Mode of the socket (default: 0660 with --group, else 0600)",
            [](options& o, choice w) { return put_mode(o.mode, w); }},
    setting{"group", "GROUP", "Group of the socket, whose members may use every function that is not somebody's own",
            [](options& o, choice w) { return put_group(o.group, w); }},
    setting{"functions", "N", "Virtual functions, 1 to 256 (default: 8); the physical function comes in addition",
            [](options& o, choice w) { return put_number(o.device.functions, w, 1, 256); }},
    setting{"engines", "N", "Threads that move data, 1 to 64 (default: 1)",
            [](options& o, choice w) { return put_number(o.device.scheduling.engines, w, 1, 64); }},
    setting{"queues", "N", "Operation queues, 1 to 1024 (default: 64)",
            [](options& o, choice w) { return put_number(o.device.scheduling.queues, w, 1, 1024); }},
    setting{"lease", "SIZE", "Bytes that a queue moves before others get their turn (default: 64KiB); 0: no limit",
            [](options& o, choice w) {
                return put_measured(o.device.scheduling.lease_bytes, w, parse_size, 0, 1 << 30, size_text);
            }},
    setting{"lease-messages", "N", "Messages of one VI before others get their turn, 1 to 65536 (default: 64)",
            [](options& o, choice w) { return put_number(o.device.scheduling.lease_descriptors, w, 1, 65536); }},
    setting{"engine-rate", "RATE", "What a second of an engine is worth when time is charged (default: 8GB/s)",
            [](options& o, choice w) {
                return put_measured(o.device.scheduling.bytes_per_second, w, parse_rate, 1'000'000, rate_most,
                                    rate_text);
            }},
    setting{"policy", "WORD", "Who comes next: hclock (default), round-robin or fifo (both to compare with)",
            [](options& o, choice w) {
                using controller::policy;
                return put_choice(
                    o.device.scheduling.order, w,
                    std::array{std::pair{"hclock", policy::hclock},
                               std::pair{"round-robin", policy::request_round_robin}, std::pair{"fifo", policy::fifo}});
            }},
    setting{"window", "SIZE",
            "Memory object of a function, a power of two from 512MiB (default: 4GiB); only what is "
            "used takes memory",
            put_window},
    setting{"vis", "N", "VIs of a function, 1 to 65536 (default: 4096)",
            [](options& o, choice w) { return put_number(o.device.defaults.vis_max, w, 1, 65536); }},
    setting{"vis-total", "N", "VIs of all functions together, 1 to 16842752 (default: 131072)",
            [](options& o, choice w) { return put_number(o.device.vis_total, w, 1, 257 * 65536); }},
    setting{"regions", "N", "Regions of a function, 1 to 1048576 (default: 65536)",
            [](options& o, choice w) { return put_number(o.device.defaults.regions_max, w, 1, 1048576); }},
    setting{"contexts", "N", "Processes that use a function at a time, 1 to 64 (default: 64)",
            [](options& o, choice w) { return put_number(o.device.defaults.contexts_max, w, 1, 64); }},
    setting{"vectors", "N", "Completion vectors of a function, 1 to 64 (default: 4)",
            [](options& o, choice w) { return put_number(o.device.defaults.vectors, w, 1, 64); }},
    setting{"foreign", "on|off", "Reach memory of clients outside their windows (default: on)",
            [](options& o, choice w) { return put_truth(o.device.foreign_memory, w); }},
    setting{"idle-spin", "TIME", "How long an engine without work looks before it sleeps (default: 50us); 0: not",
            [](options& o, choice w) { return put_time(o.device.idle_spin_ns, w, 10'000'000'000); }},
    setting{"yield", "on|off|auto", "Give the core away between looks; auto: with fewer cores than engines + 2",
            [](options& o, choice w) {
                return put_choice(o.yield, w,
                                  std::array{std::pair{"auto", yield_choice::automatic},
                                             std::pair{"on", yield_choice::on}, std::pair{"off", yield_choice::off}});
            }},
    setting{"verbs", "N", "Mailbox requests per second and function, above which they wait (default: 200000)",
            [](options& o, choice w) { return put_number(o.device.verbs_per_second, w, 1, 1'000'000'000); }},
    setting{"violations", "N",
            "Broken rules per second and function, above which it is cut off (default: 1000); 0: never",
            [](options& o, choice w) { return put_number(o.device.violations_per_second, w, 0, 1'000'000'000); }},
    setting{"drain", "TIME", "How long SIGTERM lets posted work end (default: 5s)",
            [](options& o, choice w) { return put_time(o.drain_ns, w, 600'000'000'000); }},
    setting{"openmetrics", "ADDRESS",
            "Serve counters over HTTP: a path, or PORT (loopback) or ADDRESS:PORT, for all who reach it",
            [](options& o, choice w) {
                if (const auto* port = std::get_if<std::int64_t>(&w)) {
                    return put_text(o.openmetrics, std::to_string(*port), "a port");
                }
                return put_text(o.openmetrics, w, "a port, ADDRESS:PORT, [ADDRESS]:PORT, or a path with a slash");
            }},
    setting{"log-level", "LEVEL", "error, warning, info (default) or debug",
            [](options& o, choice w) {
                return put_choice(
                    o.level, w,
                    std::array{std::pair{"error", log_level::error}, std::pair{"warning", log_level::warning},
                               std::pair{"info", log_level::info}, std::pair{"debug", log_level::debug}});
            }},
};

constexpr std::array all_function_settings = {
    function_setting{"guarantee", "RATE", "What it gets whatever the others do; none: nothing",
                     [](function_choice& f, choice w) { return put_rate(f.guarantee, w); }},
    function_setting{"cap", "RATE", "What it never exceeds; none: no cap",
                     [](function_choice& f, choice w) { return put_rate(f.cap, w); }},
    function_setting{"weight", "N", "Its share of what is left, 1 to 10000",
                     [](function_choice& f, choice w) { return put_number(f.weight, w, 1, 10000); }},
    function_setting{"priority", "N", "A higher class is served first, 0 to 7",
                     [](function_choice& f, choice w) { return put_number(f.priority, w, 0, 7); }},
    function_setting{"reserved-queues", "N", "Operation queues that nobody else may take",
                     [](function_choice& f, choice w) { return put_number(f.reserved_queues, w, 0, 1024); }},
    function_setting{"memory", "SIZE", "What it may hold of the machine's memory; the rest is refused to it",
                     [](function_choice& f, choice w) {
                         return put_measured(f.memory, w, parse_size, 16ULL << 20, memory_most, size_text);
                     }},
    function_setting{"owner", "USER", "Who may use it, and reset it",
                     [](function_choice& f, choice w) { return put_user(f.owner, w); }},
    function_setting{"group", "GROUP", "Whose members may use it",
                     [](function_choice& f, choice w) { return put_group(f.group, w); }},
    function_setting{"names", "[TEXT]", "It alone may use names that begin so",
                     [](function_choice& f, choice w) { return put_names(f.names, w); }},
    function_setting{"enabled", "on|off", "Whether anybody may use it",
                     [](function_choice& f, choice w) { return put_truth(f.enabled, w); }},
    function_setting{"present", "on|off", "Whether it is there; VFs only",
                     [](function_choice& f, choice w) { return put_truth(f.present, w); }},
};

}  // namespace

std::string as_text(const written& w) {
    if (const auto* text = std::get_if<std::string>(&w)) {
        return *text;
    }
    if (const auto* number = std::get_if<std::int64_t>(&w)) {
        return std::to_string(*number);
    }
    if (const auto* truth = std::get_if<bool>(&w)) {
        return *truth ? "true" : "false";
    }
    std::string all;
    for (const std::string& each : std::get<std::vector<std::string>>(w)) {
        all += (all.empty() ? "" : ", ") + each;
    }
    return all;
}

std::span<const setting> settings() { return all_settings; }
std::span<const function_setting> function_settings() { return all_function_settings; }

function_choice choice_of(const options& o, std::uint32_t function) {
    function_choice mine;
    if (const auto found = o.functions.find(function); found != o.functions.end()) {
        mine = found->second;
    }
    if (function == 0) {
        return mine;
    }
    const auto fall_back = [](auto& to, const auto& from) {
        if (!to) {
            to = from;
        }
    };
    // Owner and group say together who may use it: one of a function's own is not mixed with the default's other.
    if (!mine.owner && !mine.group) {
        mine.owner = o.every_function.owner;
        mine.group = o.every_function.group;
    }
    fall_back(mine.guarantee, o.every_function.guarantee);
    fall_back(mine.cap, o.every_function.cap);
    fall_back(mine.weight, o.every_function.weight);
    fall_back(mine.priority, o.every_function.priority);
    fall_back(mine.reserved_queues, o.every_function.reserved_queues);
    fall_back(mine.memory, o.every_function.memory);
    fall_back(mine.enabled, o.every_function.enabled);
    fall_back(mine.present, o.every_function.present);
    return mine;
}

bool is_present(const options& o, std::uint32_t function) { return choice_of(o, function).present.value_or(true); }

controller::entitlement entitlement_of(const options& o, std::uint32_t function) {
    const controller::entitlement initial;
    const function_choice c = choice_of(o, function);
    return {.guarantee = c.guarantee.value_or(initial.guarantee),
            .cap = c.cap.value_or(initial.cap),
            .weight = c.weight.value_or(initial.weight),
            .priority = c.priority.value_or(initial.priority),
            .reserved_queues = c.reserved_queues.value_or(initial.reserved_queues)};
}

bool yields(const options& o, unsigned cores) noexcept {
    return o.yield == yield_choice::on ||
           (o.yield == yield_choice::automatic && cores < o.device.scheduling.engines + 2);
}

unsigned usable_cores() noexcept {
    cpu_set_t set;
    CPU_ZERO(&set);
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
}

const char* name(log_level level) noexcept {
    static constexpr const char* names[] = {"error", "warning", "info", "debug"};
    return names[static_cast<std::size_t>(level)];
}

const char* name(controller::policy p) noexcept {
    static constexpr const char* names[] = {"hclock", "round-robin", "fifo"};
    return names[static_cast<std::size_t>(p)];
}

}  // namespace vinic::vinicd

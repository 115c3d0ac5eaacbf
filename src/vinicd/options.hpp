// SPDX-License-Identifier: Apache-2.0
//
// options.hpp -- everything that vinicd can be told, on the command line and in its configuration file.
//
//   settings()            what holds for the whole program: `--queues 64`, in the file `queues = 64`
//   function_settings()   what holds for one function: in the file only, under [function.vf3] or [function.default]
//
//   One table each, so that command line, file, manual and tests cannot know different words.  Command line beats
//   file, [function.vf3] beats [function.default], and what nobody says keeps its initial value.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "controller/device.hpp"
#include "vinicd/units.hpp"

namespace vinic::vinicd {

/// The length of a socket's path: four letters of what the kernel takes go to the name it has until it listens.
inline constexpr std::size_t socket_path_bytes_max = sizeof(sockaddr_un{}.sun_path) - 1 - 4;

enum class log_level : std::uint8_t { error, warning, info, debug };
enum class yield_choice : std::uint8_t { off, on, automatic };

/// What one function was told; what it was not told is empty.
struct function_choice {
    std::optional<std::uint64_t> guarantee;
    std::optional<std::uint64_t> cap;
    std::optional<std::uint32_t> weight;
    std::optional<std::uint32_t> priority;
    std::optional<std::uint32_t> reserved_queues;
    std::optional<std::uint64_t> memory;  ///< bytes
    std::optional<uid_t> owner;
    std::optional<gid_t> group;
    std::optional<bool> enabled;
    std::vector<std::string> names;  ///< it alone may use names that begin so; no default's
    std::optional<bool> present;     ///< false: the VF is not there until it is added
};

struct options {
    controller::device_options device;
    std::string socket;                 ///< empty: systemd hands one over
    std::optional<std::uint32_t> mode;  ///< of the socket; empty: 0660 with a group, else 0600
    std::optional<gid_t> group;         ///< of the socket
    std::string openmetrics;            ///< "ADDRESS:PORT", "PORT", a path, or empty
    log_level level = log_level::info;
    yield_choice yield = yield_choice::automatic;
    std::uint64_t drain_ns = 5'000'000'000;
    std::map<std::string, std::string> given;             ///< what was said of settings(), by key
    function_choice every_function;                       ///< [function.default]
    std::map<std::uint32_t, function_choice> functions;   ///< by number: 0 = PF
    std::map<std::uint32_t, function_choice> configured;  ///< functions, before anything was set: what add starts with
    std::map<std::uint32_t, std::string> places;          ///< "FILE:LINE: " of their tables
};

/// A value as it was written: a word (the command line has nothing else), a number, a truth value, or a list of words.
using written = std::variant<std::string, std::int64_t, bool, std::vector<std::string>>;
[[nodiscard]] std::string as_text(const written& w);

template <class Target>
struct setting_of {
    const char* key;  ///< in the file; on the command line with -- in front
    const char*
        argument;  ///< what the help calls its value; "N": a number, in the file without quotes; "[TEXT]": a list
    const char* help;
    understood<void> (*put)(Target&, const written&);
};
using setting = setting_of<options>;
using function_setting = setting_of<function_choice>;

[[nodiscard]] std::span<const setting> settings();
[[nodiscard]] std::span<const function_setting> function_settings();

/// What a function gets: its own choice, then [function.default]'s, then the initial value.  The PF is not a tenant's:
/// [function.default] does not hold for it.
[[nodiscard]] controller::entitlement entitlement_of(const options& o, std::uint32_t function);
[[nodiscard]] function_choice choice_of(const options& o, std::uint32_t function);
[[nodiscard]] bool is_present(const options& o, std::uint32_t function);

/// What is wrong with the options taken together: sentences, none if they fit.
[[nodiscard]] std::vector<std::string> contradictions(const options& o);

/// `yield = auto`: every poller wants a core.
[[nodiscard]] bool yields(const options& o, unsigned cores) noexcept;
/// Cores that this process may use.
[[nodiscard]] unsigned usable_cores() noexcept;

[[nodiscard]] const char* name(log_level level) noexcept;
[[nodiscard]] const char* name(controller::policy p) noexcept;

}  // namespace vinic::vinicd

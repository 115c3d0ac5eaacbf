// SPDX-License-Identifier: Apache-2.0
//
// show.hpp -- `vinic OBJECT show`: each looks at a device and returns what to print.
//
//   Text: aligned lines.  JSON: {"schema": 1, "device": "shm:demo", "state": "live", "vis": [...]}.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/device_file.hpp"
#include "cli/tables.hpp"
#include "cli/value.hpp"

namespace vinic::cli {

inline constexpr std::uint32_t json_schema = 1;

struct show_options {
    std::string directory;  ///< empty: as the library
    std::string device;     ///< "NAME" or "shm:NAME"
    bool json = false;
    bool details = false;
    std::optional<std::uint32_t> number;  ///< of the one VI that is wanted
};

/// All devices of the directory, or the one that is named.
[[nodiscard]] result<std::string> show_devices(const show_options& o);
[[nodiscard]] result<std::string> show_processes(const show_options& o);
[[nodiscard]] result<std::string> show_vis(const show_options& o);
[[nodiscard]] result<std::string> show_regions(const show_options& o);
[[nodiscard]] result<std::string> show_names(const show_options& o);
[[nodiscard]] result<std::string> show_cqs(const show_options& o);

/// The beginning of every JSON document about one device.
[[nodiscard]] object begin_document(const device_file& f);

/// One table under its key, as the options want it.
[[nodiscard]] result<std::string> finish(const show_options& o, const device_file& f, const char* key, const table& t);

[[nodiscard]] std::string address_of(const device_file& f);
/// "live", "leaving" or "dead".
[[nodiscard]] const char* state_of(const process_view& p) noexcept;
/// The processes of a device as a table, the columns of `device show` first.
[[nodiscard]] table process_table(const process_list& processes);

}  // namespace vinic::cli

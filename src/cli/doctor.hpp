// SPDX-License-Identifier: Apache-2.0
//
// doctor.hpp -- `vinic doctor`: what of this machine helps or hinders vinic, with cause and cure.
//
//     doctor_directory.cc    where devices lie: room, and what its file system can do
//     doctor_memory.cc       limits that kill, and files that were removed in use
//     doctor_machine.cc      kernel, CPUs, limits, reaching other processes' memory
//     doctor_device.cc       the devices themselves
#pragma once

#include <string>
#include <vector>

#include "cli/show.hpp"

namespace vinic::cli {

enum class verdict : std::uint8_t { ok, warn, fail };

struct finding {
    std::string check;  ///< what was looked at, one word
    verdict result = verdict::ok;
    std::string found;
    std::string cure{};  ///< empty if there is nothing to do
};
using findings = std::vector<finding>;

void check_directory(const std::string& directory, findings& all);
void check_file_system(const std::string& directory, findings& all);
void check_machine(findings& all);
/// The memory cgroup's limit beside the room that the directory promises; `cgroups` and `own` are where the kernel
/// tells it.
void check_memory_limit(const std::string& directory, findings& all, const std::string& cgroups = "/sys/fs/cgroup",
                        const std::string& own = "/proc/self/cgroup");
/// Devices (or the one called `only`) that processes have open and nobody can find any more.
void check_removed(const std::string& directory, const std::string& only, findings& all);
/// Every device of the directory: is something left behind?
void check_devices(const std::string& directory, findings& all);
/// One device, closely.
void check_device(const std::string& typed, const std::string& directory, findings& all);

/// A sentence for the user, "12.3 GiB".
[[nodiscard]] std::string size_in_words(std::uint64_t bytes);

struct diagnosis {
    std::string text;  ///< as the options want it
    bool failed = false;
};
/// Everything above; one device closely if it is named.
[[nodiscard]] diagnosis diagnose(const show_options& o);

}  // namespace vinic::cli

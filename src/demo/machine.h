// SPDX-License-Identifier: Apache-2.0
//
// machine.h -- what the demonstration needs to know about the machine it runs on: which cores to
// use, which file to send, where a device of the needed size fits.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace demo {

/// Two processors, on distinct cores where there are two.  Both the same on a machine with one.
struct processor_pair {
    int first = 0;
    int second = 0;
    [[nodiscard]] bool distinct() const { return first != second; }
};
processor_pair choose_processors();

/// Binds the calling thread.
void run_on(int processor);

/// Name as /proc/cpuinfo tells it, or "unknown processor".
std::string processor_name();

/// A file that is on every development machine and some tens of MB large.
std::string choose_file();

/// Size of a regular, non-empty, readable file; fails with a sentence otherwise.
std::uint64_t file_size(const std::string& path);

/// Where a device that holds `bytes` fits.  An empty string means the library's default.
std::string choose_device_directory(std::uint64_t bytes);

/// True when a file whose name contains `name` lies in `directory` (empty: the library's default).
bool device_file_remains(const std::string& directory, const std::string& name);

/// State letter of a process ('T' is stopped) and the processor time it has used, in ticks.
struct process_state {
    char state = '?';
    std::uint64_t ticks = 0;
};
process_state observe_process(int process_id);

/// Bytes that read and write calls of this process moved between it and the kernel.
std::uint64_t bytes_through_kernel();

}  // namespace demo

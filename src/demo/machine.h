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

/// Where a device that holds `bytes` fits: the library's default if it does.
std::string choose_device_directory(std::uint64_t bytes);

/// A directory for this user alone, in which nobody is quicker with a device's name.  Removed at the end with all
/// that a program left in it which had to be ended the hard way.
class private_directory {
public:
    explicit private_directory(const std::string& parent);
    private_directory(const private_directory&) = delete;
    private_directory& operator=(const private_directory&) = delete;
    ~private_directory();
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] bool is_empty() const;

private:
    std::string path_;
};

/// State letter of a process ('T' is stopped) and the processor time it has used, in ticks.
struct process_state {
    char state = '?';
    std::uint64_t ticks = 0;
};
process_state observe_process(int process_id);

/// Bytes that read and write calls of this process moved between it and the kernel.
std::uint64_t bytes_through_kernel();

}  // namespace demo

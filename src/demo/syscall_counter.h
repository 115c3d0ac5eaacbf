// SPDX-License-Identifier: Apache-2.0
//
// syscall_counter.h -- counts the system calls that other processes make between two marks.
//
// A process says where its data path begins and ends with mark_begin() and mark_end(), which are
// themselves system calls that do nothing.  The parent traces its children (ptrace) for one pass and
// counts what every thread of them asks of the kernel in between.  Nothing is assumed: a library
// that slept, read a clock without the vDSO or moved bytes through the kernel would show here.
#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace demo {

void mark_begin();
void mark_end();

/// How often which system call was made, by its number.
using syscall_counts = std::map<std::uint64_t, std::uint64_t>;

std::uint64_t total(const syscall_counts& counts);
/// As "fcntl 1, read 3".
std::string in_words(const syscall_counts& counts);

class syscall_counter {
public:
    /// Attaches to the processes, which must be children of this one.
    explicit syscall_counter(std::vector<int> process_ids);
    /// Why nothing can be counted here; empty when all is well.
    [[nodiscard]] const std::string& refusal() const { return refusal_; }
    /// Waits until every process has passed its end mark, and gives the counts in the order of the ids.
    std::vector<syscall_counts> finish();

private:
    std::vector<int> process_ids_;
    std::string refusal_;
    std::future<std::vector<syscall_counts>> counts_;
    std::jthread tracer_;  // a tracer is a thread: all calls about a tracee must come from it
};

}  // namespace demo

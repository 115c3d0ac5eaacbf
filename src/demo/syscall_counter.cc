// SPDX-License-Identifier: Apache-2.0
//
// syscall_counter.cc -- see syscall_counter.h.
#include "syscall_counter.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

namespace demo {

namespace {

// No such option exists: the kernel answers EINVAL and does nothing.
constexpr int mark_option = 0x56494e43;
constexpr unsigned long begin_word = 1;
constexpr unsigned long end_word = 2;

constexpr int system_call_stop = SIGTRAP | 0x80;  // as PTRACE_O_TRACESYSGOOD marks it

struct traced_process {
    bool counting = false;
    bool finished = false;
    syscall_counts calls;
};

class tracer {
public:
    explicit tracer(const std::vector<int>& process_ids) {
        for (int id : process_ids) {
            processes_[id] = {};
        }
    }

    /// Stops every thread once, so that it runs on from system call to system call.  An errno, or 0.
    int attach() {
        for (const auto& [id, unused] : processes_) {
            std::error_code gone;
            const std::string threads = "/proc/" + std::to_string(id) + "/task";
            for (const auto& entry : std::filesystem::directory_iterator(threads, gone)) {
                const int thread = std::stoi(entry.path().filename().string());
                if (ptrace(PTRACE_SEIZE, thread, nullptr, options) != 0 ||
                    ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) {
                    return errno;
                }
                threads_[thread] = id;
            }
            if (gone) {
                return gone.value();
            }
        }
        return 0;
    }

    /// Follows all threads until each is let go or gone.
    void run() {
        int status = 0;
        for (int thread = 0; (thread = waitpid(-1, &status, __WALL | __WNOTHREAD)) > 0 || errno == EINTR;) {
            if (thread <= 0) {
                continue;
            }
            if (!WIFSTOPPED(status)) {
                threads_.erase(thread);
                continue;
            }
            handle_stop(thread, status);
        }
    }

    [[nodiscard]] const syscall_counts& calls(int process_id) const { return processes_.at(process_id).calls; }

private:
    static constexpr unsigned long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;

    void handle_stop(int thread, int status) {
        traced_process& process = processes_.at(process_of(thread));
        if (WSTOPSIG(status) == system_call_stop) {
            count(thread, process);
        }
        if (process.finished) {
            let_go(thread);
            return;
        }
        const bool is_event = (status >> 16) != 0 || WSTOPSIG(status) == system_call_stop;
        const unsigned long signal_to_deliver = is_event ? 0 : static_cast<unsigned long>(WSTOPSIG(status));
        ptrace(PTRACE_SYSCALL, thread, nullptr, signal_to_deliver);
    }

    void count(int thread, traced_process& process) {
        __ptrace_syscall_info call{};
        if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof call, &call) <= 0 || call.op != PTRACE_SYSCALL_INFO_ENTRY) {
            return;
        }
        if (call.entry.nr == SYS_prctl && call.entry.args[0] == mark_option) {
            process.counting = call.entry.args[1] == begin_word;
            process.finished = call.entry.args[1] == end_word;
        } else if (process.counting) {
            ++process.calls[call.entry.nr];
        }
    }

    // The other threads of the process are brought to a stop, so that they can be let go too.
    void let_go(int thread) {
        const int process_id = process_of(thread);
        ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
        threads_.erase(thread);
        for (const auto& [other, owner] : threads_) {
            if (owner == process_id) {
                ptrace(PTRACE_INTERRUPT, other, nullptr, nullptr);
            }
        }
    }

    // A thread that was made while it was traced is new to us: ask the kernel whose it is.
    int process_of(int thread) {
        if (const auto known = threads_.find(thread); known != threads_.end()) {
            return known->second;
        }
        std::ifstream in("/proc/" + std::to_string(thread) + "/status");
        int owner = processes_.begin()->first;
        for (std::string word; in >> word;) {
            if (word == "Tgid:") {
                in >> owner;
                break;
            }
        }
        threads_[thread] = owner;
        return owner;
    }

    std::map<int, traced_process> processes_;
    std::map<int, int> threads_;  // thread to process
};

void mark(unsigned long word) { (void)syscall(SYS_prctl, mark_option, word, 0, 0, 0); }

}  // namespace

std::uint64_t total(const syscall_counts& counts) {
    std::uint64_t sum = 0;
    for (const auto& [number, count] : counts) {
        sum += count;
    }
    return sum;
}

std::string in_words(const syscall_counts& counts) {
    // Those that a NIC or a socket may need; any other is told by its number.
    static const std::map<std::uint64_t, const char*> names = {
        {SYS_read, "read"},
        {SYS_write, "write"},
        {SYS_recvfrom, "recvfrom"},
        {SYS_sendto, "sendto"},
        {SYS_fcntl, "fcntl"},
        {SYS_newfstatat, "fstat"},
        {SYS_futex, "futex"},
        {SYS_poll, "poll"},
        {SYS_sched_yield, "sched_yield"},
        {SYS_membarrier, "membarrier"},
        {SYS_process_vm_readv, "process_vm_readv"},
        {SYS_process_vm_writev, "process_vm_writev"},
        {SYS_clock_gettime, "clock_gettime"},
        {SYS_clock_nanosleep, "clock_nanosleep"},
        {SYS_restart_syscall, "restart_syscall"},
    };
    std::string words;
    for (const auto& [number, count] : counts) {
        const auto known = names.find(number);
        words += words.empty() ? "" : ", ";
        if (known != names.end()) {
            words += known->second;
        } else {
            words += "number ";
            words += std::to_string(number);
        }
        words += ' ';
        words += std::to_string(count);
    }
    return words;
}

void mark_begin() { mark(begin_word); }
void mark_end() { mark(end_word); }

syscall_counter::syscall_counter(std::vector<int> process_ids) : process_ids_(std::move(process_ids)) {
    std::promise<std::vector<syscall_counts>> counts;
    std::promise<int> attached;
    counts_ = counts.get_future();
    auto outcome = attached.get_future();
    tracer_ = std::jthread([ids = process_ids_, attached = std::move(attached), counts = std::move(counts)]() mutable {
        tracer trace(ids);
        const int error_number = trace.attach();
        attached.set_value(error_number);
        std::vector<syscall_counts> result;
        if (error_number == 0) {
            trace.run();
            for (int id : ids) {
                result.push_back(trace.calls(id));
            }
        }
        counts.set_value(result);
    });
    if (const int error_number = outcome.get(); error_number != 0) {
        refusal_ = std::string("ptrace: ") + std::strerror(error_number);
    }
}

std::vector<syscall_counts> syscall_counter::finish() { return counts_.get(); }

}  // namespace demo

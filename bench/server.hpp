// SPDX-License-Identifier: Apache-2.0
//
// server.hpp -- a vinicd that a benchmark starts for itself.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>
#include <vinic/vinic.hpp>

namespace vinic::bench {

using namespace std::chrono_literals;

[[noreturn]] inline void fail(const std::string& what) {
    std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, what.c_str());
    std::exit(1);
}

template <class T>
T must(vinic::result<T> r) {
    if (!r) {
        fail(r.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*r);
    }
}

/// A vinicd of our own, in a directory of its own.
class server {
public:
    explicit server(const std::vector<std::string>& options) {
        std::string pattern = "/tmp/vinic-bench-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) {
            fail("cannot make a directory like " + pattern);
        }
        directory_ = pattern;
        const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "vinicd";
        std::vector<std::string> words{program, "--functions", "4", "--vis", "65536", "--socket", directory_ + "/s"};
        words.insert(words.end(), options.begin(), options.end());
        pid_ = ::fork();
        if (pid_ == 0) {
            std::vector<char*> arguments;
            for (std::string& w : words) {
                arguments.push_back(w.data());
            }
            arguments.push_back(nullptr);
            const int log = ::open((directory_ + "/log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            ::dup2(log, 2);
            ::prctl(PR_SET_PDEATHSIG,
                    SIGKILL);  // when this program gives up; SIGTERM would not end one that is stopped
            ::execv(program.c_str(), arguments.data());
            ::_exit(127);
        }
        for (int i = 0; !vinic::nic::open(device()); ++i) {
            if (i == 200) {
                fail("vinicd does not come up; its log is " + directory_ + "/log");
            }
            std::this_thread::sleep_for(20ms);
        }
    }
    server(const server&) = delete;
    server& operator=(const server&) = delete;
    ~server() {
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    [[nodiscard]] std::string device(int function = 0) const {
        return "vinicd:" + directory_ + "/s#vf" + std::to_string(function);
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    std::string directory_;
    pid_t pid_ = -1;
};

}  // namespace vinic::bench

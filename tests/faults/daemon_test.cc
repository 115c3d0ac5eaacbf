// SPDX-License-Identifier: Apache-2.0
//
// daemon_test.cc -- a vinicd whose system calls fail: it ends at the start and says truly why, or it serves.
//
//     vinicd with preload.cc       test process
//     starts                       waits until it answers, or has ended: exit code 1, and the reason in its log
//     one call fails               a tenant works: it is served, or is told an error
//     nothing fails any more       another tenant works, and the first once more: both must be served
//     SIGTERM                      descriptors are as many as without the fault; exit code 0
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "faults/season.hpp"
#include "multi/fixture.hpp"

namespace faults {

using multi::must;
using namespace std::chrono_literals;
namespace {

using multi::require;

class daemon_play {
public:
    explicit daemon_play(const plan& p) : plan_(p) {
        require(::mkdtemp(directory_.data()) != nullptr, "a directory can be made");
        const int fd = ::open(file("/record").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        require(fd >= 0 && ::ftruncate(fd, sizeof(record)) == 0, "the record can be made");
        void* at = ::mmap(nullptr, sizeof(record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ::close(fd);
        require(at != MAP_FAILED, "the record can be mapped");
        seen_ = static_cast<record*>(at);
    }
    daemon_play(const daemon_play&) = delete;
    daemon_play& operator=(const daemon_play&) = delete;
    ~daemon_play() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            (void)::waitpid(pid_, nullptr, 0);
        }
        ::munmap(seen_, sizeof(record));
        std::error_code ignored_by_design;
        std::filesystem::remove_all(directory_, ignored_by_design);
    }

    /// What is wrong, or nothing.
    std::string run(std::size_t& descriptors) {
        start();
        if (!comes_up()) {
            return ended_well_at_start();
        }
        std::string first = work("vf0");
        if (!first.empty() && seen_->injected.load() == 0) {
            return "without a fault: " + first;
        }
        seen_->over = 1;
        for (const char* function : {"vf1", "vf0"}) {
            if (const std::string wrong = work(function); !wrong.empty()) {
                return std::string("after the fault, in ") + function + ": " + wrong + "\n" + log();
            }
        }
        if (descriptors == 0) {
            descriptors = open_descriptors();
        }
        if (!multi::comes_true([&] { return open_descriptors() <= descriptors; }, 5s)) {
            return std::to_string(open_descriptors()) + " descriptors instead of " + std::to_string(descriptors);
        }
        ::kill(pid_, SIGTERM);
        const int code = exit_code();
        return code == 0 ? "" : "after SIGTERM it ends with " + std::to_string(code) + "\n" + log();
    }
    void copy_to(record& to) const { std::memcpy(static_cast<void*>(&to), static_cast<void*>(seen_), sizeof to); }

private:
    [[nodiscard]] std::string file(const char* name) const { return directory_ + name; }
    [[nodiscard]] std::string log() const {
        std::ifstream in(file("/log"));
        std::ostringstream all;
        all << in.rdbuf();
        return all.str();
    }

    void start() {
        const std::string fault =
            std::to_string(plan_.at) + ":" + std::to_string(plan_.error) + ":" + std::to_string(plan_.lasts);
        const std::string record_path = file("/record");
        const std::string log_path = file("/log");
        const std::string socket = file("/socket");
        std::fflush(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
            const int out = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            (void)::dup2(out, STDOUT_FILENO);
            (void)::dup2(out, STDERR_FILENO);
            ::setenv("LD_PRELOAD", FAULT_PRELOAD, 1);
            ::setenv("VINIC_FAULT", fault.c_str(), 1);
            ::setenv("VINIC_FAULT_RECORD", record_path.c_str(), 1);
            ::execl(FAULT_VINICD, FAULT_VINICD, "--functions", "2", "--socket", socket.c_str(), nullptr);
            ::_exit(127);
        }
        require(pid_ > 0, "a process can be forked");
    }

    bool has_ended() {
        int status = 0;
        if (!code_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
            code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            pid_ = 0;
        }
        return code_.has_value();
    }
    int exit_code() {
        require(multi::comes_true([&] { return has_ended(); }), "vinicd ends\n" + log());
        return *code_;
    }
    /// Until it answers or has ended.  Whom it does not answer while a fault lasts, it answers when that is over.
    bool comes_up() {
        bool up = false;
        const auto answers = [&] {
            up = multi::take_census_at("vinicd:" + file("/socket") + "#vf0").has_value();
            return up || has_ended();
        };
        if (!multi::comes_true(answers, plan_.lasts != 0 ? std::chrono::nanoseconds(1s) : multi::patience)) {
            seen_->over = seen_->injected.load();
            require(multi::comes_true(answers), "vinicd comes up or ends\n" + log());
        }
        return up;
    }
    std::string ended_well_at_start() {
        if (seen_->injected.load() == 0 || *code_ != 1) {
            return "it ends with " + std::to_string(*code_) + "\n" + log();
        }
        const std::string words = log();
        // The C library says EAGAIN when a thread cannot be made, and a container ENOMEM when a mapping cannot,
        // whatever the reason; and where nothing can be written any more there is nobody to tell.
        const auto says = [&](int error) { return words.contains(std::strerror(error)); };
        const bool silenced = words.empty() && plan_.lasts != 0 && plan_.error == ENOSPC;
        return says(plan_.error) || says(EAGAIN) || says(ENOMEM) || silenced ? ""
                                                                             : "it does not say why it ended: " + words;
    }
    [[nodiscard]] std::size_t open_descriptors() const {
        std::size_t n = 0;
        for ([[maybe_unused]] const auto& each :
             std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd")) {
            ++n;
        }
        return n;
    }

    /// A message from one process entry of the function to another; what went wrong, or nothing.
    std::string work(const char* function) {
        try {
            const std::string address = "vinicd:" + file("/socket") + "#" + function;
            multi::endpoint a(must(vinic::nic::open(address)));
            multi::endpoint b(must(vinic::nic::open(address)));
            multi::must(a.vi.connect_peer("a", "b", multi::patience));
            multi::must(b.vi.connect_peer("b", "a", multi::patience));
            (void)multi::must(a.vi.connect_peer_wait());
            (void)multi::must(b.vi.connect_peer_wait());
            multi::must(b.vi.post_receive(b.at(0, 4096), 1));
            multi::fill(a.bytes(0, 4096), ++seed_);
            multi::must(a.vi.post_send(a.at(0, 4096), 2));
            require(a.next().status == vinic::status::success, "the message is sent");
            require(b.next().status == vinic::status::success, "the message arrives");
            require(multi::first_difference(b.bytes(0, 4096), seed_) == 4096, "as it was sent");
        } catch (const std::exception& e) {
            return e.what();
        }
        return "";
    }

    plan plan_;
    std::string directory_ = "/tmp/vinic-faults-XXXXXX";
    record* seen_ = nullptr;
    pid_t pid_ = 0;
    std::optional<int> code_;
    std::uint64_t seed_ = 0;
};

TEST(daemon_faults, leave_a_daemon_that_serves_or_has_said_why_it_does_not) {
    if (!available()) {
        GTEST_SKIP() << "the kernel does not hand system calls over (PR_SET_SYSCALL_USER_DISPATCH)";
    }
    const auto seen = std::make_unique<record>();
    std::size_t descriptors = 0;
    const auto play_once = [&](const plan& p) -> std::string {
        try {
            daemon_play one(p);
            std::string wrong;
            try {
                wrong = one.run(descriptors);
            } catch (const std::exception& e) {
                wrong = e.what();
            }
            one.copy_to(*seen);
            return wrong;
        } catch (const std::exception& e) {
            return e.what();
        }
    };
    play_all(play_once, *seen, 40);
}

}  // namespace
}  // namespace faults

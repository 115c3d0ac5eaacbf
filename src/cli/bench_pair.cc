// SPDX-License-Identifier: Apache-2.0
//
// bench_pair.cc -- fork, pin, meet, and an orderly end whichever side fails.
#include "cli/bench_pair.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <thread>

#include "cli/bench_clock.hpp"
#include "cli/bench_failure.hpp"
#include "cli/bench_machine.hpp"

namespace vinic::cli::bench {
namespace {

using namespace std::chrono_literals;

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

/// While it lives, SIGINT and SIGTERM only leave a mark, and output that nobody reads is an error of the
/// reporter's, so that the device is closed properly.
class interrupts {
public:
    interrupts() {
        interrupted = false;
        struct sigaction mark{};
        mark.sa_handler = [](int) { interrupted = true; };
        sigaction(SIGINT, &mark, &before_[0]);
        sigaction(SIGTERM, &mark, &before_[1]);
        struct sigaction ignore{};
        ignore.sa_handler = SIG_IGN;
        sigaction(SIGPIPE, &ignore, &before_[2]);
    }
    interrupts(const interrupts&) = delete;
    interrupts& operator=(const interrupts&) = delete;
    ~interrupts() {
        sigaction(SIGINT, &before_[0], nullptr);
        sigaction(SIGTERM, &before_[1], nullptr);
        sigaction(SIGPIPE, &before_[2], nullptr);
    }

private:
    struct sigaction before_[3]{};
};

/// The shared page.
class shared_page {
public:
    shared_page() {
        void* place = mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED) {
            throw failure(std::string("no memory for the shared page: ") + std::strerror(errno));
        }
        page_ = new (place) control;
    }
    shared_page(const shared_page&) = delete;
    shared_page& operator=(const shared_page&) = delete;
    ~shared_page() { munmap(page_, sizeof(control)); }
    [[nodiscard]] control& operator*() const noexcept { return *page_; }

private:
    control* page_ = nullptr;
};

/// Puts the calling thread back to where it could run before.
class saved_cores {
public:
    saved_cores() : known_(sched_getaffinity(0, sizeof(set_), &set_) == 0) {}
    saved_cores(const saved_cores&) = delete;
    saved_cores& operator=(const saved_cores&) = delete;
    ~saved_cores() {
        if (known_) {
            sched_setaffinity(0, sizeof(set_), &set_);
        }
    }

private:
    cpu_set_t set_{};
    bool known_;
};

void leave_sentence(control& shared, side which, const char* sentence) {
    std::uint32_t nobody = 0;
    // Only the first to fail writes; run_pair reads the sentence after both have ended.
    if (shared.failed.compare_exchange_strong(nobody, 1 + static_cast<std::uint32_t>(which))) {
        std::snprintf(shared.sentence, sizeof(shared.sentence), "%s", sentence);
    }
}

/// The child: never returns.
[[noreturn]] void be_target(control& shared, int core, int parent, const std::function<void(session&)>& work) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    // Ctrl-C goes to the whole group; the initiator decides when the run ends.
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGINT, &ignore, nullptr);
    int code = 1;
    try {
        pin_to(core);
        session mine(side::target, shared, parent);
        work(mine);
        code = 0;
    } catch (const std::exception& why) {
        leave_sentence(shared, side::target, why.what());
    }
    _exit(code);
}

/// Gives the child time to close its device, then ends it.  True when it ended well by itself.
bool collect(pid_t child, std::chrono::seconds patience) {
    int state = 0;
    const auto until = std::chrono::steady_clock::now() + patience;
    while (true) {
        const pid_t done = waitpid(child, &state, WNOHANG);
        if (done == child || (done < 0 && errno != EINTR)) {
            return done == child && WIFEXITED(state) && WEXITSTATUS(state) == 0;
        }
        if (std::chrono::steady_clock::now() > until) {
            break;
        }
        std::this_thread::sleep_for(1ms);
    }
    kill(child, SIGKILL);
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    return false;
}

}  // namespace

void session::look() {
    if (shared_.failed.load(std::memory_order_acquire) != 0) {
        throw failure("the other side gave up");
    }
    if (!initiator()) {
        return;  // PR_SET_PDEATHSIG takes care of the child
    }
    if (interrupted.load(std::memory_order_relaxed)) {
        throw failure("interrupted");
    }
    siginfo_t state{};
    if (waitid(P_PID, static_cast<id_t>(other_process_), &state, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        state.si_pid == other_process_) {
        throw failure("the target process ended unexpectedly");
    }
}

void session::meet() {
    const auto mine = static_cast<std::uint32_t>(side_);
    ++meetings_;
    shared_.arrived[mine].value.store(meetings_, std::memory_order_release);
    const std::atomic<std::uint64_t>& other = shared_.arrived[1 - mine].value;
    // Spinning first keeps both sides' caches and clocks awake when the other is about to come.
    const auto until = std::chrono::steady_clock::now() + 200us;
    while (other.load(std::memory_order_acquire) < meetings_) {
        if (std::chrono::steady_clock::now() < until) {
            relax();
        } else {
            look();
            std::this_thread::sleep_for(50us);
        }
    }
}

void run_pair(core_pair cores, const std::function<void(session&)>& work) {
    const shared_page page;
    const saved_cores restore;
    const interrupts guard;
    std::fflush(nullptr);  // else the child would print our buffered text once more
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) {
        throw failure(std::string("fork: ") + std::strerror(errno));
    }
    if (child == 0) {
        be_target(*page, cores.target, parent, work);
    }
    std::string why;
    try {
        pin_to(cores.initiator);
        session mine(side::initiator, *page, child);
        work(mine);
    } catch (const std::exception& caught) {
        why = caught.what();
        leave_sentence(*page, side::initiator, caught.what());
    }
    const bool well = collect(child, why.empty() ? 60s : 15s);
    const std::uint32_t first = (*page).failed.load(std::memory_order_acquire);
    if (interrupted.load(std::memory_order_relaxed)) {
        throw failure("interrupted");  // whatever the target says follows from that
    }
    if (first == 1 + static_cast<std::uint32_t>(side::target) && (*page).sentence[0] != '\0') {
        throw failure(std::string("target: ") + (*page).sentence);
    }
    if (!why.empty()) {
        throw failure(why);
    }
    if (!well) {
        throw failure("the target process did not end as it should");
    }
}

}  // namespace vinic::cli::bench

// SPDX-License-Identifier: Apache-2.0
//
// step.cc -- tracing, breakpoints, and choosing where to kill next.
#include "torture/step.hpp"

#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "torture/scenarios.hpp"

namespace torture {

namespace {

using namespace std::chrono_literals;
using multi::require;

const scenario& find_scenario(const std::string& name) {
    for (const scenario& s : scenarios()) {
        if (name == s.name) {
            return s;
        }
    }
    throw std::runtime_error("there is no scenario '" + name + "'");
}

/// Borders of the program's own code, in which vinic is; libraries lie elsewhere.  The linker makes these.
extern "C" const char __executable_start;
extern "C" const char etext;

/// The signal that has stopped the traced process; 0 if it has ended.  An alarm ends the wait.
int wait_for_stop(pid_t pid) {
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, __WALL);
    require(got == pid || errno != EINTR, "the subject gets on");
    return got == pid && WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
}

/// Interrupts waiting for a subject that hangs.
class hang_guard {
public:
    hang_guard() {
        struct sigaction ring{};
        ring.sa_handler = [](int) {};  // without SA_RESTART: waitpid returns
        require(::sigaction(SIGALRM, &ring, &before_) == 0, "an alarm can be set");
        ::alarm(static_cast<unsigned>(limit.count()));
    }
    hang_guard(const hang_guard&) = delete;
    hang_guard& operator=(const hang_guard&) = delete;
    ~hang_guard() {
        ::alarm(0);
        (void)::sigaction(SIGALRM, &before_, nullptr);
    }

private:
    static constexpr std::chrono::seconds limit{120};
    struct sigaction before_{};
};

/// In the short form longer calls are traced up to here; what comes later is mostly the same loops.
constexpr std::uint64_t traced_steps_max = 40'000;

std::uint64_t program_start() noexcept { return reinterpret_cast<std::uint64_t>(&__executable_start); }

/// A traced process, led through vinic's code.
class walker {
public:
    explicit walker(pid_t pid) noexcept : pid_(pid) {}

    /// One instruction, or one library call.  False: the call that is observed is over.
    [[nodiscard]] bool go() {
        request(PTRACE_SINGLESTEP);
        if (!trapped()) {
            return false;
        }
        return is_own(register_at(offsetof(user, regs.rip))) || go_over_library();
    }
    /// To this instruction, the how manieth time it is reached.  False: the call was over before.
    [[nodiscard]] bool go_to(std::uint64_t offset, std::uint64_t occurrence) {
        set_debug_register(0, program_start() + offset);
        set_debug_register(7, 1);
        for (; occurrence != 0; --occurrence) {
            request(PTRACE_CONT);
            if (!trapped()) {
                return false;
            }
        }
        return true;
    }
    /// To the end of the call.
    void finish() {
        request(PTRACE_CONT);
        require(!trapped(), "the call ends");
    }
    /// Where it is, from the program's start; none64 outside of the program.
    [[nodiscard]] std::uint64_t offset() const {
        const std::uint64_t address = register_at(offsetof(user, regs.rip));
        return is_own(address) ? address - program_start() : ~std::uint64_t{0};
    }

private:
    static bool is_own(std::uint64_t address) noexcept {
        return address >= program_start() && address < reinterpret_cast<std::uint64_t>(&etext);
    }

    /// Just called: the return address is on top of the stack, or below what the dynamic linker has pushed.
    bool go_over_library() {
        const std::uint64_t top = register_at(offsetof(user, regs.rsp));
        std::uint64_t back = 0;
        for (std::uint64_t i = 0; i < 3 && !is_own(back); ++i) {
            back = static_cast<std::uint64_t>(::ptrace(PTRACE_PEEKDATA, pid_, top + i * 8, nullptr));
        }
        if (!is_own(back)) {
            return true;  // returned into a library that had called back: goes on step by step
        }
        const bool still_inside = go_to(back - program_start(), 1);
        if (still_inside) {
            set_debug_register(7, 0);
        }
        return still_inside;
    }

    bool trapped() const {
        const int signal = wait_for_stop(pid_);
        require(signal == SIGTRAP || signal == SIGSTOP,
                "signal " + std::to_string(signal) + " does not hit the subject");
        return signal == SIGTRAP;
    }
    [[nodiscard]] std::uint64_t register_at(std::size_t offset) const {
        return static_cast<std::uint64_t>(::ptrace(PTRACE_PEEKUSER, pid_, offset, nullptr));
    }
    void set_debug_register(std::size_t number, std::uint64_t value) const {
        const std::size_t offset = offsetof(user, u_debugreg) + number * sizeof(std::uint64_t);
        require(::ptrace(PTRACE_POKEUSER, pid_, offset, value) == 0, "a hardware breakpoint can be set");
    }
    void request(__ptrace_request what) const {
        require(::ptrace(what, pid_, nullptr, nullptr) == 0, "the subject can be led");
    }

    pid_t pid_;
};

/// The breakpoint of may_lead() is here.
[[gnu::noinline]] int landmark(int n) {
    asm volatile("" : "+r"(n));
    return n + 1;
}

void be_subject(const scenario& s, const std::string& directory) {
    const std::function<void()> call = s.make(directory);
    require(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0, "a child may ask to be traced");
    ::raise(SIGSTOP);
    call();
    ::raise(SIGSTOP);
    ::_exit(0);
}

}  // namespace

std::string why_not_to_lead() {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
            ::_exit(errno);
        }
        ::raise(SIGSTOP);
        ::_exit(landmark(0));
    }
    if (child < 0) {
        return std::string("fork: ") + std::strerror(errno);
    }
    const hang_guard guard;
    std::string why;
    int status = 0;
    if (::waitpid(child, &status, __WALL) != child || !WIFSTOPPED(status)) {
        return std::string("ptrace is not permitted: ") + std::strerror(WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    }
    try {
        walker leading(child);
        const auto at = reinterpret_cast<std::uint64_t>(&landmark) - program_start();
        if (!leading.go_to(at, 1) || leading.offset() != at) {
            why = "hardware breakpoints do not work on this machine";
        }
    } catch (const std::exception& e) {
        why = std::string("ptrace is of no use here: ") + e.what();
    }
    ::kill(child, SIGKILL);
    (void)::waitpid(child, &status, __WALL);
    return why;
}

step::step(step_options options) : options_(std::move(options)), random_(options_.seed) {}

void step::die(const std::string& name, const std::function<void(int pid)>& lead) {
    const scenario& s = find_scenario(name);
    std::unique_ptr<multi::process> corpse;
    partner_->say(s.partner);
    partner_->hear("prepared");
    if (s.corpse) {
        corpse =
            std::make_unique<multi::process>([&](multi::channel& runner) { be_corpse(options_.directory, runner); });
        corpse->hear("ready");
        corpse->kill_now();
    }
    multi::process subject([&](multi::channel&) { be_subject(s, options_.directory); });
    {
        const hang_guard guard;
        require(wait_for_stop(subject.pid()) == SIGSTOP, "the subject is set up");
        lead(subject.pid());
    }
    subject.kill_now();
    ++deaths_;
}

const std::vector<step::place>& step::places_of(const std::string& name) {
    if (const auto known = places_.find(name); known != places_.end()) {
        return known->second;
    }
    std::map<std::uint64_t, std::uint64_t> counts;
    std::uint64_t steps = 0;
    const std::uint64_t steps_max = options_.stride != 0 ? traced_steps_max * 100 : traced_steps_max;
    die(name, [&](int pid) {
        walker leading(pid);
        while (steps < steps_max && leading.go()) {
            ++counts[leading.offset()];
            ++steps;
        }
        if (steps == steps_max) {
            // To the end, so that the tables have grown to what this call needs.
            leading.finish();
        }
    });
    counts.erase(~std::uint64_t{0});
    std::vector<place>& made = places_[name];
    for (const auto& [offset, count] : counts) {
        made.push_back({offset, count});
    }
    std::printf("%-16s %7llu steps over %5zu instructions\n", name.c_str(), static_cast<unsigned long long>(steps),
                made.size());
    std::fflush(stdout);
    require(!made.empty(), "the call runs through vinic");
    look_after(false);
    return made;
}

void step::send_stranger() {
    multi::process stranger([&](multi::channel&) { be_stranger(options_.directory); });
    require(stranger.exit_code() == 0, "a stranger opens the device, uses it and leaves");
}

void step::look_after(bool stranger_first) {
    if (stranger_first) {
        send_stranger();
    }
    partner_->say("verify");
    for (std::string word = partner_->hear(); word != "well"; word = partner_->hear()) {
        require(word.starts_with("witness: "), "the partner goes on, and does not say '" + word + "'");
        witness_->say(word.substr(9));
    }
    if (!stranger_first) {
        send_stranger();
    }
    expect_base_census();
}

/// What the dead one had must be gone as soon as somebody has looked.
void step::expect_base_census() {
    std::string seen;
    const bool same = multi::comes_true(
        [&] {
            partner_->say("keep house");
            partner_->hear("kept");
            const auto now = multi::take_census(options_.directory, "step");
            require(now.has_value(), "the device can be inspected");
            std::ostringstream text;
            text << *now << "\nat the beginning: " << base_;
            seen = text.str();
            if (!have_base_) {
                base_ = *now;
                have_base_ = now->processes == 2;
                return have_base_;
            }
            return now->same_entries(base_) && now->stray_blocks == 0 && now->miscounted == 0 && now->lock == 0;
        },
        10s);
    require(same, "nothing has leaked: " + seen);
}

bool step::die_at(const std::string& name, std::uint64_t offset, std::uint64_t occurrence, bool stranger_first) {
    bool reached = false;
    try {
        die(name, [&](int pid) { reached = walker(pid).go_to(offset, occurrence); });
        reached_ += reached ? 1u : 0u;
        look_after(stranger_first);
        return true;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "killed %s (--scenario %s --at %llu --occurrence %llu), %s looked first: %s\n",
                     reached ? "there" : "at the end of the call", name.c_str(),
                     static_cast<unsigned long long>(offset), static_cast<unsigned long long>(occurrence),
                     stranger_first ? "a stranger" : "the partner", e.what());
        return false;
    }
}

bool step::enough() const {
    return std::chrono::steady_clock::now() > end_ || (options_.kills != 0 && deaths_ >= options_.kills);
}

bool step::run_random() {
    for (std::size_t i = 0; !enough(); ++i) {
        const std::string& name = names_[i / 8 % names_.size()];
        const std::vector<place>& places = places_of(name);
        const place where = places[random_.below(places.size())];
        // The first rounds of a loop and the last one are what differs.
        const std::uint64_t occurrence =
            random_.one_in(4) ? where.count : 1 + random_.below(std::min<std::uint64_t>(where.count, 3));
        if (!die_at(name, where.offset, occurrence, random_.one_in(2))) {
            return false;
        }
    }
    return true;
}

bool step::run_in_turn() {
    for (const std::string& name : names_) {
        if (enough()) {
            std::printf("%-16s not tried: the time is over\n", name.c_str());
            continue;
        }
        const std::vector<place>& places = places_of(name);
        for (std::size_t i = 0; i < places.size(); i += options_.stride) {
            if (enough()) {
                std::printf("%-16s tried up to instruction %zu: the time is over\n", name.c_str(), i);
                break;
            }
            const auto [offset, count] = places[i];
            if (!die_at(name, offset, 1, random_.one_in(2)) ||
                (count > 1 && !die_at(name, offset, count, random_.one_in(2)))) {
                return false;
            }
        }
    }
    return true;
}

bool step::run() {
    end_ = std::chrono::steady_clock::now() + std::chrono::seconds(options_.seconds_max);
    partner_ =
        std::make_unique<multi::process>([&](multi::channel& runner) { be_partner(options_.directory, runner); });
    witness_ =
        std::make_unique<multi::process>([&](multi::channel& runner) { be_witness(options_.directory, runner); });
    partner_->hear("listening");
    partner_->hear("ready");
    witness_->hear("ready");
    expect_base_census();
    for (const scenario& s : scenarios()) {
        if (options_.scenario.empty() || options_.scenario == s.name) {
            names_.emplace_back(s.name);
        }
    }
    require(!names_.empty(), "a scenario has the name '" + options_.scenario + "'");
    for (std::size_t i = names_.size(); i > 1; --i) {
        std::swap(names_[i - 1], names_[random_.below(i)]);
    }
    if (options_.at != 0) {
        if (!die_at(names_.front(), options_.at, options_.occurrence, false) ||
            !die_at(names_.front(), options_.at, options_.occurrence, true)) {
            return false;
        }
    } else if (options_.stride != 0 ? !run_in_turn() : !run_random()) {
        return false;
    }
    partner_->say("end");
    witness_->say("end");
    const bool well = partner_->exit_code() == 0 && witness_->exit_code() == 0;
    std::printf("%llu deaths, %llu of them at the chosen instruction\n", static_cast<unsigned long long>(deaths_),
                static_cast<unsigned long long>(reached_));
    if (::access((options_.directory + "/vinic-step").c_str(), F_OK) == 0) {
        std::fprintf(stderr, "the device file is left behind\n");
        return false;
    }
    return well;
}

}  // namespace torture

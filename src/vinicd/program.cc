// SPDX-License-Identifier: Apache-2.0
//
// program.cc -- the life of the program: start, events, signals, reload, drain, end.
#include "vinicd/program.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "os/sync.hpp"
#include "vinicd/changes.hpp"
#include "vinicd/machine_memory.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t stop_patience_ns = 10'000'000'000;
constexpr std::uint64_t last_words_ns = 200'000'000;
constexpr std::uint64_t add_again_ns = 20'000'000;

std::unexpected<error> fail(int os_errno, const std::string& doing) {
    return std::unexpected(error{errc::os_failure, os_errno, doing});
}

}  // namespace

program::program(command_line line) : line_(std::move(line)), in_force_(line_.wanted), log_(line_.wanted.level) {}

program::~program() {
    if (draining_.joinable()) {
        draining_.join();
    }
}

result<void> program::run() {
    raise_descriptor_limit();
    if (const int why = manager_.broken(); why != 0) {
        log_.warning(std::string("the service manager cannot be told anything (NOTIFY_SOCKET): ") + std::strerror(why));
    }
    if (!loop_.works() || events_.fd() < 0) {
        return fail(errno, "making the main loop");
    }
    // Before any thread is made, so that all of them leave signals to this one.
    auto done = watch_signals();
    if (done) {
        done = make_device();
    }
    if (done) {
        done = open_doors();
    }
    if (!done) {
        return done;
    }
    const controller::device_options& o = device_->options();
    log_.info("vinicd " + std::string(version()) + " serves " + std::to_string(o.functions) + " functions at " +
              listener_->path() + ": " + std::to_string(o.scheduling.engines) + " engine(s), " +
              std::to_string(o.scheduling.queues) + " queues, policy " + name(o.scheduling.order) +
              (o.yield ? ", yielding" : ""));
    log_.flush(last_words_ns);  // those told that it is ready find in the log what there was to be said
    news_.say("READY=1");
    if (const std::uint64_t interval = watchdog_interval_ns(); interval != 0) {
        keep_watchdog_quiet(interval);
    }
    loop_.run();
    wait_for_drain();
    metrics_.reset();
    connections_.reset();
    device_.reset();
    log_.info("vinicd ends");
    return {};
}

void program::raise_descriptor_limit() {
    const std::uint64_t wanted = connections::descriptors_max(in_force_);
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        log_.warning("with every function full " + std::to_string(wanted) + " files are open, but the limit is " +
                     std::to_string(limit.rlim_cur) +
                     ": raise it (ulimit -Hn, LimitNOFILE=), or expect connections "
                     "to be refused before that");
    }
}

result<void> program::watch_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        sigaddset(&set, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    drained_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!signals_ || !drained_ || loop_.add(signals_.get(), EPOLLIN, [this](std::uint32_t) { on_signal(); }) == 0 ||
        loop_.add(events_.fd(), EPOLLIN, [this](std::uint32_t) { on_events(); }) == 0 ||
        loop_.add(drained_.get(), EPOLLIN, [this](std::uint32_t) { finish(); }) == 0) {
        return fail(errno, "watching for signals");
    }
    return {};
}

/// Functions for which nothing is said get an equal share of what there is; an administrator who says more than there
/// is, is told.
void program::share_memory() {
    const std::uint64_t usable = usable_memory_bytes();
    controller::function_options& each = in_force_.device.defaults;
    each.memory_bytes = memory_share(usable, in_force_.device.functions + 1, each.window_bytes);
    std::uint64_t all = 0;
    for (std::uint32_t f = 0; f <= in_force_.device.functions; ++f) {
        all += is_present(in_force_, f) ? memory_of(in_force_, f) : 0;
    }
    if (all > usable) {
        log_.warning("the functions may hold " + size_text(all) + " together, but there are " + size_text(usable) +
                     ": lower `memory`, or the machine may run out of it, and vinicd with it");
    }
}

result<void> program::make_device() {
    share_memory();
    controller::device_options wanted = in_force_.device;
    wanted.yield = yields(in_force_, usable_cores());
    auto made = controller::device::create(wanted);
    if (!made) {
        return std::unexpected(made.error());
    }
    device_ = std::move(*made);
    in_force_.configured = in_force_.functions;
    for (std::uint32_t f = 0; f < device_->functions(); ++f) {
        // A function that is away keeps its names: nobody else is to be found under them meanwhile.
        if (const auto given = device_->give_names(f, choice_of(in_force_, f).names); !given) {
            return given;
        }
        if (!is_present(in_force_, f)) {
            if (const auto removed = device_->remove(f); !removed) {
                return removed;
            }
            continue;
        }
        if (const auto set = device_->set(f, entitlement_of(in_force_, f), memory_of(in_force_, f)); !set) {
            return std::unexpected(error{set.error().code, set.error().os_errno,
                                         "function " + controller::function_name(f) + ": " + set.error().doing});
        }
    }
    // What is set from here on is news.
    device_->on_event([this](const controller::event& e) { events_.put(e); });
    return {};
}

result<void> program::open_doors() {
    auto opened = listener::open(in_force_, handed_over_sockets());
    if (!opened) {
        return std::unexpected(opened.error());
    }
    listener_.emplace(std::move(*opened));
    if (const std::string weakness = listener_->weakness(); !weakness.empty()) {
        log_.warning(weakness);
    }
    connections_ = std::make_unique<connections>(loop_, log_, *device_, in_force_);
    if (!in_force_.openmetrics.empty()) {
        metrics_ = std::make_unique<metrics_server>(
            loop_, log_, [this] { return openmetrics_text(*device_, connections_->counted()); });
        if (const auto served = metrics_->open(in_force_.openmetrics); !served) {
            return served;
        }
    }
    if (const auto started = device_->start(); !started) {
        return started;
    }
    os::work_in_short_turns();  // after the engines: they want long ones
    return connections_->serve(listener_->fd());
}

void program::keep_watchdog_quiet(std::uint64_t interval_ns) {
    if (const int why = manager_.tell("WATCHDOG=1"); why != 0 && why != EAGAIN) {  // the next one is as good
        log_.caused(log_level::warning, "signs of life",
                    std::string("the service manager cannot be told that vinicd lives: ") + std::strerror(why));
    }
    loop_.at(os::now_ns() + interval_ns, [this, interval_ns] { keep_watchdog_quiet(interval_ns); });
}

// -- while it runs ----------------------------------------------------------------------------------

void program::on_events() {
    std::uint64_t lost = 0;
    const auto taken = events_.take(lost);
    connections_->counted().lost_events += lost;
    for (const controller::event& e : taken) {
        using enum controller::event_kind;
        const bool change = e.kind == changed || e.kind == reset || e.kind == added || e.kind == removed;
        if (change && !e.text.empty()) {
            connections_->tell(e, std::exchange(lost, 0));
            continue;  // the one that did it has logged who asked for it
        }
        const bool bad = e.kind == controller::event_kind::misbehaved;
        log_.caused(bad ? log_level::warning : log_level::info, name(e.kind),
                    "function " + controller::function_name(e.function) + ": " + name(e.kind) +
                        (e.process_id == 0 ? "" : ", process " + std::to_string(e.process_id)) +
                        (e.text.empty() ? "" : ": " + e.text));
        connections_->tell(e, std::exchange(lost, 0));
    }
}

void program::on_signal() {
    signalfd_siginfo told{};
    while (::read(signals_.get(), &told, sizeof told) == static_cast<ssize_t>(sizeof told)) {
        const std::string by = ", asked by " + actor_text(static_cast<pid_t>(told.ssi_pid), told.ssi_uid);
        if (told.ssi_signo == SIGHUP) {
            reload("as the file says" + by);
        } else if (!draining_.joinable()) {
            drain(by);
        } else {
            log_.warning("told again to end: posted work is given up");
            device_->stop();
            loop_.stop();
        }
    }
}

void program::reload(const std::string& by) {
    if (line_.config.empty()) {
        log_.warning("SIGHUP, but there is no configuration file to read again");
        return;
    }
    news_.say("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(os::now_ns() / 1000));
    options fresh;
    const auto problems = read_again(line_, fresh);
    for (const std::string& each : problems) {
        log_.error(each);
    }
    if (problems.empty()) {
        apply(fresh, by);
    } else {
        log_.error("the configuration stays as it was");
    }
    log_.flush(last_words_ns);
    news_.say("READY=1");
}

void program::report(std::uint32_t number, const result<void>& done, const std::string& what) {
    const std::string function = "function " + controller::function_name(number) + ": ";
    done ? log_.info(function + what) : log_.error(function + done.error().message());
}

void program::apply(const options& fresh, const std::string& by) {
    for (const setting& s : settings()) {
        const auto text = [&](const options& o) {
            const auto said = o.given.find(s.key);
            return said == o.given.end() ? std::string("the initial value") : said->second;
        };
        const bool live = std::string_view(s.key) == "log-level" || std::string_view(s.key) == "drain";
        if (!live && text(fresh) != text(line_.wanted)) {
            log_.warning(std::string(s.key) + " was " + text(line_.wanted) + " and is " + text(fresh) +
                         " in the file now: that takes a restart");
        }
    }
    options next = in_force_;
    next.every_function = fresh.every_function;
    next.functions = fresh.functions;
    next.configured = fresh.functions;
    next.level = fresh.level;
    next.drain_ns = fresh.drain_ns;
    // Functions that give up a guarantee go first: together old and new ones may be more than there is.
    for (std::uint32_t f = 1; f < device_->functions(); ++f) {
        if (device_->has(f) && !is_present(next, f)) {
            report(f, device_->remove(f, by), "removed, " + by);
        }
    }
    for (const bool lowering : {true, false}) {
        for (std::uint32_t f = 0; f < device_->functions(); ++f) {
            const auto now = device_->status(f);
            const controller::entitlement wanted = entitlement_of(next, f);
            const std::string changes = now ? changes_of(*now, in_force_, next) : "";
            if (changes.empty() || (wanted.guarantee <= now->options.quality.guarantee) != lowering) {
                continue;
            }
            report(f, device_->set(f, wanted, memory_of(next, f), changes + by), changes + by);
        }
    }
    for (std::uint32_t f = 0; f < device_->functions(); ++f) {
        const auto& names = choice_of(next, f).names;
        if (names != choice_of(in_force_, f).names) {
            const std::string said = "names [" + as_text(names) + "], " + by;
            report(f, device_->give_names(f, names, said), said);
        }
    }
    in_force_ = std::move(next);
    add_missing(by);
    connections_->options_changed();
    raise_descriptor_limit();
    log_.set_level(in_force_.level);
    log_.info("the configuration was read again, " + by);
}

/// What is still being taken away comes a moment later, if it is wanted then; what is refused stays away.
void program::add_missing(const std::string& by) {
    bool busy = false;
    for (std::uint32_t f = 1; f < device_->functions(); ++f) {
        if (device_->has(f) || !is_present(in_force_, f)) {
            continue;
        }
        const auto added = add_as_said(*device_, f, in_force_, by);
        if (!added && added.error().code == errc::busy) {
            busy = true;
            continue;
        }
        report(f, added, "added, " + by);
        if (!device_->has(f)) {
            in_force_.functions[f].present = false;
        }
    }
    if (busy && !std::exchange(adding_, true)) {
        loop_.at(os::now_ns() + add_again_ns, [this, by] {
            adding_ = false;
            add_missing(by);
        });
    }
}

// -- how it ends ------------------------------------------------------------------------------------

void program::drain(const std::string& by) {
    log_.info("told to end" + by + ": posted work is done first, for at most " + time_text(in_force_.drain_ns));
    news_.say("STOPPING=1");
    connections_->stop_listening();
    listener_->close();  // the next vinicd may begin
    draining_ = std::thread([this] {
        device_->drain(nanoseconds(in_force_.drain_ns));
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto woken = ::write(drained_.get(), &one, sizeof one);
    });
    loop_.at(os::now_ns() + in_force_.drain_ns + stop_patience_ns, [this] { loop_.stop(); });
}

void program::wait_for_drain() {
    pollfd done{.fd = drained_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&done, 1, static_cast<int>(stop_patience_ns / 1'000'000)) != 1) {
        log_.error("the device does not stop: ending without it");
        log_.flush(last_words_ns);
        std::_Exit(1);  // a thread of it may be anywhere; destructors would wait for it
    }
}

void program::finish() {
    device_->stop();
    loop_.stop();
}

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// connections.cc -- who comes, who is told what, and how they go; packets.cc has what they say.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "os/sync.hpp"
#include "vinicd/baggage.hpp"
#include "vinicd/connection.hpp"
#include "vinicd/events.hpp"
#include "vinicd/units.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t accept_pause_ns = 100'000'000;
constexpr int accepted_at_a_time = 64;
constexpr std::size_t backlog_max = 256;  // events that a monitor may be behind
constexpr const char* no_place =
    "this place was given to a newer connection of the same user or group: close some, or come again";

}  // namespace

int send_packet(int fd, std::string_view bytes) {
    return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ? 0 : errno;
}

void say_goodbye(int fd, std::string_view bytes) {
    (void)send_packet(fd, bytes);  // one that has gone needs no answer
    // What is not read when a socket is closed makes an error at the other side, which would hide the packet.
    drain(fd);
}

connections::connections(loop& l, log& to, controller::device& d, options& o)
    : loop_(l),
      log_(to),
      device_(d),
      access_(o),
      tenancies_(d, access_),
      administration_(d, o, access_, counted_, to, [this] { options_changed(); }),
      admission_(d.options().defaults.contexts_max),
      alive_(std::make_shared<bool>(true)) {}

connections::~connections() {
    *alive_ = false;
    stop_listening();
    close_all();
}

std::uint64_t connections::descriptors_max(const options& o) {
    const std::uint64_t functions = o.device.functions + 1;
    const std::uint64_t clients = functions * (o.device.defaults.contexts_max + admission::spare_of_function);
    const std::uint64_t others =
        (access(o).accounts() + 1) * admission::places + admission::places_of_strangers;  // 1: administrators
    constexpr std::uint64_t of_a_function = 5;  // with windows that are being given back
    constexpr std::uint64_t of_the_program = 64;
    // The same limit holds, for this user as a whole, for descriptors that were sent and not read yet: three of each
    // client that has not read how it was attached.  Above it the kernel sends nobody any (ETOOMANYREFS).
    constexpr std::uint64_t in_flight_each = 3;
    return std::max(2 * (clients + others) + of_a_function * functions + of_the_program,
                    in_flight_each * clients + of_the_program);
}

result<void> connections::serve(int listening) {
    listening_ = listening;
    reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    listener_ = loop_.add(listening, EPOLLIN, [this](std::uint32_t) { accept_some(); });
    if (listener_ == 0) {
        return std::unexpected(error{errc::os_failure, errno, "watching the socket"});
    }
    return {};
}

void connections::stop_listening() noexcept {
    loop_.remove(std::exchange(listener_, 0));
    listening_ = -1;
    // A client on the way in has lost nothing yet: hung up on, it comes again, to the next vinicd.
    for (auto it = all_.begin(); it != all_.end();) {
        connection& c = *(it++)->second;
        if (c.as == role::fresh || c.as == role::attached) {
            close(c, false);
        }
    }
}

// -- who comes --------------------------------------------------------------------------------------

void connections::accept_some() {
    for (int i = 0; i < accepted_at_a_time; ++i) {
        os::unique_fd fd(::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (fd) {
            take(std::move(fd));
            continue;
        }
        if (errno == EMFILE && accept_without_room()) {
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            // The one who waits stays ready: without a pause this thread would do nothing else.
            ++counted_.limits_reached;
            log_.caused(log_level::error, "accepting",
                        std::string("a connection cannot be accepted: ") + std::strerror(errno) +
                            "; raise the limit on open files (ulimit -n, LimitNOFILE=)");
            loop_.change(listener_, 0);
            loop_.at(os::now_ns() + accept_pause_ns, [this, alive = alive_] {
                if (*alive) {
                    loop_.change(listener_, EPOLLIN);
                }
            });
        }
        return;
    }
}

/// The limit on open files is below what all places need.  Who waits can only be seen when one is let in: if that one
/// is not weaker than somebody who is here, it stays.
bool connections::accept_without_room() {
    reserve_.reset();
    os::unique_fd fd(::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    const bool accepted = static_cast<bool>(fd);
    if (accepted) {
        const work_time spent;
        const auto who = peer_of(fd.get());
        const account of = who ? access_.account_of(*who) : account{};
        if (!who || !make_room(of, 0)) {
            ++counted_.limits_reached;
            refuse(fd.get(), errc::limit_reached, no_descriptor);
            fd.reset();
        }
        admission_.charge(of, who ? who->who.user : 0, os::now_ns(), spent.ns());
        if (fd) {
            take(std::move(fd));
        }
    }
    reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return accepted;
}

void connections::refuse(int fd, errc code, const std::string& why) {
    abi::attach_reply reply{};
    reply.code = static_cast<std::uint32_t>(code);
    reply.version = abi::window_version;
    reply.process_id = static_cast<std::uint32_t>(::getpid());
    why.copy(reply.why, sizeof reply.why - 1);
    say_goodbye(fd, bytes_of(reply));
}

/// Finding out who it is, is work that the newcomer causes; one whose user cannot be told is a stranger.
void connections::take(os::unique_fd fd) {
    const work_time spent;
    const std::uint64_t now = os::now_ns();
    auto who = peer_of(fd.get());
    const account of = who ? access_.account_of(*who) : account{};
    const uid_t user = who ? who->who.user : 0;
    if (who) {
        let_in(std::move(fd), std::move(*who), of, now);
    } else {
        ++counted_.limits_reached;
        log_.caused(log_level::warning, "connecting", "a connection was refused: " + who.error().message());
        refuse(fd.get(), errc::limit_reached, "vinicd cannot find out who connects");
    }
    admission_.charge(of, user, now, spent.ns());
}

void connections::let_in(os::unique_fd fd, peer who, account of, std::uint64_t now_ns) {
    ++counted_.accepted;
    auto made = std::make_unique<connection>();
    connection& c = *made;
    c.n = ++last_;
    c.fd = std::move(fd);
    c.who = std::move(who);
    c.of = of;
    const bool busy = of.of == account::kind::strangers && admission_.free_at_ns(of, c.who.who.user) > now_ns;
    const auto known = busy ? result<void>() : with_room(of, c.n, [&] { return open_process(c.who); });
    if (busy || !known) {
        ++counted_.limits_reached;
        log_.caused(log_level::warning, "connecting",
                    "refused " + described(c) + ": " +
                        (busy ? "users who were given no function have made work enough" : known.error().message()));
        refuse(c.fd.get(), errc::limit_reached,
               busy                               ? "users without a function have used up their time: come again later"
               : known.error().os_errno == EMFILE ? no_descriptor
                                                  : "vinicd cannot find out who connects");
        return;
    }
    // An account's places have room for a newcomer always.
    if (const auto leaves = admission_.arrive(c.n, of, c.who.who.user, now_ns).leaves) {
        displace(*leaves);
    }
    c.watch = loop_.add(c.fd.get(), EPOLLIN, [this, n = c.n](std::uint32_t events) { on_ready(n, events); });
    if (c.watch == 0) {
        admission_.leave(c.n);
        return;
    }
    ++counted_.connections;
    all_.emplace(c.n, std::move(made));
    if (!sweeping_) {
        sweeping_ = true;
        sweep();
    }
}

/// False: everybody who is here is stronger, or uses a context.
bool connections::make_room(account of, number but) {
    const auto leaves = admission_.weakest(of, but);
    if (leaves) {
        displace(*leaves);
    }
    return leaves.has_value();
}

/// Hangs up on somebody whose place another one gets, and says so in the packet that it waits for; one that has not
/// read what it was told before can be told nothing more.
void connections::displace(number n) {
    connection& c = *all_.at(n);
    ++counted_.displaced;
    log_.caused(log_level::info, "places", "a newer connection takes the place of " + described(c));
    if (c.as == role::fresh) {
        refuse(c.fd.get(), errc::limit_reached, no_place);
    } else if (c.as == role::attached) {
        const abi::enter_reply reply{.code = static_cast<std::uint32_t>(errc::limit_reached), .context_epoch = 0};
        say_goodbye(c.fd.get(), bytes_of(reply));
    } else if (c.unsent.empty()) {
        say_goodbye(c.fd.get(), administration::failure_text(errc::limit_reached, no_place));
    }
    close(c, false);
}

void connections::sweep() {
    const std::uint64_t now = os::now_ns();
    for (const number n : admission_.late(now)) {
        log_.caused(log_level::info, "waiting", "hung up, nothing was said for too long: " + described(*all_.at(n)));
        close(*all_.at(n), false);
    }
    sweeping_ = !all_.empty();
    if (sweeping_) {
        loop_.at(now + ns_per_second, [this, alive = alive_] {
            if (*alive) {
                sweep();
            }
        });
    }
}

// -- what they are told, and how they go ------------------------------------------------------------

void connections::tell(const controller::event& e, std::uint64_t lost) {
    if (e.kind == controller::event_kind::reset || e.kind == controller::event_kind::removed) {
        cut_off(e.function);
    }
    const std::uint64_t now = os::now_ns();
    const std::vector<number> monitors(monitors_.begin(), monitors_.end());  // one that has gone is taken out
    for (const number n : monitors) {
        connection& c = *all_.at(n);
        c.lost += lost;
        if (!access_.may_use(e.function, c.who)) {
            continue;
        }
        const account of = c.of;
        const uid_t user = c.who.who.user;
        if (c.unsent.size() >= backlog_max || admission_.free_at_ns(of, user) > now) {
            ++c.lost;
            ++counted_.lost_events;
            continue;
        }
        const work_time spent;
        c.unsent.push_back(administration::event_text(e, std::exchange(c.lost, 0)));
        flush(c);
        admission_.charge(of, user, now, spent.ns());
    }
}

/// So that a sleeping client learns of it.
void connections::cut_off(std::uint32_t function) {
    const auto status = device_.status(function);
    std::vector<number> affected;
    for (const auto& [n, c] : all_) {
        if ((c->as == role::attached || c->as == role::entered) && c->function == function &&
            (!status || status->epoch != c->epoch)) {
            affected.push_back(n);
        }
    }
    for (const number n : affected) {
        close(*all_.at(n), false);
    }
}

void connections::options_changed() {
    access_.options_changed();
    administration_.options_changed();
    for (const std::uint32_t function : tenancies_.end_those_without_right()) {
        log_.info("function " + controller::function_name(function) +
                  ": not everybody who has its memory may use it any more, so it is reset");
    }
}

void connections::close(connection& c, bool died) {
    if (c.as == role::attached) {
        device_.forsake(c.function, c.epoch);
    }
    if (c.as == role::entered) {
        --counted_.clients;
        device_.leave(c.function, c.context, c.context_epoch, died);
    }
    monitors_.erase(c.n);
    counted_.monitors = monitors_.size();
    --counted_.connections;
    loop_.remove(c.process_watch);
    loop_.remove(c.watch);
    admission_.leave(c.n);
    drain(c.fd.get());
    all_.erase(c.n);
}

void connections::close_all() {
    while (!all_.empty()) {
        close(*all_.begin()->second, false);
    }
}

std::string connections::described(const connection& c) const { return actor_text(c.who.who.process, c.who.who.user); }

}  // namespace vinic::vinicd

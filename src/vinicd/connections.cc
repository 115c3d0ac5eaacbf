// SPDX-License-Identifier: Apache-2.0
//
// connections.cc -- who comes, who is told what, and how they go; packets.cc has what they say.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "os/sync.hpp"
#include "vinicd/connection.hpp"
#include "vinicd/events.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t accept_pause_ns = 100'000'000;
constexpr int accepted_at_a_time = 16;
constexpr int packets_drained_max = 64;
constexpr std::size_t backlog_max = 256;  // events that a monitor may be behind

}  // namespace

int send_packet(int fd, std::string_view bytes) {
    return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ? 0 : errno;
}

void say_goodbye(int fd, std::string_view bytes) {
    (void)send_packet(fd, bytes);  // whoever has gone needs no answer
    // What is not read when a socket is closed makes an error at the other side, which would hide the packet.
    ::shutdown(fd, SHUT_RDWR);
    std::array<char, 64> rest{};
    for (int i = 0; i < packets_drained_max && ::recv(fd, rest.data(), rest.size(), MSG_DONTWAIT) > 0; ++i) {
    }
}

connections::connections(loop& l, log& to, controller::device& d, options& o)
    : loop_(l),
      log_(to),
      device_(d),
      access_(o),
      administration_(d, o, counted_),
      alive_(std::make_shared<bool>(true)) {}

connections::~connections() {
    *alive_ = false;
    stop_listening();
    close_all();
}

std::uint64_t connections::descriptors_max(const controller::device_options& o) noexcept {
    const connection_limits limits;
    const std::uint64_t clients = std::uint64_t{o.functions + 1} * (o.defaults.contexts_max + limits.attached_spare);
    constexpr std::uint64_t of_a_function = 3;
    constexpr std::uint64_t of_the_program = 64;
    return 2 * (clients + limits.fresh + limits.administrators) + of_a_function * (o.functions + 1) + of_the_program;
}

result<void> connections::serve(int listening) {
    listening_ = listening;
    listener_ = loop_.add(listening, EPOLLIN, [this](std::uint32_t) { accept_some(); });
    if (listener_ == 0) {
        return std::unexpected(error{errc::os_failure, errno, "watching the socket"});
    }
    return {};
}

void connections::stop_listening() noexcept {
    loop_.remove(std::exchange(listener_, 0));
    listening_ = -1;
    // Whoever is on the way in has lost nothing yet: hung up on, it comes again, to the next vinicd.
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

void connections::refuse(int fd, errc code, const std::string& why) {
    abi::attach_reply reply{};
    reply.code = static_cast<std::uint32_t>(code);
    reply.version = abi::window_version;
    reply.process_id = static_cast<std::uint32_t>(::getpid());
    why.copy(reply.why, sizeof reply.why - 1);
    say_goodbye(fd, bytes_of(reply));
}

void connections::take(os::unique_fd fd) {
    auto who = peer_of(fd.get());
    if (!who) {
        ++counted_.limits_reached;
        log_.caused(log_level::warning, "connecting", "a connection was refused: " + who.error().message());
        refuse(fd.get(), errc::limit_reached, "vinicd cannot find out who connects");
        return;
    }
    ++counted_.accepted;
    auto made = std::make_unique<connection>();
    connection& c = *made;
    c.n = ++last_;
    c.fd = std::move(fd);
    c.who = std::move(*who);
    c.since_ns = os::now_ns();
    if (too_many(c, role::fresh)) {
        ++counted_.limits_reached;
        log_.caused(log_level::warning, "connecting", "too many connections that say nothing: refused " + described(c));
        refuse(c.fd.get(), errc::limit_reached, "too many connections of this user say nothing");
        return;
    }
    c.watch = loop_.add(c.fd.get(), EPOLLIN, [this, n = c.n](std::uint32_t events) { on_ready(n, events); });
    if (c.watch == 0) {
        return;
    }
    all_.emplace(c.n, std::move(made));
    ++counted_.connections;
    if (!sweeping_) {
        sweeping_ = true;
        sweep();
    }
}

bool connections::too_many(const connection& c, role wanted) const {
    const bool privileged = access::may_administer(c.who);
    const auto fits = [&](const connection& other) {
        if (wanted == role::administrator) {
            return other.as == role::administrator || other.as == role::monitor;
        }
        return wanted == role::fresh
                   ? other.as == role::fresh
                   : (other.as == role::attached || other.as == role::entered) && other.function == c.function;
    };
    std::uint32_t total = 0;
    std::uint32_t of_user = 0;
    for (const auto& [n, other] : all_) {
        if (other.get() != &c && fits(*other)) {
            ++total;
            of_user += other->who.who.user == c.who.who.user ? 1U : 0U;
        }
    }
    if (wanted == role::attached) {
        return total >= device_.options().defaults.contexts_max + limits_.attached_spare;
    }
    const bool fresh = wanted == role::fresh;
    return total >= (fresh ? limits_.fresh : limits_.administrators) ||
           (!privileged && of_user >= (fresh ? limits_.fresh_of_user : limits_.administrators_of_user));
}

void connections::sweep() {
    const std::uint64_t now = os::now_ns();
    std::vector<number> late;
    for (const auto& [n, c] : all_) {
        if ((c->as == role::fresh || c->as == role::attached) && now - c->since_ns > limits_.patience_ns) {
            late.push_back(n);
        }
    }
    for (const number n : late) {
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
    const bool cuts_off = e.kind == controller::event_kind::reset || e.kind == controller::event_kind::removed;
    std::vector<number> affected;
    for (const auto& [n, c] : all_) {
        const bool monitor = c->as == role::monitor;
        const bool cut_off =
            cuts_off && e.function == c->function && (c->as == role::attached || c->as == role::entered);
        if (monitor || cut_off) {
            affected.push_back(n);
        }
    }
    const auto status =
        cuts_off && !affected.empty() ? device_.status(e.function) : result<controller::function_status>(std::unexpect);
    for (const number n : affected) {
        connection& c = *all_.at(n);
        if (c.as != role::monitor) {
            if (!status || status->epoch != c.epoch) {
                close(c, false);  // so that one who sleeps learns of it
            }
            continue;
        }
        c.lost += lost;
        std::string text = administration_.event_text(c.who, e, c.lost);
        if (text.empty()) {
            continue;
        }
        if (c.unsent.size() >= backlog_max) {
            ++c.lost;
            ++counted_.lost_events;
            continue;
        }
        c.lost = 0;
        c.unsent.push_back(std::move(text));
        flush(c);
    }
}

void connections::close(connection& c, bool died) {
    if (c.as == role::entered) {
        --counted_.clients;
        device_.leave(c.function, c.context, c.context_epoch, died);
    }
    counted_.monitors -= c.as == role::monitor ? 1U : 0U;
    --counted_.connections;
    loop_.remove(c.process_watch);
    loop_.remove(c.watch);
    all_.erase(c.n);
}

void connections::close_all() {
    while (!all_.empty()) {
        close(*all_.begin()->second, false);
    }
}

std::string connections::described(const connection& c) const {
    return "process " + std::to_string(c.who.who.process) + " of user " + user_name(c.who.who.user);
}

}  // namespace vinic::vinicd

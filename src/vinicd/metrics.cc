// SPDX-License-Identifier: Apache-2.0
//
// metrics.cc -- the HTTP server; openmetrics.cc writes the text.
#include "vinicd/metrics.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "os/sync.hpp"
#include "vinicd/baggage.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::size_t connections_max = 16;
constexpr std::size_t request_bytes_most = 8192;
constexpr std::uint64_t scrape_patience_ns = 10'000'000'000;
constexpr std::uint64_t pause_ns = 100'000'000;
constexpr int scrapes_waiting_max = 16;
constexpr std::uint32_t share_per_mille = 50;  // of the main thread

std::unexpected<error> fail(errc code, int os_errno, const std::string& doing) {
    return std::unexpected(error{code, os_errno, "openmetrics " + doing});
}

struct tcp_address {
    sockaddr_storage storage{};
    socklen_t bytes = 0;
    bool loopback = false;
};

/// "9469", "127.0.0.1:9469", "[::1]:9469".
result<tcp_address> tcp_address_of(const std::string& where) {
    const auto refuse = [&] {
        return fail(errc::invalid_argument, 0,
                    where + ": write a port, ADDRESS:PORT, [ADDRESS]:PORT with a numeric address, or a path");
    };
    std::string host = "127.0.0.1";
    std::string port = where;
    if (const std::size_t colon = where.rfind(':'); colon != std::string::npos) {
        host = where.substr(0, colon);
        port = where.substr(colon + 1);
    }
    const auto number = parse_number(port);
    if (!number || *number == 0 || *number > 65535) {
        return refuse();
    }
    tcp_address address;
    if (host.starts_with('[') && host.ends_with(']')) {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(static_cast<std::uint16_t>(*number));
        address.bytes = sizeof v6;
        if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6.sin6_addr) != 1) {
            return refuse();
        }
        address.loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
        return address;
    }
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<std::uint16_t>(*number));
    address.bytes = sizeof v4;
    if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) != 1) {
        return refuse();
    }
    address.loopback = (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
    return address;
}

std::string response(const char* status, const std::string& type, const std::string& body, const char* more = "") {
    return std::string("HTTP/1.1 ") + status + "\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n" + more + "\r\n" + body;
}

const std::string plain_type = "text/plain; charset=utf-8";
const std::string metrics_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";

}  // namespace

struct metrics_server::connection {
    os::unique_fd fd;
    loop::watch watch = 0;
    std::uint64_t since_ns = 0;
    std::string request;
    std::string unsent;
};

metrics_server::metrics_server(loop& l, log& to, std::function<std::string()> text)
    : loop_(l), log_(to), text_(std::move(text)), alive_(std::make_shared<bool>(true)) {}

metrics_server::~metrics_server() {
    *alive_ = false;
    loop_.remove(watch_);
    while (!all_.empty()) {
        close(all_.begin()->first);
    }
}

result<void> metrics_server::check(const std::string& where) {
    if (where.find('/') == std::string::npos) {
        if (const auto address = tcp_address_of(where); !address) {
            return std::unexpected(address.error());
        }
    }
    return {};
}

result<void> metrics_server::open(const std::string& where) {
    if (where.find('/') != std::string::npos) {
        auto made = listener::make(where, SOCK_STREAM, 0660, std::nullopt);
        if (!made) {
            return std::unexpected(made.error());
        }
        path_.emplace(std::move(*made));
        if (const std::string weakness = path_->weakness(); !weakness.empty()) {
            log_.warning(weakness);
        }
    } else if (const auto opened = open_tcp(where); !opened) {
        return opened;
    }
    watch_ = loop_.add(fd(), EPOLLIN, [this](std::uint32_t) { accept_one(); });
    if (watch_ == 0) {
        return fail(errc::os_failure, errno, where);
    }
    log_.info("counters are served at " + (path_ ? where
                                           : where.find(':') == std::string::npos
                                               ? "http://127.0.0.1:" + where + "/metrics"
                                               : "http://" + where + "/metrics"));
    return {};
}

result<void> metrics_server::open_tcp(const std::string& where) {
    const auto address = tcp_address_of(where);
    if (!address) {
        return std::unexpected(address.error());
    }
    socket_.reset(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (!socket_ || ::setsockopt(fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        ::bind(fd(), reinterpret_cast<const sockaddr*>(&address->storage), address->bytes) != 0 ||
        ::listen(fd(), scrapes_waiting_max) != 0) {
        return fail(errno == EADDRINUSE ? errc::name_in_use : errc::os_failure, errno, where);
    }
    log_.warning(
        "counters of all functions are served at " + where + ", to everybody who reaches this address" +
        (address->loopback ? ", which all users of this machine do: a path of a socket serves only some" : ""));
    return {};
}

void metrics_server::accept_one() {
    if (const std::uint64_t free_at = work_.free_at_ns(); free_at > os::now_ns()) {
        accept_again_at(free_at);  // one that asks more often waits, and nobody else
        return;
    }
    const work_time spent;
    auto made = std::make_unique<connection>();
    made->fd.reset(::accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!made->fd && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
        // Those that wait there stay ready: without a pause nothing else would be done.
        log_.caused(log_level::warning, "openmetrics", std::string("accepting: ") + std::strerror(errno));
        accept_again_at(os::now_ns() + pause_ns);
    }
    if (!made->fd) {
        return;
    }
    if (all_.size() >= connections_max) {
        close(all_.begin()->first);  // the oldest, which may have been forgotten
    }
    const std::uint64_t n = ++last_;
    made->watch = loop_.add(made->fd.get(), EPOLLIN, [this, n](std::uint32_t events) { on_ready(n, events); });
    if (made->watch == 0) {
        return;
    }
    made->since_ns = os::now_ns();
    all_.emplace(n, std::move(made));
    work_.charge(os::now_ns(), spent.ns(), share_per_mille);
    if (!expiring_) {
        expire();
    }
}

/// Hangs up on those that have been here for too long; the first to come stands first.
void metrics_server::expire() {
    const std::uint64_t now = os::now_ns();
    while (!all_.empty() && now - all_.begin()->second->since_ns >= scrape_patience_ns) {
        close(all_.begin()->first);
    }
    expiring_ = !all_.empty();
    if (expiring_) {
        loop_.at(all_.begin()->second->since_ns + scrape_patience_ns, [this, alive = alive_] {
            if (*alive) {
                expire();
            }
        });
    }
}

void metrics_server::accept_again_at(std::uint64_t time_ns) {
    loop_.change(watch_, 0);
    loop_.at(time_ns, [this, alive = alive_] {
        if (*alive) {
            loop_.change(watch_, EPOLLIN);
        }
    });
}

void metrics_server::close(std::uint64_t n) {
    if (const auto found = all_.find(n); found != all_.end()) {
        loop_.remove(found->second->watch);
        if (path_) {
            drain(found->second->fd.get());
        }
        all_.erase(found);
    }
}

std::string metrics_server::answer(std::string_view request) const {
    const std::string_view line = request.substr(0, request.find("\r\n"));
    const std::size_t first = line.find(' ');
    const std::size_t second = line.find(' ', first == std::string_view::npos ? first : first + 1);
    if (second == std::string_view::npos || !line.substr(second + 1).starts_with("HTTP/1.")) {
        return response("400 Bad Request", plain_type, "This is no request of HTTP/1.1.\n");
    }
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, second - first - 1);
    if (method != "GET" && method != "HEAD") {
        return response("405 Method Not Allowed", plain_type, "Only GET and HEAD.\n", "Allow: GET, HEAD\r\n");
    }
    if (target.substr(0, target.find('?')) != "/metrics") {
        return response("404 Not Found", plain_type, "The counters are at /metrics.\n");
    }
    std::string whole = response("200 OK", metrics_type, text_());
    return method == "HEAD" ? whole.substr(0, whole.find("\r\n\r\n") + 4) : whole;
}

void metrics_server::on_ready(std::uint64_t n, std::uint32_t events) {
    const auto found = all_.find(n);
    if (found == all_.end()) {
        return;
    }
    const work_time spent;
    serve(n, *found->second, events);
    work_.charge(os::now_ns(), spent.ns(), share_per_mille);
}

void metrics_server::serve(std::uint64_t n, connection& c, std::uint32_t events) {
    if (c.unsent.empty() && (events & EPOLLIN) != 0) {
        std::array<char, 2048> piece{};
        const ssize_t bytes = receive(c.fd.get(), std::as_writable_bytes(std::span(piece)));
        if (bytes <= 0) {
            close(n);
            return;
        }
        c.request.append(piece.data(), static_cast<std::size_t>(bytes));
        if (c.request.find("\r\n\r\n") != std::string::npos) {
            c.unsent = answer(c.request);
        } else if (c.request.size() > request_bytes_most) {
            c.unsent = response("431 Request Header Fields Too Large", plain_type, "At most 8 KiB.\n");
        } else {
            return;
        }
        loop_.change(c.watch, EPOLLOUT);
    }
    if (c.unsent.empty()) {
        close(n);  // hung up before it asked
        return;
    }
    const ssize_t sent = ::send(c.fd.get(), c.unsent.data(), c.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN) {
            close(n);
        }
        return;
    }
    c.unsent.erase(0, static_cast<std::size_t>(sent));
    if (c.unsent.empty()) {
        ::shutdown(c.fd.get(), SHUT_WR);
        close(n);
    }
}

}  // namespace vinic::vinicd

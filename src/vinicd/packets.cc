// SPDX-License-Identifier: Apache-2.0
//
// packets.cc -- what is done with what a connection says.
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

namespace vinic::vinicd {

namespace {

constexpr std::uint32_t enter_tries_max = 4 * abi::context_count;
constexpr std::uint64_t rest_max_ns = 1'000'000'000;

/// The reply and the three descriptors of an attachment; 0 or errno.
int send_attachment(int fd, const abi::attach_reply& reply, const controller::attachment& a) {
    const std::array<int, 3> sent = {a.window.get(), a.doorbell.get(), a.mailbox.get()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof sent)> control{};
    iovec content{.iov_base = const_cast<abi::attach_reply*>(&reply), .iov_len = sizeof reply};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof sent);
    std::memcpy(CMSG_DATA(header), sent.data(), sizeof sent);
    return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ? 0 : errno;
}

}  // namespace

void connections::on_ready(number n, std::uint32_t events) {
    const auto found = all_.find(n);
    if (found == all_.end()) {
        return;
    }
    connection& c = *found->second;
    const account of = c.of;
    const uid_t user = c.who.who.user;
    const std::uint64_t now = os::now_ns();
    const work_time spent;
    const std::uint64_t free_at = admission_.free_at_ns(of, user);
    if ((events & EPOLLIN) != 0 && free_at > now && c.as != role::entered) {
        // What a client wanted need not be done if it has gone already.
        (events & EPOLLHUP) != 0 ? close(c, false) : rest(c, now, free_at);
        return;
    }
    serve(c, events);  // it may be gone after that
    admission_.charge(of, user, now, spent.ns());
}

void connections::serve(connection& c, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) {
        flush(c);
        return;  // what it says is read when it has read what it was told
    }
    if ((events & EPOLLIN) != 0) {
        std::array<std::byte, request_bytes_max + 1> packet{};
        const ssize_t bytes = receive(c.fd.get(), packet);
        if (bytes > 0) {
            on_packet(c, std::span(packet).first(static_cast<std::size_t>(bytes)));
            return;
        }
        if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
    }
    close(c, c.as == role::entered || is_dying(c.who));  // no word of leaving: it died
}

void connections::on_packet(connection& c, std::span<const std::byte> packet) {
    if (packet.size() > request_bytes_max) {
        malformed(c, "a packet that is too long");
        return;
    }
    const bool json = packet.front() == std::byte{'{'};
    switch (c.as) {
        case role::fresh:
            json ? request(c, packet) : attach(c, packet);
            return;
        case role::attached:
            enter(c, packet);
            return;
        case role::entered: {
            abi::leave_notice said{};
            if (packet.size() != sizeof said) {
                malformed(c, "a packet after entering");
                return;
            }
            std::memcpy(&said, packet.data(), sizeof said);
            if (said.kind != static_cast<std::uint32_t>(abi::packet::leave) || said.context != c.context) {
                malformed(c, "a packet after entering");
                return;
            }
            close(c, false);
            return;
        }
        case role::administrator:
            json ? request(c, packet) : malformed(c, "a packet that is no request");
            return;
        case role::monitor:
            malformed(c, "a packet from a monitor");
            return;
    }
}

void connections::malformed(connection& c, const char* what) {
    ++counted_.malformed_packets;
    log_.caused(log_level::warning, "malformed packets", std::string(what) + ": hung up on " + described(c));
    close(c, false);
}

result<void> connections::may_attach(const connection& c, const abi::attach_request& asked) {
    const auto refused = [](errc code, std::string why) { return std::unexpected(error{code, 0, std::move(why)}); };
    if (asked.version != abi::window_version) {
        return refused(errc::version_mismatch, "the device and the library are of different versions");
    }
    const bool in_range = asked.function < device_.functions();
    if (!access::may_administer(c.who) && !(in_range && access_.may_use(asked.function, c.who))) {
        return refused(errc::permission_denied, not_given(controller::function_name(asked.function)));
    }
    if (!in_range) {
        return refused(errc::unknown_address,
                       no_such_function(controller::function_name(asked.function), device_.functions()));
    }
    const std::string function = "function " + controller::function_name(asked.function);
    if (!access_.is_enabled(asked.function)) {
        return refused(errc::permission_denied, function + " is disabled by the device's configuration");
    }
    if (!device_.has(asked.function)) {
        return refused(errc::unknown_address, removed_function(controller::function_name(asked.function)));
    }
    const auto place = admission_.attach(c.n, asked.function, os::now_ns());
    if (!place.admitted) {
        return refused(errc::limit_reached, "all contexts of " + function + " are in use, and others wait for one");
    }
    if (place.leaves) {
        displace(*place.leaves);
    }
    return {};
}

void connections::attach(connection& c, std::span<const std::byte> packet) {
    abi::attach_request asked{};
    if (packet.size() == sizeof asked) {
        std::memcpy(&asked, packet.data(), sizeof asked);
    }
    if (asked.magic != abi::window_magic || asked.kind != static_cast<std::uint32_t>(abi::packet::attach)) {
        malformed(c, "a packet that does not attach");
        return;
    }
    c.function = asked.function;
    const auto allowed = may_attach(c, asked);
    const auto give = [&] { return device_.attach(asked.function, c.who.who.user); };
    const auto given = allowed ? with_room(c.of, c.n, give) : std::unexpected(allowed.error());
    if (!given) {
        const auto& [code, os_errno, words] = given.error();
        const std::string why = os_errno == EMFILE ? no_descriptor : words;
        ++(code == errc::limit_reached ? counted_.limits_reached : counted_.refused_attachments);
        // Busy: it comes again, and is let in then.
        log_.caused(code == errc::busy ? log_level::info : log_level::warning, "attaching",
                    controller::function_name(asked.function) + " was refused to " + described(c) + ": " + why);
        refuse(c.fd.get(), code, why);
        close(c, false);
        return;
    }
    const abi::attach_reply reply{.code = 0,
                                  .version = abi::window_version,
                                  .function = asked.function,
                                  .epoch = given->epoch,
                                  .window_bytes = given->window_bytes,
                                  .process_id = static_cast<std::uint32_t>(::getpid()),
                                  .foreign = device_.options().foreign_memory ? 1U : 0U,
                                  .why = {}};
    if (const int why = send_attachment(c.fd.get(), reply, *given); why != 0) {
        log_.caused(log_level::warning, "attaching",
                    std::string("the window could not be sent (") + std::strerror(why) + ") to " + described(c));
        close(c, is_dying(c.who));
        return;
    }
    tenancies_.hand_out(c.function, given->epoch, c.who);
    c.as = role::attached;
    c.epoch = given->epoch;
}

void connections::enter(connection& c, std::span<const std::byte> packet) {
    abi::enter_request asked{};
    if (packet.size() == sizeof asked) {
        std::memcpy(&asked, packet.data(), sizeof asked);
    }
    if (asked.kind != static_cast<std::uint32_t>(abi::packet::enter) || ++c.enter_tries > enter_tries_max) {
        malformed(c, "a packet that does not enter");
        return;
    }
    abi::enter_reply reply{.code = static_cast<std::uint32_t>(errc::invalid_argument), .context_epoch = 0};
    if (asked.context < device_.options().defaults.contexts_max) {
        const auto entered = device_.enter(c.function, c.epoch, asked.context, c.who.who);
        reply.code = entered ? 0 : static_cast<std::uint32_t>(entered.error().code);
        reply.context_epoch = entered.value_or(0);
    }
    if (reply.code == 0) {
        c.as = role::entered;
        c.context = asked.context;
        c.context_epoch = reply.context_epoch;
        admission_.enter(c.n);
        ++counted_.clients;
        if (c.who.process) {
            // A child that was forked may hold the connection open although its client is dead.
            c.process_watch = loop_.add(c.who.process.get(), EPOLLIN, [this, n = c.n](std::uint32_t) {
                if (const auto found = all_.find(n); found != all_.end()) {
                    const account of = found->second->of;
                    const uid_t user = found->second->who.who.user;
                    const work_time spent;
                    close(*found->second, true);
                    admission_.charge(of, user, os::now_ns(), spent.ns());
                }
            });
        }
    }
    if (const int why = send_packet(c.fd.get(), bytes_of(reply)); why != 0) {
        close(c, is_dying(c.who));
    }
}

void connections::request(connection& c, std::span<const std::byte> packet) {
    c.as = role::administrator;
    admission_.ask(c.n, os::now_ns());
    bool monitor = false;
    c.unsent.push_back(
        administration_.answer(c.who, {reinterpret_cast<const char*>(packet.data()), packet.size()}, monitor));
    if (monitor) {
        c.as = role::monitor;
        admission_.monitor(c.n);
        monitors_.insert(c.n);
        counted_.monitors = monitors_.size();
    }
    flush(c);
}

void connections::flush(connection& c) {
    while (!c.unsent.empty()) {
        const int why = send_packet(c.fd.get(), c.unsent.front());
        if (why == EAGAIN || why == EWOULDBLOCK || why == ENOBUFS) {
            break;
        }
        if (why != 0) {
            close(c, is_dying(c.who));
            return;
        }
        c.unsent.pop_front();
    }
    look_at(c);
}

/// A connection that does not read replies is not read from.
void connections::look_at(const connection& c) noexcept {
    loop_.change(c.watch, c.unsent.empty() ? EPOLLIN : EPOLLOUT);
}

/// Nothing of it is looked at until then, but that it goes.  Looked at too early it rests again: the timer of one that
/// has gone meanwhile is not kept for long, however many come and go.
void connections::rest(const connection& c, std::uint64_t now_ns, std::uint64_t until_ns) {
    loop_.change(c.watch, 0);
    loop_.at(std::min(until_ns, now_ns + rest_max_ns), [this, alive = alive_, n = c.n] {
        if (!*alive) {
            return;
        }
        if (const auto found = all_.find(n); found != all_.end()) {
            look_at(*found->second);
        }
    });
}

}  // namespace vinic::vinicd

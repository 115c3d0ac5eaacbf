// SPDX-License-Identifier: Apache-2.0
//
// function_client.cc -- the socket to vinicd, and how a refusal or a broken connection is told.
#include "cli/function_client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace vinic::cli {

namespace {

constexpr std::string_view vinicd_scheme = "vinicd:";
constexpr std::size_t reply_bytes_max = 65536;
constexpr int reply_patience_ms = 30'000;
constexpr auto busy_patience = std::chrono::seconds(5);
constexpr auto busy_pause = std::chrono::milliseconds(5);

std::unexpected<failure> fail(std::string sentence, int exit_code = 1) {
    return std::unexpected(failure{std::move(sentence), exit_code});
}

std::string cure(int os_errno) {
    switch (os_errno) {
        case ENOENT:
        case ECONNREFUSED:
            return "no vinicd listens there; start one with --socket PATH, or name another with --device vinicd:PATH";
        case EACCES:
            return "the socket is not open to this user; ask its owner, or become a member of its group";
        case EPROTOTYPE:
            return "something else listens there";
        default:
            return std::strerror(os_errno);
    }
}

}  // namespace

bool is_vinicd(std::string_view typed) noexcept { return typed.starts_with(vinicd_scheme); }

answer<isolated::server_address> parse_vinicd_address(std::string_view typed) {
    const auto refuse = [&] {
        return fail("'" + std::string(typed) +
                        "' is no device with functions: write vinicd:PATH, where PATH is the socket of a vinicd",
                    2);
    };
    if (!is_vinicd(typed)) {
        return refuse();
    }
    auto address = isolated::parse_server(typed.substr(vinicd_scheme.size()));
    if (!address || address->path.size() >= sizeof(sockaddr_un{}.sun_path)) {
        return refuse();
    }
    return std::move(*address);
}

answer<function_client> function_client::open(const std::string& typed) {
    const auto address = parse_vinicd_address(typed);
    if (!address) {
        return std::unexpected(address.error());
    }
    function_client made;
    made.address_ = std::string(vinicd_scheme) + address->path;
    made.function_ = address->function;
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, address->path.data(), address->path.size());
    made.socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!made.socket_ || ::connect(made.socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        return fail("connecting to " + made.address_ + ": " + cure(errno));
    }
    // What it answers is shown, and what is typed is sent to it.
    if (const auto believed = isolated::believe_server(made.socket_.get(), isolated::believed_user(*address));
        !believed) {
        return fail("connecting to " + made.address_ + ": " + believed.error().doing);
    }
    return made;
}

answer<std::optional<std::string>> function_client::next(int timeout_ms) {
    pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, timeout_ms) == 0) {
        return std::nullopt;
    }
    std::string packet(reply_bytes_max, '\0');
    const ssize_t bytes = ::recv(socket_.get(), packet.data(), packet.size(), 0);
    if (bytes <= 0) {
        return fail(address_ + " has ended, or hung up" + (bytes < 0 ? std::string(": ") + std::strerror(errno) : ""));
    }
    packet.resize(static_cast<std::size_t>(bytes));
    return packet;
}

answer<object> function_client::ask(const object& request) {
    using clock = std::chrono::steady_clock;
    for (const auto end = clock::now() + busy_patience;;) {
        bool is_busy = false;
        auto reply = ask_once(request, is_busy);
        if (!is_busy || clock::now() > end) {
            return reply;
        }
        std::this_thread::sleep_for(busy_pause);
    }
}

/// `is_busy`: what was there before is just being cleared away; ask again.
answer<object> function_client::ask_once(const object& request, bool& is_busy) {
    const std::string text = to_json(request, true);
    // A refusal may already wait there although nothing more can be sent.
    const bool sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) >= 0;
    const auto packet = next(sent ? reply_patience_ms : 0);
    if (!packet) {
        return std::unexpected(packet.error());
    }
    if (!*packet) {
        return fail(address_ + " does not answer");
    }
    auto reply = parse_json(**packet);
    if (!reply) {
        return fail(address_ + " refuses the connection: too many are connected, or it is no vinicd");
    }
    if (const value* error = find(*reply, "error")) {
        const auto* told = std::get_if<object>(&error->is);
        is_busy = told != nullptr && text_of(*told, "code") == "busy";
        return fail(told != nullptr ? text_of(*told, "message") : "it was refused");
    }
    return std::move(*reply);
}

answer<std::vector<object>> function_client::functions(const std::string& one) {
    std::vector<std::string> names{one};
    if (one.empty()) {
        const auto known = ask({{"command", "functions"}});
        if (!known) {
            return std::unexpected(known.error());
        }
        names.clear();
        const value* all = find(*known, "functions");
        const auto* items = all != nullptr ? std::get_if<list>(&all->is) : nullptr;
        for (const value& each : items != nullptr ? *items : list{}) {
            if (const auto* text = std::get_if<std::string>(&each.is)) {
                names.push_back(*text);
            }
        }
        if (names.empty()) {
            return fail("none of the functions of " + address_ +
                        " was given to this user: its administrator names owners and groups");
        }
    }
    std::vector<object> all;
    for (const std::string& name : names) {
        auto reply = ask({{"command", "function"}, {"function", name}});
        if (!reply) {
            return std::unexpected(reply.error());
        }
        std::erase_if(*reply, [](const auto& member) { return member.first == "schema"; });
        all.push_back(std::move(*reply));
    }
    return all;
}

const value* find(const object& o, std::string_view key) noexcept {
    const auto found = std::ranges::find_if(o, [&](const auto& member) { return member.first == key; });
    return found == o.end() ? nullptr : &found->second;
}

std::string text_of(const object& o, std::string_view key) {
    const value* found = find(o, key);
    const auto* text = found != nullptr ? std::get_if<std::string>(&found->is) : nullptr;
    return text != nullptr ? *text : "";
}

std::uint64_t number_of(const object& o, std::string_view key) noexcept {
    const value* found = find(o, key);
    const auto* number = found != nullptr ? std::get_if<std::uint64_t>(&found->is) : nullptr;
    return number != nullptr ? *number : 0;
}

std::uint64_t counter_of(const object& function, std::string_view key) noexcept {
    const value* found = find(function, "counters");
    const auto* counters = found != nullptr ? std::get_if<object>(&found->is) : nullptr;
    return counters != nullptr ? number_of(*counters, key) : 0;
}

}  // namespace vinic::cli

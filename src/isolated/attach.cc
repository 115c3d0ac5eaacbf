// SPDX-License-Identifier: Apache-2.0
//
// attach.cc -- how a process gets a function's window from the device.
//
//     client                                   vinicd
//     connect(PATH)
//     is it believed? (server.hpp)
//     attach_request(function) ------------->  may this user?
//     window, two event descriptors <--------
//     is the window sealed?
//     locks a free process entry
//     enter_request(context = entry) ------->  begins to serve that context
//     enter_reply <--------------------------
//     ... mailbox, doorbell, rings ...
//     closes the socket -------------------->  lets go of all that the context had
//
//   The device made the window's header; the first process to enter finds zeroed tables.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <thread>

#include "abi/function_name.hpp"
#include "abi/printable.hpp"
#include "isolated/server.hpp"
#include "isolated/window.hpp"
#include "tables/processes.hpp"

namespace vinic::isolated {

using tables::control_lock;
using tables::farewell;

namespace {

constexpr auto device_patience = std::chrono::seconds(10);  ///< for an answer of the socket
constexpr auto entry_patience = std::chrono::seconds(2);    ///< for the device to notice that processes have left
constexpr auto first_pause = std::chrono::milliseconds(1);  ///< until the device is asked again; it doubles
constexpr auto longest_pause = std::chrono::milliseconds(32);

template <class T>
bool send_packet(int socket, const T& packet) noexcept {
    return ::send(socket, &packet, sizeof packet, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof packet);
}

/// A packet of exactly this type, with as many descriptors as there is room for, or none.  0 or errno.
template <class T>
int receive_packet(int socket, T& packet, std::span<os::unique_fd> descriptors) noexcept {
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
    iovec part{&packet, sizeof packet};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n = 0;
    do {
        n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno;
    }
    std::size_t taken = 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            os::unique_fd received(os::beyond_standard(fd));
            if (taken < descriptors.size()) {
                descriptors[taken++] = std::move(received);
            }
        }
    }
    if (n == 0) {
        return ECONNRESET;
    }
    return n == static_cast<ssize_t>(sizeof packet) && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 ? 0 : EPROTO;
}

/// A device that ends, and is replaced perhaps, or a function that is just being cleared away.  A client that it
/// refuses for longer is told why.
bool is_soon_over(const error& e) noexcept {
    return e.os_errno == EPIPE || e.os_errno == ECONNRESET || e.code == errc::busy;
}

/// What the device says about why it refuses; a number that is not an error of ours is its mistake.
errc code_of_device(std::uint32_t code) noexcept {
    return code != 0 && code <= static_cast<std::uint32_t>(errc::device_removed) ? static_cast<errc>(code)
                                                                                 : errc::version_mismatch;
}

}  // namespace

result<std::unique_ptr<window>> window::open(std::string_view device_address, role as) {
    const std::size_t scheme_ends = device_address.find(':') + 1;
    const std::string_view where = device_address.substr(scheme_ends);
    std::unique_ptr<window> w(new window(std::string(device_address), {}));
    if (auto r = w->open_at(where, as); !r) {
        return std::unexpected(r.error());
    }
    return w;
}

result<void> window::open_at(std::string_view where, role as) {
    const auto at = parse_server(where);
    const std::uint32_t function = !at                    ? abi::none32
                                   : at->function.empty() ? 1  // the first VF
                                                          : abi::function_number(at->function).value_or(abi::none32);
    if (function == abi::none32) {
        return std::unexpected(error{errc::unknown_address, 0,
                                     "device address '" + address_ +
                                         "': write vinicd:PATH#vfN or vinicd:PATH#pf, and ,user=NAME behind it if the "
                                         "device is another user's"});
    }
    path_ = at->path;
    user_ = believed_user(*at);
    if (as == role::inspector) {
        auto r = map(function, as);
        return r ? check_version() : r;
    }
    fenced_ = true;
    const auto begun = std::chrono::steady_clock::now();
    for (auto pause = first_pause;;) {
        auto mapped = map(function, as);
        const result<bool> entered = mapped ? enter_window() : std::unexpected(mapped.error());
        if (entered && *entered) {
            return {};
        }
        // What was there before is being cleared away, piece by piece; on a busy machine that takes its time.
        const bool clears_away = !entered && entered.error().code == errc::busy;
        const bool late = std::chrono::steady_clock::now() - begun > (clears_away ? device_patience : entry_patience);
        if (!entered && (late || !is_soon_over(entered.error()))) {
            return std::unexpected(entered.error());
        }
        if (late) {
            return std::unexpected(fail(errc::limit_reached, 0, "as many processes as may use this function do"));
        }
        // Entries of processes that have just left are free in a moment; or the window was replaced meanwhile; or the
        // device was, and the next one takes connections at the same socket.
        std::this_thread::sleep_for(pause);
        pause = std::min(2 * pause, longest_pause);
    }
}

result<void> window::map(std::uint32_t function, role as) {
    map_ = {};
    if (auto r = connect_socket(); !r) {
        return r;
    }
    auto received = attach(function);
    if (!received) {
        return std::unexpected(received.error());
    }
    const std::uint64_t bytes = bytes_;
    if (const char* wrong = wrong_with_window(received->get(), bytes); wrong != nullptr) {
        return std::unexpected(fail(errc::version_mismatch, 0, wrong));
    }
    // The descriptor that came shares the device's open file, and with it that file's locks; so it is opened anew.
    const bool inspects = as == role::inspector;
    const std::string again = "/proc/self/fd/" + std::to_string(received->get());
    fd_.reset(::open(again.c_str(), (inspects ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    if (!fd_) {
        return std::unexpected(fail_os(errno, "opening the window again through /proc"));
    }
    received->reset();
    if (!inspects) {
        open_again();
    }
    if (!map_.map_shared(fd_.get(), bytes, !inspects)) {
        return std::unexpected(fail_os(errno, "mapping the window"));
    }
    const std::uint64_t magic = identity().magic.load_acquire();
    if (magic == 0) {
        return std::unexpected(fail(errc::busy, 0, "the window has just been given back with its last user"));
    }
    if (magic != abi::window_magic || identity().version.load_relaxed() != abi::window_version) {
        return std::unexpected(fail(errc::version_mismatch, 0, "the window is of another version of vinic"));
    }
    return {};
}

result<void> window::connect_socket() {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (path_.size() >= sizeof to.sun_path) {
        return std::unexpected(fail(errc::invalid_argument, ENAMETOOLONG,
                                    "a socket's path has at most " + std::to_string(sizeof to.sun_path - 1) +
                                        " bytes; use a shorter or a relative one"));
    }
    std::memcpy(to.sun_path, path_.data(), path_.size());
    doorbell_.reset();
    mailbox_.reset();
    socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket_) {
        return std::unexpected(fail_os(errno, "making a socket"));
    }
    const timeval limit{device_patience.count(), 0};
    (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int rc = 0;
    do {
        rc = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        auto believed = believe_server(socket_.get(), user_);
        return believed
                   ? result<void>{}
                   : std::unexpected(fail(believed.error().code, believed.error().os_errno, believed.error().doing));
    }
    switch (const int e = errno) {
        case ENOENT:
        case ENOTDIR:
        case ECONNREFUSED:
            return std::unexpected(
                fail(errc::unknown_address, e, "no device listens there; start vinicd with --socket"));
        case ENOTSOCK:
        case EPROTOTYPE:
            return std::unexpected(fail(errc::unknown_address, e, "what listens there is no vinicd"));
        case EAGAIN:
            return std::unexpected(fail(errc::timed_out, e, "the device does not take the connection; is it stopped?"));
        default:
            return std::unexpected(fail_os(e, "connecting to the device's socket"));
    }
}

/// Nothing that makes sense came from the socket.
error window::fail_answer(int os_errno, const std::string& doing) const {
    switch (os_errno) {
        case EAGAIN:
            return fail(errc::timed_out, os_errno, doing + ": the device does not answer; is it stopped?");
        case EPROTO:
            return fail(errc::version_mismatch, os_errno, doing + ": the device answers in another language");
        default:
            return fail_os(os_errno, doing + ": the device's answer");
    }
}

result<os::unique_fd> window::attach(std::uint32_t function) {
    const abi::attach_request wanted{abi::window_magic, abi::window_version,
                                     static_cast<std::uint32_t>(abi::packet::attach), function, 0};
    abi::attach_reply reply{};
    std::array<os::unique_fd, 3> descriptors;
    if (!send_packet(socket_.get(), wanted)) {
        return std::unexpected(fail_answer(errno, "asking the device for its window"));
    }
    if (const int e = receive_packet(socket_.get(), reply, descriptors); e != 0) {
        return std::unexpected(fail_answer(e, "asking the device for its window"));
    }
    if (reply.code != 0) {
        reply.why[sizeof reply.why - 1] = 0;
        return std::unexpected(
            fail(code_of_device(reply.code), 0,
                 reply.why[0] != 0 ? abi::printable(reply.why) : "the device refuses this function"));
    }
    if (reply.version != abi::window_version || !descriptors[0] || !descriptors[1] || !descriptors[2]) {
        return std::unexpected(fail(errc::version_mismatch, 0, "the device is of another version of vinic"));
    }
    function_ = reply.function;
    epoch_ = reply.epoch;
    bytes_ = reply.window_bytes;
    doorbell_.reset(descriptors[1].release());
    mailbox_.reset(descriptors[2].release());
    if (!doorbell_ || !mailbox_) {
        return std::unexpected(fail_os(errno, "keeping the device's event descriptors"));
    }
    return std::move(descriptors[0]);
}

/// True: process entry i is ours, and the device serves that context.
result<bool> window::enter_context(std::uint32_t i) {
    if (process(i).state.load_acquire() != static_cast<std::uint32_t>(abi::process_state::free) ||
        !os::try_lock_byte(fd_.get(), process_byte + i)) {
        return false;
    }
    const abi::enter_request wanted{static_cast<std::uint32_t>(abi::packet::enter), i};
    abi::enter_reply reply{};
    if (process(i).state.load_acquire() != static_cast<std::uint32_t>(abi::process_state::free)) {
        reply.code = static_cast<std::uint32_t>(errc::busy);  // somebody came and died in between
    } else if (!send_packet(socket_.get(), wanted)) {
        return std::unexpected(fail_answer(errno, "entering the window"));
    } else if (const int e = receive_packet(socket_.get(), reply, {}); e != 0) {
        return std::unexpected(fail_answer(e, "entering the window"));
    }
    if (reply.code == 0) {
        context_epoch_ = reply.context_epoch;
        return true;
    }
    os::unlock_byte(fd_.get(), process_byte + i);
    if (const errc code = code_of_device(reply.code); code != errc::busy && code != errc::limit_reached) {
        return std::unexpected(fail(code, 0, "the device refuses to serve this process"));
    }
    return false;
}

/// False: no entry is free at the moment.
result<bool> window::enter_window() {
    std::uint32_t i = 0;
    for (bool entered = false; !entered; ++i) {
        if (i == abi::context_count) {
            return false;
        }
        auto r = enter_context(i);
        if (!r) {
            return r;
        }
        entered = *r;
    }
    --i;
    if (identity().magic.load_acquire() == 0) {
        return false;
    }
    if (auto r = check_version(); !r) {
        return std::unexpected(r.error());
    }
    // Entries have storage page by page, from the first on.
    for (std::uint32_t k = header().processes_backed.load_acquire(); k <= i;
         k = header().processes_backed.load_acquire()) {
        if (auto r = back_process(k); !r) {
            return std::unexpected(r.error());
        }
    }
    take_entry(i);
    if (const control_lock hold(*this, farewell); hold) {
        tables::bury_the_dead(*this);
    }
    return true;
}

}  // namespace vinic::isolated

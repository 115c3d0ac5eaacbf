// SPDX-License-Identifier: Apache-2.0
//
// listener.cc -- locks, clears away what was left, binds, or takes over the socket that systemd hands over.
#include "vinicd/listener.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

namespace vinic::vinicd {

namespace {

// The first to come is let in first: behind so many strangers others wait, and behind those in connect().
constexpr int backlog = 128;
constexpr std::string_view unfinished = ".new";  // until it listens, a socket is called so

std::unexpected<error> listening_error(errc code, int os_errno, const std::string& doing) {
    return std::unexpected(error{code, os_errno, doing});
}

errc code_of(int os_errno) {
    return os_errno == EACCES || os_errno == EPERM ? errc::permission_denied : errc::os_failure;
}

result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    static_assert(socket_path_bytes_max == sizeof address.sun_path - 1 - unfinished.size());
    if (path.empty() || path.size() > socket_path_bytes_max) {
        return listening_error(
            errc::invalid_argument, 0,
            "socket " + path + ": a path has 1 to " + std::to_string(socket_path_bytes_max) + " bytes here");
    }
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

/// Locks PATH.lock for as long as the descriptor is open.
result<os::unique_fd> lock_beside(const std::string& path) {
    const std::string name = path + ".lock";
    for (;;) {
        os::unique_fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        const int e = errno;
        if (!file && e == EACCES && ::access(name.c_str(), F_OK) == 0) {
            return listening_error(
                errc::permission_denied, EACCES,
                name +
                    " is another user's, whose vinicd runs or was killed: name another socket, or let that "
                    "user remove it");
        }
        if (!file) {
            return listening_error(code_of(e), e, "making " + name + " (does its directory exist?)");
        }
        if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            return errno == EWOULDBLOCK
                       ? listening_error(errc::name_in_use, 0,
                                         "another vinicd serves " + path + ": stop it, or name another socket")
                       : listening_error(errc::os_failure, errno, "locking " + name);
        }
        // A vinicd that ended at this moment has removed the file: the lock is on a file that nobody else will find.
        struct stat opened{};
        struct stat named{};
        if (::fstat(file.get(), &opened) != 0 || (::lstat(name.c_str(), &named) != 0 && errno != ENOENT)) {
            return listening_error(errc::os_failure, errno, "looking at " + name);
        }
        if (opened.st_ino == named.st_ino && opened.st_dev == named.st_dev) {
            return file;
        }
    }
}

/// Removes what a vinicd that was killed has left.  Under the lock.
result<void> clear(const std::string& path, const sockaddr_un& address, int type) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) {
        return {};
    }
    if (!S_ISSOCK(status.st_mode)) {
        return listening_error(errc::name_in_use, 0,
                               path + " is there and is no socket: remove it, or name another path");
    }
    const os::unique_fd probe(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno != ECONNREFUSED) {
        return listening_error(errc::name_in_use, 0,
                               "somebody listens at " + path + ": stop that program, or name another socket");
    }
    if (::unlink(path.c_str()) != 0) {
        return listening_error(code_of(errno), errno, "removing the stale socket " + path);
    }
    return {};
}

/// From Linux 6.16 on a sender of descriptors gets an error, also at sockets that are accepted here; what older kernels
/// let through is taken care of in baggage.hpp.
void refuse_descriptors(int fd) noexcept {
    constexpr int so_passrights = 83;
    const int no = 0;
    (void)::setsockopt(fd, SOL_SOCKET, so_passrights, &no, sizeof no);
}

result<void> check_handed_over(int fd) {
    int listens = 0;
    int type = 0;
    int family = 0;
    socklen_t bytes = sizeof listens;
    const bool known = ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 &&
                       ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 &&
                       ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &bytes) == 0;
    if (!known || listens == 0 || type != SOCK_SEQPACKET || family != AF_UNIX) {
        return listening_error(
            errc::invalid_argument, 0,
            "the socket that was handed over is not a listening Unix socket of type SOCK_SEQPACKET: write "
            "ListenSequentialPacket= in the socket unit");
    }
    return {};
}

}  // namespace

result<listener> listener::make(const std::string& path, int type, mode_t mode, std::optional<gid_t> group) {
    const auto address = address_of(path);
    if (!address) {
        return std::unexpected(address.error());
    }
    auto lock = lock_beside(path);
    if (!lock) {
        return std::unexpected(lock.error());
    }
    listener made;
    made.path_ = path;
    made.lock_ = std::move(*lock);  // from here on its destructor removes what was made
    if (const auto cleared = clear(path, *address, type); !cleared) {
        return std::unexpected(cleared.error());
    }
    made.socket_.reset(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made.socket_) {
        return listening_error(errc::os_failure, errno, "making a socket");
    }
    // It gets its name when it listens: a client that waits for the name can connect, and nobody does too early.
    const std::string fresh = path + std::string(unfinished);
    sockaddr_un first = *address;
    std::memcpy(first.sun_path, fresh.data(), fresh.size());
    const auto give_up = [&](const std::string& doing) {
        const int why = errno;
        ::unlink(fresh.c_str());
        return listening_error(code_of(why), why, doing);
    };
    ::unlink(fresh.c_str());  // of one that was killed just then
    // bind() makes the file with the mode of the socket: nothing is done by name that a link could lead elsewhere.
    const int prepared = ::fchmod(made.fd(), mode);
    const mode_t before = ::umask(0);
    const int bound = prepared != 0 ? -1 : ::bind(made.fd(), reinterpret_cast<const sockaddr*>(&first), sizeof first);
    ::umask(before);
    if (bound != 0) {
        return give_up("binding to " + fresh);
    }
    const os::unique_fd file(::open(fresh.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!file || ::fstat(file.get(), &made.made_) != 0) {
        return give_up("looking at " + fresh);
    }
    if (!S_ISSOCK(made.made_.st_mode) || made.made_.st_uid != ::geteuid()) {
        errno = 0;
        return give_up("another user has put something else in the place of " + fresh +
                       ": use a directory that nobody else can write to");
    }
    if (group && ::fchownat(file.get(), "", static_cast<uid_t>(-1), *group, AT_EMPTY_PATH) != 0) {
        return give_up("giving " + path + " to its group: be a member of it, or root");
    }
    refuse_descriptors(made.fd());
    if (::listen(made.fd(), backlog) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) {
        return give_up("listening at " + path);
    }
    return made;
}

std::string listener::weakness() const {
    if (!lock_) {
        return {};
    }
    const std::size_t slash = path_.rfind('/');
    const std::string directory = slash == path_.npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
    struct stat status{};
    if (::stat(directory.c_str(), &status) != 0) {
        return {};
    }
    const bool others_own = status.st_uid != 0 && status.st_uid != ::geteuid();
    const bool others_write = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0;
    if (!others_own && !others_write) {
        return {};
    }
    return "other users can write to " + directory + " and put a socket of their own in the place of " + path_ +
           ": use a directory of this user, such as /run/vinic or $XDG_RUNTIME_DIR";
}

result<listener> listener::open(const options& o, const std::vector<int>& handed_over) {
    listener made;
    if (!handed_over.empty()) {
        made.socket_.reset(handed_over.front());
        if (handed_over.size() > 1) {
            return listening_error(errc::invalid_argument, 0,
                                   "more than one socket was handed over: vinicd serves one");
        }
        if (const auto fits = check_handed_over(made.fd()); !fits) {
            return std::unexpected(fits.error());
        }
        ::fcntl(made.fd(), F_SETFL, O_NONBLOCK);
        refuse_descriptors(made.fd());
        made.path_ = "the socket that was handed over";
        return made;
    }
    if (o.socket.empty()) {
        return listening_error(errc::invalid_argument, 0,
                               "no socket: give --socket PATH, or socket = \"PATH\" in the configuration file");
    }
    return make(o.socket, SOCK_SEQPACKET, o.mode.value_or(o.group ? 0660 : 0600), o.group);
}

void listener::close() noexcept {
    if (lock_) {
        struct stat now{};
        if (made_.st_ino != 0 && ::lstat(path_.c_str(), &now) == 0 && now.st_ino == made_.st_ino &&
            now.st_dev == made_.st_dev) {
            ::unlink(path_.c_str());
        }
        // While the lock is held: the next holder sees that the name is gone and tries again.
        ::unlink((path_ + ".lock").c_str());
    }
    socket_.reset();
    lock_.reset();
}

}  // namespace vinic::vinicd

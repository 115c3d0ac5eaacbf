// SPDX-License-Identifier: Apache-2.0
//
// server.cc -- parses the address, looks users up, and examines who listens and what window came.
#include "isolated/server.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <vector>

#include "abi/window.hpp"

namespace vinic::isolated {

namespace {

constexpr std::string_view user_key = "user=";
constexpr std::size_t passwd_bytes_max = 1 << 20;

/// One entry of the user database, looked up by `look`; nothing: there is none.  `look` is getpwnam_r or getpwuid_r.
template <class Look>
std::optional<std::pair<uid_t, std::string>> find_user(Look look) {
    for (std::size_t bytes = 1024; bytes <= passwd_bytes_max; bytes *= 4) {
        std::vector<char> space(bytes);
        passwd entry{};
        passwd* found = nullptr;
        const int e = look(&entry, space.data(), space.size(), &found);
        if (e == 0 && found != nullptr) {
            return std::pair(found->pw_uid, std::string(found->pw_name));
        }
        if (e != ERANGE) {
            break;
        }
    }
    return std::nullopt;
}

/// A name beats a number, as it does for chown(1).
std::optional<uid_t> number_of(const std::string& user) {
    if (const auto found = find_user([&](passwd* entry, char* space, std::size_t bytes, passwd** out) {
            return ::getpwnam_r(user.c_str(), entry, space, bytes, out);
        })) {
        return found->first;
    }
    uid_t number = 0;
    const auto [end, failed] = std::from_chars(user.data(), user.data() + user.size(), number);
    const bool is_number =
        failed == std::errc{} && end == user.data() + user.size() && number != static_cast<uid_t>(-1);
    return is_number ? std::optional(number) : std::nullopt;
}

std::string in_words(uid_t user) {
    const auto found = find_user([&](passwd* entry, char* space, std::size_t bytes, passwd** out) {
        return ::getpwuid_r(user, entry, space, bytes, out);
    });
    const std::string number = std::to_string(user);
    return found ? found->second + " (user id " + number + ")" : "user id " + number;
}

}  // namespace

std::optional<server_address> parse_server(std::string_view where) {
    server_address at;
    const std::size_t mark = where.find('#');
    at.path = where.substr(0, mark);
    if (mark != std::string_view::npos) {
        std::string_view rest = where.substr(mark + 1);
        const std::size_t comma = rest.find(',');
        if (!rest.starts_with(user_key)) {
            at.function = rest.substr(0, comma);
            if (at.function.empty()) {
                return std::nullopt;
            }
            rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
        }
        const bool names_user = rest.starts_with(user_key);
        at.user = names_user ? rest.substr(user_key.size()) : std::string_view();
        if (names_user == at.user.empty() || (!names_user && comma != std::string_view::npos)) {
            return std::nullopt;
        }
    }
    // The system would see another name, one that ends there.
    const bool whole = !at.path.contains('\0') && !at.function.contains('\0') && !at.user.contains('\0');
    return whole && !at.path.empty() ? std::optional(std::move(at)) : std::nullopt;
}

std::string believed_user(const server_address& at) {
    if (!at.user.empty()) {
        return at.user;
    }
    const char* from_environment = ::secure_getenv("VINIC_VINICD_USER");
    return from_environment != nullptr ? from_environment : "";
}

result<void> believe_server(int socket, const std::string& user) {
    ucred listens{};
    socklen_t bytes = sizeof listens;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &listens, &bytes) != 0) {
        return std::unexpected(error{errc::os_failure, errno, "asking who listens there"});
    }
    if (listens.uid == 0 || listens.uid == ::geteuid()) {
        return {};
    }
    if (!user.empty()) {
        const auto believed = number_of(user);
        if (!believed) {
            return std::unexpected(
                error{errc::invalid_argument, 0, "no user of this machine is called '" + user + "' (`getent passwd`)"});
        }
        if (*believed == listens.uid) {
            return {};
        }
    }
    return std::unexpected(error{
        errc::permission_denied, 0,
        in_words(listens.uid) + " listens there, who is neither root, nor you, nor " +
            (user.empty() ? std::string("named") : "'" + user + "'") +
            ", and would see what you send; if the device is meant to be that user's, say so: ',user=" +
            std::to_string(listens.uid) + "' behind the function (vinicd:PATH#vf0,user=NAME), or VINIC_VINICD_USER"});
}

const char* wrong_with_window(int fd, std::uint64_t bytes) noexcept {
    struct stat s{};
    if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || static_cast<std::uint64_t>(s.st_size) != bytes ||
        !std::has_single_bit(bytes) || bytes < abi::window_chunks_least * abi::chunk_size || bytes > abi::file_size) {
        return "the window's size is none that this library knows";
    }
    const int seals = ::fcntl(fd, F_GET_SEALS);
    constexpr int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    if (seals < 0 || (seals & wanted) != wanted) {
        return "the window is not sealed: whoever serves it could take its memory away at any moment; no vinicd does "
               "so";
    }
    if ((s.st_mode & 0111) != 0) {
        return "the window may be executed, which no vinicd of this version allows; update it";
    }
    return nullptr;
}

}  // namespace vinic::isolated

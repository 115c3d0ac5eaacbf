// SPDX-License-Identifier: Apache-2.0
//
// peer.cc -- asks the kernel who it is, and the options what that user may do.
#include "vinicd/peer.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <set>
#include <sstream>

namespace vinic::vinicd {

namespace {

constexpr unsigned long exiting_flag = 0x4;       // PF_EXITING: field 9 of /proc/PID/stat, see proc(5)
constexpr int fields_between_name_and_flags = 6;  // state, parent, group, session, terminal, its group

std::vector<gid_t> groups_of(int connection) {
    std::vector<gid_t> groups(64);
    for (;;) {
        auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
        if (::getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
            groups.resize(bytes / sizeof(gid_t));
            std::ranges::sort(groups);  // in a user namespace they are others than the kernel has sorted
            return groups;
        }
        if (errno != ERANGE || groups.size() >= groups_max) {
            return {};
        }
        groups.resize(std::min(groups.size() * 4, groups_max));
    }
}

/// The process' flags, or nothing if it cannot be looked at.
std::optional<unsigned long> flags_of(pid_t process) {
    const os::unique_fd file(::open(("/proc/" + std::to_string(process) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 1024> text{};
    const ssize_t bytes = file ? ::read(file.get(), text.data(), text.size() - 1) : -1;
    if (bytes <= 0) {
        return std::nullopt;
    }
    const std::string line(text.data(), static_cast<std::size_t>(bytes));
    const std::size_t name_end = line.rfind(')');  // a name may contain anything, this too
    if (name_end == std::string::npos) {
        return std::nullopt;
    }
    std::istringstream rest(line.substr(name_end + 1));
    std::string skipped;
    for (int i = 0; i < fields_between_name_and_flags; ++i) {
        rest >> skipped;
    }
    unsigned long flags = 0;
    return rest >> flags ? std::optional(flags) : std::nullopt;
}

}  // namespace

bool peer::is_in(gid_t group) const noexcept { return who.group == group || std::ranges::binary_search(groups, group); }

result<peer> peer_of(int connection) {
    ucred told{};
    socklen_t bytes = sizeof told;
    if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &told, &bytes) != 0) {
        return std::unexpected(error{errc::os_failure, errno, "asking who connects"});
    }
    peer p;
    p.who = {.process = told.pid, .user = told.uid, .group = told.gid};
    p.groups = groups_of(connection);
    return p;
}

result<void> open_process(peer& p) {
    if (p.who.process > 0) {
        p.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, p.who.process, 0)));
        if (!p.process && errno != ESRCH) {
            return std::unexpected(error{errc::os_failure, errno, "opening the process that connects"});
        }
    }
    return {};
}

bool is_dying(const peer& p) {
    if (!p.process) {
        // It had gone before it could be looked at, or nobody here can see it: then it is only known to have left.
        return p.who.process > 0;
    }
    pollfd ended{.fd = p.process.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, 0) == 1) {
        return true;
    }
    return (flags_of(p.who.process).value_or(0) & exiting_flag) != 0;
}

bool access::may_administer(const peer& p) noexcept { return p.who.user == 0 || p.who.user == ::geteuid(); }

bool access::may_use(std::uint32_t function, const peer& p) const {
    if (may_administer(p)) {
        return true;
    }
    const function_choice c = choice_of(options_, function);
    if ((c.owner && p.who.user == *c.owner) || (c.group && p.is_in(*c.group))) {
        return true;
    }
    // The PF is the administrator's unless the file says otherwise.
    return function != 0 && !c.owner && !c.group && options_.group && p.is_in(*options_.group);
}

bool access::may_reset(std::uint32_t function, const peer& p) const {
    return may_administer(p) || (choice_of(options_, function).owner == p.who.user);
}

bool access::may_configure(std::uint32_t function, const peer& p) const {
    return may_administer(p) || (function != 0 && may_reset(function, p));
}

account access::account_of(const peer& p) const {
    if (may_administer(p)) {
        return {.of = account::kind::administrators, .id = 0};
    }
    if (std::ranges::binary_search(owners_, p.who.user)) {
        return {.of = account::kind::owner, .id = p.who.user};
    }
    const auto found = std::ranges::find_if(groups_, [&](gid_t g) { return p.is_in(g); });
    return found != groups_.end() ? account{.of = account::kind::group, .id = *found} : account{};
}

/// As may_use() has it: what [function.default] says is nobody's where each function says something else.
void access::options_changed() {
    std::set<uid_t> owners;
    std::set<gid_t, std::greater<>> groups;
    bool left_to_all = false;
    for (std::uint32_t f = 0; f <= options_.device.functions; ++f) {
        const function_choice c = choice_of(options_, f);
        if (c.owner) {
            owners.insert(*c.owner);
        }
        if (c.group) {
            groups.insert(*c.group);
        }
        left_to_all = left_to_all || (f != 0 && !c.owner && !c.group);
    }
    owners_.assign(owners.begin(), owners.end());
    groups_.assign(groups.begin(), groups.end());
    if (left_to_all && options_.group && !groups.contains(*options_.group)) {
        groups_.push_back(*options_.group);
    }
}

bool access::is_enabled(std::uint32_t function) const { return choice_of(options_, function).enabled.value_or(true); }

uid_t access::owner(std::uint32_t function) const { return choice_of(options_, function).owner.value_or(::geteuid()); }

std::optional<gid_t> access::group(std::uint32_t function) const {
    const function_choice c = choice_of(options_, function);
    return c.group || c.owner || function == 0 ? c.group : options_.group;
}

std::string actor_text(pid_t process, uid_t user) {
    return "process " + std::to_string(process) + " of user " + std::to_string(user);
}

void known_names::learn(const options& o) {
    const auto of_user = [&](uid_t user) {
        if (!users_.contains(user)) {
            const passwd* found = ::getpwuid(user);
            users_.emplace(user, found != nullptr ? found->pw_name : std::to_string(user));
        }
    };
    const auto of_group = [&](gid_t group) {
        if (!groups_.contains(group)) {
            const ::group* found = ::getgrgid(group);
            groups_.emplace(group, found != nullptr ? found->gr_name : std::to_string(group));
        }
    };
    const auto of_choice = [&](const function_choice& c) {
        if (c.owner) {
            of_user(*c.owner);
        }
        if (c.group) {
            of_group(*c.group);
        }
    };
    of_user(::geteuid());
    if (o.group) {
        of_group(*o.group);
    }
    of_choice(o.every_function);
    for (const auto& [number, choice] : o.functions) {
        of_choice(choice);
    }
}

std::string known_names::user(uid_t user) const {
    const auto found = users_.find(user);
    return found != users_.end() ? found->second : std::to_string(user);
}

std::string known_names::group(gid_t group) const {
    const auto found = groups_.find(group);
    return found != groups_.end() ? found->second : std::to_string(group);
}

std::string not_given(const std::string& word) {
    return "function " + word + " was not given to this user: the administrator names owners and groups";
}

std::string no_such_function(const std::string& word, std::uint32_t functions) {
    std::string has = "pf and vf0";
    if (functions > 2) {
        has += " to " + controller::function_name(functions - 1);
    }
    return "there is no function '" + word + "': this device has " + has;
}

std::string removed_function(const std::string& word) {
    return "function " + word + " was removed: `vinic function add " + word + "` brings it back";
}

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// peer.hpp -- who is at the other end of a connection, and what they may do.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "controller/device.hpp"
#include "os/file.hpp"
#include "vinicd/admission.hpp"
#include "vinicd/options.hpp"

namespace vinic::vinicd {

struct peer {
    controller::credentials who;
    std::vector<gid_t> groups;  ///< the supplementary ones, sorted
    os::unique_fd process;      ///< a pidfd; empty if the process is in a pid namespace that cannot be seen
    [[nodiscard]] bool is_in(gid_t group) const noexcept;
};

inline constexpr std::size_t groups_max = 4096;  ///< of one process

/// As the kernel tells it: of the process that called connect().  Without `process`.  If it is in more groups than
/// groups_max, none counts: looking at them is work for all.
[[nodiscard]] result<peer> peer_of(int connection);
/// Opens `process`.
[[nodiscard]] result<void> open_process(peer& p);

/// Whether the process is dead or dying.  A process closes its sockets before it can be waited for, so a connection
/// hangs up while pidfd and kill() still say that all is well; the kernel's flag for "exiting" is set before either.
[[nodiscard]] bool is_dying(const peer& p);

/// Who may do what.  Options may change: they are looked at each time, but for whose a function is at all, which is
/// asked of everybody who connects.
class access {
public:
    explicit access(const options& o) : options_(o) { options_changed(); }
    /// To be called when they have.
    void options_changed();
    /// root and the user whose program this is.
    [[nodiscard]] static bool may_administer(const peer& p) noexcept;
    /// Also: may see its state.
    [[nodiscard]] bool may_use(std::uint32_t function, const peer& p) const;
    [[nodiscard]] bool may_reset(std::uint32_t function, const peer& p) const;
    /// May write its registers: as reset, but those of the PF act on all and are the administrator's.
    [[nodiscard]] bool may_configure(std::uint32_t function, const peer& p) const;
    /// Somebody was given a function: a user who was not is a stranger.
    [[nodiscard]] bool is_tenant(const peer& p) const { return account_of(p).of != account::kind::strangers; }
    /// What its places and work are charged to.
    [[nodiscard]] account account_of(const peer& p) const;
    /// How many there may be besides those of administrators and strangers.
    [[nodiscard]] std::size_t accounts() const noexcept { return owners_.size() + groups_.size(); }
    [[nodiscard]] bool is_enabled(std::uint32_t function) const;
    /// To be shown: who owns it.
    [[nodiscard]] uid_t owner(std::uint32_t function) const;
    [[nodiscard]] std::optional<gid_t> group(std::uint32_t function) const;

private:
    const options& options_;
    std::vector<uid_t> owners_;  ///< of a function that there is, or was, each once; sorted
    std::vector<gid_t> groups_;  ///< likewise, the greatest first; behind them the socket's, if a VF is left to it
};

/// Who asked for a change, as logs and events have it.
[[nodiscard]] std::string actor_text(pid_t process, uid_t user);

/// Names of the users and groups that the options speak of.  A name service may be on another machine, so it is asked
/// when an administrator changes the options, and never because somebody connects.
class known_names {
public:
    void learn(const options& o);
    /// "alice", or the number.
    [[nodiscard]] std::string user(uid_t user) const;
    [[nodiscard]] std::string group(gid_t group) const;

private:
    std::map<uid_t, std::string> users_;
    std::map<gid_t, std::string> groups_;
};

/// What to say to somebody who names a function that is somebody else's, there or not.
[[nodiscard]] std::string not_given(const std::string& word);
/// What to say to somebody who names a function that a device of so many, the PF included, does not have.
[[nodiscard]] std::string no_such_function(const std::string& word, std::uint32_t functions);
/// ... or one that was removed.
[[nodiscard]] std::string removed_function(const std::string& word);

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// peer.hpp -- who is at the other end of a connection, and what they may do.
#pragma once

#include <sys/types.h>

#include <vector>

#include "controller/device.hpp"
#include "os/file.hpp"
#include "vinicd/options.hpp"

namespace vinic::vinicd {

struct peer {
    controller::credentials who;
    std::vector<gid_t> groups;  ///< the supplementary ones
    os::unique_fd process;      ///< a pidfd; empty if the process is in a pid namespace that cannot be seen
    [[nodiscard]] bool is_in(gid_t group) const noexcept;
};

/// As the kernel tells it: of the process that called connect().
[[nodiscard]] result<peer> peer_of(int connection);

/// Whether the process is dead or dying.  A process closes its sockets before it can be waited for, so a connection
/// hangs up while pidfd and kill() still say that all is well; the kernel's flag for "exiting" is set before either.
[[nodiscard]] bool is_dying(const peer& p);

/// Who may do what.  Options may change: they are looked at each time.
class access {
public:
    explicit access(const options& o) : options_(o) {}
    /// root and the user whose program this is.
    [[nodiscard]] static bool may_administer(const peer& p) noexcept;
    /// Also: may see its state.
    [[nodiscard]] bool may_use(std::uint32_t function, const peer& p) const;
    [[nodiscard]] bool may_reset(std::uint32_t function, const peer& p) const;
    [[nodiscard]] bool is_enabled(std::uint32_t function) const;
    /// To be shown: who owns it.
    [[nodiscard]] uid_t owner(std::uint32_t function) const;
    [[nodiscard]] std::optional<gid_t> group(std::uint32_t function) const;

private:
    const options& options_;
};

/// "alice", or the number where nobody has a name.
[[nodiscard]] std::string user_name(uid_t user);
[[nodiscard]] std::string group_name(gid_t group);

/// What to say to whoever names a function that a device of so many, the PF included, does not have.
[[nodiscard]] std::string no_such_function(const std::string& word, std::uint32_t functions);
/// ... or one that was removed.
[[nodiscard]] std::string removed_function(const std::string& word);

}  // namespace vinic::vinicd

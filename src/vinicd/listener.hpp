// SPDX-License-Identifier: Apache-2.0
//
// listener.hpp -- the socket at which clients and administrators connect.
//
//   A socket file outlives a process that was killed, and binding to it fails then.  Who may remove it is decided by
//   a lock on PATH.lock, which the kernel gives back however a process ends: of two programs that start at the same
//   moment exactly one gets it.
#pragma once

#include <sys/stat.h>

#include <vinic/words.hpp>

#include "os/file.hpp"
#include "vinicd/options.hpp"

namespace vinic::vinicd {

class listener {
public:
    listener() = default;
    /// Makes the socket, or takes the one that systemd handed over.
    [[nodiscard]] static result<listener> open(const options& o, const std::vector<int>& handed_over);
    /// A listening Unix socket of `type` at `path`.
    [[nodiscard]] static result<listener> make(const std::string& path, int type, mode_t mode,
                                               std::optional<gid_t> group);
    listener(listener&&) noexcept = default;
    ~listener() { close(); }

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    /// What it is called in logs.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    /// Why somebody else could take its place, in a sentence; empty: nobody can.
    [[nodiscard]] std::string weakness() const;
    /// Removes the file if it is still the one that was made here.
    void close() noexcept;

private:
    std::string path_;
    os::unique_fd lock_;  ///< empty: the socket is not ours to remove
    os::unique_fd socket_;
    struct stat made_{};
};

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// belief.hpp -- which device files are believed.
//
//   A process that can write a device file reads and changes what honest programs send through it, and leads their
//   engines astray.  So a file is believed only where nobody else could have written it:
//
//     own       a regular file with one link, of this process' user, mode 0600: or nobody asks further
//     a group's asked for by name: a regular file with one link, of exactly this group, mode 0660, no access list.
//               Only members (and root) can give a file to a group, so its owner is one of them; but for those who may
//               make files in a directory of the group with the set-group-ID bit, on the same file system: no group
//               whose devices are used should have one that others can write to
//
//   The open file is judged, never its path.  The directory decides who can remove or rename files, and nothing else.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vinic/words.hpp>

namespace vinic::direct {

/// What a file is judged by; see judge().
struct openers {
    std::optional<gid_t> group{};  ///< asked for by name
    std::string group_name{};
};

/// The group of a name, or none for an empty one.  errc::invalid_argument.
[[nodiscard]] result<openers> openers_of(const std::string& group_name);

/// Empty if the open file is believed; else why not and what to do, as the end of a sentence that begins with the file.
[[nodiscard]] std::string doubt(int fd, const struct stat& file, const struct stat& directory, const openers& who);

/// As far as it can be told from outside: by the words of the file alone.
enum class standing : std::uint8_t {
    own,    ///< believed without further ado
    group,  ///< believed if its group is asked for
    alien,  ///< not believed
};
[[nodiscard]] standing standing_of(const struct stat& file) noexcept;

/// Makes an open file of one's own one that is believed: its group, its mode.  0 or errno.
[[nodiscard]] int hand_over_file(int fd, const openers& who) noexcept;

/// Whether others than its owner can remove and rename files of a directory.
[[nodiscard]] bool others_may_remove_from(const struct stat& directory, const openers& who) noexcept;

}  // namespace vinic::direct

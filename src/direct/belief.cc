// SPDX-License-Identifier: Apache-2.0
//
// belief.cc -- looks at owner, group, mode, links and access list of an open file.
#include "direct/belief.hpp"

#include <grp.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

namespace vinic::direct {

namespace {

constexpr const char* access_list = "system.posix_acl_access";
constexpr mode_t everybody_else = S_IRWXG | S_IRWXO;
constexpr mode_t of_a_group = 0660;

/// What the kernel shows for every group that has no number in this user namespace.
gid_t unnamed_group() noexcept {
    unsigned int number = 65534;
    if (std::FILE* f = std::fopen("/proc/sys/kernel/overflowgid", "re"); f != nullptr) {
        (void)!std::fscanf(f, "%u", &number);
        std::fclose(f);
    }
    return number;
}

std::string octal(mode_t mode) {
    char text[8];
    std::snprintf(text, sizeof text, "%04o", static_cast<unsigned int>(mode & 07777));
    return text;
}

std::string doubt_of_own(int fd, const struct stat& file) {
    if (file.st_uid != ::geteuid()) {
        return "belongs to user " + std::to_string(file.st_uid) +
               ", who could read and change all that goes through it, and is not believed; use another name, or a "
               "directory of your own (VINIC_SHM_DIR=$XDG_RUNTIME_DIR)";
    }
    if ((file.st_mode & everybody_else) != 0) {
        return "may be used by others than its owner (group " + std::to_string(file.st_gid) + ", mode " +
               octal(file.st_mode) +
               "): open it with its group (open_options::group), or end its programs and remove it";
    }
    // Users without a number in this namespace all look alike, to stat; only the owner may do this.
    if (::fchmod(fd, file.st_mode & 07777) != 0) {
        return "looks like this user's own, but its mode may not be changed (" + std::string(std::strerror(errno)) +
               "): use another name";
    }
    return {};
}

std::string doubt_of_group(int fd, const struct stat& file, const struct stat& directory, const openers& who) {
    if (file.st_gid != *who.group || (file.st_mode & 07777) != of_a_group) {
        return "is not the group's (user " + std::to_string(file.st_uid) + ", group " + std::to_string(file.st_gid) +
               ", mode " + octal(file.st_mode) + "; wanted: group '" + who.group_name +
               "', mode 0660): end its programs and remove it, or use another name";
    }
    // There a new file may be of the directory's group, whoever makes it.
    if ((directory.st_mode & S_IWOTH) != 0 && directory.st_gid == *who.group) {
        return "lies in a directory of group '" + who.group_name +
               "' in which everybody can make files: use another directory, or take write permission from others";
    }
    if (::fgetxattr(fd, access_list, nullptr, 0) >= 0) {
        return "has an access list, by which others may come in: remove the list (setfacl -b), or the file";
    }
    return {};
}

}  // namespace

result<openers> openers_of(const std::string& group_name) {
    openers who{{}, group_name};
    if (group_name.empty()) {
        return who;
    }
    group entry{};
    group* found = nullptr;
    std::vector<char> room(1 << 16);
    while (::getgrnam_r(group_name.c_str(), &entry, room.data(), room.size(), &found) == ERANGE) {
        room.resize(room.size() * 2);
    }
    if (found == nullptr) {
        return std::unexpected(error{errc::invalid_argument, 0, "group '" + group_name + "' does not exist"});
    }
    if (entry.gr_gid == unnamed_group()) {
        return std::unexpected(
            error{errc::invalid_argument, 0,
                  "group '" + group_name + "' stands for every group without a number; take another"});
    }
    who.group = entry.gr_gid;
    return who;
}

std::string doubt(int fd, const struct stat& file, const struct stat& directory, const openers& who) {
    if (!S_ISREG(file.st_mode)) {
        return "is no regular file; choose another name";
    }
    if (file.st_nlink > 1) {
        return "has " + std::to_string(file.st_nlink) +
               " links, so that somebody reaches it by another name: end its programs and remove it";
    }
    return who.group ? doubt_of_group(fd, file, directory, who) : doubt_of_own(fd, file);
}

standing standing_of(const struct stat& file) noexcept {
    if (!S_ISREG(file.st_mode) || file.st_nlink > 1) {
        return standing::alien;
    }
    if (file.st_uid == ::geteuid() && (file.st_mode & everybody_else) == 0) {
        return standing::own;
    }
    return (file.st_mode & 07777) == of_a_group && (::getegid() == file.st_gid || ::group_member(file.st_gid) != 0)
               ? standing::group
               : standing::alien;
}

int hand_over_file(int fd, const openers& who) noexcept {
    // A list that the directory gives to new files lies sleeping until the mode names a group.
    if (::fremovexattr(fd, access_list) != 0 && errno != ENODATA && errno != EOPNOTSUPP) {
        return errno;
    }
    if (who.group && ::fchown(fd, static_cast<uid_t>(-1), *who.group) != 0) {
        return errno;
    }
    return ::fchmod(fd, who.group ? of_a_group : 0600) == 0 ? 0 : errno;
}

bool others_may_remove_from(const struct stat& directory, const openers& who) noexcept {
    if ((directory.st_mode & S_ISVTX) != 0) {
        return false;
    }
    const bool group_may = (directory.st_mode & S_IWGRP) != 0 && who.group != directory.st_gid;
    return group_may || (directory.st_mode & S_IWOTH) != 0;
}

}  // namespace vinic::direct

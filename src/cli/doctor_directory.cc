// SPDX-License-Identifier: Apache-2.0
//
// doctor_directory.cc -- where devices lie: room, and what its file system can do.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/doctor.hpp"
#include "direct/belief.hpp"
#include "tables/span.hpp"

namespace vinic::cli {

namespace {

/// A device with a few VIs takes less than a megabyte; containers get 64 MiB by default.
constexpr std::uint64_t room_bytes_needed = 1 << 20;
constexpr std::uint64_t room_bytes_wanted = 64 << 20;

const char* const another_directory = "point VINIC_SHM_DIR to another directory";

/// A file without a name in the directory, opened twice, so that its locks can be seen.
struct trial_file {
    os::unique_fd fd;
    os::unique_fd other;
    int failed = 0;

    explicit trial_file(const std::string& directory) {
        fd.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        if (!fd) {
            std::string path = directory + "/.vinic-doctor-XXXXXX";
            fd.reset(::mkostemp(path.data(), O_CLOEXEC));
            failed = fd ? 0 : errno;
            if (fd) {
                ::unlink(path.c_str());
            }
        }
        if (fd) {
            other.reset(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDWR | O_CLOEXEC));
        }
    }
};

void check_room(const std::string& directory, findings& all) {
    struct statvfs s{};
    if (::statvfs(directory.c_str(), &s) != 0) {
        all.push_back({"room", verdict::warn, "cannot tell the free space: " + std::string(std::strerror(errno))});
        return;
    }
    const std::uint64_t free_bytes = std::uint64_t{s.f_bavail} * s.f_frsize;
    const std::string found =
        size_in_words(free_bytes) + " free of " + size_in_words(std::uint64_t{s.f_blocks} * s.f_frsize);
    const std::string cure = "enlarge it (mount -o remount,size=..., docker run --shm-size=...) or ";
    if (s.f_files != 0 && s.f_favail == 0) {
        all.push_back(
            {"room", verdict::fail, "no file can be made: the file system has no inode left", "remove files"});
    } else if (free_bytes < room_bytes_wanted) {
        all.push_back(
            {"room", free_bytes < room_bytes_needed ? verdict::fail : verdict::warn, found, cure + another_directory});
    } else {
        all.push_back({"room", verdict::ok, found});
    }
}

void check_storage(const trial_file& file, findings& all) {
    // ext4 gives back only what lies below the end of the file.
    (void)::ftruncate(file.fd.get(), abi::page_size);
    if (const int e = os::allocate_storage(file.fd.get(), 0, abi::page_size); e != 0) {
        all.push_back({"fallocate", verdict::fail,
                       "storage cannot be taken in advance: " + std::string(std::strerror(e)),
                       std::string("use a tmpfs, ext4, xfs or btrfs: ") + another_directory});
        return;
    }
    struct stat before{};
    struct stat after{};
    (void)::fstat(file.fd.get(), &before);
    (void)os::release_storage(file.fd.get(), 0, abi::page_size);
    (void)::fstat(file.fd.get(), &after);
    if (after.st_blocks >= before.st_blocks) {
        all.push_back({"fallocate", verdict::warn, "storage can be taken, but is not given back before the file goes",
                       std::string("use a tmpfs: ") + another_directory});
    } else {
        all.push_back({"fallocate", verdict::ok, "storage can be taken in advance and given back"});
    }
}

void check_mapping(const trial_file& file, findings& all) {
    const std::uint64_t least = std::uint64_t{abi::first_chunk + 1} * abi::chunk_size;
    rlimit size{};
    (void)::getrlimit(RLIMIT_FSIZE, &size);
    // Asked first: growing a file beyond this limit raises a signal.
    if (size.rlim_cur != RLIM_INFINITY && size.rlim_cur < least) {
        all.push_back({"file size", verdict::fail,
                       "the limit for files is " + size_in_words(size.rlim_cur) + ", the smallest device is " +
                           size_in_words(least) + " long (and takes what it needs)",
                       "ulimit -f unlimited"});
        return;
    }
    if (::ftruncate(file.fd.get(), static_cast<off_t>(least)) != 0) {
        all.push_back({"file size", verdict::fail,
                       "the file system refuses a sparse file of " + size_in_words(least) + ": " +
                           std::string(std::strerror(errno)),
                       another_directory});
        return;
    }
    all.push_back(
        {"file size", verdict::ok, "a device's file is as long as what has been taken of it; that works here"});
    const auto span = tables::wanted_span({}, file.fd.get());
    if (!span) {
        all.push_back({"mapping", verdict::fail, span.error().doing, "set VINIC_SHM_SPAN anew, or not at all"});
        return;
    }
    os::mapping map;
    if (map.map_shared(file.fd.get(), *span, true)) {
        all.push_back({"mapping", verdict::ok,
                       "the " + tables::words_of_span(*span) +
                           " that a device may grow into can be mapped (VINIC_SHM_SPAN makes it less or more)"});
    } else {
        all.push_back({"mapping", verdict::fail,
                       tables::words_of_span(*span) + " of address space are refused: " + std::strerror(errno),
                       "ulimit -v unlimited, or less with VINIC_SHM_SPAN, such as 16G"});
    }
}

void check_locks(const trial_file& file, findings& all) {
    const bool works = file.other && os::try_lock_byte(file.fd.get(), 1) &&
                       os::is_locked_by_other(file.other.get(), 1, 1) &&
                       !os::is_locked_by_other(file.other.get(), 2, 1);
    if (works) {
        all.push_back({"locks", verdict::ok, "open-file-description locks tell who is alive"});
    } else {
        all.push_back({"locks", verdict::fail, "the file system has no open-file-description locks",
                       std::string("use a local file system: ") + another_directory});
    }
}

}  // namespace

void check_directory(const std::string& directory, findings& all) {
    struct stat s{};
    const bool exists = ::stat(directory.c_str(), &s) == 0;
    if (!exists || !S_ISDIR(s.st_mode)) {
        all.push_back({"directory", verdict::fail,
                       directory + ": " + (exists ? "is no directory" : std::strerror(errno)),
                       std::string("make it, or ") + another_directory});
        return;
    }
    if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
        all.push_back({"directory", verdict::fail, directory + " may not be written by this user", another_directory});
        return;
    }
    if (direct::others_may_remove_from(s, {})) {
        all.push_back(
            {"directory", verdict::warn,
             "others may remove and rename files in " + directory + ": they can end a device, or swap two of yours",
             "chmod +t " + directory + ", or " + another_directory});
    }
    struct statfs f{};
    if (::statfs(directory.c_str(), &f) == 0 && f.f_type == TMPFS_MAGIC) {
        all.push_back({"directory", verdict::ok, directory + " is a tmpfs and may be written"});
    } else {
        all.push_back({"directory", verdict::warn, directory + " is no tmpfs: what is written goes to a disk some time",
                       "for full speed use a tmpfs such as /dev/shm"});
    }
    check_room(directory, all);
}

void check_file_system(const std::string& directory, findings& all) {
    const trial_file file(directory);
    if (!file.fd) {
        all.push_back({"file", verdict::fail, "no file can be made in " + directory + ": " + std::strerror(file.failed),
                       another_directory});
        return;
    }
    check_storage(file, all);
    check_locks(file, all);
    check_mapping(file, all);
}

}  // namespace vinic::cli

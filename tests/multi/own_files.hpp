// SPDX-License-Identifier: Apache-2.0
//
// own_files.hpp -- a program that closes descriptors which it has not opened, as daemons do, and opens something of its
// own then, which gets their numbers.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "multi/process.hpp"

namespace multi {

/// The numbers of descriptors that are open.
[[nodiscard]] inline std::set<int> open_numbers() {
    std::set<int> all;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
        all.insert(std::stoi(each.path().filename()));
    }
    std::erase_if(all, [](int fd) { return ::fcntl(fd, F_GETFD) < 0; });  // the one that was looked with
    return all;
}

/// Closes whatever was not open `before`.
inline void close_others(const std::set<int>& before) {
    for (const int number : open_numbers()) {
        if (!before.contains(number)) {
            ::close(number);
        }
    }
}

class own_files {
public:
    enum class kind { files, event_descriptors };

    /// Closes whatever was not open `before`, and takes its numbers.
    own_files(const std::set<int>& before, kind what, const std::string& directory) : kind_(what) {
        for (const int number : open_numbers()) {
            if (!before.contains(number)) {
                take(number, directory);
            }
        }
        require(!all_.empty(), "there was something to close");
    }
    own_files(const own_files&) = delete;
    own_files& operator=(const own_files&) = delete;
    ~own_files() {
        for (const own& each : all_) {
            ::close(each.number);
            ::unlink(each.path.c_str());
        }
    }

    /// Nothing was written, read, locked, made longer or shorter, or closed.
    void require_untouched() const {
        for (const own& each : all_) {
            kind_ == kind::files ? require_same_file(each) : require_same_count(each.number);
        }
    }

private:
    struct own {
        int number;
        std::string path;  ///< of a file
    };
    static constexpr std::uint64_t count = 5;
    static constexpr off_t length = 512 << 20;
    static const std::string& words() {
        static const std::string w(1 << 16, 'v');
        return w;
    }

    void take(int number, const std::string& directory) {
        ::close(number);
        own made{number, directory + "/own" + std::to_string(number)};
        const int fd = kind_ == kind::files ? ::open(made.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)
                                            : ::eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);
        require(fd >= 0, "the program can open something");
        if (kind_ == kind::files) {
            require(::write(fd, words().data(), words().size()) == static_cast<ssize_t>(words().size()) &&
                        ::ftruncate(fd, length) == 0,
                    "it can be written");
        }
        if (fd != number) {
            require(::dup2(fd, number) == number, "it gets the number");
            ::close(fd);
        }
        all_.push_back(made);
    }

    static void require_same_file(const own& o) {
        struct stat here{};
        struct stat named{};
        require(::fstat(o.number, &here) == 0 && ::stat(o.path.c_str(), &named) == 0 && here.st_ino == named.st_ino,
                "it is open");
        require(here.st_size == length, "it is as long");
        require(::lseek(o.number, 0, SEEK_CUR) == static_cast<off_t>(words().size()), "nobody has moved in it");
        std::string there(words().size(), 0);
        require(
            ::pread(o.number, there.data(), there.size(), 0) == static_cast<ssize_t>(there.size()) && there == words(),
            "it holds what was written");
        const int again = ::open(o.path.c_str(), O_RDWR | O_CLOEXEC);
        struct flock lock{};
        lock.l_type = F_WRLCK;
        require(::fcntl(again, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK, "nobody has locked it");
        ::close(again);
    }

    static void require_same_count(int fd) {
        std::uint64_t there = 0;
        require(::read(fd, &there, sizeof there) == sizeof there, "it is open, and nobody has read it");
        require(there == count, "nobody has written to it");
        require(::write(fd, &there, sizeof there) == sizeof there, "it is as it was");
    }

    kind kind_;
    std::vector<own> all_;
};

}  // namespace multi

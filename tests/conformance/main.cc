// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- runs the conformance suite against one device.
//
//     conformance_test [--device=ADDRESS [--other-device=ADDRESS]] [--gtest_...]
//
// With --other-device the two sides of a pair that has two handles are on two devices that reach each other: two
// functions of a vinicd.
// Without --device the suite makes a device with a fresh name.  Device files go to a temporary directory below
// $TMPDIR, /dev/shm or /tmp, whichever is the first that is there; what is left in it at the end is a failure.
// What aborted runs have left is removed at the next start.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "fixture.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// These tests look at memory while the NIC changes it, which is what they are about: to the language a race, to the
// interface a promise (words become visible in order, no write is lost while pages move, an atomic is a lock).
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    return "race:rdma_makes_the_last_word_of_a_write_visible_last_Test\n"
           "race:rdma_makes_words_visible_in_ascending_order_Test\n"
           "race:adopting_loses_no_write_of_another_thread_Test\n"
           "race:atomic_word_serves_as_a_lock_between_peers_Test\n"
           "race:watcher::look\n";
}
#endif
#endif

namespace {

constexpr std::string_view directory_prefix = "vinic-conformance.";

/// A directory for device files, locked with flock(2) while its run lives: the kernel unlocks what an aborted run,
/// which cannot clean up, leaves behind.
struct run_directory {
    std::string path;
    int fd = -1;
};

/// Whether the directory could be locked and is still the one of this name.
bool lock_directory(run_directory& d) {
    d.fd = ::open(d.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat mine{};
    struct stat named{};
    if (d.fd >= 0 && ::flock(d.fd, LOCK_EX | LOCK_NB) == 0 && ::fstat(d.fd, &mine) == 0 &&
        ::stat(d.path.c_str(), &named) == 0 && mine.st_ino == named.st_ino && mine.st_uid == ::getuid())
        return true;
    if (d.fd >= 0)
        ::close(d.fd);
    return false;
}

/// Removes what runs that are dead have left in this directory.
void remove_remains(const std::string& parent) {
    std::error_code ignored_by_design;
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(parent, ignored_by_design)) {
        if (entry.path().filename().string().starts_with(directory_prefix))
            found.push_back(entry.path());
    }
    for (const std::string& path : found) {
        run_directory remains{path};
        if (lock_directory(remains)) {
            std::filesystem::remove_all(path, ignored_by_design);
            ::close(remains.fd);
        }
    }
}

/// A new directory for device files; without a path when none can be made.
run_directory make_directory() {
    const char* wanted = std::getenv("TMPDIR");
    const std::string parents[] = {wanted == nullptr ? "" : wanted, "/dev/shm", "/tmp"};
    for (const std::string& parent : parents) {
        if (parent.empty())
            continue;
        remove_remains(parent);
        // Another run may take a directory that is not locked yet for remains.
        for (int attempt = 0; attempt < 100; ++attempt) {
            run_directory made{parent + "/" + std::string(directory_prefix) + "XXXXXX"};
            if (::mkdtemp(made.path.data()) == nullptr)
                break;
            if (lock_directory(made))
                return made;
        }
    }
    return {};
}

/// Removes the directory.  Every device that the tests made is closed by now, so an entry is a leak of the library's.
bool remove_directory(const std::string& directory) {
    bool clean = true;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        std::fprintf(stderr, "left behind: %s\n", entry.path().c_str());
        clean = false;
    }
    std::filesystem::remove_all(directory, error);
    return clean && !error;
}

}  // namespace

int main(int argument_count, char** arguments) {
    testing::InitGoogleTest(&argument_count, arguments);
    conformance::settings chosen;
    for (int i = 1; i < argument_count; ++i) {
        const std::string_view argument = arguments[i];
        constexpr std::string_view device_flag = "--device=";
        constexpr std::string_view other_flag = "--other-device=";
        if (argument.starts_with(other_flag)) {
            chosen.other = argument.substr(other_flag.size());
            continue;
        }
        if (!argument.starts_with(device_flag)) {
            std::fprintf(stderr, "%s: unknown argument %s (known: --[other-]device=ADDRESS, --gtest_...)\n",
                         arguments[0], arguments[i]);
            return 2;
        }
        chosen.device = argument.substr(device_flag.size());
    }
    const run_directory own = make_directory();
    chosen.directory = own.path;
    if (chosen.directory.empty()) {
        std::perror("making a temporary directory for device files");
        return 1;
    }
    if (chosen.device.empty()) {
        chosen.device = "shm:" + conformance::unique_name("conformance");
        ::setenv("VINIC_SHM_DIR", chosen.directory.c_str(), 1);
    }
    if (chosen.other.empty())
        chosen.other = chosen.device;
    conformance::set_under_test(chosen);
    const int outcome = RUN_ALL_TESTS();
    return remove_directory(chosen.directory) ? outcome : 1;
}

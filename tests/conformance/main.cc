// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- runs the conformance suite against one device.
//
//     conformance_test [--device=shm:NAME] [--gtest_...]
//
// Without --device the suite makes a device with a fresh name.  Device files go to a temporary directory below
// $TMPDIR, /dev/shm or /tmp, whichever is the first that is there; what is left in it at the end is a failure.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

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
           "race:atomic_word_serves_as_a_lock_between_peers_Test\n";
}
#endif
#endif

namespace {

/// A new directory for device files; "" when none can be made.
std::string make_directory() {
    const char* wanted = std::getenv("TMPDIR");
    const std::string parents[] = {wanted == nullptr ? "" : wanted, "/dev/shm", "/tmp"};
    for (const std::string& parent : parents) {
        std::string made = parent + "/vinic-conformance-XXXXXX";
        if (!parent.empty() && ::mkdtemp(made.data()) != nullptr)
            return made;
    }
    return "";
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
        if (!argument.starts_with(device_flag)) {
            std::fprintf(stderr, "%s: unknown argument %s (known: --device=ADDRESS, --gtest_...)\n", arguments[0],
                         arguments[i]);
            return 2;
        }
        chosen.device = argument.substr(device_flag.size());
    }
    chosen.directory = make_directory();
    if (chosen.directory.empty()) {
        std::perror("making a temporary directory for device files");
        return 1;
    }
    if (chosen.device.empty()) {
        chosen.device = "shm:" + conformance::unique_name("conformance");
        ::setenv("VINIC_SHM_DIR", chosen.directory.c_str(), 1);
    }
    conformance::set_under_test(chosen);
    const int outcome = RUN_ALL_TESTS();
    return remove_directory(chosen.directory) ? outcome : 1;
}

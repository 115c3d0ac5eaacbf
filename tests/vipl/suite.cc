// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- runs the tests of the VIPL face; devices go to a fresh directory, in which nothing may be left at the end.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "fixture.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// These tests look at memory while a peer writes to it, which is what they are about: to the language a race, to the
// architecture a promise.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:tail_word_is_visible_last_Test\n"; }
#endif
#endif

int main(int argument_count, char** arguments) {
    testing::InitGoogleTest(&argument_count, arguments);
    const char* wanted = std::getenv("TMPDIR");
    std::string directory = std::string(wanted != nullptr ? wanted : "/dev/shm") + "/vinic-vipl-test.XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) {
        std::perror(directory.c_str());
        return 1;
    }
    ::setenv("VINIC_SHM_DIR", directory.c_str(), 1);
    for (const char* name : {"VINIC_VIPL_DEVICE", "VINIC_VIPL_HOST", "VINIC_VIPL_HOSTS", "VINIC_VIPL_HOSTS_FILE",
                             "VINIC_VIPL_ANY_NAME", "VINIC_VIPL_STRICT"}) {
        ::unsetenv(name);
    }
    int outcome = RUN_ALL_TESTS();
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        std::fprintf(stderr, "left behind: %s\n", entry.path().c_str());
        outcome = 1;
    }
    std::filesystem::remove_all(directory, error);
    return outcome;
}

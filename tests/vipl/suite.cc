// SPDX-License-Identifier: Apache-2.0
//
// suite.cc -- runs the tests of a program.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "fixture.hpp"

namespace vipl_test {

int run_suite(int argument_count, char** arguments) {
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

}  // namespace vipl_test

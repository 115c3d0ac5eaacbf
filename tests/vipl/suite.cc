// SPDX-License-Identifier: Apache-2.0
//
// suite.cc -- runs the tests of a program.
//
//     vipl_test [--device=ADDRESS] [--gtest_...]
//
// With --device every NIC handle is one of that device, whatever name a test opens.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "fixture.hpp"

namespace vipl_test {

bool device_is_given() { return std::getenv("VINIC_VIPL_DEVICE") != nullptr; }

int run_suite(int argument_count, char** arguments) {
    testing::InitGoogleTest(&argument_count, arguments);
    const char* wanted = std::getenv("TMPDIR");
    std::string directory = std::string(wanted != nullptr ? wanted : "/dev/shm") + "/vinic-vipl-test.XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) {
        std::perror(directory.c_str());
        return 1;
    }
    ::setenv("VINIC_SHM_DIR", directory.c_str(), 1);
    for (const char* name :
         {"VINIC_VIPL_DEVICE", "VINIC_VIPL_HOST", "VINIC_VIPL_HOSTS", "VINIC_VIPL_HOSTS_FILE", "VINIC_VIPL_ANY_NAME",
          "VINIC_VIPL_STRICT", "VINIC_VIPL_NICS", "VINIC_VIPL_CONNECT_GRACE"}) {
        ::unsetenv(name);
    }
    for (int i = 1; i < argument_count; ++i) {
        constexpr std::string_view device_flag = "--device=";
        const std::string_view argument = arguments[i];
        if (!argument.starts_with(device_flag)) {
            std::fprintf(stderr, "%s: unknown argument %s (known: --device=ADDRESS, --gtest_...)\n", arguments[0],
                         arguments[i]);
            return 2;
        }
        ::setenv("VINIC_VIPL_DEVICE", arguments[i] + device_flag.size(), 1);
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

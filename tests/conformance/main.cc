// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- runs the conformance suite against one device.
//
//     conformance_test [--device=shm:NAME] [--gtest_...]
//
// Without --device the suite makes a device with a fresh name in a temporary directory, which is removed at the end.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "fixture.hpp"

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
    std::string made;
    if (chosen.device.empty()) {
        made = (std::filesystem::temp_directory_path() / "vinic-conformance-XXXXXX").string();
        if (::mkdtemp(made.data()) == nullptr || ::setenv("VINIC_SHM_DIR", made.c_str(), 1) != 0) {
            std::perror("making a temporary directory for the device");
            return 1;
        }
        chosen.directory = made;
        chosen.device = "shm:" + conformance::unique_name("conformance");
    }
    conformance::set_under_test(chosen);
    int outcome = RUN_ALL_TESTS();
    if (!made.empty()) {
        // Every device that the tests made is closed by now, so an entry that is left is a leak of the library's.
        std::error_code ignored_by_design;
        for (const auto& entry : std::filesystem::directory_iterator(made, ignored_by_design)) {
            std::fprintf(stderr, "left behind: %s\n", entry.path().c_str());
            outcome = 1;
        }
        std::filesystem::remove_all(made, ignored_by_design);
    }
    return outcome;
}

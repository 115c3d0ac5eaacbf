// SPDX-License-Identifier: Apache-2.0
//
// configuration_text_test.cc -- what the decoder says is what was written, and what lspci says, if there is one.
#include "controller/configuration_text.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "controller/configuration_fixture.hpp"

namespace vinic::controller {
namespace {

using namespace pci;

std::map<std::string, std::uint64_t> named(const configuration_space& space, std::uint32_t function) {
    std::map<std::string, std::uint64_t> values;
    for (const configuration_value& v : decode_configuration(space.image(function))) {
        EXPECT_TRUE(values.emplace(v.name, v.value).second) << v.name << " comes twice";
    }
    return values;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream from(text);
    for (std::string line; std::getline(from, line);) {
        lines.push_back(line);
    }
    return lines;
}

/// What a command prints; nothing if it does not end well.
std::string output_of(const std::string& command) {
    FILE* from = popen(command.c_str(), "r");
    std::string text;
    for (int c = 0; from != nullptr && (c = std::fgetc(from)) != EOF;) {
        text += static_cast<char>(c);
    }
    return from != nullptr && pclose(from) == 0 ? text : std::string();
}

TEST(configuration_text, names_what_a_pf_holds) {
    configuration_space space = running(8, {.vfs_total = 100, .vectors = 7, .first_vf_offset = 4, .vf_stride = 2});
    (void)space.write(0, msix + 2, 2, msix_enable);
    const auto values = named(space, 0);
    const std::map<std::string, std::uint64_t> expected{{"present", 1},
                                                        {"vendor_id", 0x5649},
                                                        {"device_id", 0x4e43},
                                                        {"command.memory", 1},
                                                        {"command.bus_master", 1},
                                                        {"class", class_network_other},
                                                        {"bar0", space.bar(0, 0)->address},
                                                        {"bar2", space.bar(0, 2)->address},
                                                        {"interrupt_pin", 0},
                                                        {"express.version", 2},
                                                        {"express.type", express_type_integrated},
                                                        {"express.function_level_reset", 1},
                                                        {"msix.vectors", 7},
                                                        {"msix.enabled", 1},
                                                        {"msix.masked", 0},
                                                        {"sriov.enabled", 1},
                                                        {"sriov.memory", 1},
                                                        {"sriov.vfs_initial", 100},
                                                        {"sriov.vfs_total", 100},
                                                        {"sriov.vfs", 8},
                                                        {"sriov.first_vf_offset", 4},
                                                        {"sriov.vf_stride", 2},
                                                        {"sriov.vf_device_id", 0x4e56},
                                                        {"sriov.page_size", 1},
                                                        {"sriov.vf_bar0", space.bar(1, 0)->address},
                                                        {"sriov.vf_bar2", space.bar(1, 2)->address}};
    for (const auto& [name, value] : expected) {
        ASSERT_TRUE(values.contains(name)) << name;
        EXPECT_EQ(values.at(name), value) << name;
    }
    EXPECT_FALSE(values.contains("capability") || values.contains("extended_capability"));
}

TEST(configuration_text, says_it_line_by_line) {
    configuration_space space = running(8);
    (void)space.write(0, msix + 2, 2, msix_mask_all);
    EXPECT_EQ(configuration_text(space.routing_id(0), space.image(0)),
              "01:00.0 Class [0280]: Device [5649:4e43] (rev 01)\n"
              "\tSubsystem: Device [5649:0001]\n"
              "\tControl: I/O- Mem+ BusMaster+\n"
              "\tRegion 0: Memory at 10000000000 (64-bit, prefetchable)\n"
              "\tRegion 2: Memory at 14100000000 (64-bit, prefetchable)\n"
              "\tCapabilities: [40] Express (v2) Root Complex Integrated Endpoint\n"
              "\t\tDevCap: FLReset+\n"
              "\tCapabilities: [80] MSI-X: Enable- Count=4 Masked+\n"
              "\t\tVector table: BAR=2 offset=00000000\n"
              "\t\tPBA: BAR=2 offset=00001000\n"
              "\tCapabilities: [100 v1] Single Root I/O Virtualization (SR-IOV)\n"
              "\t\tIOVCtl: Enable+ MSE+\n"
              "\t\tInitial VFs: 64, Total VFs: 64, Number of VFs: 8, Function Dependency Link: 00\n"
              "\t\tVF offset: 1, stride: 1, Device ID: 4e56\n"
              "\t\tSupported Page Size: 00000553, System Page Size: 00000001\n"
              "\t\tRegion 0: Memory at 0000010100000000 (64-bit, prefetchable)\n"
              "\t\tRegion 2: Memory at 0000014100002000 (64-bit, prefetchable)\n");
}

TEST(configuration_text, tells_a_vf_from_a_function_that_is_not_there) {
    const configuration_space space = running(2);
    const auto vf = named(space, 2);
    EXPECT_EQ(vf.at("present"), 1u);
    EXPECT_EQ(vf.at("vendor_id"), 0xffffu);
    EXPECT_FALSE(vf.contains("bar0") || vf.contains("sriov.vfs"));
    EXPECT_EQ(named(space, 3), (std::map<std::string, std::uint64_t>{{"present", 0}}));
    EXPECT_EQ(configuration_text(space.routing_id(3), space.image(3)), "01:00.3 is not there\n");
}

TEST(configuration_text, offsets_are_where_the_values_are) {
    const configuration_space space = running(2);
    for (const configuration_value& v : decode_configuration(space.image(0))) {
        if (v.name == "sriov.vfs_total" || v.name == "sriov.vfs" || v.name == "device_id") {
            EXPECT_EQ(space.read(0, v.offset, 2), v.value) << v.name;
        }
    }
}

TEST(configuration_text, ends_whatever_the_bytes_are) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto good = running(2).image(0);
    for (int round = 0; round < 3000; ++round) {
        auto image = good;
        const std::uint64_t changes = random() % 2 == 0 ? space_bytes : random() % 16;
        for (std::uint64_t i = 0; i < changes; ++i) {
            image[random() % (random() % 2 == 0 ? 0x200 : space_bytes)] = static_cast<std::byte>(random());
        }
        EXPECT_LT(decode_configuration(image).size(), 10'000u);
        EXPECT_FALSE(configuration_text(0, image).empty());
    }
}

TEST(configuration_text, a_list_of_capabilities_that_leads_in_a_circle_is_said_once) {
    auto image = running(2).image(0);
    image[msix + 1] = std::byte{express};
    image[sriov + 2] = std::byte{0x01};  // next: itself
    image[sriov + 3] = std::byte{0x10};
    const std::string text = configuration_text(0x0100, image);
    EXPECT_EQ(std::ranges::count(lines_of(text), "\tCapabilities: [80] MSI-X: Enable- Count=4 Masked-"), 1);
    EXPECT_EQ(text.find("SR-IOV"), text.rfind("SR-IOV"));
}

TEST(configuration_text, a_dump_has_every_byte_in_its_place) {
    const configuration_space space = running(2);
    const auto lines = lines_of(configuration_dump(0x01f9, space.image(0)));
    ASSERT_EQ(lines.size(), 1 + 256 + 1u);
    EXPECT_EQ(lines[0], "01:1f.1 vinic");
    EXPECT_EQ(lines[1].substr(0, 15), "00: 49 56 43 4e");
    EXPECT_EQ(lines[17].substr(0, 11), "100: 10 00 ");
    EXPECT_EQ(lines[256].substr(0, 5), "ff0: ");
    EXPECT_TRUE(std::all_of(lines.begin() + 17, lines.end() - 1, [](const auto& l) { return l.size() == 4 + 48; }));
}

/// An independent reader of the same bytes.  Not part of what a build needs: skipped where it is not installed.
TEST(configuration_text, lspci_reads_the_same) {
    const std::string path = testing::TempDir() + "/vinic-configuration-" + std::to_string(getpid());
    configuration_space space = running(20, {.vfs_total = 256, .window_bytes = 1ULL << 33, .vectors = 33});
    (void)space.write(0, msix + 2, 2, msix_enable);
    (void)space.write(5, msix + 2, 2, msix_enable | msix_mask_all);
    (void)space.write(6, command_status, 2, 0);
    for (std::uint32_t function = 0; function <= 20; ++function) {
        const auto image = space.image(function);
        {
            std::ofstream dump(path);
            dump << configuration_dump(space.routing_id(function), image);
        }
        const std::string said = output_of("lspci -F '" + path + "' -nn -vvv 2>/dev/null");
        std::filesystem::remove(path);
        if (said.empty()) {
            GTEST_SKIP() << "there is no lspci";
        }
        // Its lines say more than ours: each of our words must be in a line that begins as ours does.
        const auto theirs = lines_of(said);
        for (const std::string& line : lines_of(configuration_text(space.routing_id(function), image))) {
            const std::string_view beginning = std::string_view(line).substr(0, line.find_first_of(":]"));
            const bool agrees = std::ranges::any_of(theirs, [&](const std::string& other) {
                std::istringstream words(line);
                bool all = other.starts_with(beginning);
                for (std::string word; all && words >> word;) {
                    all = other.find(word) != std::string::npos;
                }
                return all;
            });
            // lspci puts the reset bit into the second line of DevCap.
            const bool elsewhere = line == "\t\tDevCap: FLReset+" && said.find("FLReset+") != std::string::npos;
            EXPECT_TRUE(agrees || elsewhere) << function << ": " << line << "\n" << said;
        }
    }
}

}  // namespace
}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// device_test.cc -- opening and closing devices, their addresses, several of them, and empty handles.
#include <algorithm>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <set>

#include "fixture.hpp"

namespace conformance {
namespace {

std::size_t entries_of(const std::string& directory) {
    const auto entries = std::filesystem::directory_iterator(directory);
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

/// The tests that look at the device's file need a directory of their own and a device that has a file at all.
class device_file : public testing::Test {
protected:
    void SetUp() override {
        if (!under_test().device.starts_with("shm:"))
            GTEST_SKIP() << "this placement has no device file";
        directory = under_test().directory + "/" + unique_name("device-file");
        std::filesystem::create_directory(directory);
        options.directory = directory;
    }
    void TearDown() override {
        std::error_code error;
        if (!directory.empty())
            std::filesystem::remove_all(directory, error);
    }
    std::string directory;
    vinic::open_options options;
};

TEST(device, says_the_address_it_was_opened_at) {
    const auto nic = open_device();
    EXPECT_TRUE(nic);
    EXPECT_EQ(nic.device_address(), under_test().device);
}

TEST(device, refuses_an_address_without_a_known_kind) {
    for (const char* bad : {"", "demo", "shm", "udp:demo", "SHM:demo", ":demo", "shm demo"}) {
        const auto opened = vinic::nic::open(bad);
        EXPECT_EQ(code_of(opened), vinic::errc::unknown_address) << bad;
    }
}

TEST(device, refuses_a_function_that_cannot_be) {
    for (const char* bad : {"vinicd:", "vinicd:#vf0", "vinicd:/nonexistent/socket", "vinicd:/nonexistent/socket#vf0",
                            "vinicd:x#", "vinicd:x#vf", "vinicd:x#vf256", "vinicd:x#vf00", "vinicd:x#vf1 ",
                            "vinicd:x#PF", "vinicd:x#pf#pf", "vinicd:/dev/null"}) {
        EXPECT_EQ(code_of(vinic::nic::open(bad)), vinic::errc::unknown_address) << bad;
    }
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:/" + std::string(200, 'x'))), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:/nonexistent/socket", {.directory = "/tmp", .group = {}})),
              vinic::errc::invalid_argument);
}

TEST(device, refuses_a_name_of_wrong_characters_or_length) {
    const std::string too_long = "shm:" + std::string(64, 'a');
    for (const std::string& bad :
         {std::string("shm:"), std::string("shm:a/b"), std::string("shm:a b"), std::string("shm:../x"),
          std::string("shm:a\0b", 7), std::string("shm:\xc3\xa9"), too_long}) {
        EXPECT_EQ(code_of(vinic::nic::open(bad)), vinic::errc::unknown_address) << bad;
    }
}

TEST_F(device_file, may_have_a_name_of_63_characters_of_every_allowed_kind) {
    std::string name = "Az09._-";
    name.resize(63, 'x');
    const auto opened = vinic::nic::open("shm:" + name, options);
    EXPECT_EQ(code_of(opened), vinic::errc::ok);
}

TEST_F(device_file, in_a_directory_that_does_not_exist_is_an_error_that_says_errno) {
    options.directory += "/missing";
    const auto opened = vinic::nic::open("shm:demo", options);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().code, vinic::errc::ok);
    EXPECT_EQ(opened.error().os_errno, ENOENT);
    EXPECT_NE(opened.error().message().find("missing"), std::string::npos) << opened.error().message();
}

TEST_F(device_file, for_an_unknown_group_is_an_error_and_leaves_nothing) {
    options.group = "no-such-group-of-users";
    EXPECT_FALSE(vinic::nic::open("shm:demo", options));
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, is_not_looked_for_where_a_nul_byte_cuts_a_path_off) {
    vinic::open_options cut = options;
    cut.directory += std::string("/sub\0directory", 14);
    EXPECT_EQ(code_of(vinic::nic::open(under_test().device, cut)), vinic::errc::invalid_argument);
    cut = options;
    cut.group = std::string("root\0s", 6);
    EXPECT_EQ(code_of(vinic::nic::open(under_test().device, cut)), vinic::errc::invalid_argument);
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, is_removed_by_the_last_handle_that_closes) {
    {
        auto first = must(vinic::nic::open("shm:demo", options));
        EXPECT_GE(entries_of(directory), 1u);
        {
            const auto second = must(vinic::nic::open("shm:demo", options));
        }
        EXPECT_GE(entries_of(directory), 1u) << "the first handle is still open";
        EXPECT_EQ(code_of(first.create_domain()), vinic::errc::ok);
    }
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, stays_as_long_as_any_object_of_the_device_lives) {
    std::optional<vinic::buffer> buffer;
    {
        auto nic = must(vinic::nic::open("shm:demo", options));
        buffer = must(nic.allocate(4096));
    }
    fill(buffer->bytes(), 5);
    EXPECT_TRUE(matches(buffer->bytes(), 5));
    EXPECT_GE(entries_of(directory), 1u);
    buffer.reset();
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, left_behind_by_a_dead_process_is_taken_over) {
    // What a killed process leaves is its file, full of its objects, that nobody has locked any more.
    const std::string kept = directory + "-kept";
    std::string path;
    {
        auto nic = must(vinic::nic::open("shm:demo", options));
        const endpoint in_use(nic, {});
        const auto listener = must(nic.listen("name-of-the-dead"));
        path = std::filesystem::directory_iterator(directory)->path().string();
        std::filesystem::create_hard_link(path, kept);
    }
    EXPECT_EQ(entries_of(directory), 0u);
    std::filesystem::rename(kept, path);
    {
        auto nic = must(vinic::nic::open("shm:demo", options));
        EXPECT_EQ(must(nic.names()).size(), 0u);
        EXPECT_EQ(code_of(nic.listen("name-of-the-dead")), vinic::errc::ok);
        const pair linked;
    }
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, that_is_something_else_is_an_error_and_stays_as_it_is) {
    std::string path;
    {
        const auto nic = must(vinic::nic::open("shm:demo", options));
        path = std::filesystem::directory_iterator(directory)->path().string();
    }
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{1} << 20}) {
        const auto content = pattern(size, 9);
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(size));
        EXPECT_EQ(code_of(vinic::nic::open("shm:demo", options)), vinic::errc::version_mismatch) << size;
        ASSERT_EQ(std::filesystem::file_size(path), size);
        std::vector<std::byte> found(size);
        std::ifstream(path, std::ios::binary)
            .read(reinterpret_cast<char*>(found.data()), static_cast<std::streamsize>(size));
        EXPECT_EQ(found, content) << "somebody's file was changed";
    }
}

TEST_F(device_file, can_be_opened_and_closed_any_number_of_times) {
    for (int round = 0; round < 50; ++round) {
        auto nic = must(vinic::nic::open("shm:demo", options));
        auto buffer = must(nic.allocate(1 << 16));
        ASSERT_TRUE(all_are(buffer.bytes(), std::byte{0}));
        fill(buffer.bytes(), 1);
    }
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, is_one_file_for_all_threads_that_open_it_at_once) {
    // Last one out removes the file while others come in: every round must end with all on the same device.
    constexpr std::size_t threads = 4;
    constexpr int rounds = 20;
    std::barrier together(static_cast<std::ptrdiff_t>(threads));
    std::vector<std::future<int>> workers;
    for (std::size_t t = 0; t < threads; ++t) {
        workers.push_back(in_thread([&, t] {
            int seen_all = 0;
            for (int round = 0; round < rounds; ++round) {
                together.arrive_and_wait();
                auto nic = vinic::nic::open("shm:demo", options);
                std::optional<vinic::listener> listener;
                if (nic)
                    listener = must(nic->listen(std::string_view("thread-" + std::to_string(t))));
                together.arrive_and_wait();
                if (nic && must(nic->names()).size() == threads)
                    ++seen_all;
                together.arrive_and_wait();
            }
            return seen_all;
        }));
    }
    for (auto& worker : workers) EXPECT_EQ(worker.get(), rounds);
    EXPECT_EQ(entries_of(directory), 0u);
}

TEST_F(device_file, is_a_device_of_its_own_beside_others) {
    auto first = must(vinic::nic::open("shm:first", options));
    auto second = must(vinic::nic::open("shm:second", options));
    const auto name = fresh_address();
    const auto on_first = must(first.listen(name));
    EXPECT_EQ(code_of(second.listen(name)), vinic::errc::ok) << "the other device has names of its own";
    endpoint lonely(second, {});
    EXPECT_EQ(code_of(lonely.vi.connect(name, patience)), vinic::errc::no_listener);
}

TEST_F(device_file, in_another_directory_is_another_device) {
    vinic::open_options elsewhere;
    elsewhere.directory = directory + "/elsewhere";
    std::filesystem::create_directory(elsewhere.directory);
    auto here = must(vinic::nic::open("shm:demo", options));
    auto there = must(vinic::nic::open("shm:demo", elsewhere));
    const auto listener = must(here.listen(fresh_address()));
    EXPECT_EQ(must(here.names()).size(), 1u);
    EXPECT_EQ(must(there.names()).size(), 0u);
}

TEST(device, opened_twice_in_one_process_is_the_same_device) {
    auto first = open_device();
    auto second = open_device();
    const auto name = fresh_address();
    const auto listener = must(first.listen(name));
    const auto names = must(second.names());
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end());
    EXPECT_EQ(code_of(second.listen(name)), vinic::errc::name_in_use);
}

TEST(device, closing_one_handle_leaves_the_objects_of_the_other_alone) {
    pair linked({}, handles::two);
    {
        auto third = open_device();
        const endpoint more(third, {});
    }
    fill(linked.left.bytes(0, 100), 3);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 100), 1), vinic::errc::ok);
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 100), 2), vinic::errc::ok);
    EXPECT_EQ(next(linked.right.receives).status, vinic::status::success);
    EXPECT_TRUE(matches(linked.right.bytes(0, 100), 3));
}

TEST(buffer, is_zeroed_page_aligned_and_rounded_up_to_pages) {
    auto nic = open_device();
    for (const std::size_t wanted : {std::size_t{1}, std::size_t{4096}, std::size_t{4097}, std::size_t{3} << 20}) {
        const auto buffer = must(nic.allocate(wanted));
        EXPECT_GE(buffer.size(), wanted);
        EXPECT_EQ(buffer.size() % 4096, 0u);
        EXPECT_EQ(buffer.bytes().size(), buffer.size());
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0u);
        EXPECT_TRUE(all_are(buffer.bytes(), std::byte{0}));
        fill(buffer.bytes(), 77);
    }
    const auto again = must(nic.allocate(std::size_t{3} << 20));
    EXPECT_TRUE(all_are(again.bytes(), std::byte{0})) << "memory that was used before must be zeroed";
}

TEST(buffer, of_no_bytes_is_refused) {
    auto nic = open_device();
    EXPECT_EQ(code_of(nic.allocate(0)), vinic::errc::invalid_argument);
}

TEST(buffer, larger_than_the_device_is_an_error_and_the_device_goes_on) {
    auto nic = open_device();
    for (const std::size_t wanted : {std::size_t{1} << 60, SIZE_MAX - 4095, SIZE_MAX}) {
        const auto made = nic.allocate(wanted);
        EXPECT_TRUE(code_of(made) == vinic::errc::out_of_memory || code_of(made) == vinic::errc::invalid_argument)
            << vinic::name(code_of(made));
    }
    EXPECT_EQ(code_of(nic.allocate(4096)), vinic::errc::ok);
}

TEST(buffer, never_overlaps_another_one) {
    auto nic = open_device();
    std::vector<vinic::buffer> buffers;
    for (std::uint32_t i = 0; i < 64; ++i) {
        buffers.push_back(must(nic.allocate(4096 * (1 + i % 5))));
        fill(buffers.back().bytes(), i);
    }
    for (std::uint32_t i = 1; i < 64; i += 2) buffers[i] = vinic::buffer{};
    for (std::uint32_t i = 1; i < 64; i += 2) {
        buffers[i] = must(nic.allocate(4096 * (1 + i % 3)));
        fill(buffers[i].bytes(), i);
    }
    for (std::uint32_t i = 0; i < 64; ++i) EXPECT_TRUE(matches(buffers[i].bytes(), i)) << i;
}

}  // namespace
}  // namespace conformance

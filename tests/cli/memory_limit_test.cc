// SPDX-License-Identifier: Apache-2.0
//
// memory_limit_test.cc -- what `vinic doctor` says of the memory cgroup's limit, where the test has written what the
// kernel would.
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "cli/doctor.hpp"

namespace vinic::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* in_memory = "/dev/shm";
constexpr const char* elsewhere = "/proc";
constexpr const char* mib_64 = "67108864";

class memory_limit : public testing::Test {
protected:
    memory_limit() { put("own", "0::/slice/job"); }
    ~memory_limit() override { fs::remove_all(root_); }
    void put(const fs::path& file, const std::string& text) const {
        fs::create_directories((root_ / file).parent_path());
        std::ofstream(root_ / file) << text << "\n";
    }
    /// Of files that a machine of one's own would have below /sys/fs/cgroup.
    [[nodiscard]] finding diagnosed(const std::string& directory) const {
        findings all;
        check_memory_limit(directory, all, root_.string(), (root_ / "own").string());
        EXPECT_EQ(all.size(), 1u);
        return all.empty() ? finding{} : all.front();
    }
    [[nodiscard]] std::string path(const char* file) const { return (root_ / file).string(); }

private:
    const fs::path root_ = fs::path(testing::TempDir()) / ("vinic-cgroups-" + std::to_string(::getpid()));
};

bool is_roomy_tmpfs(const char* directory) {
    struct statfs f{};
    return ::statfs(directory, &f) == 0 && f.f_type == TMPFS_MAGIC && f.f_bavail > 0;
}

TEST_F(memory_limit, that_is_nowhere_is_none) {
    EXPECT_EQ(diagnosed(in_memory).result, verdict::ok);
    EXPECT_EQ(diagnosed(in_memory).found, "no memory cgroup limits this process");
    put("slice/job/memory.max", "max");
    put("memory/job/memory.limit_in_bytes", "9223372036854771712");
    put("own", "4:memory:/job\n0::/slice/job");
    EXPECT_EQ(diagnosed(in_memory).found, "no memory cgroup limits this process") << "both versions have a word for it";
}

TEST_F(memory_limit, with_more_left_than_the_directory_has_free_is_told_and_is_no_harm) {
    put("slice/job/memory.max", std::to_string(1ULL << 59));
    put("slice/job/memory.current", "1048576");
    const finding f = diagnosed(in_memory);
    EXPECT_EQ(f.result, verdict::ok);
    EXPECT_EQ(f.cure, "");
    EXPECT_EQ(f.found,
              "the memory cgroup ends at 512.0 PiB, 1.0 MiB are in use (" + path("slice/job/memory.max") + ")");
}

TEST_F(memory_limit, with_less_left_than_the_directory_has_free_is_warned_of) {
    if (!is_roomy_tmpfs(in_memory)) {
        GTEST_SKIP() << in_memory << " is no tmpfs, or full";
    }
    put("slice/job/memory.max", mib_64);
    put("slice/job/memory.current", mib_64);
    const finding f = diagnosed(in_memory);
    EXPECT_EQ(f.result, verdict::warn);
    EXPECT_NE(f.found.find("ends at 64.0 MiB, 64.0 MiB are in use"), std::string::npos) << f.found;
    EXPECT_NE(f.found.find("less than /dev/shm has free"), std::string::npos) << f.found;
    EXPECT_NE(f.cure.find("raise the limit"), std::string::npos) << f.cure;
}

TEST_F(memory_limit, that_is_overdrawn_leaves_nothing_and_not_very_much) {
    if (!is_roomy_tmpfs(in_memory)) {
        GTEST_SKIP() << in_memory << " is no tmpfs, or full";
    }
    put("slice/job/memory.max", mib_64);
    put("slice/job/memory.current", "67108865");
    EXPECT_EQ(diagnosed(in_memory).result, verdict::warn);
}

TEST_F(memory_limit, says_nothing_against_a_directory_that_takes_no_memory) {
    put("slice/job/memory.max", mib_64);
    put("slice/job/memory.current", mib_64);
    EXPECT_EQ(diagnosed(elsewhere).result, verdict::ok);
}

TEST_F(memory_limit, of_a_group_above_counts_if_it_is_less) {
    put("slice/job/memory.max", mib_64);
    put("slice/memory.max", "33554432");
    EXPECT_NE(diagnosed(in_memory).found.find("ends at 32.0 MiB"), std::string::npos) << diagnosed(in_memory).found;
    EXPECT_NE(diagnosed(in_memory).found.find(path("slice/memory.max")), std::string::npos);
    put("slice/memory.max", "134217728");
    EXPECT_NE(diagnosed(in_memory).found.find("ends at 64.0 MiB"), std::string::npos) << "and not if it is more";
    put("neighbour/memory.max", "4096");
    EXPECT_NE(diagnosed(in_memory).found.find("ends at 64.0 MiB"), std::string::npos) << "nor another one's";
}

TEST_F(memory_limit, of_version_1_is_found_among_the_other_controllers) {
    put("own", "11:cpu,cpuacct:/x\n4:hugetlb,memory:/job\nnonsense\n0::/");
    put("memory/job/memory.limit_in_bytes", mib_64);
    put("x/memory.max", "4096");
    EXPECT_NE(diagnosed(in_memory).found.find("ends at 64.0 MiB, 0 B are in use"), std::string::npos)
        << diagnosed(in_memory).found;
    EXPECT_NE(diagnosed(in_memory).found.find(path("memory/job/memory.limit_in_bytes")), std::string::npos);
}

TEST_F(memory_limit, of_the_root_is_read_as_well) {
    put("own", "0::/");
    put("memory.max", mib_64);
    EXPECT_NE(diagnosed(in_memory).found.find("(" + path("memory.max") + ")"), std::string::npos)
        << diagnosed(in_memory).found;
}

}  // namespace
}  // namespace vinic::cli

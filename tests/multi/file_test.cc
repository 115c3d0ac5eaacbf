// SPDX-License-Identifier: Apache-2.0
//
// file_test.cc -- the device file among files: modes, groups, directories, strangers' files, missing permission.
//
// What needs another user runs in children that give up root, and is skipped where the tests do not run as root.
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include "abi/layout.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

constexpr uid_t somebody = 65533;

mode_t mode_of(const std::string& path) {
    struct stat s{};
    return ::stat(path.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
}

TEST(device_file, is_open_to_its_owner_only_whatever_the_umask) {
    directory d;
    for (const mode_t mask : {0u, 022u, 077u, 0777u}) {
        const mode_t before = ::umask(mask);
        {
            auto nic = vinic::nic::open("shm:test", d.options());
            ::umask(before);
            ASSERT_TRUE(nic) << nic.error().message();
            EXPECT_EQ(mode_of(d.file()), 0600u);
        }
    }
}

TEST(device_file, lies_where_the_environment_says_unless_the_option_says_otherwise) {
    directory d;
    directory other;
    process child([&](channel&) {
        require(::setenv("VINIC_SHM_DIR", d.path().c_str(), 1) == 0, "the environment can be set");
        auto nic = must(vinic::nic::open("shm:test"));
        require(d.exists(), "the file lies in $VINIC_SHM_DIR");
        auto second = must(vinic::nic::open("shm:test", other.options()));
        require(other.exists(), "the option wins");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(device_file, in_a_directory_that_does_not_exist_is_an_error) {
    const auto nic = vinic::nic::open("shm:test", {.directory = "/nonexistent/directory", .group = {}});
    ASSERT_FALSE(nic);
    EXPECT_EQ(nic.error().code, vinic::errc::os_failure);
    EXPECT_EQ(nic.error().os_errno, ENOENT);
    EXPECT_NE(nic.error().message().find("/nonexistent/directory"), std::string::npos) << nic.error().message();
}

TEST(device_file, of_a_stranger_is_left_alone) {
    directory d;
    d.leftovers_expected();
    const std::string contents = "not a device, and longer than eight bytes";
    std::ofstream(d.file()) << contents;
    const auto nic = vinic::nic::open("shm:test", d.options());
    ASSERT_FALSE(nic);
    EXPECT_EQ(nic.error().code, vinic::errc::version_mismatch);
    std::string now;
    std::getline(std::ifstream(d.file()), now);
    EXPECT_EQ(now, contents);
    // Shorter than a magic number, and longer than a device.
    std::ofstream(d.file("short")) << "abc";
    EXPECT_EQ(code_of(vinic::nic::open("shm:short", d.options())), vinic::errc::version_mismatch);
    std::ofstream(d.file("long")) << contents;
    ASSERT_EQ(::truncate(d.file("long").c_str(), static_cast<off_t>(vinic::abi::file_size)), 0);
    EXPECT_EQ(code_of(vinic::nic::open("shm:long", d.options())), vinic::errc::version_mismatch);
}

TEST(device_file, that_is_a_directory_a_link_or_a_pipe_is_an_error) {
    directory d;
    d.leftovers_expected();
    ASSERT_EQ(::mkdir(d.file("directory").c_str(), 0700), 0);
    ASSERT_EQ(::symlink("/etc/passwd", d.file("link").c_str()), 0);
    ASSERT_EQ(::mkfifo(d.file("pipe").c_str(), 0600), 0);
    for (const char* name : {"directory", "link", "pipe"}) {
        const auto nic = vinic::nic::open("shm:" + std::string(name), d.options());
        ASSERT_FALSE(nic) << name;
        EXPECT_NE(nic.error().code, vinic::errc::ok) << name;
    }
    struct stat s{};
    EXPECT_EQ(::lstat(d.file("link").c_str(), &s), 0) << "the link was not removed";
    EXPECT_EQ(::lstat(d.file("pipe").c_str(), &s), 0) << "the pipe was not removed";
}

TEST(device_file, empty_and_of_nobody_becomes_a_device) {
    directory d;
    std::ofstream(d.file()).flush();
    auto nic = vinic::nic::open("shm:test", d.options());
    ASSERT_TRUE(nic) << nic.error().message();
    EXPECT_EQ(mode_of(d.file()), 0600u);
}

TEST(device_file, in_use_by_another_version_is_an_error_and_stays_usable) {
    directory d;
    endpoint me(d.open());
    const int fd = ::open(d.file().c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    const off_t at = offsetof(vinic::abi::device_header, version);
    const std::uint32_t other = vinic::abi::layout_version + 1;
    const std::uint32_t mine = vinic::abi::layout_version;
    ASSERT_EQ(::pwrite(fd, &other, sizeof other, at), static_cast<ssize_t>(sizeof other));
    const auto nic = vinic::nic::open("shm:test", d.options());
    ASSERT_FALSE(nic);
    EXPECT_EQ(nic.error().code, vinic::errc::version_mismatch);
    EXPECT_NE(nic.error().message().find(std::to_string(other)), std::string::npos) << nic.error().message();
    ASSERT_EQ(::pwrite(fd, &mine, sizeof mine, at), static_cast<ssize_t>(sizeof mine));
    ::close(fd);
    auto now = d.open();
    EXPECT_TRUE(now);
}

TEST(device_file, of_another_version_that_nobody_uses_is_taken_over) {
    directory d;
    leave_remains(d);
    const int fd = ::open(d.file().c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    const std::uint32_t other = vinic::abi::layout_version + 1;
    ASSERT_EQ(::pwrite(fd, &other, sizeof other, offsetof(vinic::abi::device_header, version)), 4);
    ::close(fd);
    endpoint me(d.open());
    EXPECT_EQ(count(d).processes, 1u);
}

TEST(device_file, of_a_group_is_shared_by_users_of_that_group) {
    SKIP_UNLESS_ROOT();
    const group* g = ::getgrgid(shared_group);
    if (g == nullptr) {
        GTEST_SKIP() << "there is no group " << shared_group;
    }
    directory d;
    // As /dev/shm: everybody may make files, nobody may remove another one's.
    ASSERT_EQ(::chmod(d.path().c_str(), 01777), 0);
    const vinic::open_options options{.directory = d.path(), .group = g->gr_name};
    process maker([&](channel& parent) {
        become(nobody, shared_group);
        endpoint me(must(vinic::nic::open("shm:test", options)));
        auto listener = must(me.nic.listen("server"));
        must(me.vi.post_receive(me.at(0, 4096), 1));
        parent.say("open");
        me.accept_from(listener);
        require(me.next().length == 4096, "a message of the other user comes");
        parent.hear("end");
    });
    maker.hear("open");
    EXPECT_EQ(mode_of(d.file()), 0660u);
    process member([&](channel&) {
        become(somebody, shared_group);
        endpoint me(must(vinic::nic::open("shm:test", options)));
        me.connect_to("server");
        must(me.vi.post_send(me.at(0, 4096), 1));
        require(me.next().status == vinic::status::success, "the other user is reached");
    });
    EXPECT_EQ(member.exit_code(), 0);
    process stranger([&](channel&) {
        become(somebody, somebody);
        const auto nic = vinic::nic::open("shm:test", {.directory = d.path(), .group = {}});
        require(code_of(nic) == vinic::errc::permission_denied, "strangers are refused");
        require(nic.error().os_errno == EACCES, "with the system's errno");
    });
    EXPECT_EQ(stranger.exit_code(), 0);
    maker.say("end");
    EXPECT_EQ(maker.exit_code(), 0);
}

/// fs.protected_regular (on by default in Debian) refuses O_CREAT for other users' files in such directories.
TEST(device_file, of_a_group_is_shared_where_the_kernel_protects_regular_files) {
    SKIP_UNLESS_ROOT();
    int before = 0;
    std::ifstream("/proc/sys/fs/protected_regular") >> before;
    std::ofstream("/proc/sys/fs/protected_regular") << 2;
    int now = 0;
    std::ifstream("/proc/sys/fs/protected_regular") >> now;
    const group* g = ::getgrgid(shared_group);
    if (now != 2 || g == nullptr) {
        GTEST_SKIP() << "fs.protected_regular cannot be set, or there is no group " << shared_group;
    }
    directory d;
    EXPECT_EQ(::chmod(d.path().c_str(), 01777), 0);
    const vinic::open_options options{.directory = d.path(), .group = g->gr_name};
    {
        process maker([&](channel& parent) {
            become(nobody, shared_group);
            auto nic = must(vinic::nic::open("shm:test", options));
            parent.say("open");
            parent.hear("end");
        });
        maker.hear("open");
        process member([&](channel&) {
            become(somebody, shared_group);
            auto nic = must(vinic::nic::open("shm:test", options));
        });
        EXPECT_EQ(member.exit_code(), 0);
        maker.say("end");
        EXPECT_EQ(maker.exit_code(), 0);
    }
    std::ofstream("/proc/sys/fs/protected_regular") << before;
}

TEST(device_file, of_a_group_left_by_sigkill_is_taken_over_by_another_member) {
    SKIP_UNLESS_ROOT();
    const group* g = ::getgrgid(shared_group);
    if (g == nullptr) {
        GTEST_SKIP() << "there is no group " << shared_group;
    }
    directory d;
    d.leftovers_expected();  // in a directory like /dev/shm only the owner may remove the file
    ASSERT_EQ(::chmod(d.path().c_str(), 01777), 0);
    const vinic::open_options options{.directory = d.path(), .group = g->gr_name};
    process maker([&](channel& parent) {
        become(nobody, shared_group);
        auto nic = must(vinic::nic::open("shm:test", options));
        parent.say("open");
        parent.hear("end");
    });
    maker.hear("open");
    maker.kill_now();
    process member([&](channel&) {
        become(somebody, shared_group);
        endpoint me(must(vinic::nic::open("shm:test", options)));
        require(count(d).processes == 1, "the device is clean");
    });
    EXPECT_EQ(member.exit_code(), 0);
}

TEST(device_file, in_a_directory_without_permission_is_an_error_with_the_systems_word) {
    SKIP_UNLESS_ROOT();
    directory d;
    process child([&](channel&) {
        become(nobody, nobody);
        const auto nic = vinic::nic::open("shm:test", d.options());
        require(code_of(nic) == vinic::errc::permission_denied, "opening is refused");
        require(nic.error().os_errno == EACCES, "with the system's errno");
        require(nic.error().message().find(d.path()) != std::string::npos, "and the path");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(device_file, with_an_unknown_group_is_an_error_and_leaves_nothing) {
    directory d;
    const auto nic = vinic::nic::open("shm:test", {.directory = d.path(), .group = "no such group here"});
    EXPECT_EQ(code_of(nic), vinic::errc::invalid_argument);
    EXPECT_FALSE(d.exists());
}

TEST(device_file, cannot_be_opened_without_descriptors_and_says_so) {
    directory d;
    process child([&](channel&) {
        const rlimit none{3, 3};
        require(::setrlimit(RLIMIT_NOFILE, &none) == 0, "the limit can be set");
        const auto nic = vinic::nic::open("shm:test", d.options());
        require(code_of(nic) == vinic::errc::os_failure && nic.error().os_errno == EMFILE, "EMFILE is told");
    });
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_FALSE(d.exists());
}

TEST(device_file, cannot_be_mapped_in_a_small_address_space_and_says_so) {
    if (tests::address_sanitized)
        GTEST_SKIP() << "the address sanitizer needs address space of its own";
    directory d;
    process child([&](channel&) {
        const rlimit small{std::uint64_t{32} << 30, std::uint64_t{32} << 30};
        require(::setrlimit(RLIMIT_AS, &small) == 0, "the limit can be set");
        const auto nic = vinic::nic::open("shm:test", d.options());
        require(code_of(nic) == vinic::errc::out_of_memory && nic.error().os_errno == ENOMEM, "ENOMEM is told");
        require(nic.error().message().contains("ulimit -v"), "and which limit");
    });
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_FALSE(d.exists());
}

/// ulimit -f: the kernel sends SIGXFSZ to whoever makes a file larger, which ends a program that does not expect it.
/// The file grows with what is taken.
TEST(device_file, larger_than_the_limit_on_file_sizes_is_an_error_and_no_signal) {
    directory d;
    process child([&](channel&) {
        for (const rlim_t bytes : {rlim_t{1} << 30, rlim_t{64} << 20, rlim_t{100} << 10, rlim_t{4096}, rlim_t{0}}) {
            const rlimit small{bytes, RLIM_INFINITY};
            require(::setrlimit(RLIMIT_FSIZE, &small) == 0, "the limit can be set");
            auto nic = vinic::nic::open("shm:test", d.options());
            auto refused = nic ? nic->allocate(2UL << 30).error() : nic.error();
            require(refused.code == vinic::errc::out_of_memory && refused.os_errno == EFBIG, "EFBIG is told");
            require(refused.message().contains("ulimit -f"), "and which limit");
            require(nic.has_value() == (bytes >= 100 << 10), "a device without memory is short");
        }
    });
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_FALSE(d.exists());
}

}  // namespace
}  // namespace multi

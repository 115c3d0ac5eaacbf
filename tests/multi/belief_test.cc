// SPDX-License-Identifier: Apache-2.0
//
// belief_test.cc -- whose device file is opened: one's own, or a group's that was asked for; never a stranger's.
//
// Strangers are users without a name; who becomes one gives up root, so most of this is skipped elsewhere.
#include "direct/belief.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <vector>

#include "abi/vi.hpp"
#include "multi/fixture.hpp"
#include "os/file.hpp"

namespace multi {
namespace {

namespace abi = vinic::abi;

constexpr uid_t victim_user = 65533;
constexpr uid_t attacker_user = 65531;

/// As /dev/shm: everybody may make files, nobody may remove another one's.
void make_public(const directory& d) { require(::chmod(d.path().c_str(), 01777) == 0, "the mode can be set"); }

/// What a program finds out in which user `user` opens the device.
std::string opens_as(const directory& d, uid_t user, const std::string& name, const std::string& group = {},
                     gid_t of = victim_user) {
    process child([&](channel& parent) {
        if (user != 0) {
            become(user, of);
        }
        const auto nic = vinic::nic::open("shm:" + name, {.directory = d.path(), .group = group});
        parent.say(nic ? "open" : std::string(vinic::name(nic.error().code)) + ": " + nic.error().message());
        parent.hear("end");
    });
    std::string told = child.hear();
    child.say("end");
    EXPECT_EQ(child.exit_code(), 0);
    return told;
}

/// A file that looks like a living device, as its maker likes it.
class forgery {
public:
    forgery(const std::string& path, uid_t user, mode_t mode, gid_t group = attacker_user) {
        fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        require(fd_ >= 0 && ::ftruncate(fd_, static_cast<off_t>(abi::span_least)) == 0, "the file can be made");
        const std::uint64_t magic = abi::magic;
        const std::uint32_t version = abi::layout_version;
        const std::uint64_t span = abi::span_least;
        put(offsetof(abi::device_header, magic), magic);
        put(offsetof(abi::device_header, version), version);
        put(offsetof(abi::device_header, span), span);
        require(vinic::os::try_lock_byte(fd_, 1 + 1000), "its maker looks alive");
        require(::fchown(fd_, user, group) == 0 && ::fchmod(fd_, mode) == 0, "it can be given away");
    }
    forgery(const forgery&) = delete;
    forgery& operator=(const forgery&) = delete;
    ~forgery() { ::close(fd_); }
    template <class T>
    void put(std::uint64_t at, const T& value) const {
        require(::pwrite(fd_, &value, sizeof value, static_cast<off_t>(at)) == sizeof value, "it can be written");
    }
    [[nodiscard]] std::uint64_t changes() const {
        struct stat s{};
        (void)::fstat(fd_, &s);
        return static_cast<std::uint64_t>(s.st_mtim.tv_sec) * 1'000'000'000 +
               static_cast<std::uint64_t>(s.st_mtim.tv_nsec);
    }
    [[nodiscard]] int fd() const { return fd_; }

private:
    int fd_ = -1;
};

TEST(belief, in_a_strangers_file_is_refused_whoever_opens_it_and_nothing_of_it_is_touched) {
    SKIP_UNLESS_ROOT();
    for (const mode_t mode : {0600u, 0644u, 0660u, 0666u, 0606u}) {
        directory d;
        d.leftovers_expected();
        make_public(d);
        const forgery f(d.file("x"), attacker_user, mode);
        const std::uint64_t before = f.changes();
        for (const uid_t user : {victim_user, uid_t{0}}) {
            const std::string told = opens_as(d, user, "x");
            EXPECT_TRUE(told.starts_with("permission_denied")) << "mode " << mode << ", user " << user << ": " << told;
            EXPECT_NE(told.find(std::to_string(attacker_user)), std::string::npos) << "whose it is: " << told;
        }
        EXPECT_EQ(f.changes(), before);
        EXPECT_TRUE(d.exists("x")) << "another one's file was removed";
    }
}

TEST(belief, in_an_empty_file_that_a_stranger_has_put_there_is_refused) {
    SKIP_UNLESS_ROOT();
    directory d;
    d.leftovers_expected();
    make_public(d);
    const int fd = ::open(d.file("x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_TRUE(fd >= 0 && ::fchown(fd, attacker_user, attacker_user) == 0 && ::fchmod(fd, 0666) == 0);
    for (const uid_t user : {victim_user, uid_t{0}}) {
        EXPECT_TRUE(opens_as(d, user, "x").starts_with("permission_denied"));
    }
    struct stat s{};
    ASSERT_EQ(::fstat(fd, &s), 0);
    EXPECT_EQ(s.st_size, 0);
    EXPECT_EQ(s.st_mode & 07777, 0666u);
    ::close(fd);
}

TEST(belief, in_ones_own_file_ends_with_a_second_link_to_it) {
    SKIP_UNLESS_ROOT();
    directory d;
    d.leftovers_expected();
    make_public(d);
    const forgery f(d.file("x"), victim_user, 0600, victim_user);
    ASSERT_EQ(::link(d.file("x").c_str(), d.file("second").c_str()), 0);
    const std::string told = opens_as(d, victim_user, "x");
    EXPECT_TRUE(told.starts_with("permission_denied")) << told;
    EXPECT_NE(told.find("2 links"), std::string::npos) << told;
}

TEST(belief, in_ones_own_living_file_that_others_may_write_is_refused_with_the_cure) {
    SKIP_UNLESS_ROOT();
    for (const mode_t mode : {0620u, 0604u, 0660u, 0666u}) {
        directory d;
        d.leftovers_expected();
        make_public(d);
        const forgery f(d.file("x"), victim_user, mode, victim_user);
        const std::string told = opens_as(d, victim_user, "x");
        EXPECT_TRUE(told.starts_with("permission_denied")) << mode << ": " << told;
        EXPECT_NE(told.find("remove it"), std::string::npos) << told;
    }
}

/// What a program of another time has left is one's own; but nobody who could write it comes along into the new one.
TEST(belief, remains_of_ones_own_that_others_may_write_give_way_to_a_new_file) {
    directory d;
    leave_remains(d);
    ASSERT_EQ(::chmod(d.file().c_str(), 0666), 0);
    struct stat before{};
    ASSERT_EQ(::stat(d.file().c_str(), &before), 0);
    const int inside = ::open(d.file().c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(inside, 0);
    auto nic = d.open();
    struct stat now{};
    ASSERT_EQ(::stat(d.file().c_str(), &now), 0);
    EXPECT_NE(now.st_ino, before.st_ino);
    EXPECT_EQ(now.st_mode & 07777, 0600u);
    ::close(inside);
}

/// As the ranks of a job do that starts where another one has ended.
TEST(belief, remains_that_give_way_do_so_for_all_who_come_at_once) {
    for (int round = 0; round < 5; ++round) {
        directory d;
        leave_remains(d);
        ASSERT_EQ(::chmod(d.file().c_str(), 0660), 0);
        std::vector<std::unique_ptr<process>> ranks;
        for (int i = 0; i < 8; ++i) {
            ranks.push_back(std::make_unique<process>([&](channel& parent) {
                parent.hear("go");
                auto nic = d.open();
                parent.say("open");
                parent.hear("leave");
            }));
        }
        for (const auto& each : ranks) each->say("go");
        for (const auto& each : ranks) each->hear("open");
        for (const auto& each : ranks) {
            each->say("leave");
            EXPECT_EQ(each->exit_code(), 0);
        }
    }
}

TEST(belief, in_a_groups_file_needs_the_group_asked_for_exactly_its_own_and_its_mode) {
    SKIP_UNLESS_ROOT();
    const group* g = ::getgrgid(shared_group);
    if (g == nullptr) {
        GTEST_SKIP() << "there is no group " << shared_group;
    }
    const std::string name = g->gr_name;
    directory d;
    d.leftovers_expected();
    make_public(d);
    process maker([&](channel& parent) {
        become(victim_user, shared_group);
        auto nic = must(vinic::nic::open("shm:x", {.directory = d.path(), .group = name}));
        parent.say("open");
        parent.hear("end");
    });
    maker.hear("open");
    EXPECT_EQ(opens_as(d, attacker_user, "x", name, shared_group), "open") << "a member is no stranger";
    EXPECT_EQ(opens_as(d, 0, "x", name), "open") << "nor is root that asks for the group";
    EXPECT_TRUE(opens_as(d, 0, "x").starts_with("permission_denied")) << "root that does not ask";
    EXPECT_TRUE(opens_as(d, victim_user, "x", {}, shared_group).starts_with("permission_denied"))
        << "its owner neither";
    EXPECT_TRUE(opens_as(d, attacker_user, "x", name, attacker_user).starts_with("permission_denied"))
        << "who is no member";
    ASSERT_EQ(::chmod(d.file("x").c_str(), 0666), 0);
    EXPECT_TRUE(opens_as(d, attacker_user, "x", name, shared_group).starts_with("permission_denied")) << "a wider mode";
    ASSERT_EQ(::chmod(d.file("x").c_str(), 0660), 0);
    EXPECT_EQ(opens_as(d, attacker_user, "x", name, shared_group), "open");
    maker.say("end");
    EXPECT_EQ(maker.exit_code(), 0);
}

TEST(belief, in_a_groups_file_ends_where_the_directory_gives_its_group_to_everybodys_files) {
    SKIP_UNLESS_ROOT();
    const group* g = ::getgrgid(shared_group);
    if (g == nullptr) {
        GTEST_SKIP() << "there is no group " << shared_group;
    }
    directory d;
    d.leftovers_expected();
    ASSERT_EQ(::chown(d.path().c_str(), 0, shared_group), 0);
    ASSERT_EQ(::chmod(d.path().c_str(), 03777), 0);
    process outsider([&](channel&) {
        become(attacker_user, attacker_user);
        const int fd = ::open(d.file("x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        require(fd >= 0 && ::fchmod(fd, 0660) == 0, "a file of a group that he is no member of");
    });
    ASSERT_EQ(outsider.exit_code(), 0);
    struct stat s{};
    ASSERT_EQ(::stat(d.file("x").c_str(), &s), 0);
    ASSERT_EQ(s.st_gid, shared_group);
    EXPECT_TRUE(opens_as(d, victim_user, "x", g->gr_name, shared_group).starts_with("permission_denied"));
}

/// A directory's default list is asleep in a file of mode 0600, and would wake with the group's rights.
TEST(belief, in_a_new_file_of_a_group_is_not_shared_by_a_list_that_the_directory_gives) {
    SKIP_UNLESS_ROOT();
    const group* g = ::getgrgid(shared_group);
    directory d;
    make_public(d);
    struct entry {
        std::uint16_t tag, rights;
        std::uint32_t id;
    };
    struct {
        std::uint32_t version = 2;
        entry entries[5] = {{0x01, 7, ~0u}, {0x02, 7, attacker_user}, {0x04, 7, ~0u}, {0x10, 7, ~0u}, {0x20, 0, ~0u}};
    } const list;
    if (g == nullptr || ::setxattr(d.path().c_str(), "system.posix_acl_default", &list, sizeof list, 0) != 0) {
        GTEST_SKIP() << "no access lists here, or no group " << shared_group;
    }
    auto nic = must(vinic::nic::open("shm:test", {.directory = d.path(), .group = g->gr_name}));
    EXPECT_LT(::getxattr(d.file().c_str(), "system.posix_acl_access", nullptr, 0), 0);
    process outsider([&](channel&) {
        become(attacker_user, attacker_user);
        require(::open(d.file().c_str(), O_RDWR | O_CLOEXEC) < 0 && errno == EACCES, "he is kept out");
    });
    EXPECT_EQ(outsider.exit_code(), 0);
    // And a list that comes later is seen by whoever comes later.
    auto access = list;
    ASSERT_EQ(::setxattr(d.file().c_str(), "system.posix_acl_access", &access, sizeof access, 0), 0);
    ASSERT_EQ(::chmod(d.file().c_str(), 0660), 0);
    EXPECT_EQ(code_of(vinic::nic::open("shm:test", {.directory = d.path(), .group = g->gr_name})),
              vinic::errc::permission_denied);
}

TEST(belief, in_links_pipes_sockets_and_directories_is_refused_at_once_and_they_stay) {
    SKIP_UNLESS_ROOT();
    directory d;
    d.leftovers_expected();
    make_public(d);
    const std::string own = d.path() + "/target";
    const int fd = ::open(own.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_TRUE(fd >= 0 && ::fchown(fd, victim_user, victim_user) == 0);
    ASSERT_EQ(::symlink(own.c_str(), d.file("link").c_str()), 0);
    ASSERT_EQ(::symlink(d.file("nothing").c_str(), d.file("dangling").c_str()), 0);
    ASSERT_EQ(::mkfifo(d.file("pipe").c_str(), 0666), 0);
    ASSERT_EQ(::mkdir(d.file("directory").c_str(), 0777), 0);
    const bool nodes = ::mknod(d.file("node").c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0;  // /dev/zero
    for (const char* name : {"link", "dangling", "pipe", "directory", "node"}) {
        for (const uid_t user : {victim_user, uid_t{0}}) {
            const std::string told = opens_as(d, user, name);
            EXPECT_FALSE(told.starts_with("open") && (nodes || std::string_view(name) != "node"))
                << name << ": " << told;
        }
    }
    struct stat s{};
    ASSERT_EQ(::fstat(fd, &s), 0);
    EXPECT_EQ(s.st_size, 0) << "what the link leads to was written";
    EXPECT_NE(::access(d.file("nothing").c_str(), F_OK), 0) << "a file was made through the link";
    ::close(fd);
}

/// Somebody mounts a file over the name that says about itself what that user likes.
TEST(belief, in_what_is_mounted_over_the_name_is_refused) {
    SKIP_UNLESS_ROOT();
    directory d;
    d.leftovers_expected();
    process child([&](channel&) {
        const std::string other = d.path() + "/other";
        const forgery f(other, 0, 0600, 0);
        ::close(::open(d.file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount(other.c_str(), d.file().c_str(), nullptr, MS_BIND, nullptr) != 0) {
            return;  // not allowed here
        }
        const auto nic = vinic::nic::open("shm:test", d.options());
        require(!nic && nic.error().os_errno == EXDEV, "the mount is not entered");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

/// Nobody can forge a way to other users' files in a namespace where they all look alike.
TEST(belief, in_a_file_of_a_user_without_a_number_in_this_namespace_is_refused) {
    SKIP_UNLESS_ROOT();
    directory d;
    d.leftovers_expected();
    make_public(d);
    const forgery f(d.file(), attacker_user, 0600, attacker_user);
    process child([&](channel&) {
        become(victim_user, victim_user);
        if (::unshare(CLONE_NEWUSER) != 0) {
            return;  // not allowed here
        }
        // Unmapped, this process' own user looks like the file's.  The race that lets it open the file is not needed:
        // the rule is asked about an open file.
        struct stat s{};
        struct stat where{};
        require(::fstat(f.fd(), &s) == 0 && ::stat(d.path().c_str(), &where) == 0 && s.st_uid == ::geteuid(),
                "the file looks like one's own");
        require(!vinic::direct::doubt(f.fd(), s, where, {}).empty(), "and is not believed");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

TEST(belief, whatever_is_no_device_is_not_emptied_even_if_it_begins_with_zeros) {
    directory d;
    d.leftovers_expected();
    const int fd = ::open(d.file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    std::string contents(8192, '\0');
    contents.replace(5000, 5, "HELLO");
    ASSERT_EQ(::pwrite(fd, contents.data(), contents.size(), 0), static_cast<ssize_t>(contents.size()));
    EXPECT_EQ(code_of(vinic::nic::open("shm:test", d.options())), vinic::errc::version_mismatch);
    std::string now(8192, 'x');
    ASSERT_EQ(::pread(fd, now.data(), now.size(), 0), static_cast<ssize_t>(now.size()));
    EXPECT_EQ(now, contents);
    ::close(fd);
}

TEST(belief, a_device_in_a_relative_directory_is_removed_from_wherever_the_program_has_gone) {
    directory d;
    process child([&](channel&) {
        require(::chdir(d.path().c_str()) == 0 && ::mkdir("here", 0700) == 0, "the directory can be made");
        auto nic = must(vinic::nic::open("shm:test", {.directory = "here"}));
        require(::access("here/vinic-test", F_OK) == 0, "it lies there");
        require(::chdir("/") == 0, "one may go away");
        nic = {};
        require(::access((d.path() + "/here/vinic-test").c_str(), F_OK) != 0, "and it is gone");
        require(::rmdir((d.path() + "/here").c_str()) == 0, "so that nothing is left");
    });
    EXPECT_EQ(child.exit_code(), 0);
}

}  // namespace
}  // namespace multi

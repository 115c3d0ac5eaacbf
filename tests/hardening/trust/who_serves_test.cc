// SPDX-License-Identifier: Apache-2.0
//
// who_serves_test.cc -- whoever was first at a socket's path is not therefore the device: a client looks whose process
// listens there, and what kind of memory it is given.  Other users are processes of this test that have become nobody.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "abi/window.hpp"
#include "isolated/server.hpp"
#include "isolated/torture_support.hpp"
#include "multi/fixture.hpp"

namespace {

using multi::code_of;
using multi::must;
using vinic::errc;
using vinic::isolated::parse_server;
namespace abi = vinic::abi;

constexpr uid_t nobody = 65534;
constexpr uid_t somebody_else = 1;
constexpr std::uint64_t window_bytes = 512ULL << 20;

/// What a squatter gives out.
struct offer {
    uid_t user = ::geteuid();
    bool listens_as_user = true;  ///< false: it became that user behind listen(), as vinicd does under systemd
    int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    mode_t mode = 0600;
    std::uint64_t bytes = window_bytes;
    bool is_file = false;  ///< of the file system, not of memory
    std::uint64_t magic = 0;
    std::uint32_t version = abi::window_version;
};

sockaddr_un address_of(const std::string& path) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    return to;
}

int window_of(const offer& o, const std::string& directory) {
    const int fd = o.is_file ? ::open((directory + "/window").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)
                             : ::memfd_create("squat", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    multi::require(fd >= 0 && ::ftruncate(fd, static_cast<off_t>(o.bytes)) == 0 && ::fchmod(fd, o.mode) == 0 &&
                       (o.is_file || ::fcntl(fd, F_ADD_SEALS, o.seals) == 0),
                   "a window can be made");
    if (o.magic != 0) {
        constexpr auto at = static_cast<off_t>(abi::identity_offset);
        multi::require(::pwrite(fd, &o.magic, sizeof o.magic, at) == sizeof o.magic &&
                           ::pwrite(fd, &o.version, sizeof o.version,
                                    at + static_cast<off_t>(offsetof(abi::identity_page, version))) == sizeof o.version,
                       "it can say what it is");
    }
    return fd;
}

void give(int connection, const offer& o, const std::string& directory) {
    abi::attach_reply reply{};
    reply.version = abi::window_version;
    reply.function = 1;
    reply.epoch = 1;
    reply.window_bytes = window_bytes;
    const std::array<int, 3> descriptors = {window_of(o, directory), ::eventfd(0, EFD_CLOEXEC),
                                            ::eventfd(0, EFD_CLOEXEC)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
    iovec part{&reply, sizeof reply};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptors);
    std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof descriptors);
    (void)::sendmsg(connection, &message, MSG_NOSIGNAL);
    for (const int fd : descriptors) {
        ::close(fd);
    }
}

/// Listens at PATH of a directory of its own, and says "nothing" or "asked" for each connection: whether the client has
/// sent anything.
class squatter {
public:
    explicit squatter(const offer& o) : directory_("/tmp/vinic-squat-XXXXXX"), child_(start(o)) {
        child_.hear("listens");
    }
    squatter(const squatter&) = delete;
    squatter& operator=(const squatter&) = delete;
    ~squatter() {
        child_.kill_now();
        std::filesystem::remove_all(directory_);
    }
    [[nodiscard]] std::string path() const { return directory_ + "/socket"; }
    [[nodiscard]] std::string directory() const { return directory_; }
    [[nodiscard]] std::string address(const std::string& behind = "") const { return "vinicd:" + path() + behind; }
    [[nodiscard]] std::string hear() { return child_.hear(); }

private:
    multi::process start(const offer& o) {
        multi::require(::mkdtemp(directory_.data()) != nullptr && ::chmod(directory_.c_str(), 0777) == 0,
                       "a directory");
        return multi::process([this, o](multi::channel& test) {
            if (o.listens_as_user && o.user != ::geteuid()) {
                multi::require(::setresgid(o.user, o.user, o.user) == 0 && ::setresuid(o.user, o.user, o.user) == 0,
                               "root becomes anybody");
            }
            const sockaddr_un at = address_of(path());
            const int listening = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
            ::umask(0);
            multi::require(::bind(listening, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 &&
                               ::listen(listening, 16) == 0,
                           "it can listen");
            if (o.user != ::geteuid()) {
                multi::require(::setresuid(o.user, o.user, o.user) == 0, "root becomes anybody");
            }
            test.say("listens");
            for (;;) {
                const int connection = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
                char packet[64];
                const bool asked = ::recv(connection, packet, sizeof packet, 0) > 0;
                if (asked) {
                    give(connection, o, directory_);
                }
                test.say(asked ? "asked" : "nothing");
                ::close(connection);
            }
        });
    }

    std::string directory_;
    multi::process child_;
};

#define NEEDS_ROOT()                                            \
    if (::geteuid() != 0) {                                     \
        GTEST_SKIP() << "only root can make others' processes"; \
    }

// -- whose process --------------------------------------------------------------------------------

TEST(who_serves, a_socket_of_another_user_is_not_believed_and_is_told_nothing) {
    NEEDS_ROOT();
    squatter s({.user = nobody});
    const auto opened = vinic::nic::open(s.address("#vf3"));
    ASSERT_EQ(code_of(opened), errc::permission_denied);
    const std::string said = opened.error().message();
    EXPECT_NE(said.find("user id 65534"), std::string::npos) << said;
    EXPECT_NE(said.find("VINIC_VINICD_USER"), std::string::npos) << said;
    EXPECT_EQ(s.hear(), "nothing");
}

TEST(who_serves, a_link_to_the_socket_is_no_disguise) {
    NEEDS_ROOT();
    squatter s({.user = nobody});
    const std::string link = s.directory() + "/link";
    ASSERT_EQ(::symlink(s.path().c_str(), link.c_str()), 0);
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:" + link)), errc::permission_denied);
    EXPECT_EQ(s.hear(), "nothing");
}

TEST(who_serves, a_user_who_is_named_is_believed) {
    NEEDS_ROOT();
    squatter s({.user = nobody, .seals = 0});
    // Believed, for it was asked; what it gives is refused then, for another reason.
    for (const char* behind : {"#vf0,user=65534", "#user=nobody", "#pf,user=nobody"}) {
        EXPECT_EQ(code_of(vinic::nic::open(s.address(behind))), errc::version_mismatch) << behind;
        EXPECT_EQ(s.hear(), "asked") << behind;
    }
    for (const char* behind : {"#vf0,user=1", "#vf0,user=root", "#user=daemon"}) {
        EXPECT_EQ(code_of(vinic::nic::open(s.address(behind))), errc::permission_denied) << behind;
        EXPECT_EQ(s.hear(), "nothing") << behind;
    }
    EXPECT_EQ(code_of(vinic::nic::open(s.address("#user=no such user, he is"))), errc::invalid_argument);
    EXPECT_EQ(s.hear(), "nothing");
}

TEST(who_serves, the_environment_names_one_too_and_the_address_beats_it) {
    NEEDS_ROOT();
    squatter s({.user = nobody, .seals = 0});
    ::setenv("VINIC_VINICD_USER", "nobody", 1);
    const errc by_environment = code_of(vinic::nic::open(s.address()));
    const errc by_address = code_of(vinic::nic::open(s.address("#user=daemon")));
    ::unsetenv("VINIC_VINICD_USER");
    EXPECT_EQ(by_environment, errc::version_mismatch);
    EXPECT_EQ(by_address, errc::permission_denied);
}

TEST(who_serves, a_socket_that_root_made_is_believed_whoever_serves_it) {
    NEEDS_ROOT();
    // A third user opens the window anew, so it has to allow that.
    squatter s({.user = nobody, .listens_as_user = false, .seals = 0, .mode = 0666});
    multi::process client([&](multi::channel& test) {
        multi::require(::setresuid(somebody_else, somebody_else, somebody_else) == 0, "root becomes anybody");
        test.say(vinic::name(code_of(vinic::nic::open(s.address()))));
    });
    EXPECT_EQ(client.hear(), "version_mismatch");
    EXPECT_EQ(s.hear(), "asked");
}

TEST(who_serves, ones_own_user_is_believed_and_a_third_one_is_not) {
    NEEDS_ROOT();
    squatter s({.user = nobody, .seals = 0});
    multi::process client([&](multi::channel& test) {
        for (const uid_t user : {nobody, somebody_else}) {
            multi::require(::setresuid(user, user, 0) == 0, "root becomes anybody");
            test.say(vinic::name(code_of(vinic::nic::open(s.address()))));
            multi::require(::setresuid(0, 0, 0) == 0, "and himself again");
        }
    });
    EXPECT_EQ(client.hear(), "version_mismatch");
    EXPECT_EQ(client.hear(), "permission_denied");
}

TEST(who_serves, the_command_line_does_not_believe_strangers_either) {
    NEEDS_ROOT();
    squatter s({.user = nobody});
    for (const std::string command : {"function show", "top -b -n 1", "monitor -n 1", "function reset vf0"}) {
        const std::string output = s.directory() + "/said";
        const int status = std::system(
            (std::string(VINIC_CLI) + " " + command + " --device " + s.address() + " > " + output + " 2>&1").c_str());
        std::ifstream file(output);
        const std::string said{std::istreambuf_iterator<char>(file), {}};
        EXPECT_EQ(WEXITSTATUS(status), 1) << command << ": " << said;
        EXPECT_NE(said.find("user id 65534) listens there"), std::string::npos) << command << ": " << said;
        EXPECT_EQ(s.hear(), "nothing") << command;
    }
}

TEST(who_serves, a_program_of_another_user_is_served_by_roots_device) {
    NEEDS_ROOT();
    torture::daemon d(torture::daemon::socket_is::its_own, {"--mode", "0666", "--group", "65534"});
    ASSERT_EQ(::chmod(std::filesystem::path(d.path()).parent_path().c_str(), 0755), 0);
    multi::process client([&](multi::channel& test) {
        multi::require(::setresgid(nobody, nobody, nobody) == 0 && ::setresuid(nobody, nobody, nobody) == 0, "nobody");
        auto opened = vinic::nic::open(d.address("vf0"));
        test.say(opened ? "served" : opened.error().message());
    });
    EXPECT_EQ(client.hear(), "served");
}

// -- what is given ----------------------------------------------------------------------------------

std::string refusal_of(const offer& o, errc expected = errc::version_mismatch) {
    squatter s(o);
    const auto opened = vinic::nic::open(s.address());
    EXPECT_EQ(code_of(opened), expected);
    return opened ? "" : opened.error().doing;
}

TEST(a_window, is_taken_when_it_is_sealed_and_of_its_size) {
    // Its identity page is empty, and read: a window that has just been emptied is asked for again, for some time,
    // which is over before the next answer, or while one is waited for.
    squatter s({});
    const errc told = code_of(vinic::nic::open(s.address()));
    EXPECT_TRUE(told == errc::timed_out || told == errc::busy) << vinic::name(told);
}

TEST(a_window, of_another_version_is_refused) {
    for (const offer& o : {offer{.magic = abi::window_magic + 1},
                           offer{.magic = abi::window_magic, .version = abi::window_version + 1}}) {
        EXPECT_NE(refusal_of(o).find("of another version"), std::string::npos) << o.version;
    }
}

TEST(a_window, that_may_shrink_or_grow_is_refused) {
    for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW}) {
        EXPECT_NE(refusal_of({.seals = seals}).find("is not sealed"), std::string::npos) << seals;
    }
    EXPECT_NE(refusal_of({.is_file = true}).find("is not sealed"), std::string::npos);
}

TEST(a_window, of_another_size_than_was_said_is_refused) {
    for (const std::uint64_t bytes : {std::uint64_t{0}, window_bytes - 4096, window_bytes * 2}) {
        EXPECT_NE(refusal_of({.bytes = bytes}).find("size is none"), std::string::npos) << bytes;
    }
}

TEST(a_window, that_may_be_executed_is_refused) {
    for (const mode_t mode : {0700u, 0610u, 0601u}) {
        EXPECT_NE(refusal_of({.mode = mode}).find("may be executed"), std::string::npos) << mode;
    }
}

TEST(a_window, of_the_real_device_cannot_be_executed_nor_made_so) {
    const torture::daemon d;
    const auto nic = must(vinic::nic::open(d.address("vf0")));
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        if (std::filesystem::read_symlink(each, gone).string().contains("vinic-window-")) {
            struct stat s{};
            ASSERT_EQ(::stat(each.path().c_str(), &s), 0);
            EXPECT_EQ(s.st_mode & 0111, 0u);
            EXPECT_NE(::truncate(each.path().c_str(), 4096), 0);
        }
    }
}

// -- addresses --------------------------------------------------------------------------------------

TEST(a_servers_address, has_a_path_and_behind_it_a_function_and_a_user) {
    const auto all = parse_server("/run/v?user=x,y#vf3,user=CORP\\jane doe, jr.#2=,user=");
    ASSERT_TRUE(all);
    EXPECT_EQ(all->path, "/run/v?user=x,y");
    EXPECT_EQ(all->function, "vf3");
    EXPECT_EQ(all->user, "CORP\\jane doe, jr.#2=,user=");
    EXPECT_EQ(parse_server("/v")->function, "");
    EXPECT_EQ(parse_server("/v#pf")->function, "pf");
    EXPECT_EQ(parse_server("/v#user=a")->user, "a");
    EXPECT_EQ(parse_server("/v#user=a")->function, "");
}

TEST(a_servers_address, that_is_none_is_refused) {
    using namespace std::string_view_literals;
    for (const std::string_view bad : {""sv, "#vf0"sv, "/v#"sv, "/v#,user=a"sv, "/v#vf0,"sv, "/v#vf0,user="sv,
                                       "/v#user="sv, "/v#vf0,users=a"sv, "/v#vf0,vf1"sv, "/v\0w"sv, "/v#user=a\0b"sv}) {
        EXPECT_FALSE(parse_server(bad)) << bad;
    }
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:/nowhere#vf0,user=")), errc::unknown_address);
    EXPECT_EQ(code_of(vinic::nic::open("vinicd:/nowhere#vf0,owner=root")), errc::unknown_address);
}

}  // namespace

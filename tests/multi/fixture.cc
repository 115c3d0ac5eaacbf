// SPDX-License-Identifier: Apache-2.0
//
// fixture.cc -- makes the directory, or starts a vinicd in it, and clears both away.
#include "multi/fixture.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <system_error>

namespace multi {

directory::directory() : maker_(::getpid()) {
    make();
    if (std::getenv("VINIC_MULTI_VINICD") != nullptr) {
        start_vinicd();
    }
}

void directory::kill_vinicd() {
    ::kill(vinicd_, SIGKILL);
    require(::waitpid(vinicd_, nullptr, 0) == vinicd_, "vinicd dies");
    vinicd_ = 0;
    for (const char* left : {"/socket", "/socket.lock", "/log"}) {
        std::filesystem::remove(path_ + left);
    }
}

void directory::start_vinicd() {
    const char* program = std::getenv("VINIC_MULTI_VINICD");
    std::fflush(nullptr);
    const std::string where = socket();
    const std::string log = path_ + "/log";
    vinicd_ = ::fork();
    if (vinicd_ == 0) {
        const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        (void)::dup2(fd, STDOUT_FILENO);
        (void)::dup2(fd, STDERR_FILENO);
        (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::execl(program, program, "--functions", "2", "--socket", where.c_str(), nullptr);
        ::_exit(127);
    }
    // That the socket is there does not mean that anybody listens yet.
    const bool up = vinicd_ > 0 && comes_true([&] { return take_census_at("vinicd:" + where).has_value(); });
    require(up, "vinicd comes up");
}

void directory::end_vinicd() {
    ::kill(vinicd_, SIGTERM);
    int status = 0;
    const bool ended = comes_true([&] { return ::waitpid(vinicd_, &status, WNOHANG) == vinicd_; });
    EXPECT_TRUE(ended && WIFEXITED(status) && WEXITSTATUS(status) == 0) << "vinicd ends well: status " << status;
    if (!ended) {
        ::kill(vinicd_, SIGKILL);
        (void)::waitpid(vinicd_, &status, 0);
    }
    if (testing::Test::HasFailure()) {
        std::ifstream log(path_ + "/log");
        std::cerr << log.rdbuf();
    }
    std::filesystem::remove(path_ + "/log");
}

void directory::make() {
    const char* const places[] = {"/dev/shm", nullptr};
    for (const char* place : places) {
        struct statfs s{};
        const bool roomy =
            place != nullptr && ::statfs(place, &s) == 0 &&
            static_cast<std::uint64_t>(s.f_bavail) * static_cast<std::uint64_t>(s.f_bsize) > (1ULL << 30);
        if (place != nullptr && !roomy) {
            continue;
        }
        path_ = (place != nullptr ? std::filesystem::path(place) : std::filesystem::temp_directory_path()) /
                "vinic-multi-XXXXXX";
        if (::mkdtemp(path_.data()) != nullptr) {
            return;
        }
    }
    throw std::system_error(errno, std::generic_category(), "making a temporary directory");
}

directory::~directory() {
    if (::getpid() != maker_) {
        return;
    }
    if (vinicd_ > 0) {
        end_vinicd();
    }
    std::error_code ignored_by_design;
    for (const auto& entry : std::filesystem::directory_iterator(path_, ignored_by_design)) {
        if (report_leftovers_) {
            ADD_FAILURE() << "left behind: " << entry.path().string();
        }
    }
    std::filesystem::remove_all(path_, ignored_by_design);
}

bool directory::exists(std::string_view name) const {
    struct stat s{};
    return ::stat(file(name).c_str(), &s) == 0;
}

census count(const directory& d, std::string_view name) {
    return must(d.is_isolated() ? take_census_at("vinicd:" + d.socket()) : take_census(d.path(), name));
}

void leave_remains(const directory& d) {
    process dead([&](channel& parent) {
        const auto nic = d.open();
        parent.say("open");
        parent.hear("never");
    });
    dead.hear("open");
    dead.kill_now();
}

void in_child(const std::function<void(endpoint&)>& body, bool leaves_file) {
    directory d;
    if (leaves_file) {
        d.leftovers_expected();
    }
    process child([&](channel&) {
        endpoint me(d.open());
        body(me);
    });
    EXPECT_EQ(child.exit_code(), 0);
}

void become(uid_t user, gid_t group) {
    require(::setgroups(0, nullptr) == 0 && ::setgid(group) == 0 && ::setuid(user) == 0,
            "root can become another user");
}

void take_all_descriptors() {
    rlimit l{};
    ::getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = 64;
    ::setrlimit(RLIMIT_NOFILE, &l);
    while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
    }
    require(errno == EMFILE, "no descriptor is left");
}

std::span<std::byte> map_pages(std::size_t bytes) {
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(at != MAP_FAILED, "memory can be mapped");
    return {static_cast<std::byte*>(at), bytes};
}

testing::AssertionResult matches(std::span<const std::byte> bytes, std::uint64_t seed) {
    const std::size_t i = first_difference(bytes, seed);
    if (i == bytes.size()) {
        return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "byte " << i << " of " << bytes.size() << " is "
                                       << std::to_integer<unsigned>(bytes[i]) << ", not what seed " << seed << " makes";
}

}  // namespace multi

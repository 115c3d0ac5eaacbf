// SPDX-License-Identifier: Apache-2.0
//
// torture_support.cc -- starting, asking and ending the daemon, the crowd, and the raw client.
#include "torture_support.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

namespace torture {

namespace abi = vinic::abi;
using multi::comes_true;
using multi::require;

bool is_long() {
    const char* wanted = std::getenv("VINIC_LONG");
    return wanted != nullptr && *wanted != 0;
}

std::uint64_t seed_of_this_run() {
    const char* given = std::getenv("VINIC_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device()();
    std::cout << "VINIC_SEED=" << seed << '\n';
    return seed;
}

// -- vinicd -------------------------------------------------------------------------------------

namespace {

constexpr int first_handed_over = 3;
constexpr auto busy = static_cast<std::uint32_t>(vinic::errc::busy);

sockaddr_un address_of(const std::string& path) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    require(path.size() < sizeof a.sun_path, "the path of a socket is short");
    std::memcpy(a.sun_path, path.data(), path.size());
    return a;
}

vinic::os::unique_fd connect_to(const std::string& path) {
    const sockaddr_un a = address_of(path);
    vinic::os::unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0) {
        fd.reset();
    }
    if (fd) {
        const timeval limit{30, 0};
        (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    return fd;
}

vinic::os::unique_fd listen_at(const std::string& path) {
    const sockaddr_un a = address_of(path);
    vinic::os::unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    require(fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 && ::listen(fd.get(), 64) == 0,
            "the socket to be handed over listens");
    return fd;
}

}  // namespace

daemon::daemon(socket_is whose, std::vector<std::string> arguments)
    : directory_((std::filesystem::temp_directory_path() / "vinic-torture-XXXXXX").string()),
      arguments_(std::move(arguments)),
      maker_(::getpid()) {
    require(::mkdtemp(directory_.data()) != nullptr, "a temporary directory can be made");
    if (whose == socket_is::handed_over) {
        listening_ = listen_at(path());
    }
    start();
}

daemon::~daemon() {
    if (::getpid() != maker_) {
        return;
    }
    if (pid_ > 0) {
        EXPECT_EQ(end(), 0) << "vinicd ends well";
    }
    if (testing::Test::HasFailure()) {
        std::cerr << log();
    }
    std::error_code ignored_by_design;
    std::filesystem::remove_all(directory_, ignored_by_design);
}

void daemon::start() {
    const char* program = std::getenv("VINIC_MULTI_VINICD");
    require(program != nullptr, "VINIC_MULTI_VINICD names the program");
    const std::string log = directory_ + "/log";
    std::vector<std::string> words = {program, "--functions", "4"};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    if (!listening_) {
        words.insert(words.end(), {"--socket", path()});
    }
    std::vector<char*> arguments;
    for (std::string& each : words) {
        arguments.push_back(each.data());
    }
    arguments.push_back(nullptr);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
        (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        (void)::dup2(out, STDOUT_FILENO);
        (void)::dup2(out, STDERR_FILENO);
        if (listening_) {
            (void)::dup2(listening_.get(), first_handed_over);
            (void)::fcntl(first_handed_over, F_SETFD, 0);
            (void)::setenv("LISTEN_FDS", "1", 1);
            (void)::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        }
        ::execv(program, arguments.data());
        ::_exit(127);
    }
    require(pid_ > 0, "a process can be forked");
    wait_until_up();
}

/// Whoever answers is the new one or, if the socket was handed over, the one before.
void daemon::wait_until_up() const {
    require(comes_true([&] { return connect_to(path()) && !ask(R"({"command":"functions"})").empty(); }),
            "vinicd comes up");
}

void daemon::kill() {
    ::kill(pid_, SIGKILL);
    require(::waitpid(pid_, nullptr, 0) == pid_, "vinicd dies");
    pid_ = 0;
}

int daemon::exit_code_of(pid_t pid) const {
    int status = 0;
    const bool ended = comes_true([&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
    if (!ended) {
        ::kill(pid, SIGKILL);
        (void)::waitpid(pid, &status, 0);
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon::end() {
    ::kill(pid_, SIGTERM);
    return exit_code_of(std::exchange(pid_, 0));
}

int daemon::replace() {
    const pid_t before = pid_;
    ::kill(before, SIGTERM);
    start();
    return exit_code_of(before);
}

bool daemon::runs() const {
    siginfo_t state{};
    return pid_ > 0 && ::waitid(P_PID, static_cast<id_t>(pid_), &state, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           state.si_pid == 0;
}

std::string daemon::log() const {
    std::ifstream in(directory_ + "/log");
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

std::string daemon::ask(const std::string& request) const {
    const vinic::os::unique_fd fd = connect_to(path());
    std::string answer(1 << 16, '\0');
    if (!fd || ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
        return {};
    }
    const ssize_t n = ::recv(fd.get(), answer.data(), answer.size(), 0);
    answer.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return answer;
}

std::uint64_t daemon::number(const std::string& function, const std::string& key) const {
    const std::string answer = ask(R"({"command":"function","function":")" + function + "\"}");
    const std::size_t at = answer.find('"' + key + "\":");
    require(at != std::string::npos, "the function has " + key + ": " + answer.substr(0, 200));
    return std::stoull(answer.substr(at + key.size() + 3));
}

bool daemon::reset(const std::string& function) const {
    return ask(R"({"command":"reset","function":")" + function + "\"}").find("\"error\"") == std::string::npos;
}

// -- the board ----------------------------------------------------------------------------------

void board::fail(const char* format, ...) {
    if (failures.fetch_add(1) == 0) {
        va_list arguments;
        va_start(arguments, format);
        (void)std::vsnprintf(failure, sizeof failure, format, arguments);
        va_end(arguments);
    }
}

shared_board::shared_board() {
    void* p = ::mmap(nullptr, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(p != MAP_FAILED, "the board can be mapped");
    board_ = ::new (p) board{};
}

shared_board::~shared_board() { ::munmap(static_cast<void*>(board_), sizeof(board)); }

bool shared_board::advances(std::uint32_t parties, std::uint64_t by) const {
    std::array<std::uint64_t, parties_max> wanted{};
    for (std::uint32_t i = 0; i < parties; ++i) {
        wanted[i] = board_->party[i].exchanges.load() + by;
    }
    return comes_true([&] {
               for (std::uint32_t i = 0; i < parties; ++i) {
                   if (board_->party[i].exchanges.load() < wanted[i]) {
                       return board_->failures.load() != 0;
                   }
               }
               return true;
           }) &&
           board_->failures.load() == 0;
}

// -- parties ------------------------------------------------------------------------------------

party_options party(const daemon& d, const std::string& function, const std::string& name, bool victim) {
    party_options o;
    o.address = d.address(function);
    o.name = name;
    o.must_not_break = victim;
    return o;
}

crowd::crowd(shared_board& b, std::vector<party_options> askers, std::vector<party_options> answerers)
    : board_(*b), options_(std::move(askers)), askers_(options_.size()) {
    options_.insert(options_.end(), answerers.begin(), answerers.end());
    who_.resize(options_.size());
    for (std::size_t i = 0; i < options_.size(); ++i) {
        options_[i].number = static_cast<std::uint32_t>(i);
        seat(i);
    }
}

void crowd::seat(std::size_t i) {
    board* const b = &board_;
    const party_options o = options_[i];
    const bool asks = i < askers_;
    who_[i] = std::make_unique<multi::process>([b, o, asks](multi::channel&) {
        asks ? be_asker(*b, o) : be_answerer(*b, o);
        multi::require(b->failures.load() == 0, b->failure);
    });
}

void crowd::replace(std::size_t i) {
    who_[i]->kill_now();
    seat(i);
}

void crowd::end() {
    board_.over.store(true);
    for (std::size_t i = 0; i < who_.size(); ++i) {
        EXPECT_EQ(who_[i]->exit_code(), 0) << "party " << i;
    }
}

// -- words --------------------------------------------------------------------------------------

wire_client::wire_client(const daemon& d, std::uint32_t function, std::uint32_t context) : context_(context) {
    // As the library does, it comes again while what was there before is cleared away.
    std::uint32_t code = 0;
    require(comes_true([&] {
                code = attach(d, function);
                return (code = code == 0 ? enter() : code) != busy;
            }),
            "a function can be entered");
    require(code == 0, "a function can be entered: " + std::to_string(code));
    void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, window_.get(), 0);
    require(p != MAP_FAILED, "a window can be mapped");
    base_ = static_cast<std::byte*>(p);
}

std::uint32_t wire_client::attach(const daemon& d, std::uint32_t function) {
    const abi::attach_request wanted{abi::window_magic, abi::window_version,
                                     static_cast<std::uint32_t>(abi::packet::attach), function, 0};
    abi::attach_reply reply{};
    alignas(cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))];
    iovec part{&reply, sizeof reply};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    socket_ = connect_to(d.path());
    require(socket_ && ::send(socket_.get(), &wanted, sizeof wanted, MSG_NOSIGNAL) == sizeof wanted &&
                ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC) == sizeof reply,
            "a function is asked for");
    if (reply.code == 0) {
        int fds[3];
        std::memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds);
        window_.reset(fds[0]);
        doorbell_.reset(fds[1]);
        mailbox_.reset(fds[2]);
        bytes_ = reply.window_bytes;
    }
    return reply.code;
}

std::uint32_t wire_client::enter() const {
    const abi::enter_request wanted{static_cast<std::uint32_t>(abi::packet::enter), context_};
    abi::enter_reply reply{};
    require(::send(socket_.get(), &wanted, sizeof wanted, MSG_NOSIGNAL) == sizeof wanted &&
                ::recv(socket_.get(), &reply, sizeof reply, 0) == sizeof reply,
            "a context is asked for");
    return reply.code;
}

wire_client::~wire_client() { ::munmap(base_, bytes_); }

void wire_client::kick() const {
    const std::uint64_t one = 1;
    (void)!::write(mailbox_.get(), &one, sizeof one);
}

bool wire_client::call(std::uint32_t sequence, abi::verb verb, std::array<std::uint64_t, 6> v,
                       std::chrono::milliseconds time) {
    abi::mailbox& box = mailbox();
    box.request.code = static_cast<std::uint32_t>(verb);
    box.request.payload_bytes = 0;
    std::memcpy(box.request.value, v.data(), sizeof box.request.value);
    box.request.sequence.store_release(sequence);
    kick();
    return comes_true([&] { return box.response.sequence.load_acquire() == sequence; }, time);
}

}  // namespace torture

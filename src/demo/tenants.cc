// SPDX-License-Identifier: Apache-2.0
//
// tenants.cc -- see tenants.h.
#include "tenants.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <thread>

#include "failure.h"

namespace demo {

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

constexpr std::uint32_t under_way = 32;
constexpr auto report_every = 100ms;

/// A process of ours, with its standard input and output in our hands.
class child {
public:
    explicit child(std::vector<std::string> command) {
        std::array<int, 2> in{};
        std::array<int, 2> out{};
        if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) {
            fail_with_errno("cannot make a pipe");
        }
        std::vector<char*> words;
        for (std::string& w : command) {
            words.push_back(w.data());
        }
        words.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ < 0) {
            fail_with_errno("cannot start " + command[0]);
        }
        if (pid_ == 0) {
            ::dup2(in[0], 0);
            ::dup2(out[1], 1);
            ::execv(words[0], words.data());
            ::_exit(127);
        }
        ::close(in[0]);
        ::close(out[1]);
        in_ = in[1];
        out_ = out[0];
    }
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    ~child() {
        close_input();
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(out_);
    }
    void close_input() {
        if (in_ >= 0) {
            ::close(std::exchange(in_, -1));
        }
    }
    void tell(int signal) const { ::kill(pid_, signal); }
    /// Its exit code; 128 + number for one that a signal ended.
    int finish() {
        close_input();
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    /// What it prints until it has been quiet for so long, or at most until then.
    [[nodiscard]] std::string read_for(std::chrono::milliseconds time) const {
        std::string text;
        const auto end = clock_type::now() + time;
        for (;;) {
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock_type::now());
            pollfd p{out_, POLLIN, 0};
            if (left.count() <= 0 || ::poll(&p, 1, static_cast<int>(left.count())) <= 0) {
                return text;
            }
            std::array<char, 4096> some{};
            const ssize_t n = ::read(out_, some.data(), some.size());
            if (n <= 0) {
                return text;
            }
            text.append(some.data(), static_cast<std::size_t>(n));
        }
    }

private:
    pid_t pid_ = -1;
    int in_ = -1;
    int out_ = -1;
};

std::string beside(const char* program) {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / program;
}

/// One end: a VI of its own on a function of its own.
struct tenant_end {
    explicit tenant_end(const std::string& device, std::uint32_t bytes)
        : nic(must(vinic::nic::open(device))),
          domain(must(nic.create_domain())),
          buffer(must(nic.allocate(std::size_t{bytes} * 2))),
          region(must(domain.register_memory(buffer.bytes(), vinic::access::local_write))),
          cq(must(nic.create_completion_queue())),
          vi(must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}))) {}
    vinic::nic nic;
    vinic::domain domain;
    vinic::buffer buffer;
    vinic::region region;
    vinic::completion_queue cq;
    vinic::virtual_interface vi;
};

void stream(const std::string& from, const std::string& to, std::uint32_t bytes) {
    tenant_end a(from, bytes);
    tenant_end b(to, bytes);
    const std::string name = "tenant-" + std::to_string(::getpid());
    auto listener = must(b.nic.listen(name));
    std::thread accepting([&] { must(must(listener.wait(10s)).accept(b.vi)); });
    must(a.vi.connect(name, 10s));
    accepting.join();
    const auto post_receive = [&] { must(b.vi.post_receive({b.region, bytes, bytes}, 0), "posting a receive"); };
    for (std::uint32_t i = 0; i < under_way; ++i) {
        post_receive();
    }
    std::uint32_t outstanding = 0;
    std::uint64_t moved = 0;
    auto next_report = clock_type::now() + report_every;
    std::array<vinic::completion, under_way> done;
    for (;;) {
        for (; outstanding < under_way; ++outstanding) {
            must(a.vi.post_send({a.region, 0, bytes}, 0), "posting a send");
        }
        const std::size_t received = must(b.cq.wait(done, 1s));
        for (std::size_t i = 0; i < received; ++i) {
            if (done[i].status != vinic::status::success) {
                throw failure(std::string("a message ended with ") + vinic::name(done[i].status));
            }
            moved += done[i].length;
            post_receive();
        }
        outstanding -= static_cast<std::uint32_t>(a.cq.poll(done));
        if (clock_type::now() >= next_report) {
            next_report += report_every;
            fmt::print("{}\n", std::exchange(moved, 0));
            std::fflush(stdout);
            pollfd p{0, POLLIN, 0};
            if (::poll(&p, 1, 0) > 0) {
                return;
            }
        }
    }
}

/// GB/s, median of the tenths of a second that a tenant reports in `time`; the first two are for warming up.
double rate_of(const child& tenant, std::chrono::milliseconds time) {
    (void)tenant.read_for(200ms);
    const std::string text = tenant.read_for(time);
    std::vector<double> each;
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
        if (text.find('\n', at) == std::string::npos) {
            break;
        }
        each.push_back(std::strtod(text.c_str() + at, nullptr) / 1e8);
    }
    if (each.empty()) {
        throw failure("a tenant reports nothing");
    }
    std::ranges::sort(each);
    return each[each.size() / 2];
}

void run_and_show(const std::vector<std::string>& words) {
    std::string line = "  $ vinic";
    for (std::size_t i = 1; i < words.size(); ++i) {
        line += " " + words[i];
    }
    fmt::print("{}\n", line);
    child c(words);
    c.close_input();
    const std::string text = c.read_for(5s);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        fmt::print("    {}\n", text.substr(at, end - at));
        at = end + 1;
    }
    if (const int code = c.finish(); code != 0) {
        throw failure(line + " ended with " + std::to_string(code));
    }
}

struct scratch_directory {
    scratch_directory() {
        if (::mkdtemp(path.data()) == nullptr) {
            fail_with_errno("cannot make a directory in /tmp");
        }
    }
    ~scratch_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string path = "/tmp/vinic-demo-XXXXXX";
};

}  // namespace

int run_tenant(const std::vector<std::string>& arguments) {
    try {
        stream(arguments.at(0), arguments.at(1), static_cast<std::uint32_t>(std::stoul(arguments.at(2))));
        return 0;
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "vinic-demo: a tenant: %s\n", problem.what());
        return 1;
    }
}

void show_tenants() {
    const scratch_directory scratch;
    const std::string socket = scratch.path + "/nic";
    const std::string device = "vinicd:" + socket;
    const std::string vinic = beside("vinic");
    const auto tenant = [&](int first, std::uint32_t bytes) {
        return std::vector<std::string>{beside("vinic-demo"), tenant_word, device + "#vf" + std::to_string(first),
                                        device + "#vf" + std::to_string(first + 1), std::to_string(bytes)};
    };
    fmt::print("\nvinic: one device, four virtual functions, two tenants that do not trust each other\n\n");
    fmt::print("  $ vinicd --functions 4 --socket {}\n", socket);
    child daemon({beside("vinicd"), "--functions", "4", "--socket", socket, "--log-level", "error"});
    for (int i = 0; !vinic::nic::open(device); ++i) {
        if (i == 200) {
            throw failure("vinicd does not come up");
        }
        std::this_thread::sleep_for(20ms);
    }
    child modest(tenant(0, 64 << 10));
    const double alone = rate_of(modest, 1000ms);
    child greedy(tenant(2, 1 << 20));
    const double beside_greedy = rate_of(modest, 1500ms);
    run_and_show({vinic, "function", "set", "vf0", "--device", device, "--guarantee", "3GB/s", "--weight", "8"});
    run_and_show({vinic, "function", "set", "vf2", "--device", device, "--cap", "1GB/s"});
    const double with_cap = rate_of(modest, 1500ms);
    const double capped = rate_of(greedy, 800ms);
    run_and_show({vinic, "function", "show", "--device", device});
    greedy.tell(SIGKILL);
    const double after_death = rate_of(modest, 500ms);
    modest.close_input();
    (void)modest.read_for(2s);
    const int modest_code = modest.finish();
    daemon.tell(SIGTERM);
    const int daemon_code = daemon.finish();
    fmt::print("\n  tenant of vf0, messages of 64 KiB                   GB/s\n");
    fmt::print("    alone                                       {:>8.2f}\n", alone);
    fmt::print("    beside a flood of 1 MiB messages on vf2     {:>8.2f}\n", beside_greedy);
    fmt::print("    vf0 guaranteed 3 GB/s, vf2 capped at 1 GB/s {:>8.2f}   (vf2: {:.2f})\n", with_cap, capped);
    fmt::print("    the flooding process killed                 {:>8.2f}\n", after_death);
    fmt::print("  vinicd after SIGTERM                          exit {}\n", daemon_code);
    if (modest_code != 0 || daemon_code != 0) {
        throw failure("the second act ended badly");
    }
    if (std::filesystem::exists(socket)) {
        throw failure("vinicd has left its socket behind");
    }
}

}  // namespace demo

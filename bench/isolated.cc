// SPDX-License-Identifier: Apache-2.0
//
// isolated.cc -- what the isolated placement costs: beside direct placement and beside the kernel's sockets.
//
//   bench_isolated [TABLE...] [--vinicd OPTION]...     tables: threads processes rate sleep vis
//
//   threads     one thread on both ends (and the device's): no process waits for a core
//   processes   two processes on two cores and the device: on this machine one poller more than there are cores
//   rate        8-byte messages, a window of 64 under way, one thread on both ends
//   sleep       a message after a pause in which the device went to sleep
//   vis         1,000 and more VIs open, one pair active: latency, memory, and what the idle device uses
//
// A vinicd is started for the run from this program's directory, with the options given.
#include <sched.h>
#include <sys/wait.h>

#include "bench/isolated_ends.hpp"
#include "cli/bench_directory.hpp"

namespace vinic::bench {
namespace {

// -- tables -------------------------------------------------------------------------------------

struct transport {
    std::string name;
    std::function<pair_of_ends()> make;
};

std::vector<transport> transports(const server& s, const std::string& direct) {
    return {{"isolated", [&s] { return nic_pair(s.device(0), s.device(1)); }},
            {"direct", [direct] { return nic_pair(direct, direct); }},
            {"unix", [] { return socket_pair(unix_pair()); }},
            {"tcp", [] { return socket_pair(tcp_pair()); }}};
}

constexpr std::size_t sizes[] = {8, 64, 4096, 65536};

void print_rows(const char* title, const std::vector<transport>& all,
                const std::vector<std::vector<std::vector<double>>>& us) {
    std::printf("%s\n%10s", title, "bytes");
    for (const transport& t : all) {
        std::printf(" %12s", t.name.c_str());
    }
    std::printf(" %16s %16s\n", "tcp / isolated", "isolated/direct");
    for (std::size_t i = 0; i < std::size(sizes); ++i) {
        std::printf("%10zu", sizes[i]);
        for (std::size_t t = 0; t < all.size(); ++t) {
            std::printf(" %12.3f", median(us[t][i]));
        }
        std::printf(" %16.1f %16.1f\n", median(us[3][i]) / median(us[0][i]), median(us[0][i]) / median(us[1][i]));
    }
}

void threads(const server& s, const std::string& direct) {
    const auto all = transports(s, direct);
    std::vector<std::vector<std::vector<double>>> us(all.size(), std::vector<std::vector<double>>(std::size(sizes)));
    for (int round = 0; round < rounds; ++round) {
        for (std::size_t t = 0; t < all.size(); ++t) {
            pair_of_ends p = all[t].make();
            for (std::size_t i = 0; i < std::size(sizes); ++i) {
                std::vector<double> each;
                for (int n = 0; n < 4000; ++n) {
                    const auto begin = clock_type::now();
                    p.a->send(sizes[i]);
                    p.b->receive(sizes[i]);
                    each.push_back(us_since(begin));
                    drop_send_completion(*p.a);
                }
                us[t][i].push_back(median(each));
            }
        }
    }
    print_rows("one thread on both ends: post to polled, us, median of medians", all, us);
}

/// The other end of a ping-pong, in a process of its own.
void echo(end& e, std::size_t bytes, int count) {
    for (int n = 0; n < count; ++n) {
        e.receive(bytes);
        e.send(bytes);
        drop_send_completion(e);
    }
}

/// On a core of its own, as bench/peers does; the device goes where the kernel puts it.
void stay_on_core(std::size_t number) {
    cpu_set_t all;
    CPU_ZERO(&all);
    ::sched_getaffinity(0, sizeof all, &all);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (std::size_t i = 0, seen = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(i, &all) && seen++ == number) {
            CPU_SET(i, &one);
        }
    }
    if (CPU_COUNT(&one) != 0) {
        ::sched_setaffinity(0, sizeof one, &one);
    }
}

void processes(const server& s, const std::string& direct) {
    cpu_set_t before;
    ::sched_getaffinity(0, sizeof before, &before);
    constexpr int count = 3000;
    std::vector<transport> all = transports(s, direct);
    std::vector<std::vector<std::vector<double>>> us(all.size(), std::vector<std::vector<double>>(std::size(sizes)));
    const std::string devices[2][2] = {{s.device(0), s.device(1)}, {direct, direct}};
    for (int round = 0; round < rounds; ++round) {
        for (std::size_t t = 0; t < all.size(); ++t) {
            const std::pair<int, int> sockets = t == 2 ? unix_pair() : t == 3 ? tcp_pair() : std::pair(-1, -1);
            const std::string name = "echo" + std::to_string(round);
            const pid_t child = ::fork();
            if (child == 0) {
                stay_on_core(1);
                if (t < 2) {
                    nic_end e(devices[t][1]);
                    auto listener = must(e.nic.listen(name.c_str()));
                    must(must(listener.wait(10s)).accept(e.vi));
                    for (const std::size_t bytes : sizes) {
                        echo(e, bytes, count);
                    }
                    std::this_thread::sleep_for(50ms);  // the last answer is on its way
                } else {
                    socket_end e(sockets.second);
                    ::close(sockets.first);
                    for (const std::size_t bytes : sizes) {
                        echo(e, bytes, count);
                    }
                }
                ::_exit(0);
            }
            stay_on_core(0);
            std::unique_ptr<end> mine;
            if (t < 2) {
                auto e = std::make_unique<nic_end>(devices[t][0]);
                for (int i = 0; !e->vi.connect(name.c_str(), 5s); ++i) {
                    if (i == 400) {
                        fail("the other process does not listen");
                    }
                    std::this_thread::sleep_for(5ms);
                }
                mine = std::move(e);
            } else {
                ::close(sockets.second);
                mine = std::make_unique<socket_end>(sockets.first);
            }
            for (std::size_t i = 0; i < std::size(sizes); ++i) {
                std::vector<double> each;
                for (int n = 0; n < count; ++n) {
                    const auto begin = clock_type::now();
                    mine->send(sizes[i]);
                    mine->receive(sizes[i]);
                    each.push_back(us_since(begin) / 2);
                    drop_send_completion(*mine);
                }
                us[t][i].push_back(median(each));
            }
            ::waitpid(child, nullptr, 0);
            ::sched_setaffinity(0, sizeof before, &before);
        }
    }
    print_rows("two processes on two cores: half a round trip, us, median of medians", all, us);
}

void rate(const server& s, const std::string& direct) {
    std::printf("8-byte messages a second, 64 under way, one thread on both ends\n");
    for (const auto& [name, one, other] :
         {std::tuple("isolated", s.device(0), s.device(1)), std::tuple("direct", direct, direct)}) {
        std::vector<double> millions;
        pair_of_ends p = nic_pair(one, other);
        auto& a = dynamic_cast<nic_end&>(*p.a);
        auto& b = dynamic_cast<nic_end&>(*p.b);
        for (int round = 0; round < rounds; ++round) {
            constexpr int total = 200'000;
            std::array<vinic::completion, 64> done;
            const auto begin = clock_type::now();
            for (int sent = 0, got = 0, finished = 0; got < total || finished < total;) {
                for (; sent < total && sent - got < 60 && sent - finished < 60; ++sent) {
                    a.send(8);
                }
                const std::size_t n = b.receives.poll(done);
                got += static_cast<int>(n);
                for (std::size_t i = 0; i < n; ++i) {
                    b.post_receive();
                }
                finished += static_cast<int>(a.sends.poll(done));
            }
            millions.push_back(total / us_since(begin));
        }
        std::printf("%12s %8.2f M/s\n", name, median(millions));
    }
}

void sleep(const server& s, const std::string&) {
    pair_of_ends p = nic_pair(s.device(0), s.device(1));
    std::vector<double> each;
    for (int n = 0; n < 300; ++n) {
        std::this_thread::sleep_for(2ms);
        const auto begin = clock_type::now();
        p.a->send(64);
        p.b->receive(64);
        each.push_back(us_since(begin));
        drop_send_completion(*p.a);
    }
    std::sort(each.begin(), each.end());
    std::printf("64 bytes to a device that sleeps: p50 %.1f us, p99 %.1f us\n", each[each.size() / 2],
                each[each.size() * 99 / 100]);
}

/// Field of /proc/PID/status in kB.
double kilobytes(pid_t pid, const std::string& field) {
    std::ifstream lines("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(field + ":")) {
            return std::stod(line.substr(field.size() + 1));
        }
    }
    return 0;
}

/// Processor time of a process so far, in ms.
double cpu_ms(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string all((std::istreambuf_iterator<char>(file)), {});
    std::size_t at = all.rfind(')');
    double sum = 0;
    for (int field = 2; field <= 14; ++field) {
        at = all.find(' ', at + 1);
        if (field >= 13) {
            sum += std::strtod(all.c_str() + all.find(' ', at) + 1, nullptr);
        }
    }
    return sum * 1000 / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void vis(const server& s, const std::string&, std::size_t most) {
    std::printf("%10s %14s %16s %18s %20s\n", "VIs open", "8 B, us", "device's kB/VI", "window's B/VI",
                "idle, ms CPU/s");
    pair_of_ends p = nic_pair(s.device(0), s.device(1));
    std::deque<vinic::virtual_interface> idle;
    std::vector<std::unique_ptr<nic_end>> owners;
    const double private_before = kilobytes(s.pid(), "RssAnon");
    const double shared_before = kilobytes(::getpid(), "RssShmem");
    for (const std::size_t wanted : {std::size_t{2}, std::size_t{1'000}, std::size_t{10'000}, std::size_t{100'000}}) {
        if (wanted > most) {
            break;
        }
        while (idle.size() + 2 < wanted) {
            if (idle.size() % 30'000 == 0) {
                owners.push_back(std::make_unique<nic_end>(s.device(static_cast<int>(owners.size()) % 4)));
            }
            nic_end& o = *owners.back();
            idle.push_back(must(o.domain.create_vi(
                {.send_cq = &o.sends, .receive_cq = &o.receives, .send_depth = 16, .receive_depth = 16})));
        }
        std::vector<double> each;
        for (int n = 0; n < 20'000; ++n) {
            const auto begin = clock_type::now();
            p.a->send(8);
            p.b->receive(8);
            each.push_back(us_since(begin));
            drop_send_completion(*p.a);
        }
        std::this_thread::sleep_for(200ms);
        const double cpu = cpu_ms(s.pid());
        std::this_thread::sleep_for(1s);
        const double used = cpu_ms(s.pid()) - cpu;
        const auto count = static_cast<double>(std::max<std::size_t>(idle.size(), 1));
        std::printf("%10zu %14.3f %16.2f %18.0f %20.1f\n", idle.size() + 2, median(each),
                    (kilobytes(s.pid(), "RssAnon") - private_before) / count,
                    (kilobytes(::getpid(), "RssShmem") - shared_before) * 1024 / count, used);
    }
}

}  // namespace
}  // namespace vinic::bench

int main(int argument_count, char** arguments) {
    using namespace vinic::bench;
    std::vector<std::string> tables;
    std::vector<std::string> options;
    std::size_t most = 10'000;
    for (int i = 1; i < argument_count; ++i) {
        const std::string word = arguments[i];
        if (word == "--vinicd" && i + 1 < argument_count) {
            options.emplace_back(arguments[++i]);
        } else if (word == "--vis" && i + 1 < argument_count) {
            most = std::strtoull(arguments[++i], nullptr, 10);
        } else {
            tables.push_back(word);
        }
    }
    if (tables.empty()) {
        tables = {"threads", "processes", "rate", "sleep", "vis"};
    }
    const server s(options);
    const vinic::cli::bench::private_devices place;
    const std::string direct = "shm:direct";
    for (const std::string& t : tables) {
        if (t == "threads") {
            threads(s, direct);
        } else if (t == "processes") {
            processes(s, direct);
        } else if (t == "rate") {
            rate(s, direct);
        } else if (t == "sleep") {
            sleep(s, direct);
        } else if (t == "vis") {
            vis(s, direct, most);
        } else {
            std::fprintf(stderr, "bench_isolated: no table '%s'; there are threads, processes, rate, sleep, vis\n",
                         t.c_str());
            return 2;
        }
        std::fflush(stdout);
    }
    return 0;
}

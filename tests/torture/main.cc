// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- kills processes that use a device, at random moments and at chosen instructions.
//
//     torture mesh [--seed N] [--kills N] [--seats N] [--seconds N] [--directory D] [--device vinicd:PATH]
//                  [--pause] [--steal]
//     torture step [--seed N] [--kills N] [--seconds N] [--directory D]
//                  [--scenario NAME [--at N [--occurrence N]]] [--stride N]
//     torture steal [--seed N] -- COMMAND...
//
//   mesh   a busy mesh of processes; a supervisor kills, stops and replaces them and audits every connection
//   step   one process is led through a call instruction by instruction and killed there; the others must go on;
//          --stride 1 kills at every single instruction of a scenario, one after the other
//   steal  runs a command while the cores are taken away at random; its exit code is the command's
//
//   --steal   everybody is put aside at random meanwhile, as on a busy host: thieves.hpp (needs a real-time priority)
//
// The seed is printed and can be given again.  VINIC_LONG=1 makes both much longer: 5000 kills, and --stride 1.
#include <stdlib.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "torture/mesh.hpp"
#include "torture/step.hpp"
#include "torture/thieves.hpp"

namespace {

/// What ctest takes for a skipped test.
constexpr int skipped = 77;

struct arguments {
    std::string mode;
    std::uint64_t seed = 0;
    std::uint64_t kills = 0;
    std::uint64_t seats = 5;
    std::uint64_t seconds = 0;
    std::uint64_t at = 0;
    std::uint64_t stride = 0;
    std::uint64_t occurrence = 1;
    std::string scenario;
    std::string directory;
    std::string device;
    bool pause = false;
    bool steal = false;
    char** command = nullptr;  ///< of steal: ends with nullptr
};

bool to_number(std::string_view text, std::uint64_t& out) {
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
    return failed == std::errc() && end == text.data() + text.size();
}

bool parse(int count, char** values, arguments& out) {
    if (count < 2) {
        return false;
    }
    out.mode = values[1];
    for (int i = 2; i < count; ++i) {
        const std::string_view flag = values[i];
        if (flag == "--pause") {
            out.pause = true;
            continue;
        }
        if (flag == "--steal") {
            out.steal = true;
            continue;
        }
        if (flag == "--" && out.mode == "steal" && i + 1 < count) {
            out.command = values + i + 1;
            break;
        }
        if (++i == count) {
            return false;
        }
        const std::string_view value = values[i];
        bool known = true;
        if (flag == "--seed") {
            known = to_number(value, out.seed);
        } else if (flag == "--kills") {
            known = to_number(value, out.kills);
        } else if (flag == "--seats") {
            known = to_number(value, out.seats) && out.seats >= 2 && out.seats <= torture::seats_max / 2;
        } else if (flag == "--seconds") {
            known = to_number(value, out.seconds);
        } else if (flag == "--at") {
            known = to_number(value, out.at);
        } else if (flag == "--stride") {
            known = to_number(value, out.stride);
        } else if (flag == "--occurrence") {
            known = to_number(value, out.occurrence);
        } else if (flag == "--scenario") {
            out.scenario = value;
        } else if (flag == "--directory") {
            out.directory = value;
        } else if (flag == "--device") {
            out.device = value;
            known = out.mode == "mesh" && value.starts_with("vinicd:") && !value.contains('#');
        } else {
            known = false;
        }
        if (!known) {
            return false;
        }
    }
    return out.mode == "steal" ? out.command != nullptr : out.mode == "mesh" || out.mode == "step";
}

/// The exit code of a command that runs among thieves.
int run_robbed(const arguments& a) {
    const torture::thieves thieves(a.seed);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::execvp(a.command[0], a.command);
        std::perror(a.command[0]);
        ::_exit(127);
    }
    int status = 0;
    if (pid < 0 || ::waitpid(pid, &status, 0) != pid) {
        std::perror("running the command");
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// A fresh directory on a memory file system, where there is one with room.
std::string make_directory() {
    struct statfs s{};
    const bool roomy = ::statfs("/dev/shm", &s) == 0 &&
                       static_cast<std::uint64_t>(s.f_bavail) * static_cast<std::uint64_t>(s.f_bsize) > (1ULL << 30);
    std::string path =
        (roomy ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) / "vinic-torture-XXXXXX";
    return ::mkdtemp(path.data()) != nullptr ? path : std::string();
}

bool run_mesh(const arguments& a) {
    torture::mesh_options o;
    o.seed = a.seed;
    o.seats = static_cast<std::uint32_t>(a.seats);
    o.kills = a.kills != 0 ? a.kills : std::getenv("VINIC_LONG") != nullptr ? 5000 : 150;
    o.seconds_max = a.seconds;
    o.directory = a.directory;
    o.device = a.device.empty() ? o.device : a.device;
    o.pause_on_failure = a.pause;
    torture::mesh m(o);
    const bool well = m.run();
    if (!well) {
        std::fprintf(stderr, "failed: %s\n", m.failure().c_str());
    }
    return well;
}

bool run_step(const arguments& a) {
    const bool lengthy = std::getenv("VINIC_LONG") != nullptr;
    torture::step_options o;
    o.seed = a.seed;
    o.kills = a.kills;
    o.stride = a.stride == 0 && a.kills == 0 && lengthy ? 1 : a.stride;
    o.seconds_max = a.seconds != 0 ? a.seconds : o.stride != 0 || a.kills != 0 ? 3600 : 20;
    o.at = a.at;
    o.occurrence = a.occurrence;
    o.scenario = a.scenario;
    o.directory = a.directory;
    return torture::step(o).run();
}

}  // namespace

int main(int count, char** values) {
    arguments a;
    if (!parse(count, values, a)) {
        std::fprintf(stderr,
                     "usage: %s mesh [--seed N] [--kills N] [--seats 2..8] [--seconds N] [--directory D]\n"
                     "       [--device vinicd:PATH] [--pause] [--steal]\n"
                     "       %s step [--seed N] [--kills N] [--seconds N] [--directory D] [--scenario NAME "
                     "[--at N [--occurrence N]]] [--stride N] [--steal]\n"
                     "       %s steal [--seed N] -- COMMAND...\n",
                     values[0], values[0], values[0]);
        return 2;
    }
    if (a.seed == 0) {
        a.seed = std::random_device()();
    }
    const std::string why = a.mode == "step"               ? torture::why_not_to_lead()
                            : a.steal || a.mode == "steal" ? torture::why_not_to_steal()
                                                           : "";
    if (!why.empty()) {
        std::printf("skipped: %s\n", why.c_str());
        return skipped;
    }
    if (a.mode == "steal") {
        return run_robbed(a);
    }
    const bool own_directory = a.directory.empty();
    if (own_directory) {
        a.directory = make_directory();
    }
    if (a.directory.empty()) {
        std::perror("making a temporary directory");
        return 1;
    }
    std::printf("seed %llu\n", static_cast<unsigned long long>(a.seed));
    std::fflush(stdout);
    bool well = false;
    try {
        std::optional<torture::thieves> thieves;
        if (a.steal) {
            thieves.emplace(a.seed);
        }
        well = a.mode == "mesh" ? run_mesh(a) : run_step(a);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "failed: %s\n", e.what());
    }
    if (own_directory) {
        std::error_code ignored_by_design;
        std::filesystem::remove_all(a.directory, ignored_by_design);
    }
    if (!well) {
        std::fprintf(stderr, "the seed was %llu\n", static_cast<unsigned long long>(a.seed));
    }
    return well ? 0 : 1;
}

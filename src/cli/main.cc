// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- the program `vinic`: vinic OBJECT COMMAND [OPTIONS].
//
//   Words may be shortened to a unique beginning, `help` stands for --help anywhere, an object
//   without a command means `show`.  Exit codes: 0 done, 1 failed, 2 not understood.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/bench.hpp"
#include "cli/doctor.hpp"
#include "cli/function_words.hpp"
#include "cli/show.hpp"
#include "cli/show_counter.hpp"

namespace vinic::cli {
namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

/// The words were not understood.
struct usage_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

using words = std::vector<std::string>;

void print(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
        throw std::runtime_error(std::string("writing the output: ") + std::strerror(errno));
    }
}

int complain(const std::string& sentence, int exit_code) {
    std::fprintf(stderr, "vinic: %s\n", sentence.c_str());
    return exit_code;
}

int finish(const result<std::string>& outcome) {
    if (!outcome) {
        return complain(outcome.error().message(), exit_failed);
    }
    print(*outcome);
    return 0;
}

// -- words as they are typed ------------------------------------------------------------------------

std::string names_of(const std::vector<CLI::App*>& commands) {
    std::string all;
    for (const CLI::App* each : commands) {
        all += (all.empty() ? "" : ", ") + each->get_name();
    }
    return all;
}

/// The command of `app` that `word` is or begins.
CLI::App* find_command(CLI::App& app, const std::string& word) {
    const auto commands = app.get_subcommands([](CLI::App*) { return true; });
    std::vector<CLI::App*> found;
    for (CLI::App* each : commands) {
        if (each->get_name() == word) {
            return each;
        }
        if (each->get_name().starts_with(word)) {
            found.push_back(each);
        }
    }
    if (found.size() == 1) {
        return found.front();
    }
    if (found.empty()) {
        throw usage_error("'" + word + "' is none of the words known here: " + names_of(commands));
    }
    throw usage_error("'" + word + "' may be " + names_of(found) + ": write more of it");
}

/// Options before the object belong to the command, too: `vinic -j device show`.
words take_leading_options(words& typed) {
    words options;
    while (!typed.empty() && typed.front().starts_with("-")) {
        const bool ours = typed.front() == "-j" || typed.front() == "--json" || typed.front() == "-d" ||
                          typed.front() == "--details" || typed.front().starts_with("--directory");
        if (!ours) {
            break;
        }
        const bool takes_next = typed.front() == "--directory" && typed.size() > 1;
        for (int n = takes_next ? 2 : 1; n > 0; --n) {
            options.push_back(typed.front());
            typed.erase(typed.begin());
        }
    }
    return options;
}

/// Full words, `help` as --help, `show` where no command is given.
/// `where` grows by each command that was understood.
words complete(CLI::App& app, words typed, std::string& where) {
    const words options = take_leading_options(typed);
    words full;
    CLI::App* at = &app;
    bool help = typed.empty() && options.empty();
    for (;;) {
        const auto commands = at->get_subcommands([](CLI::App*) { return true; });
        if (!typed.empty() && typed.front() == "help") {
            help = true;
            typed.erase(typed.begin());
            continue;
        }
        if (commands.empty()) {
            break;
        }
        const bool none = typed.empty() || typed.front().starts_with("-");
        const bool asks = none && (help || (!typed.empty() && (typed.front() == "-h" || typed.front() == "--help")));
        if (asks || (none && at == &app)) {
            break;
        }
        if (none && std::ranges::none_of(commands, [](const CLI::App* c) { return c->get_name() == "show"; })) {
            throw usage_error("a command is missing: " + names_of(commands));
        }
        const std::string word = none ? "show" : typed.front();
        at = find_command(*at, word);
        full.push_back(at->get_name());
        where += " " + at->get_name();
        if (!none) {
            typed.erase(typed.begin());
        }
    }
    if (help) {
        full.emplace_back("--help");
        return full;
    }
    full.insert(full.end(), typed.begin(), typed.end());
    full.insert(full.end(), options.begin(), options.end());
    return full;
}

// -- commands ---------------------------------------------------------------------------------------

void add_common(CLI::App& command, show_options& o) {
    command.add_flag("-j,--json", o.json, "JSON instead of text");
    command.add_option("--directory", o.directory,
                       "Where the device files lie (default: $VINIC_SHM_DIR, then /dev/shm)");
}

using show_function = result<std::string> (*)(const show_options&);

/// `OBJECT show`.
CLI::App* add_show(CLI::App& object, const char* sentence, std::shared_ptr<show_options> o, show_function show,
                   int& exit_code) {
    CLI::App* command = object.add_subcommand("show", sentence);
    add_common(*command, *o);
    command->add_flag("-d,--details", o->details, "Everything that is known, below each line");
    command->callback([o, show, &exit_code] { exit_code = finish(show(*o)); });
    return command;
}

CLI::App* add_object(CLI::App& app, const char* name, const char* sentence) {
    CLI::App* object = app.add_subcommand(name, sentence);
    object->require_subcommand(1);
    return object;
}

void add_device(CLI::App& app, int& exit_code) {
    CLI::App* object = add_object(app, "device", "Devices of this machine and who has them open");
    const auto shown = std::make_shared<show_options>();
    add_show(*object, "All devices of the directory, or one", shown, show_devices, exit_code)
        ->add_option("NAME", shown->device, "The one device, as NAME or shm:NAME");

    struct remove_options : show_options {
        std::vector<std::string> devices;
    };
    const auto removed = std::make_shared<remove_options>();
    CLI::App* command = object->add_subcommand("remove", "Remove devices whose processes are all dead");
    add_common(*command, *removed);
    command->add_option("NAME", removed->devices, "The devices, as NAME or shm:NAME")->required();
    command->callback([removed, &exit_code] {
        list done;
        for (const std::string& each : removed->devices) {
            if (const auto r = remove_device(each, removed->directory); !r) {
                exit_code = complain(r.error().message(), exit_failed);
                continue;
            }
            done.emplace_back(each);
            if (!removed->json) {
                print("removed " + each + "\n");
            }
        }
        if (removed->json) {
            print(to_json({{"schema", json_schema}, {"removed", std::move(done)}}) + "\n");
        }
    });
}

/// An object that can only be shown, and of which a device must be named.
void add_shown(CLI::App& app, const char* name, const char* sentence, show_function show, int& exit_code) {
    const auto o = std::make_shared<show_options>();
    add_show(*add_object(app, name, sentence), sentence, o, show, exit_code)
        ->add_option("DEVICE", o->device, "The device, as NAME or shm:NAME")
        ->required();
}

void add_vi(CLI::App& app, int& exit_code) {
    const char* sentence = "Virtual interfaces: state, peer, depths, traffic";
    const auto o = std::make_shared<show_options>();
    CLI::App* command = add_show(*add_object(app, "vi", sentence), sentence, o, show_vis, exit_code);
    command->add_option("DEVICE", o->device, "The device, as NAME or shm:NAME")->required();
    command->add_option("NUMBER", o->number, "The one VI, with details");
}

void add_counter(CLI::App& app, int& exit_code) {
    CLI::App* object = add_object(app, "counter", "Messages, bytes, drops and errors by cause");
    CLI::App* command = object->add_subcommand("show", "Counters of a device and of its VIs");
    const auto o = std::make_shared<counter_options>();
    add_common(*command, *o);
    command->add_flag("-d,--details", o->details, "Each VI, too");
    command->add_option("DEVICE", o->device, "The device, as NAME or shm:NAME (default: all)");
    CLI::Option* vi = command->add_option("--vi", o->vis, "These VIs only (comma-separated)")->delimiter(',');
    command->add_flag("--nonzero", o->nonzero, "Leave out what is zero (with --rate: what does not move)");
    CLI::Option* watch = command->add_option("--watch", o->interval_seconds, "Again and again, every so many seconds")
                             ->check(CLI::Range(0.001, 86400.0));
    watch->transform(CLI::Validator(
        [](std::string& typed) {
            if (typed.size() > 1 && typed.ends_with('s')) {
                typed.pop_back();
            }
            return std::string();
        },
        "SECONDS"));
    command->add_option("--count", o->count, "Stop after so many times")
        ->needs(watch)
        ->check(CLI::Range(1, 1'000'000'000));
    CLI::Option* rate = command->add_flag("--rate", o->rate, "Per second (measured for a second without --watch)");
    CLI::Option* metrics = command->add_flag("--openmetrics", o->openmetrics, "As text for Prometheus");
    for (CLI::Option* other : {watch, rate, command->get_option("--json"), command->get_option("--nonzero")}) {
        metrics->excludes(other);
    }
    command->callback([o, vi, &exit_code] {
        if (vi->count() != 0 && o->device.empty()) {
            throw usage_error("--vi needs a DEVICE");
        }
        if (const auto r = show_counters(*o, print); !r) {
            exit_code = complain(r.error().message(), exit_failed);
        }
    });
}

void add_doctor(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("doctor", "Check this machine: cause and cure of what hinders vinic");
    const auto o = std::make_shared<show_options>();
    add_common(*command, *o);
    command->add_option("DEVICE", o->device, "Look at this device closely: NAME, shm:NAME or vinicd:PATH");
    command->callback([o, &exit_code] {
        const diagnosis d = diagnose(*o);
        print(d.text);
        exit_code = d.failed ? exit_failed : 0;
    });
}

void add_commands(CLI::App& app, int& exit_code) {
    app.require_subcommand(1);
    app.footer(
        "Words may be shortened (vinic dev sh), an object alone means show, help stands for --help.\n"
        "Exit codes: 0 done, 1 failed, 2 not understood.");
    add_device(app, exit_code);
    add_shown(app, "process", "Processes that have a device open, and what they own", show_processes, exit_code);
    add_vi(app, exit_code);
    add_shown(app, "cq", "Completion queues", show_cqs, exit_code);
    add_shown(app, "region", "Registered memory: key, rights, backing", show_regions, exit_code);
    add_shown(app, "name", "The directory of names, and who waits to be connected", show_names, exit_code);
    add_counter(app, exit_code);
    add_doctor(app, exit_code);
    add_function_commands(app, exit_code, print, complain);
    add_bench_commands(app, exit_code);
}

std::string version_text() {
    return std::string("vinic ") + version() + " (device layout " + std::to_string(abi::layout_version) + ")";
}

/// `--version` with `--json`, which CLI11 does not know.
bool wants_version_as_json(const words& typed) {
    const auto has = [&](const char* shorter, const char* longer) {
        return std::any_of(typed.begin(), typed.end(), [&](const auto& w) { return w == shorter || w == longer; });
    };
    return typed.size() == 2 && has("-V", "--version") && has("-j", "--json");
}

int run(words typed) {
    if (wants_version_as_json(typed)) {
        print(to_json({{"schema", json_schema}, {"version", version()}, {"layout_version", abi::layout_version}}) +
              "\n");
        return 0;
    }
    int exit_code = 0;
    CLI::App app("vinic, a network interface controller in software: look at its devices, measure, find faults",
                 "vinic");
    add_commands(app, exit_code);
    app.set_version_flag("-V,--version", version_text());
    std::string where = "vinic";
    try {
        words full = complete(app, std::move(typed), where);
        std::reverse(full.begin(), full.end());  // as CLI11 wants them
        app.parse(std::move(full));
    } catch (const CLI::Success& help) {
        std::ostringstream text;
        const int code = app.exit(help, text);
        print(text.str());
        return code;
    } catch (const CLI::ParseError& why) {
        return complain(std::string(why.what()) + "; see `" + where + " --help`", exit_usage);
    } catch (const usage_error& why) {
        return complain(std::string(why.what()) + "; see `" + where + " --help`", exit_usage);
    }
    return exit_code;
}

}  // namespace
}  // namespace vinic::cli

int main(int argc, char** argv) {
    try {
        return vinic::cli::run({argv + 1, argv + argc});
    } catch (const std::exception& why) {
        return vinic::cli::complain(why.what(), vinic::cli::exit_failed);
    }
}

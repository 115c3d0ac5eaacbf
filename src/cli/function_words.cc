// SPDX-License-Identifier: Apache-2.0
//
// function_words.cc -- the words after `vinic function`, `vinic top` and `vinic monitor`.
#include "cli/function_words.hpp"

#include <CLI/CLI.hpp>
#include <memory>

#include "vinicd/units.hpp"

namespace vinic::cli {

namespace {

using complainer = std::function<int(const std::string&, int)>;

/// Lets through what vinicd will understand, so that a typing error is one of the command line.
template <class Parse>
CLI::Validator understood_by(Parse parse, const char* kind) {
    return {[parse](std::string& typed) {
                const auto value = parse(typed);
                return value ? std::string() : value.error();
            },
            kind};
}

void add_common(CLI::App& command, function_options& o) {
    command.add_flag("-j,--json", o.json, "JSON instead of text");
    command.add_option("--device", o.device, "The vinicd, as vinicd:PATH")->capture_default_str();
}

template <class Options, class Command>
void run_with(CLI::App& command, std::shared_ptr<Options> o, Command run, int& exit_code, const printer& print,
              const complainer& complain) {
    command.callback([o, run, &exit_code, print, complain] {
        const answer<std::string> done = run(*o);
        if (done) {
            print(*done);
        } else {
            exit_code = complain(done.error().sentence, done.error().exit_code);
        }
    });
}

/// A user who types 5 means 5 of something, and seldom bytes per second.
vinicd::understood<std::uint64_t> parse_typed_rate(std::string_view text) {
    auto rate = vinicd::parse_rate(text);
    if (rate && *rate != 0 && text.find_first_not_of("0123456789.") == text.npos) {
        const std::string typed(text);
        return std::unexpected("'" + typed + "' has no unit: write " + typed + "MB/s, or what is meant");
    }
    return rate;
}

void add_set(CLI::App& object, int& exit_code, const printer& print, const complainer& complain) {
    const auto o = std::make_shared<function_set_options>();
    CLI::App* command = object.add_subcommand("set", "What a function gets, while it is in use");
    command->add_option("FUNCTION", o->function, "The function: vf0, vf1, ... or pf")->required();
    add_common(*command, *o);
    const auto add = [&](const char* option, const char* key, const char* kind, const char* help) {
        return command
            ->add_option_function<std::string>(
                option, [o, key](const std::string& typed) { o->settings.emplace_back(key, typed); }, help)
            ->type_name(kind);
    };
    const auto rate = understood_by(parse_typed_rate, "");
    const auto number = understood_by(vinicd::parse_number, "");
    std::vector<CLI::Option*> all = {
        add("--guarantee", "guarantee", "RATE", "What it gets whatever the others do: 2GB/s, none")->check(rate),
        add("--cap", "cap", "RATE", "What it never exceeds: 4GB/s, none")->check(rate),
        add("--weight", "weight", "N", "Its share of what is left, 1 to 10000")->check(number),
        add("--priority", "priority", "N", "A higher class is served first, 0 to 7")->check(number),
        add("--reserved-queues", "reserved_queues", "N", "Operation queues that nobody else may take")->check(number),
        add("--memory", "memory", "SIZE", "What it may hold of the machine's memory: 512MiB")
            ->check(understood_by(vinicd::parse_size, "")),
        add("--owner", "owner", "USER", "Who may use it, and reset it"),
        add("--group", "group", "GROUP", "Whose members may use it"),
        add("--enabled", "enabled", "on|off", "Whether anybody may use it")->check(CLI::IsMember({"on", "off"}))};
    command->callback([o, &exit_code, print, complain] {
        if (o->settings.empty()) {
            exit_code =
                complain("nothing to set: give --guarantee, --cap, --weight, ...; see `vinic function set --help`", 2);
            return;
        }
        if (const auto done = set_function(*o)) {
            print(*done);
        } else {
            exit_code = complain(done.error().sentence, done.error().exit_code);
        }
    });
}

void add_function(CLI::App& app, int& exit_code, const printer& print, const complainer& complain) {
    CLI::App* object = app.add_subcommand("function", "Functions of a vinicd: who uses them, and what they get");
    object->require_subcommand(1);
    const auto shown = std::make_shared<function_options>();
    CLI::App* show = object->add_subcommand("show", "All functions that may be seen, or one");
    show->add_option("FUNCTION", shown->function, "The one function: vf0, vf1, ... or pf");
    add_common(*show, *shown);
    show->add_flag("-d,--details", shown->details, "Everything that is known, and the configuration space");
    run_with(*show, shown, show_functions, exit_code, print, complain);

    add_set(*object, exit_code, print, complain);

    const auto add_change = [&](const char* word, const char* help, const char* which, auto change) {
        const auto o = std::make_shared<function_options>();
        CLI::App* command = object->add_subcommand(word, help);
        command->add_option("FUNCTION", o->function, which)->required();
        add_common(*command, *o);
        run_with(*command, o, change, exit_code, print, complain);
    };
    add_change("reset", "Cut off who uses a function, and zero its memory", "The function: vf0, vf1, ... or pf",
               reset_function);
    const auto configured = std::make_shared<function_config_options>();
    CLI::App* config = object->add_subcommand("config", "Show a function's configuration space, or write to it");
    config->add_option("FUNCTION", configured->function, "The function: vf0, vf1, ... or pf")->required();
    add_common(*config, *configured);
    config
        ->add_option_function<std::vector<std::string>>(
            "-w,--write",
            [configured](const std::vector<std::string>& all) {
                for (const std::string& typed : all) {
                    configured->writes.push_back(parse_register_write(typed).value());
                }
            },
            "1, 2 or 4 bytes, as setpci: 0x4.w=0x6 switches bus master on")
        ->type_name("OFFSET[.b|.w|.l]=VALUE")
        ->check([](const std::string& typed) {
            return parse_register_write(typed) ? std::string()
                                               : "'" + typed + "' is no write: 0x4.w=0x6 is one, with .b, .w or .l";
        });
    run_with(*config, configured, configure_function, exit_code, print, complain);
    add_change("add", "Bring back a VF that was removed, as if new", "The function: vf0, vf1, ...", add_vf);
    add_change("remove", "Cut off who uses a VF, and take it away", "The function: vf0, vf1, ...", remove_vf);
}

using watcher = answer<void> (*)(const watch_options&, const printer&);

std::shared_ptr<watch_options> add_watch(CLI::App& command, watcher watch, int& exit_code, const printer& print,
                                         const complainer& complain) {
    const auto o = std::make_shared<watch_options>();
    command.add_option("FUNCTION", o->function, "The one function: vf0, vf1, ... or pf");
    add_common(command, *o);
    command.add_option("-n,--count", o->count, "Stop after so many")->check(CLI::Range(1, 1'000'000'000));
    command.callback([o, watch, &exit_code, print, complain] {
        if (const auto done = watch(*o, print); !done) {
            exit_code = complain(done.error().sentence, done.error().exit_code);
        }
    });
    return o;
}

}  // namespace

void add_function_commands(CLI::App& app, int& exit_code, printer print,
                           std::function<int(const std::string&, int)> complain) {
    add_function(app, exit_code, print, complain);
    CLI::App* top = app.add_subcommand("top", "Functions of a vinicd and what they move per second");
    const auto o = add_watch(*top, watch_functions, exit_code, print, complain);
    top->add_flag("-b,--batch", o->batch, "Lines instead of a screen (as without a terminal)");
    top->add_option("-i,--interval", o->interval_seconds, "Seconds between two looks")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 86400.0));
    CLI::App* monitor = app.add_subcommand("monitor", "Events of a vinicd as they happen");
    add_watch(*monitor, monitor_functions, exit_code, print, complain);
}

}  // namespace vinic::cli

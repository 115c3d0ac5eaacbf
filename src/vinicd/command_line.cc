// SPDX-License-Identifier: Apache-2.0
//
// command_line.cc -- the words that one types after `vinicd`.  The only file that includes CLI11.
#include <CLI/CLI.hpp>
#include <sstream>
#include <vinic/words.hpp>

#include "vinicd/config.hpp"
#include "vinicd/metrics.hpp"

namespace vinic::vinicd {

namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

std::string joined(const std::vector<std::string>& lines) {
    std::string all;
    for (const std::string& each : lines) {
        all += "vinicd: " + each + "\n";
    }
    return all;
}

last_words refuse(const std::string& sentence) {
    return {exit_usage, "vinicd: " + sentence + "; see `vinicd --help`\n"};
}

/// Puts typed words over what the file said.
std::vector<std::string> put_over(const command_line& line, options& o) {
    std::vector<std::string> problems;
    for (const auto& [which, word] : line.typed) {
        o.given[which->key] = word;
        if (const auto done = which->put(o, word); !done) {
            problems.push_back("--" + std::string(which->key) + ": " + done.error());
        }
    }
    return problems;
}

}  // namespace

std::vector<std::string> read_again(const command_line& line, options& o) {
    o = options();
    std::vector<std::string> problems;
    if (!line.config.empty()) {
        problems = read_config(line.config, o);
    }
    if (problems.empty()) {
        problems = put_over(line, o);
    }
    return problems.empty() ? contradictions(o) : problems;
}

std::expected<command_line, last_words> read_command_line(int argc, const char* const* argv) {
    command_line line;
    CLI::App app("vinicd, the NIC of vinic as a process: virtual functions for tenants that do not trust each other",
                 "vinicd");
    app.footer(
        "Sizes: 64KiB, 4GiB. Rates: 500MB/s, 2GB/s. Times: 50us, 5s. The command line beats the file; what holds for\n"
        "one function, and who may use it, stands in the file under [function.vf3].\n"
        "Signals: SIGTERM ends what was posted and exits, a second one exits at once, SIGHUP reads the file again.\n"
        "Exit codes: 0 done, 1 failed, 2 not understood.");
    app.set_version_flag("-V,--version", std::string("vinicd ") + version());
    app.add_option("-c,--config", line.config, "Configuration file (TOML)")->type_name("FILE");
    app.add_flag("--check-config", line.check_config, "Say whether file and command line are in order, and exit");
    std::vector<std::string> words(settings().size());
    std::vector<CLI::Option*> added;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const setting& s = settings()[i];
        added.push_back(app.add_option(std::string("--") + s.key, words[i], s.help)->type_name(s.argument));
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        std::ostringstream text;
        app.exit(help, text);
        return std::unexpected(last_words{0, text.str()});
    } catch (const CLI::ParseError& why) {
        return std::unexpected(refuse(why.what()));
    }
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (added[i]->count() != 0) {
            line.typed.emplace_back(&settings()[i], words[i]);
        }
    }
    // Typing errors are told first, and apart from the file's.
    options scratch;
    if (const auto typing = put_over(line, scratch); !typing.empty()) {
        return std::unexpected(refuse(typing.front()));
    }
    if (const auto problems = read_again(line, line.wanted); !problems.empty()) {
        return std::unexpected(last_words{exit_failed, joined(problems)});
    }
    if (const auto counters = metrics_server::check(line.wanted.openmetrics);
        !line.wanted.openmetrics.empty() && !counters) {
        return std::unexpected(last_words{exit_failed, joined({counters.error().doing})});
    }
    return line;
}

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// function_top.cc -- `vinic top`: who moves how much, second by second.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <numeric>

#include "cli/function_show.hpp"
#include "os/sync.hpp"

namespace vinic::cli {

namespace {

volatile std::sig_atomic_t told_to_end = 0;

/// The terminal as a screen of its own, keys without echo; as it was before on destruction.
class screen {
public:
    explicit screen(const printer& print) : print_(print) {
        ::tcgetattr(STDIN_FILENO, &before_);
        termios raw = before_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        struct sigaction end{};
        end.sa_handler = [](int) { told_to_end = 1; };
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
            ::sigaction(signal, &end, nullptr);
        }
        struct sigaction resized{};
        resized.sa_handler = [](int) {};  // ends the wait for a key
        ::sigaction(SIGWINCH, &resized, nullptr);
        print_("\x1b[?1049h\x1b[?25l");
    }
    screen(const screen&) = delete;
    screen& operator=(const screen&) = delete;
    ~screen() {
        try {
            print_("\x1b[?25h\x1b[?1049l");
        } catch (const std::exception&) {
            // what showed it has gone
        }
        ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    }
    /// As much of the text as fits.
    void draw(const std::string& text) const {
        winsize size{};
        const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
        const std::size_t rows = known ? size.ws_row : 24;
        const std::size_t width = known ? size.ws_col : 80;
        std::string out = "\x1b[H";
        std::size_t at = 0;
        for (std::size_t row = 0; row < rows && at < text.size(); ++row) {
            const std::size_t end = std::min(text.find('\n', at), text.size());
            out += (row == 0 ? "" : "\r\n") + text.substr(at, std::min(end - at, width)) + "\x1b[K";
            at = end + 1;
        }
        print_(out + "\x1b[J");
    }
    /// A key, or 0 when the time is over or a signal came.
    [[nodiscard]] static char key(int timeout_ms) {
        pollfd ready{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        char pressed = 0;
        if (::poll(&ready, 1, timeout_ms) == 1 && ::read(STDIN_FILENO, &pressed, 1) != 1) {
            return 'q';  // the terminal has gone
        }
        return pressed;
    }

private:
    const printer& print_;
    termios before_{};
};

struct sample {
    std::uint64_t time_ns = 0;
    std::vector<object> functions;
};

answer<sample> take(function_client& client, const std::string& one) {
    auto functions = client.functions(one);
    if (!functions) {
        return std::unexpected(functions.error());
    }
    return sample{os::now_ns(), std::move(*functions)};
}

std::uint64_t drops_of(const object& f) {
    return counter_of(f, "rx_no_descriptor_drops") + counter_of(f, "rx_unknown_destination_drops");
}

enum class order : std::uint8_t { name, messages, bytes, engine };

table table_of(const sample& before, const sample& now, std::uint64_t engines) {
    const double seconds = static_cast<double>(now.time_ns - before.time_ns) / 1e9;
    table t{.columns = {{"name", "FUNCTION"},
                        {"contexts", "CONTEXTS"},
                        {"vis", "VIS"},
                        {"tx_messages_per_second", "TX-MSGS/S"},
                        {"tx_bytes_per_second", "TX-BYTES/S"},
                        {"rx_messages_per_second", "RX-MSGS/S"},
                        {"rx_bytes_per_second", "RX-BYTES/S"},
                        {"drops_per_second", "DROPS/S"},
                        {"engine_percent", "ENGINE%"}}};
    for (const object& f : now.functions) {
        const std::string name = text_of(f, "name");
        const auto old =
            std::ranges::find_if(before.functions, [&](const object& b) { return text_of(b, "name") == name; });
        const auto per_second = [&](std::uint64_t is, std::uint64_t was) {
            return old == before.functions.end() || is < was || seconds <= 0
                       ? value()
                       : value(static_cast<double>(is - was) / seconds);
        };
        const object nothing;
        const object& b = old == before.functions.end() ? nothing : *old;
        const auto rate = [&](const char* counter) {
            return per_second(counter_of(f, counter), counter_of(b, counter));
        };
        value engine = rate("engine_ns");
        if (auto* share = std::get_if<double>(&engine.is)) {
            *share = *share / 1e9 / static_cast<double>(std::max<std::uint64_t>(engines, 1)) * 100;
        }
        t.rows.push_back({name, number_of(f, "contexts"), number_of(f, "vis"), rate("tx_messages"), rate("tx_bytes"),
                          rate("rx_messages"), rate("rx_bytes"), per_second(drops_of(f), drops_of(b)), engine});
    }
    return t;
}

void sort_by(table& t, order o) {
    constexpr std::array<std::size_t, 4> of = {0, 3, 4, 8};
    const std::size_t c = of[static_cast<std::size_t>(o)];
    if (o == order::name) {
        return;  // as the device counts them
    }
    const auto figure = [&](std::size_t row) {
        const auto* moved = std::get_if<double>(&t.rows[row][c].is);
        return moved != nullptr ? *moved : -1;
    };
    // The greatest first, equals as the device counts them.
    std::vector<std::size_t> rows(t.rows.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    std::ranges::sort(
        rows, [&](std::size_t x, std::size_t y) { return figure(x) != figure(y) ? figure(x) > figure(y) : x < y; });
    std::vector<std::vector<value>> sorted;
    for (const std::size_t row : rows) {
        sorted.push_back(std::move(t.rows[row]));
    }
    t.rows = std::move(sorted);
}

std::string json_line(const function_client& c, const table& t, double seconds) {
    return to_json({{"schema", json_schema},
                    {"device", c.address()},
                    {"elapsed_seconds", seconds},
                    {"functions", to_list(t)}},
                   true) +
           "\n";
}

/// Waits for the next interval; false: the user wants to end.
bool wait(const screen* shown, double seconds, order& by, bool& paused) {
    const std::uint64_t end = os::now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    for (;;) {
        const std::uint64_t now = os::now_ns();
        const int left_ms = now >= end ? 0 : static_cast<int>((end - now) / 1'000'000 + 1);
        if (shown == nullptr) {
            ::poll(nullptr, 0, left_ms);
            return true;
        }
        const char key = screen::key(paused ? -1 : left_ms);
        if (key == 'q' || told_to_end != 0) {
            return false;
        }
        if (key == 's') {
            by = static_cast<order>((static_cast<int>(by) + 1) % 4);
        }
        if (key == 'p' || key == ' ') {
            paused = !paused;
        }
        if (key != 0 || (!paused && os::now_ns() >= end)) {
            return true;
        }
    }
}

}  // namespace

answer<void> watch_functions(const watch_options& o, const printer& print) {
    auto client = function_client::open(o.device);
    if (!client) {
        return std::unexpected(client.error());
    }
    const std::string one = o.function.empty() ? client->function() : o.function;
    const auto device = client->ask({{"command", "device"}});
    auto before = device ? take(*client, one) : answer<sample>(std::unexpected(device.error()));
    if (!before) {
        return std::unexpected(before.error());
    }
    const std::uint64_t engines = number_of(*device, "engines");
    const bool interactive = !o.batch && !o.json && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
    std::optional<screen> shown;
    if (interactive) {
        shown.emplace(print);
    }
    static constexpr std::array names = {"function", "messages", "bytes", "engine time"};
    order by = order::name;
    bool paused = false;
    for (std::uint64_t n = 0;
         (o.count == 0 || n < o.count) && wait(shown ? &*shown : nullptr, o.interval_seconds, by, paused); ++n) {
        auto now = take(*client, one);
        if (!now) {  // a connection that asks nothing for long is hung up on
            if (auto again = function_client::open(o.device)) {
                client = std::move(again);
                now = take(*client, one);
            }
        }
        if (!now) {
            return std::unexpected(now.error());
        }
        table t = table_of(*before, *now, engines);
        sort_by(t, by);
        if (shown) {
            shown->draw(client->address() + "\n" + text_of(*device, "policy") + ", " + std::to_string(engines) +
                        " engine(s), by " + names[static_cast<std::size_t>(by)] + (paused ? ", paused" : "") +
                        "   q ends, s sorts, p pauses\n\n" + to_text(t, false));
        } else {
            const double seconds = static_cast<double>(now->time_ns - before->time_ns) / 1e9;
            print(o.json ? json_line(*client, t, seconds) : (n == 0 ? "" : "\n") + to_text(t, false));
        }
        before = std::move(now);
    }
    return {};
}

}  // namespace vinic::cli

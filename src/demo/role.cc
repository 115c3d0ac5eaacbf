// SPDX-License-Identifier: Apache-2.0
//
// role.cc -- what the sender and the receiver do, command by command (program.h starts them).
//
//   command                    receiver answers                    sender answers
//   listen KIND                at WHERE, then connected            -
//   connect KIND WHERE         -                                   connected
//   file KIND                  ready, then received TIME KERNEL    sent TIME KERNEL ENGINE
//   hash                       hash SHA256                         -
//   echo / ping KIND HOW N     ready, then done                    one_way P50 P99
//   prepare_ / run_ / confirm_bypass   ready / done                done NANOSECONDS
//   quit                       both end
//
// KIND is vinic, unix or tcp; HOW is polling or sleeping; times are nanoseconds of the common clock.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>

#include "bypass.h"
#include "failure.h"
#include "program.h"
#include "sha256.h"
#include "socket_path.h"
#include "syscall_counter.h"
#include "vinic_path.h"

namespace demo {

namespace {

constexpr const char* receiver_name = "receiver";

std::string now_text() { return std::to_string(clock::now().time_since_epoch().count()); }

void load_file(const std::string& path, std::span<std::byte> into) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        fail_with_errno("cannot read " + path);
    }
    for (std::size_t at = 0; at < into.size();) {
        const auto got = read(file, into.data() + at, into.size() - at);
        if (got <= 0) {
            close(file);
            throw failure("cannot read " + path + " to its end");
        }
        at += static_cast<std::size_t>(got);
    }
    close(file);
}

waiting waiting_of(const std::string& word) { return word == "polling" ? waiting::polling : waiting::sleeping; }
socket_kind kind_of(const std::string& word) {
    return word == "unix" ? socket_kind::unix_stream : socket_kind::tcp_loopback;
}

class role {
public:
    explicit role(const role_options& options)
        : options_(options),
          device_(options.device, options.directory, options.file_bytes),
          polling_(device_, waiting::polling),
          sleeping_(device_, waiting::sleeping) {}

    void run(control& parent) {
        parent_ = &parent;
        if (options_.role == receiver_name) {
            auto listener = must(device_.nic().listen(receiver_name));
            say(std::string("listening ") + vinic::name(device_.file_region().backing()));
            polling_.accept(listener);
            sleeping_.accept(listener);
        } else {
            load_file(options_.file, device_.file());
            polling_.connect(receiver_name);
            sleeping_.connect(receiver_name);
        }
        say(std::string("connected ") + vinic::name(device_.file_region().backing()));
        for (std::string line; parent.receive_or_end(line) && line != "quit";) {
            const auto words = words_of(line);
            const auto known = commands_.find(words.at(0));
            if (known == commands_.end()) {
                throw failure("does not know the command " + line);
            }
            (this->*known->second)(words);
        }
    }

private:
    using command_line = std::vector<std::string>;
    using command = void (role::*)(const command_line&);

    void say(const std::string& line) { parent_->send(line); }

    vinic_path& bulk_path() { return options_.polling ? polling_ : sleeping_; }

    path& path_of(const std::string& kind, waiting how) {
        if (kind == "vinic") {
            return how == waiting::polling ? polling_ : sleeping_;
        }
        auto& socket = *sockets_.at(kind);
        socket.wait_by(how);
        return socket;
    }

    void listen(const command_line& words) {
        const socket_listener listener(kind_of(words.at(1)));
        say("at " + listener.where());
        sockets_[words.at(1)] = std::make_unique<socket_path>(listener.accept(), device_.file());
        say("connected");
    }

    void connect(const command_line& words) {
        const int connected = socket_path::connect(kind_of(words.at(1)), words.at(2));
        sockets_[words.at(1)] = std::make_unique<socket_path>(connected, device_.file());
        say("connected");
    }

    void file(const command_line& words) {
        path& way = words.at(1) == "vinic" ? bulk_path() : path_of(words.at(1), waiting::sleeping);
        options_.role == receiver_name ? receive(way) : send(way);
    }

    void receive(path& way) {
        std::ranges::fill(device_.file(), std::byte{0});  // so that an old transfer cannot pass for a new one
        way.expect_file();
        const auto kernel_before = bytes_through_kernel();
        say("ready");
        mark_begin();
        way.receive_file();
        const std::string end = now_text();
        mark_end();
        say("received " + end + " " + std::to_string(bytes_through_kernel() - kernel_before));
    }

    void send(path& way) {
        const auto kernel_before = bytes_through_kernel();
        mark_begin();
        const std::string start = now_text();
        way.send_file();
        mark_end();
        say("sent " + start + " " + std::to_string(bytes_through_kernel() - kernel_before) + " " +
            std::to_string(way.bytes_by_engine()));
    }

    void hash(const command_line&) { say("hash " + sha256(device_.file())); }

    void echo(const command_line& words) {
        path& way = path_of(words.at(1), waiting_of(words.at(2)));
        say("ready");
        way.echo(std::stoul(words.at(3)));
        say("done");
    }

    void ping(const command_line& words) {
        auto round_trips = path_of(words.at(1), waiting_of(words.at(2))).ping(std::stoul(words.at(3)));
        std::ranges::sort(round_trips);
        const auto one_way = [&](std::size_t percent) {
            return std::to_string(round_trips[round_trips.size() * percent / 100].count() / 2);
        };
        say("one_way " + one_way(50) + " " + one_way(99));
    }

    void prepare_bypass(const command_line&) {
        demo::prepare_bypass(device_, bulk_path());
        say("ready");
    }

    void run_bypass(const command_line&) {
        say("done " + std::to_string(demo::run_bypass(device_, bulk_path()).count()));
    }

    void confirm_bypass(const command_line&) {
        demo::confirm_bypass(device_, bulk_path());
        say("done");
    }

    const std::map<std::string, command> commands_ = {
        {"listen", &role::listen},
        {"connect", &role::connect},
        {"file", &role::file},
        {"hash", &role::hash},
        {"echo", &role::echo},
        {"ping", &role::ping},
        {"prepare_bypass", &role::prepare_bypass},
        {"run_bypass", &role::run_bypass},
        {"confirm_bypass", &role::confirm_bypass},
    };
    role_options options_;
    control* parent_ = nullptr;
    device device_;
    vinic_path polling_;
    vinic_path sleeping_;
    std::map<std::string, std::unique_ptr<socket_path>> sockets_;
};

role_options parse(const std::vector<std::string>& arguments) {
    role_options options;
    options.role = arguments.at(0);
    options.device = arguments.at(1);
    options.directory = arguments.at(2);
    options.file = arguments.at(3);
    options.file_bytes = std::stoull(arguments.at(4));
    options.processor = std::stoi(arguments.at(5));
    options.polling = arguments.at(6) == "polling";
    return options;
}

// A parent that is gone needs no report.
void report(control& parent, const std::exception& problem) {
    try {
        parent.send(std::string("failed: ") + problem.what());
    } catch (const failure&) {
    }
}

}  // namespace

int run_role(const std::vector<std::string>& arguments) {
    // An interrupt from the keyboard goes to all three processes.  The parent dies of it; this one then
    // finds its control socket closed and leaves the device tidily -- even if it was stopped just then.
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGCONT);
    control parent(control_descriptor);
    try {
        const auto options = parse(arguments);
        run_on(options.processor);
        role(options).run(parent);
        return 0;
    } catch (const std::exception& problem) {
        report(parent, problem);
        return 1;
    }
}

}  // namespace demo

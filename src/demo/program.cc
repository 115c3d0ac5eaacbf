// SPDX-License-Identifier: Apache-2.0
//
// program.cc -- see program.h.
#include "program.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "failure.h"
#include "path.h"

namespace demo {

namespace {

std::vector<std::string> command_of(const role_options& options) {
    return {"vinic-demo",
            std::string(role_word),
            options.role,
            options.device,
            options.directory,
            options.file,
            std::to_string(options.file_bytes),
            std::to_string(options.processor),
            options.polling ? "polling" : "sleeping"};
}

int start(std::vector<std::string> command, int descriptor) {
    std::vector<char*> arguments;
    for (auto& word : command) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // The one descriptor that outlives exec.
    posix_spawn_file_actions_adddup2(&actions, descriptor, control_descriptor);
    pid_t process_id = -1;
    const int error_number = posix_spawn(&process_id, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(descriptor);
    if (error_number != 0) {
        throw failure(std::string("cannot start a program: ") + std::strerror(error_number));
    }
    return process_id;
}

}  // namespace

program::program(const role_options& options) : program(options, control::make_pair()) {}

program::program(const role_options& options, std::pair<control, int> ends)
    : role_(options.role), control_(std::move(ends.first)), process_id_(start(command_of(options), ends.second)) {}

program::~program() {
    if (process_id_ > 0) {
        kill(process_id_, SIGKILL);
        waitpid(process_id_, nullptr, 0);
    }
}

std::vector<std::string> program::expect(std::string_view word) {
    // The program itself gives up after `patience` and says why; so it is waited for a little longer.
    const std::string line = control_.receive(patience + std::chrono::seconds(5));
    auto words = words_of(line);
    if (words.empty() || words.front() != word) {
        throw failure("the " + role_ + " " + line);
    }
    words.erase(words.begin());
    return words;
}

void program::stop() {
    int status = 0;
    if (kill(process_id_, SIGSTOP) != 0 || waitpid(process_id_, &status, WUNTRACED) != process_id_ ||
        !WIFSTOPPED(status)) {
        throw failure("cannot stop the " + role_);
    }
}

void program::go_on() const {
    if (kill(process_id_, SIGCONT) != 0) {
        fail_with_errno("cannot continue the " + role_);
    }
}

void program::finish() {
    tell("quit");
    int status = 0;
    const pid_t ended = waitpid(process_id_, &status, 0);
    process_id_ = -1;
    if (ended < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        throw failure("the " + role_ + " ended badly");
    }
}

}  // namespace demo

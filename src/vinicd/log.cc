// SPDX-License-Identifier: Apache-2.0
//
// log.cc -- where lines go, what stands in front of them, and how many of one kind there may be.
#include "vinicd/log.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>

#include "abi/printable.hpp"
#include "os/sync.hpp"

namespace vinic::vinicd {

namespace {

constexpr std::uint64_t lines_per_second = 10;
constexpr std::uint64_t flush_patience_ns = 1'000'000'000;

/// Whether standard error is what the journal said it listens to: it may have been redirected since.
bool is_journal() {
    const char* told = ::secure_getenv("JOURNAL_STREAM");
    struct stat status{};
    if (told == nullptr || ::fstat(STDERR_FILENO, &status) != 0) {
        return false;
    }
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == told;
}

std::string now_text() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    std::array<char, 32> text{};
    ::gmtime_r(&now, &parts);
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text.data();
}

/// syslog's numbers.
const char* journal_level(log_level level) {
    static constexpr const char* numbers[] = {"<3>", "<4>", "<6>", "<7>"};
    return numbers[static_cast<std::size_t>(level)];
}

}  // namespace

log::log(log_level level)
    : level_(level), journal_(is_journal()), writer_(STDERR_FILENO, [journal = journal_](std::uint64_t lost) {
          return line_of(
              journal, log_level::warning,
              std::to_string(lost) + " lines are missing here: whoever reads this log was slow, or had gone");
      }) {}

log::~log() { writer_.flush(flush_patience_ns); }

/// One line stays one line, whatever a client put into it.
std::string log::line_of(bool journal, log_level level, const std::string& words) {
    return (journal ? std::string(journal_level(level)) : now_text() + " " + name(level) + ": ") +
           abi::printable(words) + "\n";
}

void log::set_level(log_level level) {
    const std::lock_guard lock(mutex_);
    level_ = level;
}

void log::write(log_level level, const std::string& words) {
    const std::lock_guard lock(mutex_);
    if (level > level_) {
        return;
    }
    writer_.put(line_of(journal_, level, words));
}

void log::caused(log_level level, const char* kind, const std::string& words) {
    const std::uint64_t second = os::now_ns() / 1'000'000'000;
    std::uint64_t left_out = 0;
    {
        const std::lock_guard lock(mutex_);
        burst& b = bursts_[kind];
        if (b.second != second) {
            left_out = b.lines > lines_per_second ? b.lines - lines_per_second : 0;
            b = {second, 0};
        }
        if (++b.lines > lines_per_second) {
            return;
        }
    }
    if (left_out != 0) {
        write(level, std::string(kind) + ": " + std::to_string(left_out) + " more lines were left out");
    }
    write(level, words);
}

}  // namespace vinic::vinicd

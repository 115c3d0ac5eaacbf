// SPDX-License-Identifier: Apache-2.0
//
// log.hpp -- one line each on standard error.
//
//   On a terminal or in a file: "2026-11-22T21:05:10Z info: words".  Where the journal listens, which has the time
//   and wants the level as "<6>", that stands in front instead.  Nobody waits for the reader: log_writer.hpp.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "vinicd/log_writer.hpp"
#include "vinicd/options.hpp"

namespace vinic::vinicd {

class log {
public:
    explicit log(log_level level);
    log(const log&) = delete;
    log& operator=(const log&) = delete;
    /// Waits a second for the reader, and not longer.
    ~log();
    void error(const std::string& words) { write(log_level::error, words); }
    void warning(const std::string& words) { write(log_level::warning, words); }
    void info(const std::string& words) { write(log_level::info, words); }
    void debug(const std::string& words) { write(log_level::debug, words); }
    /// What a client can cause as often as it likes: of each `kind` a few lines a second, then how many were left out.
    void caused(log_level level, const char* kind, const std::string& words);
    void set_level(log_level level);
    /// Words that are not a line of the log: what a program that could not begin says last.
    void plain(const std::string& words) { writer_.put(words + "\n"); }
    /// Waits so long at most until all is written.
    void flush(std::uint64_t at_most_ns) { writer_.flush(at_most_ns); }
    /// Lines for which the reader of the log was too slow.
    [[nodiscard]] std::uint64_t lost() const { return writer_.lost(); }

private:
    struct burst {
        std::uint64_t second = 0;
        std::uint64_t lines = 0;
    };
    void write(log_level level, const std::string& words);
    [[nodiscard]] static std::string line_of(bool journal, log_level level, const std::string& words);

    std::mutex mutex_;
    log_level level_;
    bool journal_;
    std::map<std::string, burst> bursts_;  ///< one per kind, of which there are few
    log_writer writer_;
};

}  // namespace vinic::vinicd

// SPDX-License-Identifier: Apache-2.0
//
// log.hpp -- one line each on standard error.
//
//   On a terminal or in a file: "2026-11-22T21:05:10Z info: words".  Where the journal listens, which has the time
//   and wants the level as "<6>", that stands in front instead.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "vinicd/options.hpp"

namespace vinic::vinicd {

class log {
public:
    explicit log(log_level level);
    void error(const std::string& words) { write(log_level::error, words); }
    void warning(const std::string& words) { write(log_level::warning, words); }
    void info(const std::string& words) { write(log_level::info, words); }
    void debug(const std::string& words) { write(log_level::debug, words); }
    /// What a client can cause as often as it likes: of each `kind` a few lines a second, then how many were left out.
    void caused(log_level level, const char* kind, const std::string& words);
    void set_level(log_level level);

private:
    struct burst {
        std::uint64_t second = 0;
        std::uint64_t lines = 0;
    };
    void write(log_level level, const std::string& words);

    std::mutex mutex_;
    log_level level_;
    bool journal_;
    std::map<std::string, burst> bursts_;  ///< one per kind, of which there are few
};

}  // namespace vinic::vinicd

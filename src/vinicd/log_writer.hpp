// SPDX-License-Identifier: Apache-2.0
//
// log_writer.hpp -- lines on their way to the reader of the log, which may be slow, stopped or gone.
//
//   any thread --put()--> bounded queue --a thread of its own--> write()
//
//   Only that thread ever waits for the reader.  The descriptor is shared with other programs, so it stays as it is:
//   O_NONBLOCK would be theirs, too.  When the queue is full the oldest lines go; how many went is told in a line of
//   its own, before the first that the reader gets again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace vinic::vinicd {

class log_writer {
public:
    /// Bytes that may wait.
    static constexpr std::size_t waiting_bytes_max = 256 * 1024;

    /// `lost_text` makes the line that so many are missing.
    log_writer(int fd, std::function<std::string(std::uint64_t)> lost_text);
    log_writer(const log_writer&) = delete;
    log_writer& operator=(const log_writer&) = delete;
    /// Waits for nobody: what is not written yet is lost.
    ~log_writer();

    void put(std::string line);
    /// Returns when everything was tried, or after the time; false: the reader does not read.
    bool flush(std::uint64_t at_most_ns);
    /// Lines that nobody will read: the queue was full, or the reader had gone.
    [[nodiscard]] std::uint64_t lost() const;

private:
    struct shared;
    static void write_all(const std::shared_ptr<shared>& s);
    std::shared_ptr<shared> shared_;  ///< the thread's, too: it may never come back from its last write
};

}  // namespace vinic::vinicd

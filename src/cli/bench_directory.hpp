// SPDX-License-Identifier: Apache-2.0
//
// bench_directory.hpp -- a directory of its own for the devices that a benchmark makes.
//
// Nobody else can be quicker with the name of a device there, and what a killed benchmark leaves is in one place.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace vinic::cli::bench {

/// Made below `parent` (empty: $VINIC_SHM_DIR, then /dev/shm), for this user alone; removed by the process that made
/// it.
class private_directory {
public:
    explicit private_directory(const std::string& parent = {}) : maker_(::getpid()) {
        const char* told = ::secure_getenv("VINIC_SHM_DIR");
        path_ = (!parent.empty() ? parent : told != nullptr && *told != 0 ? told : "/dev/shm");
        path_ += "/.vinic-bench-XXXXXX";
        if (::mkdtemp(path_.data()) == nullptr) {
            throw std::system_error(errno, std::generic_category(),
                                    "cannot make a directory like " + path_ + "; set VINIC_SHM_DIR to another place");
        }
    }
    private_directory(const private_directory&) = delete;
    private_directory& operator=(const private_directory&) = delete;
    ~private_directory() {
        if (::getpid() == maker_) {
            std::error_code left_behind;
            std::filesystem::remove_all(path_, left_behind);
        }
    }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    ::pid_t maker_;
    std::string path_;
};

/// From now on every device of this program and its children lies there.
class private_devices : public private_directory {
public:
    private_devices() { (void)::setenv("VINIC_SHM_DIR", path().c_str(), 1); }
};

}  // namespace vinic::cli::bench

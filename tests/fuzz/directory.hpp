// SPDX-License-Identifier: Apache-2.0
//
// directory.hpp -- a fresh directory for device files, removed at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace fuzz {

class directory {
public:
    directory() {
        const char* wanted = std::getenv("TMPDIR");
        const std::string parents[] = {wanted == nullptr ? "" : wanted, "/dev/shm", "/tmp"};
        for (const std::string& parent : parents) {
            path_ = parent + "/vinic-fuzz-XXXXXX";
            if (!parent.empty() && ::mkdtemp(path_.data()) != nullptr)
                return;
        }
        throw std::runtime_error("no place for a temporary directory");
    }
    directory(const directory&) = delete;
    directory& operator=(const directory&) = delete;
    ~directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

}  // namespace fuzz

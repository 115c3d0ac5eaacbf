// SPDX-License-Identifier: Apache-2.0
//
// device_file.cc -- what an address means, who else uses a device's file, and how it is left; attach.cc has its
// beginning.
#include "direct/device_file.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "direct/opening.hpp"
#include "tables/link.hpp"
#include "tables/processes.hpp"

namespace vinic::direct {

namespace {

constexpr std::string_view scheme = "shm:";

bool valid_name(std::string_view n) {
    return !n.empty() && n.size() <= abi::name_bytes_max && std::all_of(n.begin(), n.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
    });
}

/// A name of a program that is left for another directory still means the same file.
std::string absolute(const std::string& directory) {
    std::vector<char> room(256);
    while (!directory.starts_with('/') && ::getcwd(room.data(), room.size()) == nullptr) {
        if (errno != ERANGE) {
            return directory;
        }
        room.resize(room.size() * 2);
    }
    return directory.starts_with('/') ? directory : std::string(room.data()) + "/" + directory;
}

}  // namespace

std::string directory_of(const open_options& options) {
    if (!options.directory.empty()) {
        return absolute(options.directory);
    }
    const char* told = ::secure_getenv("VINIC_SHM_DIR");
    return told != nullptr && *told != 0 ? absolute(told) : "/dev/shm";
}

result<std::unique_ptr<device_file>> device_file::open(std::string_view device_address, const open_options& options,
                                                       role as) {
    if (!device_address.starts_with(scheme) || !valid_name(device_address.substr(scheme.size()))) {
        return std::unexpected(error{errc::unknown_address, 0, "device address '" + std::string(device_address) + "'"});
    }
    if (options.directory.contains('\0') || options.group.contains('\0')) {
        // The kernel would see another name, one that ends there.
        return std::unexpected(error{errc::invalid_argument, 0, "a directory or group with a NUL byte in its name"});
    }
    std::unique_ptr<device_file> m(
        new device_file(std::string(device_address),
                        directory_of(options) + "/vinic-" + std::string(device_address.substr(scheme.size()))));
    if (auto r = as == role::participant ? m->attach(options) : m->inspect(); !r) {
        return std::unexpected(r.error());
    }
    return m;
}

device_file::~device_file() {
    if (is_in()) {
        leave();
    }
}

bool device_file::is_named() const noexcept {
    struct stat mine{};
    struct stat named{};
    return ::fstat(fd_.get(), &mine) == 0 && ::lstat(path_.c_str(), &named) == 0 && named.st_ino == mine.st_ino &&
           named.st_dev == mine.st_dev;
}

bool device_file::removed() const noexcept {
    struct stat s{};
    return !forked() && ::fstat(fd_.get(), &s) == 0 && s.st_nlink == 0;
}

std::string device_file::room(const std::string& size) const {
    return "the " + size + " that it may grow into (more with VINIC_SHM_SPAN or open_options::span_bytes)";
}

bool device_file::engines_have_left(std::uint32_t owner) noexcept {
    struct inside {
        const abi::word32* word;
        std::uint32_t seen;
        const abi::vi_entry* vi;
    };
    heavy_barrier();
    std::vector<inside> all;
    try {
        for (std::uint32_t i = 0; i < backed(abi::vis); ++i) {
            const abi::vi_entry& v = vi(i);
            if (v.owner.load_relaxed() == 0 || v.owner.load_relaxed() == owner) {
                continue;
            }
            for (const abi::word32& e : v.executing) {
                if (const std::uint32_t seen = e.load_acquire(); (seen & 1) != 0) {
                    all.push_back({&e, seen, &v});
                }
            }
        }
    } catch (const std::bad_alloc&) {
        return false;  // nobody knows
    }
    for (const inside& x : all) {
        for (int spins = 0; x.word->load_acquire() == x.seen && tables::engine_inside(*this, *x.vi); ++spins) {
            if (spins > 1000) {
                return false;
            }
            os::spin_pause();
        }
    }
    return true;
}

void device_file::leave() noexcept {
    // Without byte 0 (its holder is stopped) the file is left to the next opener.
    const bool may_remove = lock_opening(fd_.get(), tables::farewell) == 0;
    if (const tables::control_lock hold(*this, tables::farewell);
        hold) {  // else this process is buried as if it had died
        tables::retire_process(*this, self(), abi::break_reason::remote_disconnect);
    }
    os::unlock_byte(fd_.get(), process_byte + self());
    if (may_remove) {
        if (!os::is_locked_by_other(fd_.get(), process_byte, abi::process_count) && is_named()) {
            ::unlink(path_.c_str());
        }
        os::unlock_byte(fd_.get(), opening_byte);
    }
    fd_.reset();
}

}  // namespace vinic::direct

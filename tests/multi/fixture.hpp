// SPDX-License-Identifier: Apache-2.0
//
// fixture.hpp -- what the tests with several processes stand on: children (process.hpp), endpoints (endpoint.hpp),
// a look into the device (census.hpp), a fresh directory for device files, and what a child does to itself.
#pragma once

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vinic/vinic.hpp>

#include "multi/census.hpp"
#include "multi/endpoint.hpp"
#include "multi/process.hpp"
#include "sanitized.hpp"

namespace vinic {
// GoogleTest prints the library's words by name; it finds these by argument-dependent look-up.
inline void PrintTo(errc code, std::ostream* out) { *out << name(code); }
inline void PrintTo(enum status value, std::ostream* out) { *out << name(value); }
inline void PrintTo(vi_state value, std::ostream* out) { *out << name(value); }
inline void PrintTo(backing value, std::ostream* out) { *out << name(value); }
}  // namespace vinic

namespace multi {

/// "Within 100 ms" is what the design promises; a loaded machine is given this much, and the time is printed.
inline constexpr double generous_ms = 5000;

inline constexpr std::size_t page = 4096;
inline constexpr uid_t nobody = 65534;
inline constexpr gid_t shared_group = 100;  ///< "users" on Debian

/// mlock and munlock; a sanitizer makes nothing of these.
[[nodiscard]] inline bool lock_pages(std::span<std::byte> pages) noexcept {
    return ::syscall(SYS_mlock, pages.data(), pages.size()) == 0;
}
[[nodiscard]] inline bool unlock_pages(std::span<std::byte> pages) noexcept {
    return ::syscall(SYS_munlock, pages.data(), pages.size()) == 0;
}

// -- devices ----------------------------------------------------------------------------------

/// A fresh directory for device files, on a memory file system where there is one; removed at the end.  Anything
/// left in it is reported as a failure unless leftovers_expected().
///
/// With VINIC_MULTI_VINICD=PROGRAM in the environment a vinicd lives in it, and a function of that is the device.
class directory {
public:
    directory();
    directory(const directory&) = delete;
    directory& operator=(const directory&) = delete;
    ~directory();
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] vinic::open_options options() const { return {.directory = path_, .group = {}}; }
    [[nodiscard]] vinic::nic open(std::string_view address = "shm:test") const {
        return must(is_isolated() ? vinic::nic::open("vinicd:" + socket()) : vinic::nic::open(address, options()));
    }
    [[nodiscard]] bool is_isolated() const noexcept { return vinicd_ > 0; }
    [[nodiscard]] std::string socket() const { return path_ + "/socket"; }
    /// The vinicd's; 0 if there is none.
    [[nodiscard]] pid_t vinicd() const noexcept { return vinicd_; }
    /// Kills the vinicd; start_vinicd() makes another one of the same address.
    void kill_vinicd();
    void start_vinicd();
    [[nodiscard]] std::string file(std::string_view name = "test") const {
        return path_ + "/vinic-" + std::string(name);
    }
    [[nodiscard]] bool exists(std::string_view name = "test") const;
    void leftovers_expected() noexcept { report_leftovers_ = false; }

private:
    void make();
    void end_vinicd();

    std::string path_;
    pid_t maker_;
    pid_t vinicd_ = 0;
    bool report_leftovers_ = true;
};

/// What the device holds now; see census.hpp.
[[nodiscard]] census count(const directory& d, std::string_view name = "test");

/// A device that its only process has left by SIGKILL.
void leave_remains(const directory& d);

// -- children that change what they are ------------------------------------------------------

/// Runs `body` in a child with an endpoint, so that what it does to itself ends with it; the child's failure is the
/// test's.  `leaves_file`: it does something after which it cannot remove the device's.
void in_child(const std::function<void(endpoint&)>& body, bool leaves_file = false);

/// Root becomes another user for good.
void become(uid_t user, gid_t group);

#define SKIP_UNLESS_ROOT()                                   \
    if (::geteuid() != 0) {                                  \
        GTEST_SKIP() << "needs root to become another user"; \
    }

/// Opens files until no descriptor is left.
void take_all_descriptors();

// -- memory -----------------------------------------------------------------------------------

/// Anonymous memory of the calling process, whole pages, which stays until it ends.
[[nodiscard]] std::span<std::byte> map_pages(std::size_t bytes);

/// Whether these bytes are what fill() made of this seed.
[[nodiscard]] testing::AssertionResult matches(std::span<const std::byte> bytes, std::uint64_t seed);

}  // namespace multi

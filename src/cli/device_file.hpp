// SPDX-License-Identifier: Apache-2.0
//
// device_file.hpp -- a device's file for those who only look.
//
//   It is read with pread and never mapped.  A load from a hole of a mapped tmpfs file takes a page,
//   and on a full file system raises SIGBUS; pread does neither, so that looking costs the device
//   nothing.  It takes no entry and no lock, and works on what dead processes left.
//
//   What is read may be in the middle of a change, scribbled over by a process that went wrong, or a stranger's
//   forgery: every count is bounded by its table and by the file's real length, every index and offset here or where
//   it is used, and all the reading together by a time.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include <vinic/vinic.hpp>

#include "abi/vi.hpp"
#include "direct/belief.hpp"
#include "os/file.hpp"

namespace vinic::cli {

/// Where devices are looked for: as the library does.
[[nodiscard]] std::string directory_or_default(const std::string& directory);

/// "NAME" or "shm:NAME" to NAME; errc::unknown_address.
[[nodiscard]] result<std::string> device_name(std::string_view typed);

enum class file_state : std::uint8_t {
    live,           ///< a process has it open
    stale,          ///< no process holds a lock: left by SIGKILL, taken over by the next opener
    unfinished,     ///< being made at this moment, or its maker died at it
    other_version,  ///< a vinic device, but of a layout that this program cannot read
    not_a_device,   ///< something else that happens to have such a name
    no_access,      ///< it may not be read
};
[[nodiscard]] const char* name(file_state s) noexcept;

class device_file {
public:
    /// Fails only if there is no such file (errc::unknown_address).
    [[nodiscard]] static result<device_file> open(const std::string& name, const std::string& directory);

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] const struct stat& status() const noexcept { return status_; }
    [[nodiscard]] std::uint64_t size_bytes() const noexcept {
        return static_cast<std::uint64_t>(status_.st_blocks) * 512;
    }
    /// What it was when it was opened; live and stale can be read.
    [[nodiscard]] file_state state() const noexcept { return state_; }
    [[nodiscard]] bool readable() const noexcept { return state_ == file_state::live || state_ == file_state::stale; }
    /// Whose it is: what the library asks before it opens one (direct/belief.hpp).
    [[nodiscard]] direct::standing standing() const noexcept { return direct::standing_of(status_); }
    [[nodiscard]] bool believed() const noexcept { return standing() != direct::standing::alien; }
    /// Whether looking at it took longer than any honest device does; what came later reads as zeros.
    [[nodiscard]] bool gave_up() const noexcept { return gave_up_; }
    /// A caller that looks again and again has the time anew for each look.
    void look_anew() noexcept;
    /// Whether the path still leads to this file.
    [[nodiscard]] bool still_there() const noexcept;

    [[nodiscard]] const abi::device_header& header() const noexcept { return header_; }
    void read_header() { header_ = read<abi::device_header>(0); }
    /// Entries of a table that have storage.
    [[nodiscard]] std::uint32_t backed(abi::table t) const noexcept;
    [[nodiscard]] std::uint32_t processes_backed() const noexcept {
        return std::min(header_.processes_backed.load_relaxed(),
                        room_for(abi::processes_offset, sizeof(abi::process_entry), abi::process_count));
    }
    /// Addresses that it may grow into; 0 if the header makes no sense.
    [[nodiscard]] std::uint64_t span_bytes() const noexcept { return header_.span.load_relaxed(); }

    /// Whether process entry i is held by a living process.
    [[nodiscard]] bool alive(std::uint32_t i) const noexcept;
    /// Whether anybody has the device open, or is just opening it.
    [[nodiscard]] bool in_use() const noexcept;

    /// Fills `to`; what cannot be read is zero.
    void read(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;
    template <class T>
    [[nodiscard]] T read(std::uint64_t offset) const noexcept {
        T t{};
        read(offset, &t, sizeof t);
        return t;
    }
    /// f(index, const T&) for `count` entries of a table at `offset`.
    template <class T, class F>
    void for_each(std::uint64_t offset, std::uint32_t count, F f) const {
        constexpr std::uint32_t batch = std::max<std::uint32_t>(1, (128 << 10) / sizeof(T));
        std::vector<T> entries(std::min(batch, count));
        for (std::uint32_t first = 0; first < count && !gave_up_; first += batch) {
            const std::uint32_t n = std::min(batch, count - first);
            read(offset + std::uint64_t{first} * sizeof(T), entries.data(), n * sizeof(T));
            for (std::uint32_t i = 0; i < n; ++i) {
                f(first + i, entries[i]);
            }
        }
    }
    /// Bytes in [offset, offset + bytes) that were written to; storage taken in advance is not told.
    [[nodiscard]] std::uint64_t touched_bytes(std::uint64_t offset, std::uint64_t bytes) const noexcept;

private:
    [[nodiscard]] file_state look() noexcept;
    /// Entries of a table that the file is long enough for.
    [[nodiscard]] std::uint32_t room_for(std::uint64_t offset, std::uint64_t entry_bytes,
                                         std::uint32_t capacity) const noexcept;
    [[nodiscard]] bool may_go_on() const noexcept;

    std::string name_;
    std::string path_;
    os::unique_fd fd_;
    struct stat status_{};
    abi::device_header header_{};
    file_state state_ = file_state::not_a_device;
    std::uint64_t deadline_ns_ = 0;
    mutable bool gave_up_ = false;
};

/// A device whose tables can be read, or the error that says why not.
[[nodiscard]] result<device_file> open_readable(const std::string& typed, const std::string& directory);

/// The user or group of a file by name, or its number.
[[nodiscard]] std::string user_name(uid_t user);
[[nodiscard]] std::string group_name(gid_t group);

/// What was read is the whole of what was there; or an error: the file is not an honest device.
[[nodiscard]] result<void> read_to_the_end(const device_file& f);

/// The names of all files in the directory that are called as devices are, sorted.
[[nodiscard]] result<std::vector<std::string>> device_names(const std::string& directory);

/// Removes a device that nobody uses.  errc::busy when somebody does.
[[nodiscard]] result<void> remove_device(const std::string& typed, const std::string& directory);

}  // namespace vinic::cli

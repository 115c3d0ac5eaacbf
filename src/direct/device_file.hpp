// SPDX-License-Identifier: Apache-2.0
//
// device_file.hpp -- the memory of a device in direct placement: one file that its processes map.
//
//   Byte 0 of the file is locked while somebody opens or leaves.  An opener that finds no process byte locked starts
//   afresh; the last process that leaves removes the file.  Only a file that is believed is opened at all: belief.hpp.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>
#include <string_view>

#include "direct/belief.hpp"
#include "tables/memory.hpp"

namespace vinic::direct {

/// Where device files lie, as an absolute path.
[[nodiscard]] std::string directory_of(const open_options& options);

class device_file final : public tables::memory {
public:
    /// Opens or makes the device at "shm:NAME".
    [[nodiscard]] static result<std::unique_ptr<device_file>> open(std::string_view device_address,
                                                                   const open_options& options, role as);
    /// Leaves the device; the last one out removes the file.
    ~device_file() override;

    [[nodiscard]] bool removed() const noexcept override;
    [[nodiscard]] bool engines_have_left(std::uint32_t owner) noexcept override;
    [[nodiscard]] std::string room(const std::string& size) const override;

private:
    struct place;  // opening.hpp
    using memory::memory;
    [[nodiscard]] result<place> find_place() const;
    /// Whether its path still means this file.
    [[nodiscard]] bool is_named() const noexcept;
    [[nodiscard]] error fail_open(int os_errno, const place& p) const;
    [[nodiscard]] error fail_opening(int os_errno) const;
    [[nodiscard]] error fail_no_device() const;
    [[nodiscard]] result<void> attach(const open_options& options);
    [[nodiscard]] result<bool> attach_once(const open_options& options, const openers& who, bool last);
    [[nodiscard]] result<bool> judge(const place& p, const open_options& options, const openers& who, bool last);
    [[nodiscard]] result<bool> clear_away(const struct stat& mine, std::string why, bool last);
    [[nodiscard]] result<void> join(const place& p, const openers& who);
    [[nodiscard]] result<void> make_anew(const place& p, const open_options& options, const openers& who);
    [[nodiscard]] result<void> initialise(const open_options& options);
    [[nodiscard]] result<void> map_span(std::uint64_t span, bool writable);
    [[nodiscard]] result<void> enter();
    [[nodiscard]] result<void> inspect();
    void leave() noexcept;
};

}  // namespace vinic::direct

// SPDX-License-Identifier: Apache-2.0
//
// adoption.hpp -- which parts of this process' memory lie in the device file.
//
//   extents, by virtual address:   native (buffers)  and  adopted (moved in place, counted)
//
//   The same table, sorted, lies in the device file, so that a peer's engine can tell direct from
//   foreign memory in any range.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "device/arena.hpp"

namespace vinic::detail {

struct buffer_state;

/// The nic's mutex guards it.
class adoption {
public:
    adoption(device::memory& m, device::arena& a) noexcept : memory_(m), arena_(a) {}
    adoption(const adoption&) = delete;
    adoption& operator=(const adoption&) = delete;

    struct cover {
        std::vector<std::uint64_t> held;     ///< adopted extents to release later
        std::uint64_t offset = abi::none64;  ///< file offset, if the range lies in one extent
        enum backing backing = backing::foreign;
        std::vector<std::shared_ptr<buffer_state>> buffers;  ///< native memory that must live as long
    };
    /// Called after the extents say `moving`: waits until no engine can still use the old place.
    /// Set when some region's bytes are looked up in the extents, empty otherwise.
    std::function<bool()> engines_outside;

    /// Adopts what can be adopted of [address, address + bytes) and tells what the range is now.
    /// errc::invalid_argument: part of it is not mapped (or not writable, if `writable` is asked).
    [[nodiscard]] result<cover> hold(std::uint64_t address, std::uint64_t bytes, bool writable);
    /// Gives up the extents of a cover; the last holder turns pages into private memory again.
    void release(const std::vector<std::uint64_t>& held) noexcept;

    [[nodiscard]] result<void> add_native(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset,
                                          const std::shared_ptr<buffer_state>& buffer);
    void remove_native(std::uint64_t address) noexcept;

    void release_all() noexcept;

    // Around fork: copies in the parent, put in place in the child.
    void before_fork() noexcept;
    void after_fork_in_parent() noexcept;
    void after_fork_in_child(int fd) noexcept;

private:
    struct extent {
        std::uint64_t bytes;
        std::uint64_t offset;
        std::uint32_t holders;
        bool native;
        bool moving;
        bool mapped_at_fork;
        std::byte* fork_copy;
        std::weak_ptr<buffer_state> buffer;  // native
    };
    using extents = std::map<std::uint64_t, extent>;

    [[nodiscard]] extents::iterator containing(std::uint64_t address) noexcept;
    void adopt(std::uint64_t begin, std::uint64_t end) noexcept;
    void give_back(extents::iterator it) noexcept;
    /// Calls f(from, to) for the parts of an extent that are still mapped where they were adopted.
    template <class F>
    void for_mapped_parts(std::uint64_t address, const extent& e, F f) const;
    [[nodiscard]] result<void> publish();

    device::memory& memory_;
    device::arena& arena_;
    extents extents_;
    std::uint64_t table_ = 0;
    std::uint32_t capacity_ = 0;
};

}  // namespace vinic::detail

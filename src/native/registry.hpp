// SPDX-License-Identifier: Apache-2.0
//
// registry.hpp -- the open nics of this process, and what they share: the one place that has to be global, because
// fork handlers are, and because memory belongs to the process and not to a nic.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "os/page_mover.hpp"
#include "os/self_view.hpp"
#include "tables/arena.hpp"

namespace vinic::detail {

struct nic_body;
class adoption;

/// What a nic does with its part of the device file.  It may outlive the nic: see open_nics::kept.
struct holdings;

/// Lock order: `mutex`, then any number of nics' mutexes.
struct open_nics {
    /// Pages that could not be given back when their nic was destroyed.  The device stays open for them until the
    /// process ends: closed, it would take them from the program.
    struct kept {
        std::unique_ptr<tables::memory> memory;
        std::unique_ptr<holdings> pages;
    };
    std::mutex mutex;
    std::vector<nic_body*> nics;
    std::vector<kept> left;
    os::self_view view;    // opened for the first adoption, and open from then on
    os::page_mover mover;  // likewise
};
[[nodiscard]] open_nics& registry() noexcept;

/// Every nic of this process stands still as long as this lives: no region is made or closed.
class standstill {
public:
    standstill() noexcept;
    standstill(const standstill&) = delete;
    standstill& operator=(const standstill&) = delete;
    ~standstill();
};

/// Whether a region of any nic overlaps [begin, end); of `closing` only those that are not about to close, which have
/// their key still.  While nics stand still.
[[nodiscard]] bool overlaps_region(std::uint64_t begin, std::uint64_t end, const tables::memory* closing) noexcept;
/// Whether a nic of this process maps its device at `address`.  While nics stand still.
[[nodiscard]] bool in_device_mapping(std::uint64_t address) noexcept;

}  // namespace vinic::detail

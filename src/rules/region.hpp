// SPDX-License-Identifier: Apache-2.0
//
// region.hpp -- what a key opens: domain, rights and bounds of registered memory.
//
//   Each placement keeps its regions in a table of its own and shows one by a view:
//
//     key()                         with acquire: what is read after it belongs to that registration
//     domain() rights()             words that change while the region is open
//     address() length() offset()   of the registration
#pragma once

#include "abi/vi.hpp"

namespace vinic::rules {

/// Bytes that a process has registered and that passed the check.
struct range {
    std::uint64_t address = 0;  ///< virtual address in that process
    std::uint64_t length = 0;
    std::uint64_t offset = abi::none64;  ///< in the device file or window, if all of it lies there in one piece
    bool whole_space = false;            ///< of a region over the whole address space: may not be mapped at all

    void advance(std::uint64_t bytes) noexcept {
        address += bytes;
        length -= bytes;
        offset += offset == abi::none64 ? 0 : bytes;
    }
};

/// Whether `key` lets VIs of `domain` do what `rights` says with [address, address + length); `out` is that range then.
/// `is_open_to`: whether domains other than the region's may use it, asked for these alone.
///
/// Always inlined: its callers must contain no call.
template <class Region, class IsOpenTo>
[[nodiscard, gnu::always_inline]] inline bool allows(const Region& r, std::uint32_t domain, std::uint32_t key,
                                                     std::uint64_t address, std::uint64_t length, std::uint32_t rights,
                                                     IsOpenTo is_open_to, range& out) noexcept {
    if (key == 0 || r.key() != key || (r.domain() != domain && !is_open_to()) || (r.rights() & rights) != rights)
        [[unlikely]] {
        return false;
    }
    const std::uint64_t base = r.address();
    const std::uint64_t bytes = r.length();
    if (address < base || length > bytes || address - base > bytes - length) [[unlikely]] {
        return false;
    }
    const std::uint64_t offset = r.offset();
    out.address = address;
    out.length = length;
    out.offset = offset == abi::none64 ? abi::none64 : offset + (address - base);
    out.whole_space = bytes == abi::none64;
    return true;
}

}  // namespace vinic::rules

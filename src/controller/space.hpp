// SPDX-License-Identifier: Apache-2.0
//
// space.hpp -- from {key, address} of a client to bytes that the device may touch.
//
//   The private regions say what is allowed; where an address lies may have to be looked up in the client's
//   own table of extents.  Whatever that table claims, the answer lies in the same client's window.
#pragma once

#include "controller/function.hpp"
#include "rules/copy.hpp"

namespace vinic::controller {

/// A range of a client's memory that passed the check.
struct place {
    function* owner = nullptr;
    std::uint32_t context = 0;
    bool whole_space = false;
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    std::uint64_t offset = abi::none64;  ///< in the window, if it lies there in one piece

    void advance(std::uint64_t bytes) noexcept {
        address += bytes;
        length -= bytes;
        offset += offset == abi::none64 ? 0 : bytes;
    }
};

/// Checks key (generation), context, domain, rights and bounds of [address, address + length).
[[nodiscard]] inline bool check(const vi& v, std::uint32_t key, std::uint64_t address, std::uint64_t length,
                                std::uint32_t rights, place& out) noexcept {
    const region& r = v.owner->regions[key >> 8 & (abi::region_count - 1)];
    if (key == 0 || r.key.load(std::memory_order_acquire) != key || r.context != v.context) [[unlikely]] {
        return false;
    }
    const std::uint32_t domain = v.d.domain;
    const std::uint32_t carries = r.domain.load(std::memory_order_relaxed);
    const std::uint32_t open = (v.context + 1) | abi::open_domain;
    if ((carries != domain && open != domain && open != carries) ||
        (r.rights.load(std::memory_order_relaxed) & rights) != rights || address < r.address || length > r.length ||
        address - r.address > r.length - length) [[unlikely]] {
        return false;
    }
    out.owner = v.owner;
    out.context = v.context;
    out.whole_space = r.length == abi::none64;
    out.address = address;
    out.length = length;
    out.offset = r.offset == abi::none64 ? abi::none64 : r.offset + (address - r.address);
    return true;
}

/// The longest piece at the start of a place that lies together.
struct piece {
    std::byte* direct = nullptr;  ///< nullptr: foreign memory
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
};
[[nodiscard]] piece first_piece(const place& p, std::uint64_t max) noexcept;

/// How a copy between two pieces ended.
enum class copied : std::uint8_t { all, unmapped_to, unmapped_from, unreachable, gone_to, gone_from };

/// Copies `bytes` between pieces of at least that length; foreign ones by system call.  `words` and `ends` as for
/// word_copy::put().
///
/// Foreign memory is reached for processes of the device's own user only: the owner of the memory can make that call
/// sleep (userfaultfd), and an engine with it.  The device's own user could stop the device anyway.
[[nodiscard]] copied copy(const place& to, const piece& to_piece, const place& from, const piece& from_piece,
                          std::uint64_t bytes, vinic::rules::word_copy& words, bool ends,
                          bool foreign_allowed) noexcept;

}  // namespace vinic::controller

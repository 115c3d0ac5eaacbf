// SPDX-License-Identifier: Apache-2.0
//
// space.hpp -- from {key, address} of a client to bytes that the device may touch.
//
//   The private regions say what is allowed; where an address lies may have to be looked up in the client's
//   own table of extents.  Whatever that table claims, the answer lies in the same client's window.
#pragma once

#include "controller/function.hpp"
#include "rules/copy.hpp"
#include "rules/pieces.hpp"

namespace vinic::controller {

using rules::moved;
using rules::piece;

struct place : rules::range {
    function* owner = nullptr;  ///< nullptr: bytes of the device, at `address`
    std::uint32_t context = 0;
};

/// A private region as a rule reads it.
struct region_view {
    const region& r;
    [[nodiscard]] std::uint32_t key() const noexcept { return r.key.load(std::memory_order_acquire); }
    [[nodiscard]] std::uint32_t domain() const noexcept { return r.domain.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint32_t rights() const noexcept { return r.rights.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t address() const noexcept { return r.address; }
    [[nodiscard]] std::uint64_t length() const noexcept { return r.length; }
    [[nodiscard]] std::uint64_t offset() const noexcept { return r.offset; }
};

/// Checks key (generation), context, domain, rights and bounds of [address, address + length).
[[nodiscard]] inline bool check(const vi& v, std::uint32_t key, std::uint64_t address, std::uint64_t length,
                                std::uint32_t rights, place& out) noexcept {
    const region& r = v.owner->regions[key >> 8 & (abi::region_count - 1)];
    const auto is_open = [&] {
        const std::uint32_t open = (v.context + 1) | abi::open_domain;
        return open == v.d.domain || open == r.domain.load(std::memory_order_relaxed);
    };
    // The context when the key is known to be open: it is that registration's then.
    if (!rules::allows(region_view{r}, v.d.domain, key, address, length, rights, is_open, out) ||
        r.context != v.context) [[unlikely]] {
        return false;
    }
    out.owner = v.owner;
    out.context = v.context;
    return true;
}

/// The longest piece at the beginning of a place.
[[nodiscard]] inline piece first_piece(const place& p, std::uint64_t most) noexcept {
    if (p.owner == nullptr) {
        return {reinterpret_cast<std::byte*>(p.address), 0, std::min(p.length, most)};
    }
    // What is read there may be a lie: but whatever it says lies in the window.
    const window& w = p.owner->window;
    return rules::first_piece(w.at<std::byte>(0), w.bytes(), w.process(p.context), p.context + 1, p, most);
}

/// Copies `bytes` between pieces of at least that length; foreign ones by system call.  `words` and `ends` as for
/// word_copy::put().
///
/// Foreign memory is reached for processes of the device's own user only: the owner of the memory can make that call
/// sleep (userfaultfd), and an engine with it.  The device's own user could stop the device anyway.
[[nodiscard]] moved copy(const place& to, const piece& to_piece, const place& from, const piece& from_piece,
                         std::uint64_t bytes, rules::word_copy& words, bool ends, bool foreign_allowed) noexcept;

}  // namespace vinic::controller

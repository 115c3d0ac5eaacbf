// SPDX-License-Identifier: Apache-2.0
//
// space.hpp -- from {key, address} to bytes: the protection check and the walk through memory.
#pragma once

#include "rules/copy.hpp"
#include "rules/pieces.hpp"
#include "tables/memory.hpp"

namespace vinic::tables {

using rules::moved;
using rules::piece;

struct place : rules::range {
    std::uint32_t process = 0;  ///< whose
};

/// Bytes of this process that no region has to name.
[[nodiscard]] inline place own_bytes(const memory& m, const std::byte* data, std::uint64_t bytes) noexcept {
    place p;
    p.process = m.self();
    p.address = reinterpret_cast<std::uint64_t>(data);
    p.length = bytes;
    return p;
}

/// An entry of the table as a rule reads it.
struct region_view {
    const abi::region_entry& r;
    [[nodiscard, gnu::always_inline]] std::uint32_t key() const noexcept { return r.key.load_acquire(); }
    [[nodiscard, gnu::always_inline]] std::uint32_t domain() const noexcept { return r.domain.load_relaxed(); }
    [[nodiscard, gnu::always_inline]] std::uint32_t rights() const noexcept { return r.rights.load_relaxed(); }
    [[nodiscard, gnu::always_inline]] std::uint64_t address() const noexcept { return r.address.load_relaxed(); }
    [[nodiscard, gnu::always_inline]] std::uint64_t length() const noexcept { return r.length.load_relaxed(); }
    [[nodiscard, gnu::always_inline]] std::uint64_t offset() const noexcept { return r.offset.load_relaxed(); }
};

/// Whether VIs of `domain` may use `r` although it is of another domain: one of the two is their owner's open one.
/// Never called: check() is part of functions that call nothing.
[[nodiscard, gnu::always_inline]] inline bool is_open_to(const memory& m, const abi::region_entry& r,
                                                         std::uint32_t domain) noexcept {
    const std::uint32_t owner = r.owner.load_relaxed();
    const std::uint32_t open = owner | abi::open_domain;
    return domain == open || (r.domain.load_relaxed() == open && (domain & abi::open_domain) == 0 &&
                              m.domain(domain % abi::domain_count).owner.load_relaxed() == owner);
}

/// An address of a region over the whole address space was never promised to be mapped, so outside
/// the extents it is reached by system call, even inside one process.
///
/// Checks domain, key (generation), bounds and rights of [address, address + length).  The caller is
/// marked as executing, so that what was checked stays true until it leaves.
[[nodiscard]] inline bool check(const memory& m, std::uint32_t domain, std::uint32_t key, std::uint64_t address,
                                std::uint64_t length, std::uint32_t rights, place& out) noexcept {
    const std::uint32_t index = key >> 8;
    if (index >= m.backed(abi::regions)) [[unlikely]] {
        return false;
    }
    const abi::region_entry& r = m.region(index);
    const auto is_open = [&]() __attribute__((always_inline)) { return is_open_to(m, r, domain); };
    if (!rules::allows(region_view{r}, domain, key, address, length, rights, is_open, out)) [[unlikely]] {
        return false;
    }
    out.process = r.owner.load_relaxed() - 1;
    return true;
}

/// Engines look at the connection again after this many bytes, so that nobody waits long for them.
inline constexpr std::uint64_t move_bytes_max = 256 << 10;

/// Whether one system call of this process reaches all of a place that passed the check.  False: perhaps not.
[[nodiscard]] inline bool is_foreign_in_one_piece(const memory& m, const place& p) noexcept {
    const abi::process_entry& owner = m.process(p.process);
    const std::uint64_t base = owner.base.load_relaxed();
    return p.offset == abi::none64 && p.length <= move_bytes_max && (p.process != m.self() || p.whole_space) &&
           owner.adopted.load_relaxed() == 0 && p.address - base >= m.bytes() &&
           (p.address >= base || base - p.address >= p.length) && m.same_pid_namespace(p.process);
}

/// Where all of a place lies together, or nullptr: perhaps nowhere.
[[nodiscard]] inline std::byte* together(const memory& m, const place& p) noexcept {
    return p.process == m.self() && !p.whole_space ? reinterpret_cast<std::byte*>(p.address)
           : p.offset != abi::none64               ? m.at<std::byte>(p.offset)
                                                   : nullptr;
}

/// The longest piece at the start of `p`, at most `most` bytes; taken off `p`.
[[nodiscard]] piece take_piece(const memory& m, place& p, std::uint64_t most) noexcept;

/// Moves min(to.length, from.length) bytes; where `from` ends before `to`, the next move is to follow it there, with
/// the same `words`.  At least one side lies in this process or in the device.
/// Gives up with `broken` between pieces once `state` differs from `connected`.
[[nodiscard]] moved move(const memory& m, place to, place from, rules::word_copy& words, const abi::word64& state,
                         std::uint64_t connected, std::uint64_t& foreign_copies) noexcept;

}  // namespace vinic::tables

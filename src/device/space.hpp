// SPDX-License-Identifier: Apache-2.0
//
// space.hpp -- from {key, address} to bytes: the protection check and the walk through memory.
#pragma once

#include "device/memory.hpp"
#include "rules/copy.hpp"

namespace vinic::device {

/// A range of one process' memory that passed the check.
struct place {
    std::uint32_t process = 0;  ///< whose
    std::uint64_t address = 0;  ///< virtual address there
    std::uint64_t length = 0;
    std::uint64_t offset = abi::none64;  ///< in the device file, if the whole range lies there in one piece
    bool whole_space = false;            ///< region over the whole address space: may not be mapped at all
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
    if (key == 0 || r.key.load_acquire() != key || (r.domain.load_relaxed() != domain && !is_open_to(m, r, domain)) ||
        (r.rights.load_relaxed() & rights) != rights) [[unlikely]] {
        return false;
    }
    const std::uint64_t base = r.address.load_relaxed();
    const std::uint64_t bytes = r.length.load_relaxed();
    if (address < base || length > bytes || address - base > bytes - length) [[unlikely]] {
        return false;
    }
    const std::uint64_t offset = r.offset.load_relaxed();
    out.process = r.owner.load_relaxed() - 1;
    out.address = address;
    out.length = length;
    out.offset = offset == abi::none64 ? abi::none64 : offset + (address - base);
    out.whole_space = bytes == abi::none64;
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

/// The longest piece at the start of `p` (at most `max` bytes) that lies in one place: a pointer of
/// this process, or nullptr for foreign memory.  Takes it off `p`.
struct piece {
    std::byte* direct;
    std::uint64_t address;
    std::uint64_t bytes;
};
[[nodiscard]] piece next_piece(const memory& m, place& p, std::uint64_t max) noexcept;

/// How a move ended.
enum class moved : std::uint8_t { all, unmapped_to, unmapped_from, unreachable, gone_to, gone_from, broken };

/// Moves min(to.length, from.length) bytes; where `from` ends before `to`, the next move is to follow it there, with
/// the same `words`.  At least one side lies in this process or in the device.
/// Gives up with `broken` between pieces once `state` differs from `connected`.
[[nodiscard]] moved move(const memory& m, place to, place from, rules::word_copy& words, const abi::word64& state,
                         std::uint64_t connected, std::uint64_t& foreign_copies) noexcept;

}  // namespace vinic::device

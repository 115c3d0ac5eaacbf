// SPDX-License-Identifier: Apache-2.0
//
// pieces.hpp -- a range of registered memory, piece by piece: what of it lies together, and how moving it may end.
#pragma once

#include <algorithm>
#include <cerrno>

#include "rules/extents.hpp"
#include "rules/region.hpp"

namespace vinic::rules {

/// Bytes of a range that lie in one place.
struct piece {
    std::byte* direct = nullptr;  ///< nullptr: foreign memory, which only the kernel reaches
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
};

/// The longest piece at the beginning of `r`, at most `most` bytes.  The range belongs to the process whose entry is
/// `p` and whose owner word is `owner`, in the file or window of `file_bytes` that is mapped at `file`.
[[nodiscard]] inline piece first_piece(std::byte* file, std::uint64_t file_bytes, const abi::process_entry& p,
                                       std::uint32_t owner, const range& r, std::uint64_t most) noexcept {
    piece out{nullptr, r.address, std::min(r.length, most)};
    if (r.offset != abi::none64) {
        out.direct = file + r.offset;
        return out;
    }
    const found_extent f = find_extent(file, file_bytes, p, owner, r.address);
    out.bytes = std::min(out.bytes, f.until - r.address);
    out.direct = f.inside ? file + f.offset : nullptr;
    return out;
}

/// How a move ended: `to` is the side that is written to, `from` the one that is read.
enum class moved : std::uint8_t {
    all,
    unmapped_to,
    unmapped_from,
    unreachable,  ///< the kernel does not let this process reach the other
    gone_to,      ///< its process has died
    gone_from,
    broken,  ///< the connection, between two pieces
};

/// What errno of process_vm_readv or process_vm_writev says of the side that was written to (`to`) or read.
[[nodiscard]] constexpr moved moved_of(int e, bool to) noexcept {
    switch (e) {
        case 0:
            return moved::all;
        case ESRCH:
            return to ? moved::gone_to : moved::gone_from;
        case EFAULT:
            return to ? moved::unmapped_to : moved::unmapped_from;
        default:
            return moved::unreachable;
    }
}

}  // namespace vinic::rules

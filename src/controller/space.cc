// SPDX-License-Identifier: Apache-2.0
#include "controller/space.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "device/foreign.hpp"
#include "os/process_memory.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

struct found_extent {
    bool inside = false;
    bool moving = false;
    std::uint64_t offset = 0;
    std::uint64_t until = ~std::uint64_t{0};
};

/// Looks `address` up in the table that the client keeps.  Every word of it may be a lie: the table is searched
/// only where it lies in the window, and what it says is taken only if it lies there, too.
found_extent find_extent(const window& w, std::uint32_t context, std::uint64_t address) noexcept {
    const abi::process_entry& p = w.process(context);
    for (int attempt = 0; attempt < 100; ++attempt) {
        const std::uint32_t sequence = p.extents_sequence.load_acquire();
        if ((sequence & 1) != 0) {
            os::spin_pause();
            continue;
        }
        const std::uint64_t table = p.extents_offset.load_acquire();
        const std::uint32_t count = std::min(p.extent_count.load_acquire(), p.extents_capacity.load_acquire());
        found_extent f;
        if (count != 0 &&
            (table % alignof(abi::extent) != 0 || !w.holds(table, std::uint64_t{count} * sizeof(abi::extent)))) {
            return f;
        }
        const auto* extents = w.at<abi::extent>(table);
        std::uint32_t low = 0;
        for (std::uint32_t high = count; low < high;) {  // first extent that begins behind address
            const std::uint32_t middle = low + (high - low) / 2;
            if (extents[middle].address.load_relaxed() <= address) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low < count) {
            f.until = std::max(extents[low].address.load_relaxed(), address + 1);
        }
        if (low > 0) {
            const std::uint64_t begin = extents[low - 1].address.load_relaxed();
            const std::uint64_t bytes = extents[low - 1].bytes.load_relaxed();
            const std::uint64_t offset = extents[low - 1].offset.load_relaxed();
            if (address - begin < bytes) {
                f.moving = offset == abi::moving;
                f.inside = f.moving || w.holds(offset, bytes);
                f.offset = offset + (address - begin);
                f.until = f.inside ? begin + bytes : f.until;
            }
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (p.extents_sequence.load_relaxed() == sequence) {
            return f;
        }
    }
    return {true, true, 0, address + 1};
}

copied from_errno(int e, copied unmapped) noexcept {
    switch (e) {
        case 0:
            return copied::all;
        case ESRCH:
            return copied::process_gone;  // its connection has not been seen to close yet
        case EFAULT:
            return unmapped;
        default:
            return copied::unreachable;
    }
}

bool is_of_our_user(const place& p) noexcept {
    static const uid_t us = ::geteuid();
    return p.owner->contexts[p.context].who.user == us;
}

std::uint32_t pid_of(const place& p) noexcept {
    return static_cast<std::uint32_t>(p.owner->contexts[p.context].who.process);
}

}  // namespace

piece first_piece(const place& p, std::uint64_t max) noexcept {
    piece out{nullptr, p.address, std::min(p.length, max), false};
    const window& w = p.owner->window;
    if (p.offset != abi::none64) {
        out.direct = w.at<std::byte>(p.offset);
        return out;
    }
    const found_extent f = find_extent(w, p.context, p.address);
    out.bytes = std::min(out.bytes, f.until - p.address);
    out.moving = f.moving;
    if (f.inside && !f.moving) {
        out.direct = w.at<std::byte>(f.offset);
    }
    return out;
}

copied copy(const place& to, const piece& to_piece, const place& from, const piece& from_piece, std::uint64_t bytes,
            vinic::device::word_copy& words, bool ends, bool foreign_allowed) noexcept {
    if (to_piece.direct != nullptr && from_piece.direct != nullptr) {
        words.put(to_piece.direct, from_piece.direct, bytes, ends);
        return copied::all;
    }
    if (!foreign_allowed || (to_piece.direct == nullptr && !is_of_our_user(to)) ||
        (from_piece.direct == nullptr && !is_of_our_user(from))) {
        return copied::unreachable;
    }
    if (to_piece.direct != nullptr) {
        return from_errno(
            vinic::device::read_foreign(pid_of(from), from_piece.address, to_piece.direct, bytes, words, ends),
            copied::unmapped_from);
    }
    if (const int e = vinic::device::write_held(pid_of(to), to_piece.address, words); e != 0) {
        return from_errno(e, copied::unmapped_to);
    }
    if (from_piece.direct != nullptr) {
        return from_errno(os::write_process(pid_of(to), to_piece.address, from_piece.direct, bytes),
                          copied::unmapped_to);
    }
    const vinic::device::foreign_errors errors =
        vinic::device::move_foreign_both(pid_of(to), to_piece.address, pid_of(from), from_piece.address, bytes);
    return errors.from != 0 ? from_errno(errors.from, copied::unmapped_from)
                            : from_errno(errors.to, copied::unmapped_to);
}

}  // namespace vinic::controller

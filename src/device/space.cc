// SPDX-License-Identifier: Apache-2.0
#include "device/space.hpp"

#include <algorithm>
#include <cerrno>

#include "device/foreign.hpp"
#include "os/process_memory.hpp"

namespace vinic::device {

namespace {

/// The extent of process `p` that holds `address`, or the start of the next one.  Under the extents'
/// sequence lock; a table that changes all the time is read as "moving".
struct found_extent {
    bool inside = false;
    bool moving = false;
    std::uint64_t offset = 0;  ///< file offset of `address`
    std::uint64_t until = 0;   ///< virtual address where this answer ends
};

found_extent find_extent(const memory& m, std::uint32_t process, std::uint64_t address) noexcept {
    const abi::process_entry& p = m.process(process);
    for (int attempt = 0; attempt < 100; ++attempt) {
        const std::uint32_t sequence = p.extents_sequence.load_acquire();
        if ((sequence & 1) != 0) {
            os::spin_pause();
            continue;
        }
        const std::uint64_t table = p.extents_offset.load_acquire();
        std::uint32_t low = 0;
        std::uint32_t high = std::min(p.extent_count.load_acquire(), p.extents_capacity.load_acquire());
        const auto* extents = m.at<abi::extent>(table);
        while (low < high) {  // first extent that begins behind address
            const std::uint32_t middle = (low + high) / 2;
            if (extents[middle].address.load_relaxed() <= address) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        found_extent f;
        f.until = ~std::uint64_t{0};
        if (low < p.extent_count.load_relaxed()) {
            f.until = extents[low].address.load_relaxed();
        }
        if (low > 0) {
            const std::uint64_t begin = extents[low - 1].address.load_relaxed();
            const std::uint64_t bytes = extents[low - 1].bytes.load_relaxed();
            if (address - begin < bytes) {
                f.inside = true;
                const std::uint64_t offset = extents[low - 1].offset.load_relaxed();
                f.moving = offset == abi::moving;
                f.offset = offset + (address - begin);
                f.until = begin + bytes;
            }
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (p.extents_sequence.load_relaxed() == sequence) {
            return f;
        }
    }
    return {true, true, 0, address + 1};
}

moved from_errno(int e, moved unmapped) noexcept {
    switch (e) {
        case 0:
            return moved::all;
        case ESRCH:
            return moved::process_gone;
        case EFAULT:
            return unmapped;
        default:
            return moved::unreachable;
    }
}

/// One side or both are foreign.  Stands in move(): see os/process_memory.hpp.
inline moved move_foreign(const memory& m, std::uint32_t to, std::uint32_t from, const piece& d, const piece& s,
                          std::uint64_t bytes, word_copy& words, bool ends) noexcept {
    if ((d.direct == nullptr && !m.same_pid_namespace(to)) || (s.direct == nullptr && !m.same_pid_namespace(from))) {
        return moved::unreachable;
    }
    const std::uint32_t to_pid = m.process(to).pid.load_relaxed();
    const std::uint32_t from_pid = m.process(from).pid.load_relaxed();
    if (d.direct != nullptr) {
        return from_errno(read_foreign(from_pid, s.address, d.direct, bytes, words, ends), moved::unmapped_from);
    }
    if (words.held() != 0) [[unlikely]] {
        if (const int e = write_held(to_pid, d.address, words); e != 0) {
            return from_errno(e, moved::unmapped_to);
        }
    }
    if (s.direct != nullptr) {
        return from_errno(os::write_process(to_pid, d.address, s.direct, bytes), moved::unmapped_to);
    }
    const foreign_errors errors = move_foreign_both(to_pid, d.address, from_pid, s.address, bytes);
    return errors.from != 0 ? from_errno(errors.from, moved::unmapped_from) : from_errno(errors.to, moved::unmapped_to);
}

}  // namespace

piece next_piece(const memory& m, place& p, std::uint64_t max) noexcept {
    piece out{nullptr, p.address, std::min(p.length, max), false};
    if (p.process == m.self() && !p.whole_space) {
        out.direct = reinterpret_cast<std::byte*>(p.address);
    } else if (p.offset != abi::none64) {
        out.direct = m.at<std::byte>(p.offset);
        p.offset += out.bytes;
    } else {
        const found_extent f = find_extent(m, p.process, p.address);
        out.bytes = std::min(out.bytes, f.until - p.address);
        out.direct = f.inside && !f.moving ? m.at<std::byte>(f.offset) : nullptr;
        out.moving = f.moving;
    }
    p.address += out.bytes;
    p.length -= out.bytes;
    return out;
}

moved move(const memory& m, place to, place from, word_copy& words, const abi::word64& state, std::uint64_t connected,
           std::uint64_t& foreign_copies) noexcept {
    const std::uint64_t bytes = std::min(to.length, from.length);
    const bool fills = bytes == to.length;
    to.length = bytes;
    from.length = bytes;
    piece d{nullptr, 0, 0, false};
    piece s{nullptr, 0, 0, false};
    while (to.length + d.bytes != 0) {
        if (d.bytes == 0) {
            d = next_piece(m, to, move_bytes_max);
        }
        if (s.bytes == 0) {
            s = next_piece(m, from, move_bytes_max);
        }
        if (d.moving || s.moving) {
            return state.load_acquire() == connected ? moved::again : moved::broken;
        }
        const std::uint64_t n = std::min(d.bytes, s.bytes);
        const bool ends = fills && to.length + d.bytes == n;
        if (d.direct != nullptr && s.direct != nullptr) {
            words.put(d.direct, s.direct, n, ends);
            d.direct += n;
            s.direct += n;
        } else {
            ++foreign_copies;
            if (const moved how = move_foreign(m, to.process, from.process, d, s, n, words, ends); how != moved::all) {
                return how;
            }
            d.direct += d.direct != nullptr ? n : 0;
            s.direct += s.direct != nullptr ? n : 0;
        }
        d.address += n;
        s.address += n;
        d.bytes -= n;
        s.bytes -= n;
        if (to.length + d.bytes != 0 && state.load_acquire() != connected) {
            return moved::broken;
        }
    }
    return moved::all;
}

}  // namespace vinic::device

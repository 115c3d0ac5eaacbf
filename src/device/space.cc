// SPDX-License-Identifier: Apache-2.0
//
// space.cc -- the walk: next piece of either side, and the copy or system call for the two.
#include "device/space.hpp"

#include <algorithm>
#include <cerrno>

#include "os/foreign_memory.hpp"
#include "os/process_memory.hpp"
#include "rules/extents.hpp"

namespace vinic::device {

namespace {

/// For the side that is written to (`to`), or read from.
moved from_errno(int e, bool to) noexcept {
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

/// One side or both are foreign.  Stands in move(): see os/process_memory.hpp.
inline moved move_foreign(const memory& m, std::uint32_t to, std::uint32_t from, const piece& d, const piece& s,
                          std::uint64_t bytes, rules::word_copy& words, bool ends) noexcept {
    if ((d.direct == nullptr && !m.same_pid_namespace(to)) || (s.direct == nullptr && !m.same_pid_namespace(from))) {
        return moved::unreachable;
    }
    const std::uint32_t to_pid = m.process(to).pid.load_relaxed();
    const std::uint32_t from_pid = m.process(from).pid.load_relaxed();
    if (d.direct != nullptr) {
        return from_errno(os::read_foreign(from_pid, s.address, d.direct, bytes, words, ends), false);
    }
    if (words.held() != 0) [[unlikely]] {
        if (const int e = os::write_held(to_pid, d.address, words); e != 0) {
            return from_errno(e, true);
        }
    }
    if (s.direct != nullptr) {
        return from_errno(os::write_process(to_pid, d.address, s.direct, bytes), true);
    }
    const os::foreign_errors errors = os::move_foreign_both(to_pid, d.address, from_pid, s.address, bytes);
    return errors.from != 0 ? from_errno(errors.from, false) : from_errno(errors.to, true);
}

}  // namespace

piece next_piece(const memory& m, place& p, std::uint64_t max) noexcept {
    piece out{nullptr, p.address, std::min(p.length, max)};
    if (p.process == m.self() && !p.whole_space) {
        out.direct = reinterpret_cast<std::byte*>(p.address);
    } else if (p.offset != abi::none64) {
        out.direct = m.at<std::byte>(p.offset);
        p.offset += out.bytes;
    } else {
        const rules::found_extent f =
            rules::find_extent(m.at<std::byte>(0), m.bytes(), m.process(p.process), p.process + 1, p.address);
        out.bytes = std::min(out.bytes, f.until - p.address);
        out.direct = f.inside ? m.at<std::byte>(f.offset) : nullptr;
    }
    p.address += out.bytes;
    p.length -= out.bytes;
    return out;
}

moved move(const memory& m, place to, place from, rules::word_copy& words, const abi::word64& state,
           std::uint64_t connected, std::uint64_t& foreign_copies) noexcept {
    const std::uint64_t bytes = std::min(to.length, from.length);
    const bool fills = bytes == to.length;
    to.length = bytes;
    from.length = bytes;
    piece d{nullptr, 0, 0};
    piece s{nullptr, 0, 0};
    while (to.length + d.bytes != 0) {
        if (d.bytes == 0) {
            d = next_piece(m, to, move_bytes_max);
        }
        if (s.bytes == 0) {
            s = next_piece(m, from, move_bytes_max);
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

// SPDX-License-Identifier: Apache-2.0
//
// space.cc -- the walk: next piece of either side, and the copy or system call for the two.
#include "tables/space.hpp"

#include <algorithm>

#include "os/foreign_memory.hpp"

namespace vinic::tables {

namespace {

/// One side or both are foreign.
[[gnu::always_inline]] inline moved move_foreign(const memory& m, std::uint32_t to, std::uint32_t from, const piece& d,
                                                 const piece& s, std::uint64_t bytes, rules::word_copy& words,
                                                 bool ends) noexcept {
    if ((d.direct == nullptr && !m.same_pid_namespace(to)) || (s.direct == nullptr && !m.same_pid_namespace(from))) {
        return moved::unreachable;
    }
    return os::move_foreign(m.process(to).pid.load_relaxed(), d, m.process(from).pid.load_relaxed(), s, bytes, words,
                            ends);
}

}  // namespace

piece take_piece(const memory& m, place& p, std::uint64_t most) noexcept {
    piece out{reinterpret_cast<std::byte*>(p.address), p.address, std::min(p.length, most)};
    if (p.process != m.self() || p.whole_space) {
        out = rules::first_piece(m.at<std::byte>(0), m.bytes(), m.process(p.process), p.process + 1, p, most);
    }
    p.advance(out.bytes);
    return out;
}

moved move(const memory& m, place to, place from, rules::word_copy& words, const abi::word64& state,
           std::uint64_t connected, std::uint64_t& foreign_copies) noexcept {
    const std::uint64_t bytes = std::min(to.length, from.length);
    const bool fills = bytes == to.length;
    to.length = bytes;
    from.length = bytes;
    piece d;
    piece s;
    while (to.length + d.bytes != 0) {
        if (d.bytes == 0) {
            d = take_piece(m, to, move_bytes_max);
        }
        if (s.bytes == 0) {
            s = take_piece(m, from, move_bytes_max);
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

}  // namespace vinic::tables

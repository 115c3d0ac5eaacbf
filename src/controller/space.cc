// SPDX-License-Identifier: Apache-2.0
//
// space.cc -- the address looked up piece by piece, and the copy between two pieces.
#include "controller/space.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/foreign_memory.hpp"
#include "os/process_memory.hpp"
#include "rules/extents.hpp"

namespace vinic::controller {

namespace {

/// For the side that is written to (`to`), or read from.
copied from_errno(int e, bool to) noexcept {
    switch (e) {
        case 0:
            return copied::all;
        case ESRCH:
            return to ? copied::gone_to : copied::gone_from;  // its connection has not been seen to close yet
        case EFAULT:
            return to ? copied::unmapped_to : copied::unmapped_from;
        default:
            return copied::unreachable;
    }
}

/// And in a pid namespace that this process sees: the kernel tells 0 of others.
bool is_of_our_user(const place& p) noexcept {
    static const uid_t us = ::geteuid();
    const credentials& who = p.owner->contexts[p.context].who;
    return who.user == us && who.process > 0;
}

std::uint32_t pid_of(const place& p) noexcept {
    return static_cast<std::uint32_t>(p.owner->contexts[p.context].who.process);
}

}  // namespace

piece first_piece(const place& p, std::uint64_t max) noexcept {
    piece out{nullptr, p.address, std::min(p.length, max)};
    const window& w = p.owner->window;
    if (p.offset != abi::none64) {
        out.direct = w.at<std::byte>(p.offset);
        return out;
    }
    // What is read there may be a lie: but whatever it says lies in the window.
    const auto f =
        vinic::rules::find_extent(w.at<std::byte>(0), w.bytes(), w.process(p.context), p.context + 1, p.address);
    out.bytes = std::min(out.bytes, f.until - p.address);
    out.direct = f.inside ? w.at<std::byte>(f.offset) : nullptr;
    return out;
}

copied copy(const place& to, const piece& to_piece, const place& from, const piece& from_piece, std::uint64_t bytes,
            vinic::rules::word_copy& words, bool ends, bool foreign_allowed) noexcept {
    if (to_piece.direct != nullptr && from_piece.direct != nullptr) {
        words.put(to_piece.direct, from_piece.direct, bytes, ends);
        return copied::all;
    }
    if (!foreign_allowed || (to_piece.direct == nullptr && !is_of_our_user(to)) ||
        (from_piece.direct == nullptr && !is_of_our_user(from))) {
        return copied::unreachable;
    }
    if (to_piece.direct != nullptr) {
        return from_errno(os::read_foreign(pid_of(from), from_piece.address, to_piece.direct, bytes, words, ends),
                          false);
    }
    if (const int e = os::write_held(pid_of(to), to_piece.address, words); e != 0) {
        return from_errno(e, true);
    }
    if (from_piece.direct != nullptr) {
        return from_errno(os::write_process(pid_of(to), to_piece.address, from_piece.direct, bytes), true);
    }
    const os::foreign_errors errors =
        os::move_foreign_both(pid_of(to), to_piece.address, pid_of(from), from_piece.address, bytes);
    return errors.from != 0 ? from_errno(errors.from, false) : from_errno(errors.to, true);
}

}  // namespace vinic::controller

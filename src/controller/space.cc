// SPDX-License-Identifier: Apache-2.0
//
// space.cc -- the copy between two pieces, and whose memory is reached at all.
#include "controller/space.hpp"

#include <unistd.h>

#include "os/foreign_memory.hpp"

namespace vinic::controller {

namespace {

/// And in a pid namespace that this process sees: the kernel tells 0 of others.
bool is_of_our_user(const place& p) noexcept {
    static const uid_t us = ::geteuid();
    const credentials& who = p.owner->contexts[p.context].who;
    return who.user == us && who.process > 0;
}

/// Of a foreign piece; bytes that lie with the device have no owner.
std::uint32_t pid_of(const place& p, const piece& at) noexcept {
    return at.direct != nullptr ? 0 : static_cast<std::uint32_t>(p.owner->contexts[p.context].who.process);
}

}  // namespace

moved copy(const place& to, const piece& to_piece, const place& from, const piece& from_piece, std::uint64_t bytes,
           rules::word_copy& words, bool ends, bool foreign_allowed) noexcept {
    if (to_piece.direct != nullptr && from_piece.direct != nullptr) {
        words.put(to_piece.direct, from_piece.direct, bytes, ends);
        return moved::all;
    }
    if (!foreign_allowed || (to_piece.direct == nullptr && !is_of_our_user(to)) ||
        (from_piece.direct == nullptr && !is_of_our_user(from))) {
        return moved::unreachable;
    }
    return os::move_foreign(pid_of(to, to_piece), to_piece, pid_of(from, from_piece), from_piece, bytes, words, ends);
}

}  // namespace vinic::controller

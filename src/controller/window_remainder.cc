// SPDX-License-Identifier: Apache-2.0
//
// window_remainder.cc -- gives back one piece, and finds the next.
#include "controller/window_remainder.hpp"

#include <algorithm>

namespace vinic::controller {

bool window_remainder::give_back_a_piece() noexcept {
    constexpr int most = 1024;
    const std::uint64_t before = charged;
    for (int i = 0; i < most && before - charged < piece_bytes; ++i) {
        if (look_at_a_piece()) {
            return true;
        }
    }
    return false;
}

bool window_remainder::look_at_a_piece() noexcept {
    next = sweeps ? next : window.next_page(next);
    // Where no more than a piece is there in all, one look goes over everything.
    const std::uint64_t most = window.used_bytes() <= piece_bytes ? abi::none64 : piece_bytes;
    if (const std::uint64_t bytes = std::min(most, window.bytes() - next); bytes != 0) {
        window.empty(next, bytes);
        next += bytes;
    }
    // Its client may go on touching pages: they are no more than were there, as far as this account goes.
    charged = std::min(charged, window.used_bytes());
    if (next != window.bytes()) {
        return false;
    }
    if (!sweeps && charged != 0) {
        // Storage that was taken and never touched is not data to the kernel: all of it is gone through, once.
        sweeps = true;
        next = 0;
        return false;
    }
    charged = 0;
    window = {};
    return true;
}

}  // namespace vinic::controller

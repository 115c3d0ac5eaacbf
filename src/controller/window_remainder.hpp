// SPDX-License-Identifier: Apache-2.0
//
// window_remainder.hpp -- a window that nobody uses any more, while its pages are given back piece by piece.
#pragma once

#include <cstdint>

#include "controller/window.hpp"

namespace vinic::controller {

/// The thread that has it in hand works on it; no lock is needed.
struct window_remainder {
    /// The kernel lets nobody else run meanwhile.
    static constexpr std::uint64_t piece_bytes = 256ULL << 10;

    class window window;
    std::uint64_t charged = 0;  ///< to the account still
    std::uint64_t next = 0;     ///< everything before it is empty
    bool sweeps = false;        ///< piece by piece, whatever the kernel says where there is something

    /// As much as a piece has, wherever it lies: where there is nothing, looking costs next to nothing.  It takes as
    /// long as the holder of the kernel's lock of the file likes.  True: it is empty, unmapped and closed.
    [[nodiscard]] bool give_back_a_piece() noexcept;

private:
    [[nodiscard]] bool look_at_a_piece() noexcept;
};

}  // namespace vinic::controller

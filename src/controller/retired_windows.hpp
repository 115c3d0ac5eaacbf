// SPDX-License-Identifier: Apache-2.0
//
// retired_windows.hpp -- windows that nobody uses any more are emptied, a piece of each at a time.
//
//   Giving back the pages of a large window takes a second.  So it is done by a thread that nobody waits for, in
//   pieces, and windows take turns: a small one does not wait for a large one.
//
//     the next page that there is --> a hole is punched there ... no page is left --> unmapped, for nothing --> closed
//
//   Whoever was in it when it was taken away may see that late, and read then what had arrived and what he was told: a
//   window of which some process holds its entry's lock is emptied when that is over, when its function has no room for
//   another one, or when its farewell ends, which is soon where the function went to another tenant.
//
//   Emptied before it is let go of, an object that somebody still maps, or holds a descriptor of, holds nothing.  What
//   he touches in it from then on is a page of his own, in his own accounts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "controller/memory_account.hpp"
#include "controller/window.hpp"

namespace vinic::controller {

class retired_windows {
public:
    static constexpr std::uint64_t piece_bytes = 4ULL << 20;

    /// At most so many wait at a time: none is refused for want of memory.
    explicit retired_windows(std::size_t most) { all_.reserve(most); }

    /// So long a window that somebody has open is not emptied for want of room.
    static constexpr std::uint64_t stay_ns = 10'000'000'000;

    enum class pace : std::uint8_t { idle, waits, more };

    /// `account` outlives it; what the window holds is charged to it until it is given back.  Nobody touches the window
    /// through this process any more.
    void take(class window&& w, memory_account& account, std::uint64_t farewell_end_ns) noexcept;
    /// Empties one piece of one window.  One thread at a time.
    pace give_back_a_piece(std::uint64_t now_ns) noexcept;
    /// Those of an account are emptied then at the latest.
    void end_farewells(const memory_account& account, std::uint64_t end_ns) noexcept;
    /// Whether all that wait say farewell.
    [[nodiscard]] bool is_at_rest() const noexcept;
    /// How many of an account wait.
    [[nodiscard]] std::size_t waiting(const memory_account& account) const noexcept;

private:
    struct retired {
        class window window;
        memory_account* account = nullptr;
        std::uint64_t charged = 0;  ///< to the account still
        std::uint64_t next = 0;     ///< everything before it is empty
        bool sweeps = false;        ///< piece by piece, whatever the kernel says where there is something
        std::uint64_t farewell_end_ns = 0;
        std::uint64_t look_ns = 0;         ///< when to look whether somebody uses it still
        std::uint64_t stays_until_ns = 0;  ///< also if there is no room for another one
    };
    [[nodiscard]] bool take_turn(retired& one, std::uint64_t now_ns) noexcept;

    mutable std::mutex mutex_;
    std::vector<retired> all_;
};

}  // namespace vinic::controller

// SPDX-License-Identifier: Apache-2.0
//
// retired_windows.hpp -- windows that nobody uses any more are emptied, a piece of each at a time.
//
//   Giving back the pages of a large window takes a second.  So it is done by threads that nobody waits for, in pieces,
//   and windows take turns.  There are two of them, the emptiers.  A client that opens and closes again and again waits
//   for the one of the small windows; that of the large ones goes after all others, for it would keep an engine on its
//   core from everybody's messages.
//
//     the next page that there is --> a hole is punched there ... no page is left --> unmapped, for nothing --> closed
//
//   Looking and punching take the kernel's lock of the file, and no signal ends that: a client that writes to the file
//   from memory that never answers (a file system of its own, userfaultfd) holds the lock for as long as it likes, and
//   one that maps the file ten thousands of times makes a piece take long.  An emptier that a piece keeps stays with
//   that window:
//
//     emptier --a piece takes slow_ns--> that window's alone --empty--> ends
//        '--tend()--> another emptier, for the others         next windows of that account --tend()--> a thread each
//
//   So each account keeps the others once, for slow_ns; what it does not give back is charged to it alone.  There are
//   no more threads than windows that wait, and two.  They are joined by nobody: windows and places are theirs as well,
//   and when the accounts go, so do the places.
//
//   A process that was in it when it was taken away may see that late, and read then what had arrived and what it was
//   told; and one that has only closed its connection has its adopted memory there.  A window of which some process
//   holds its entry's lock is emptied when that is over, when its function has no room for another one, or when its
//   farewell ends, which is soon where the function went to another tenant.
//
//   Emptied before it is let go of, an object that somebody still maps, or holds a descriptor of, holds nothing.  What
//   such a process touches in it from then on is a page of its own, in its own accounts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "controller/memory_account.hpp"
#include "controller/window.hpp"

namespace vinic::controller {

class retired_windows {
public:
    /// At most so many wait at a time: none is refused for want of memory.
    explicit retired_windows(std::size_t most);
    retired_windows(const retired_windows&) = delete;
    retired_windows& operator=(const retired_windows&) = delete;
    /// Touches no account, and a thread that is kept in the kernel will not either.
    ~retired_windows();

    /// So long a window that somebody has open is not emptied for want of room; half as long as the library waits for
    /// room when it opens a function.
    static constexpr std::uint64_t stay_ns = 5'000'000'000;
    /// An emptier that is in one piece for so long leaves the others to another one.
    static constexpr std::uint64_t slow_ns = 250'000'000;

    enum class pace : std::uint8_t { idle, waits, more };

    /// `account` outlives it; what the window holds is charged to it until it is given back.  Nobody touches the window
    /// through this process any more.
    void take(class window&& w, memory_account& account, std::uint64_t farewell_end_ns) noexcept;
    /// Empties one piece of one window, where no threads do.
    pace give_back_a_piece(std::uint64_t now_ns) noexcept;
    /// Makes the threads that are missing, as far as that is possible, and looks whether one of them is kept.  Never
    /// waits for a window.  `waits`: to be called again, soon; `idle`: not before another one is taken.
    pace tend(std::uint64_t now_ns) noexcept;
    /// Threads end, but for one that is kept: that one is left to itself after a moment.
    void stop() noexcept;
    /// Those of an account are emptied then at the latest.
    void end_farewells(const memory_account& account, std::uint64_t end_ns) noexcept;
    /// Whether all that wait say farewell.
    [[nodiscard]] bool is_at_rest() const noexcept;
    /// How many of an account wait.
    [[nodiscard]] std::size_t waiting(const memory_account& account) const noexcept;

private:
    struct retired;
    struct shared;
    static void empty_all(const std::shared_ptr<shared>& s, std::uint64_t whose) noexcept;
    [[nodiscard]] bool launch(std::uint64_t whose) noexcept;

    std::shared_ptr<shared> shared_;  ///< the threads', too: one may be in the kernel for ever
};

}  // namespace vinic::controller
